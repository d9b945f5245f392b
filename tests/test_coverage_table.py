"""docs/coverage.md names what exists: its rows are complete, its files and tests are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ABSENT = "—"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/coverage.md").read_text().splitlines()
    if re.match(r"\| \d", line)
]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_rows_are_those_of_the_checklist() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 89))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    _, feature, where, *shown = row
    assert feature
    if where == ABSENT:
        return
    assert [path for path in named(where) if not (ROOT / path).is_file()] == []
    tests = named(shown[0])
    assert named(where) and tests
    for test in tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text()
        assert not name or f"def {name}(" in text, test


def test_every_feature_has_its_row() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fastproxy/features").rglob("*.py")
        if path.stem[0] != "_"
    }
    found = {path for row in ROWS for path in named(row[2])}
    assert files - found == set(), "name the file in docs/coverage.md"
