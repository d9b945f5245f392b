"""Operations: what `operations.py` writes is what the Cython sources read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastproxy.engine import operations
from fastproxy.engine.operation_codes import OperationCode

ENGINE = Path(operations.__file__).parent


def constants(source, prefix="", enum=""):
    """The members of the `cdef enum`s of a source file, or of one, by name without the prefix."""
    text = (ENGINE / source).read_text()
    if enum:
        text = text.partition(f"cdef enum {enum}:")[2].partition("\n\n")[0]
    rows = re.findall(rf"^    {prefix}([A-Z_0-9]+) = (\d+)", text, re.MULTILINE)
    return {name: int(number) for name, number in rows}


def kinds() -> list[type[operations.Operation]]:
    return [
        kind
        for kind in vars(operations).values()
        if isinstance(kind, type) and issubclass(kind, operations.Operation) and kind.code
    ]


def test_every_operation_has_a_code_of_its_own():
    assert sorted(kind.code for kind in kinds()) == sorted(OperationCode)


def test_every_operation_of_the_request_is_executed():
    """Each one stands in the table of functions of steps.pyx, and no other does."""
    listed = re.findall(r"_request_operations\[<int> (\w+)\]", (ENGINE / "steps.pyx").read_text())
    own = {kind.code for kind in kinds() if kind.phase == operations.Phase.REQUEST}
    assert sorted(OperationCode[name] for name in listed) == sorted(own)


@pytest.mark.parametrize(
    ("source", "prefix", "own"),
    [
        ("step_regex.pyx", "PIECE_", operations.Piece),
        ("step_limits.pyx", "EXTRACT_", operations.Extractor),
        ("bridge.pyx", "PHASE_", operations.Phase),
    ],
)
def test_other_numbers(source, prefix, own):
    numbers = sorted(constants(source, prefix).values())
    assert numbers == sorted(own)
