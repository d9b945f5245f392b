"""The catalogue of findings: complete, documented, and safe to show."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest

from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import CATALOGUE, Kind, Severity, as_markdown

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/findings.md"
INGRESS = ObjectReference("Ingress", "default", "shop")
NOBODY = ObjectReference("", "", "")


def placeholders(kind: Kind) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.template) if name}


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=list(CATALOGUE))
def test_an_entry_makes_a_sentence(kind: Kind) -> None:
    assert re.fullmatch(r"FP[12][0-9]{2}", kind.code)
    finding = kind(INGRESS, "spec", **dict.fromkeys(placeholders(kind), "value"))
    assert (finding.code, finding.severity, finding.object) == (kind.code, kind.severity, INGRESS)
    assert "{" not in finding.sentence
    assert kind.effect.endswith(".")


def test_every_entry_is_used() -> None:
    names = {id(kind): name for name, kind in vars(findings).items() if isinstance(kind, Kind)}
    text = "".join(
        path.read_text()
        for folder in ("controller", "fastproxy")
        for path in ROOT.glob(f"{folder}/**/*.py")
    )
    unused = [name for name in names.values() if f"findings.{name}" not in text]
    assert not unused


def test_the_values_of_users_stay_on_one_short_line() -> None:
    finding = findings.UNSAFE_PATH(INGRESS, "spec", path="a\nb" + "x" * 10_000)
    assert "\n" not in finding.sentence
    assert len(finding.sentence) < 500


def test_braces_of_users_are_no_placeholders() -> None:
    finding = findings.ANNOTATION_DROP(INGRESS, "spec", sentence="'{0.__class__}' is wrong")
    assert finding.sentence == "'{0.__class__}' is wrong"


def test_the_document_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--golden"):
        DOCUMENT.write_text(as_markdown())
    assert DOCUMENT.read_text() == as_markdown(), "run pytest --golden and look at the difference"


# place shown, object, sentence -> the line
LINES = [
    (
        True,
        INGRESS,
        "is wrong",
        "FP164 Ingress default/shop spec.rules (a.yaml:7): is wrong. Gone.",
    ),
    (False, INGRESS, "is wrong", "FP164 Ingress default/shop spec.rules: is wrong. Gone."),
    (True, NOBODY, "It is wrong.", "FP164 spec.rules (a.yaml:7): It is wrong. Gone."),
]


@pytest.mark.parametrize(("place", "object", "sentence", "line"), LINES)
def test_a_line_tells_the_effect_and_where(
    place: bool, object: ObjectReference, sentence: str, line: str
) -> None:
    kind = findings.ANNOTATION_DROP
    finding = kind(object, "spec.rules", "Gone.", "a.yaml", 7, sentence=sentence)
    assert finding.as_line(place) == line


def test_json_holds_what_the_line_holds() -> None:
    finding = findings.ANNOTATION_DROP(INGRESS, "spec", file="a.yaml", line=7, sentence="no.")
    (row,) = json.loads(findings.as_json([finding]))
    assert row == {
        "code": "FP164",
        "severity": "error",
        "kind": "Ingress",
        "namespace": "default",
        "name": "shop",
        "field": "spec",
        "also": [],
        "sentence": "no.",
        "effect": "This route answers 404.",
        "file": "a.yaml",
        "line": 7,
    }


def test_a_finding_that_moves_or_is_said_anew_is_not_resolved() -> None:
    def found(field: str, sentence: str, line: int) -> findings.Finding:
        return findings.ANNOTATION_DROP(INGRESS, field, file="a", line=line, sentence=sentence)

    before = [found("x", "1 of 2", 3), found("y", "wrong", 4)]
    after = [found("x", "2 of 2", 5)]
    assert [finding.field for finding in findings.resolved(before, after)] == ["y"]
    assert found("x", "wrong", 3) == found("x", "wrong", 9)


def test_severities_are_text() -> None:
    assert [f"{severity}" for severity in Severity] == ["error", "warning", "note"]
