"""Directories of YAML become snapshots; what is broken becomes a finding and harms nobody else."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.sources import folder
from controller.sources.manifests import Manifests, read_documents

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
    ("kind: Ingress\nmetadata: {name: i}\n", [], ["FP185"]),
    ("just text\n", [], ["FP181"]),
    ("apiVersion: v1\nkind: List\nitems:\n- " + service("a").replace("\n", "\n  "), ["a"], []),
    ("apiVersion: v1\nkind: ServiceList\nitems:\n- {metadata: {name: a}}\n- 7\n", ["a"], ["FP181"]),
    ('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}', ["a"], []),
    ("{apiVersion: v1, kind: Service, metadata: {name: a}}", ["a"], []),
    ('{"kind": "Service"', [], ["FP182"]),
    ("%YAML 1.1\n---\n" + service("a"), ["a"], []),
    ("a: &a [*a]\n", [], ["FP182"]),
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


# What a file becomes after it held Services a and b -> codes of the findings. None of it takes one.
SLIPS = [
    ("kind: [", ["FP182"]),
    (service("a") + "---\nx: y: z\n", ["FP182"]),
    (service("a") + "---\n" + service("b") + "metadata: {name: c}\n", ["FP182"]),
    (service("a") + "---\nspec: {ports: 7}\nkind: Service\napiVersion: v1\n", ["FP181"]),
    (service("a") + "---\n" + service("b").replace("Version: v1", "Version: v2"), ["FP185"]),
    ("apiVersion: v1\nkind: List\nitems: {}\n", ["FP181"]),
    ("apiVersion: v1\nkind: List\nitems: [null]\n", ["FP181"]),
    ("<html>", ["FP181"]),
    ("", ["FP184"]),
    (" \n", ["FP184"]),
    ("\xff\n".encode("latin-1"), ["FP184"]),
    (b"\x00" * 100, ["FP182"]),
    ("- x\n---\n" * 200, ["FP181"] * 100 + ["FP184"]),
]


@pytest.mark.parametrize(("text", "codes"), SLIPS)
def test_a_slip_keeps_what_the_file_held(
    tmp_path: Path, text: str | bytes, codes: list[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a") + "---\n" + service("b"))
    (tmp_path / "c.yaml").write_text(service("c"))
    source = Manifests(tmp_path)
    good = source.load()
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert [finding.code for finding in kept.findings] == codes
    assert {finding.effect for finding in kept.findings} == {
        "The file stays in force as it was before."
    }
    # At the start nothing is known from before: what is good is served.
    first = Manifests(tmp_path).load()
    assert {name for _, name in first.snapshot.services} - {"a"} == {"c"}
    assert [f.code for f in first.findings] == (codes if str(text).strip() else [])
    file.write_text(service("b"))
    mended = source.load()
    assert {name for _, name in mended.snapshot.services} == {"b", "c"}
    assert mended.findings == ()


def test_a_key_given_twice_is_told_and_the_last_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n"
        "spec: {ports: [{port: 80,\n  port: 81}]}\n"
    )
    loaded = Manifests(tmp_path).load()
    assert loaded.snapshot.services["default", "a"].ports[0].number == 81
    (finding,) = loaded.findings
    assert finding.as_line() == (
        "FP201 Service default/a spec.ports[0].port (a.yaml:6): It is "
        "given twice, first in line 5; keep one of them. The last one is used."
    )


def odd(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def shut(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a regular file whose reading fails


@pytest.mark.parametrize("spoil", [odd, shut])
def test_a_file_that_cannot_be_read_keeps_what_it_held(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    source = Manifests(tmp_path)
    good = source.load()
    spoil(tmp_path / "a.yaml")
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert [finding.code for finding in kept.findings] == ["FP184"]
    (tmp_path / "a.yaml").unlink()
    assert len(source.load().snapshot) == 0


def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure of a disk or of a server far away leaves no trace in the stamp."""
    (tmp_path / "a.yaml").write_text(service("a"))

    def fails(path: Path) -> str:
        monkeypatch.undo()
        raise folder.Unreadable("Input/output error", passing=True)

    monkeypatch.setattr("controller.sources.manifests.read", fails)
    stop = threading.Event()
    changes = Manifests(tmp_path, interval=0.01).changes(stop)
    assert [finding.code for finding in next(changes).findings] == ["FP184"]
    loaded = next(changes)
    assert len(loaded.snapshot) == 1 and loaded.findings == ()


