"""Findings name the file and the line of the field they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.sources.manifests import Manifests
from controller.sources.provenance import located
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference

INGRESS = """\
# a comment
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: a
  annotations:
    ingress.kubernetes.io/priority: "7"
    ingress.kubernetes.io/rate-limit: |
      extractorfunc: client.ip
spec:
  backend: {serviceName: web, servicePort: 80}
  rules:
  - host: a.example
    http:
      paths:
      - path: /x
        backend:
          serviceName: web
          servicePort: 80
      - {path: /y, backend: {serviceName: web, servicePort: 80}}
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"

# field, the line of INGRESS where it stands
FIELDS = [
    ("", 2),
    ("metadata.name", 5),
    ("metadata.annotations[ingress.kubernetes.io/priority]", 7),
    ("metadata.annotations[ingress.kubernetes.io/rate-limit]", 8),
    ("metadata.annotations[ingress.kubernetes.io/not-there]", 6),
    ("metadata.annotations", 6),
    ("spec.defaultBackend", 11),
    ("spec.rules[0].host", 13),
    ("spec.rules[0].http.paths[0].path", 16),
    ("spec.rules[0].http.paths[0].backend.service.name", 18),
    ("spec.rules[0].http.paths[1]", 20),
    ("spec.rules[0].http.paths[7]", 15),
    ("no.such.field", 2),
]


def line_of(path: Path, field: str, name: str = "a") -> tuple[str, int]:
    loaded = Manifests(path).load()
    about = ObjectReference("Ingress", "default", name)
    finding = findings.ANNOTATION_WARNING(about, field, sentence="x")
    (found,) = located([finding], loaded.places)
    return found.file, found.line


def indented(text: str) -> str:
    return "- " + text.replace("\n", "\n  ").rstrip(" ")


# what stands around the Ingress, and by how many lines it moves it
AROUND = [
    ("{}", -1),
    (SERVICE + "---\n{}", 4),
    ("\ufeff{}", -1),
    ("---\n---\n" + SERVICE + "--- # here\n{}---\n" + SERVICE, 6),
    ("apiVersion: v1\nkind: List\nitems:\n" + indented(SERVICE) + "\n[]", 6),
]


@pytest.mark.parametrize(("field", "line"), FIELDS)
@pytest.mark.parametrize(("around", "moved"), AROUND)
def test_lines(tmp_path: Path, field: str, line: int, around: str, moved: int) -> None:
    text = INGRESS.removeprefix("# a comment\n")
    text = around.replace("{}", text, 1) if "{}" in around else around.replace("[]", indented(text))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.yaml").write_text(text)
    file, found = line_of(tmp_path, field)
    assert file == "deep/a.yaml"
    begin = text.splitlines().index(next(x for x in text.splitlines() if "extensions/v1" in x)) + 1
    if field in ("", "no.such.field") and "---" in text:
        assert found in range(begin - 1, begin + 1)  # the line of the dashes, or behind them
    else:
        assert found == begin + line - 2


def test_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(INGRESS.replace("\n", "\r\n").encode())
    assert line_of(tmp_path, "spec.rules[0].host") == ("a.yaml", 13)


def test_a_file_that_is_gone_leaves_the_line_of_the_document(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SERVICE + "---\n" + INGRESS)
    loaded = Manifests(tmp_path).load()
    path.unlink()
    about = ObjectReference("Ingress", "default", "a")
    finding = findings.ANNOTATION_WARNING(about, "spec.rules[0].host", sentence="x")
    (found,) = located([finding], loaded.places)
    assert (found.file, found.line) == ("a.yaml", 5)


def test_what_comes_from_no_file_has_no_place() -> None:
    finding = findings.ANNOTATION_WARNING(ObjectReference("Ingress", "x", "y"), "f", sentence="x")
    assert located([finding], {}) == (finding,)
    assert "()" not in finding.as_line()
