"""Every file of tests/cases: objects in, Desired and findings out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cases import FOLDER, read_case, write_case
from tests.support.readable import readable


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_case(path: Path, request: pytest.FixtureRequest) -> None:
    case = read_case(path)
    found = readable(case.run())
    if request.config.getoption("--golden") and found != case.expected:
        write_case(case, found)
    else:
        assert found == case.expected


def test_there_are_cases() -> None:
    assert len(list(FOLDER.glob("*.yaml"))) > 40
