"""Directories of YAML become snapshots; what is broken becomes a finding and harms nobody else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from controller.manifests import Manifests, read_documents

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}\n"


def service(name: str) -> str:
    return SERVICE % name


# text, names of the objects, codes of the findings
DOCUMENTS = [
    ("", [], []),
    ("---\n---\n# nothing\n", [], []),
    (service("a") + "---\n" + service("b"), ["a", "b"], []),
    ("--- {apiVersion: v1, kind: Service, metadata: {name: a}}\n", ["a"], []),
    (service("a") + "---\nkind: [\n---\n" + service("b"), ["a", "b"], ["FP182"]),
    (service("a") + "---\nspec: {ports: 7}\nkind: Service\napiVersion: v1\n", ["a"], ["FP181"]),
    ("kind: Pod\napiVersion: v1\nmetadata: {name: p}\n", [], []),
    ("kind: Ingress\napiVersion: networking.k8s.io/v2\nmetadata: {name: i}\n", [], ["FP185"]),
    ("kind: Service\napiVersion: serving.knative.dev/v1\nmetadata: {name: i}\n", [], []),
    ("kind: Ingress\nmetadata: {name: i}\n", [], []),
    ("just text\n", [], ["FP181"]),
    ("apiVersion: v1\nkind: List\nitems:\n- " + service("a").replace("\n", "\n  "), ["a"], []),
    ("apiVersion: v1\nkind: ServiceList\nitems:\n- {metadata: {name: a}}\n- 7\n", ["a"], ["FP181"]),
    ('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}', ["a"], []),
    ("{apiVersion: v1, kind: Service, metadata: {name: a}}", ["a"], []),
    ('{"kind": "Service"', [], ["FP182"]),
    ("%YAML 1.1\n---\n" + service("a"), ["a"], []),
    ("a: &a [*a]\n", [], []),
    ("kind: " + "[" * 300_000 + "]" * 300_000, [], ["FP182"]),
    ("- " * 300_000, [], ["FP182"]),
]


@pytest.mark.parametrize(("text", "names", "codes"), DOCUMENTS)
def test_documents(text: str, names: list[str], codes: list[str]) -> None:
    objects, found = read_documents(text, "x.yaml")
    assert [item.name for item in objects] == names
    assert [finding.code for finding in found] == codes


def test_a_broken_document_is_named_with_its_line() -> None:
    _, (finding,) = read_documents(service("a") + "---\nx: y: z\n", "x.yaml")
    assert (finding.file, finding.line, finding.field) == ("x.yaml", 6, "document 2")
    assert finding.as_line().startswith("FP182 document 2 (x.yaml:6): ")


def test_a_directory_is_read_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text(service("a"))
    (tmp_path / "deep/b.yml").write_text(service("b"))
    (tmp_path / ".hidden.yaml").write_text(service("c"))
    (tmp_path / "note.txt").write_text("kind: [")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfa")
    source = Manifests(tmp_path)
    first = source.load()
    assert {name for _, name in first.snapshot.services} == {"a", "b"}
    assert [finding.code for finding in first.findings] == ["FP184"]
    assert source.load().snapshot is first.snapshot
    (tmp_path / "a.yaml").unlink()
    assert {name for _, name in source.load().snapshot.services} == {"b"}


def test_the_last_definition_wins(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(service("a"))
    (tmp_path / "2.yaml").write_text(service("a").replace("80", "81"))
    loaded = Manifests(tmp_path).load()
    assert loaded.snapshot.services["default", "a"].ports[0].number == 81
    (finding,) = loaded.findings
    assert (finding.code, finding.file) == ("FP183", "2.yaml")
    assert "1.yaml:1 and again in 2.yaml:1" in finding.sentence


def test_a_missing_directory_is_a_finding(tmp_path: Path) -> None:
    loaded = Manifests(tmp_path / "none").load()
    assert len(loaded.snapshot) == 0
    assert [finding.code for finding in loaded.findings] == ["FP184"]


def test_changes_are_seen_once_and_settled(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    stop = threading.Event()
    changes = Manifests(tmp_path, interval=0.01).changes(stop)
    assert len(next(changes).snapshot) == 1
    # A ConfigMap is replaced by swapping a link; a new file appears whole.
    (tmp_path / "new").write_text(service("b"))
    (tmp_path / "new").replace(tmp_path / "b.yaml")
    assert {name for _, name in next(changes).snapshot.services} == {"a", "b"}
    stop.set()
    assert list(changes) == []
