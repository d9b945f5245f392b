"""How findings speak: no field twice, no empty name, what to do, and never cut before that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from controller.report.inspection import inspect
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import CATALOGUE, CUT, LONGEST, Finding, Severity
from fastproxy.settings.options import Settings
from tests.support.cases import FOLDER, read_case

# Documents that cannot be served as they are written; each is linted alone.
FAULTY = """\
kind: Ingress
metadata: {name: a, anotations: {}}
---
apiVersion: v1
metadata: {name: no-kind}
---
replicas: 2
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: b, namespace: c}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {rules: {host: b}, backend: {serviceName: x, servicePort: 1}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: twice
  annotations:
    ingress.kubernetes.io/priority: "1"
    ingress.kubernetes.io/priority: "2"
spec: {rules: []}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: labels, labels: {ingress.kubernetes.io/auth-type: basic}}
spec: {rules: [{host: a.test, http: {paths: [{path: /, backend: {service: {name: x}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: unquoted, annotations: {ingress.kubernetes.io/priority: 5}}
spec: {rules: 5, tls: x}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: [
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: below, annotations: {ingress.kubernetes.io/rate-limit: "extractorFunc: x"}}
annotations: {ingress.kubernetes.io/auth-type: basic}
spec: {rules: []}
"""


def linted(folder: Path, text: str) -> tuple[Finding, ...]:
    file = folder / "a.yaml"
    file.write_text(text)
    return inspect(Settings(), [file]).findings


def of_cases() -> list[Finding]:
    return [
        finding
        for path in sorted(FOLDER.glob("*.yaml"))
        for finding in read_case(path).run().findings
    ]


def complaints(finding: Finding) -> list[str]:
    """What is wrong with a finding as a text."""
    last = re.search(r"\[([^]]*[^]\d][^]]*)\]$", finding.field)  # an annotation or label
    name = last[1] if last else finding.field.rpartition(".")[2]
    generic = not last and finding.code not in ("FP181", "FP231", "FP232")
    found = []
    if (
        name
        and not generic
        and re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-])", finding.sentence)
    ):
        found.append(f"{name} is named twice")
    if "None" in finding.sentence or "  " in finding.as_line() or " :" in finding.as_line():
        found.append("something is empty")
    if not finding.effect.endswith("."):
        found.append("no effect")
    if finding.object.kind and not finding.object.name:
        found.append("an object without name")
    return [f"{text}: {finding.as_line()}" for text in found]


def test_findings_of_all_cases() -> None:
    found = of_cases()
    assert len({finding.code for finding in found}) > 30
    assert [text for finding in found for text in complaints(finding)] == []


@pytest.mark.parametrize("document", FAULTY.split("---\n"))
def test_findings_of_faulty_documents(document: str, tmp_path: Path) -> None:
    found = [f for f in linted(tmp_path, document) if f.code != "FP245"]
    assert found
    assert [text for finding in found for text in complaints(finding)] == []
    assert all(finding.file == "a.yaml" and finding.line for finding in found), found


def test_a_structural_error_hides_no_other(tmp_path: Path) -> None:
    """All that can be said of an object is said at once."""
    text = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: a
  anotations: {}
  annotations:
    ingress.kubernetes.io/priority: 5
    ingress.kubernetes.io/rule-typ: Path
    ingress.kubernetes.io/auth-secret: users
    ingress.kubernetes.io/redirect-regex: x
    ingress.kubernetes.io/pass-tls-cert: maybe
spec:
  rules: {host: b}
  tls: [{secretName: gone}]
"""
    codes = [finding.code for finding in linted(tmp_path, text)]
    assert sorted(codes) == sorted(
        ["FP231", "FP181", "FP181", "FP168", "FP222", "FP223", "FP161", "FP141"]
    )


NOBODY = ObjectReference("Ingress", "default", "a")


@pytest.mark.parametrize("size", [0, LONGEST - 60, LONGEST, LONGEST + 1, 10 * LONGEST])
def test_a_long_value_does_not_hide_what_to_do(size: int) -> None:
    finding = findings.ANNOTATION_OFF(
        NOBODY, "x", sentence=f"'{'v' * size}' is no rate; write a number"
    )
    assert finding.sentence.startswith("'") and finding.sentence.endswith("; write a number")
    assert len(finding.sentence) <= LONGEST
    assert (CUT in finding.sentence) is (size + 30 > LONGEST)


# What is told of an error is what to do, or something that says it.
TOLD = ("{sentence}", "{reason}", "{hint}", ";")


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_says_what_to_do(code: str) -> None:
    kind = CATALOGUE[code]
    if kind.severity is Severity.ERROR:
        assert any(part in kind.template for part in TOLD), kind.template


def test_json_holds_what_a_line_holds(tmp_path: Path) -> None:
    for finding in (*linted(tmp_path, FAULTY), *of_cases()):
        fields = json.loads(json.dumps(finding.as_fields()))
        line = finding.as_line()
        for name in ("code", "name", "field", "sentence", "effect", "file"):
            assert str(fields[name]).rstrip(".") in line, (name, line)
