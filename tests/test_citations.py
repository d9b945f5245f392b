"""Whatever a comment, docstring or document cites can be opened from the repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPECIFICATION = ROOT / "docs" / "spec"
KINDS = {".py", ".pyx", ".pxd", ".pyi", ".yaml", ".toml", ".md", ".c", ".lua", ""}
NOT_READ = {"CHANGELOG.md", "LICENSE", "test_citations.py"}
NUMBER = r"\d(?:[\d.]*\d)?"
SECTIONS = re.compile(
    rf"`?([a-z][a-z0-9-]*)\.md`?,? (?:section |row )?({NUMBER}(?:(?:, | and | to ){NUMBER})*)"
)
DEVIATION = re.compile(r"\bFIX (\d+)")
DECISION = re.compile(r"\bADR (\d{4})")
DOCUMENT = re.compile(r"(?<![\w./:-])((?:[\w.-]+/)*[\w-]+\.md)\b")


def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def read(files: set[str]) -> dict[str, str]:
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in sorted(files)
        if Path(name).suffix in KINDS and Path(name).name not in NOT_READ
    }


@cache
def numbers(document: str) -> frozenset[str]:
    """The numbers of headings, table rows and steps by which a document may be cited."""
    text = (SPECIFICATION / f"{document}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#{2,3} (\d+(?:\.\d+)*)\.? ", text, re.MULTILINE)
    rows = (
        re.findall(r"^\| (\d+[a-z]?) \|", text, re.MULTILINE) if document == "http-safety" else []
    )
    return frozenset((*headings, *rows))


@cache
def known_deviations() -> set[str]:
    text = "".join((SPECIFICATION / name).read_text() for name in ("provider.md", "kubernetes.md"))
    register = re.findall(r"^\| (\d+) \|", text.partition("## 9. ")[2], re.MULTILINE)
    return {*register, *re.findall(r"\*\*\[FIX (\d+)\]\*\*", text)}


def unresolved(name: str, text: str, files: set[str]) -> list[str]:
    """What `text` cites and nobody could open."""
    specified = {path.stem for path in SPECIFICATION.glob("*.md")} - {"README"}
    lost = []
    for document, listed in SECTIONS.findall(text):
        if document in specified:
            for number in re.findall(NUMBER, listed):
                # "3.11.7" is a step of 3.11; a step stands in the section's own list
                section = ".".join(number.split(".")[:2])
                if not {number, section} & numbers(document):
                    lost.append(f"{name}: {document}.md {number}")
    deviations = known_deviations()
    lost += [f"{name}: FIX {n}" for n in DEVIATION.findall(text) if n not in deviations]
    lost += [
        f"{name}: ADR {n}"
        for n in DECISION.findall(text)
        if not list((ROOT / "docs/adr").glob(f"{n}-*.md"))
    ]
    endings = {file.rpartition("/")[2] for file in files}
    lost += [
        f"{name}: {cited}" for cited in DOCUMENT.findall(text) if Path(cited).name not in endings
    ]
    return lost


def test_everything_cited_is_in_the_repository() -> None:
    files = tracked()
    assert [
        line for name, text in read(files).items() for line in unresolved(name, text, files)
    ] == []


def holes(names: Iterable[str]) -> list[str]:
    """What keeps files from being 0001-WORDS.md, 0002-WORDS.md and so on."""
    found = sorted(names)
    wrong = [name for name in found if not re.fullmatch(r"\d{4}(-[a-z0-9.]+)+\.md", name)]
    numbered = zip(found, range(1, len(found) + 1), strict=True)
    return wrong + [
        f"{number:04} is {name}" for name, number in numbered if name[:4] != f"{number:04}"
    ]


def test_decisions_are_numbered_without_holes() -> None:
    assert holes(path.name for path in (ROOT / "docs/adr").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["0001-a.md", "0002-b-c.md"], 0),
        (["0001-a.md", "0003-b.md"], 1),
        (["0001-a.md", "0001-b.md"], 1),
        (["0002-a.md"], 1),
        (["0001-a.md", "notes.md"], 2),
    ],
)
def test_a_hole_between_decisions_is_found(names: list[str], count: int) -> None:
    assert len(holes(names)) == count


@pytest.mark.parametrize(
    "text",
    ["`features.md` 3.99", "http-safety.md 77", "(FIX 99)", "see ADR 9999", "design/nowhere.md"],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert len(unresolved("x", text, set())) >= 1
