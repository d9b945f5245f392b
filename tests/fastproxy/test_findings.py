"""The catalogue of findings: complete, documented, and safe to show."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from fastproxy import findings
from fastproxy.findings import CATALOGUE, Kind, Severity, as_markdown
from fastproxy.model import ObjectReference

ROOT = Path(findings.__file__).parent.parent
DOCUMENT = ROOT / "docs/findings.md"
INGRESS = ObjectReference("Ingress", "default", "shop")


def placeholders(kind: Kind) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.template) if name}


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=list(CATALOGUE))
def test_an_entry_makes_a_sentence(kind: Kind) -> None:
    assert re.fullmatch(r"FP1[0-9]{2}", kind.code)
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


def test_severities_are_text() -> None:
    assert [f"{severity}" for severity in Severity] == ["error", "warning"]