def test_a_bug_of_ours_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    source = Manifests(tmp_path)
    good = source.load()
    monkeypatch.setattr("controller.sources.contents.parse_object", lambda item: 1 // 0)
    (tmp_path / "a.yaml").write_text(service("b"))
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert "ZeroDivisionError" in kept.findings[0].sentence


def test_a_directory_that_is_away_keeps_its_state(tmp_path: Path) -> None:
    root, away = tmp_path / "m", tmp_path / "away"
    root.mkdir()
    (root / "a.yaml").write_text(service("a"))
    source = Manifests(root)
    good = source.load()
    root.rename(away)
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert [(f.code, f.file) for f in kept.findings] == [("FP202", "m")]
    root.mkdir()  # as before a volume is mounted
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert [(f.code, f.file) for f in kept.findings] == [("FP204", "m")]
    assert source.load().findings == kept.findings  # for as long as it lasts
    (root / "b.yaml").write_text(service("b"))
    taken = source.load()
    assert {name for _, name in taken.snapshot.services} == {"b"} and taken.findings == ()
    (root / "b.yaml").unlink()
    assert len(source.load().snapshot) == 0  # deleted is deleted, the last file too


def test_a_directory_below_that_is_deleted_is_gone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.yaml").write_text(service("a"))
    source = Manifests(tmp_path)
    assert len(source.load().snapshot) == 1
    shutil.rmtree(tmp_path / "deep")
    loaded = source.load()
    assert len(loaded.snapshot) == 0 and loaded.findings == ()


def test_a_directory_below_that_cannot_be_listed_keeps_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep/deeper").mkdir(parents=True)
    (tmp_path / "deep/deeper/a.yaml").write_text(service("a"))
    (tmp_path / "b.yaml").write_text(service("b"))
    source = Manifests(tmp_path)
    good = source.load()
    listing = os.scandir

    def scandir(path: Path) -> Any:
        if path.name == "deep":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr("controller.sources.folder.os.scandir", scandir)
    kept = source.load()
    assert kept.snapshot is good.snapshot
    assert [(f.code, f.file) for f in kept.findings] == [("FP202", "deep")]
    assert "Permission denied" in kept.findings[0].sentence


def test_what_moved_out_of_a_broken_file_is_taken_from_its_new_place(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text(service("a"))
    source = Manifests(tmp_path)
    source.load()
    (tmp_path / "z.yaml").write_text("kind: [")
    (tmp_path / "b.yaml").write_text(service("a").replace("80", "81"))
    loaded = source.load()
    assert loaded.snapshot.services["default", "a"].ports[0].number == 81
    assert [finding.code for finding in loaded.findings] == ["FP182"]


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.yaml")).write_text("kind: [")
    (finding,) = Manifests(tmp_path).load().findings
    assert finding.file == "\ufffd .yaml"
    finding.as_line().encode()


def mounted(root: Path, version: int, names: list[str]) -> None:
    """Write a version of a ConfigMap as the kubelet does: all of it changes in one rename."""
    content = root / f"..{version}"
    content.mkdir(parents=True)
    for name in names:
        (content / f"{name}.yaml").write_text(service(name))
    (root / "..data_tmp").symlink_to(content.name)
    (root / "..data_tmp").replace(root / "..data")
    for name in names:
        if not (root / f"{name}.yaml").is_symlink():
            (root / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    for entry in root.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.stem not in names:
            entry.unlink()
        if entry.is_dir() and entry.name.startswith("..") and entry.name not in (
            "..data", content.name
        ):  # fmt: skip
            shutil.rmtree(entry)


def test_a_mounted_config_map_never_loses_an_object(tmp_path: Path) -> None:
    """Looks fall between any two steps of the kubelet; what all versions hold is always there."""
    root = tmp_path / "m"
    mounted(root, 0, ["a", "b"])
    source = Manifests(root)
    over = threading.Event()

    def swap() -> None:
        for version in range(1, 150):
            mounted(root, version, ["a", "b"] if version % 2 else ["a", "c"])
        over.set()

    source.load()
    swapping = threading.Thread(target=swap)
    swapping.start()
    looks = 0
    while not over.is_set():
        assert ("default", "a") in source.load().snapshot.services
        looks += 1
    swapping.join()
    assert looks > 20
    loaded = source.load()
    assert {name for _, name in loaded.snapshot.services} == {"a", "b"} and loaded.findings == ()


def test_a_directory_that_never_stands_still_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.sources.manifests.DEADLINE", 0.2)
    (tmp_path / "noise.yaml").write_text(service("n0"))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.01):
            number += 1
            (tmp_path / "new").write_text(service(f"n{number}"))
            (tmp_path / "new").replace(tmp_path / "noise.yaml")

    noise = threading.Thread(target=write)
    noise.start()
    try:
        changes = Manifests(tmp_path, interval=0.05).changes(stop)
        next(changes)
        (tmp_path / "a.yaml").write_text(service("a"))
        began = time.monotonic()
        while ("default", "a") not in next(changes).snapshot.services:
            pass
        assert time.monotonic() - began < 5.0
    finally:
        stop.set()
        noise.join()


def test_what_one_look_misses_is_not_gone(tmp_path: Path) -> None:
    """A directory that changes while it is read may be read without an entry it has."""
    (tmp_path / "a.yaml").write_text(service("a"))
    before = folder.look_at(tmp_path)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(service("b"))
    look = folder.look_at(tmp_path).with_vanishing(before)
    assert set(look.files) == {tmp_path / "a.yaml", tmp_path / "b.yaml"}


def test_a_look_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a directory on a server that is away."""
    source = Manifests(tmp_path)
    source.load()
    assert source.staleness() == 0.0
    now = time.monotonic()
    monkeypatch.setattr("controller.sources.manifests.time.monotonic", lambda: now + 60.0)
    assert source.staleness() >= 60.0
