"""Operations: what `writer.py` writes is what the Cython sources read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastproxy.engine.operations import writer
from fastproxy.engine.operations.codes import OperationCode

ENGINE = Path(writer.__file__).parents[1]


def constants(source, prefix="", enum=""):
    """The members of the `cdef enum`s of a source file, or of one, by name without the prefix."""
    text = (ENGINE / source).read_text()
    if enum:
        text = text.partition(f"cdef enum {enum}:")[2].partition("\n\n")[0]
    rows = re.findall(rf"^    {prefix}([A-Z_0-9]+) = (\d+)", text, re.MULTILINE)
    return {name: int(number) for name, number in rows}


def kinds() -> list[type[writer.Operation]]:
    return [
        kind
        for kind in vars(writer).values()
        if isinstance(kind, type) and issubclass(kind, writer.Operation) and kind.code
    ]


def test_every_operation_has_a_code_of_its_own():
    assert sorted(kind.code for kind in kinds()) == sorted(OperationCode)


def test_every_operation_of_the_request_is_executed():
    """Each one stands in the table of functions of exchange/run.pyx, and no other does."""
    listed = re.findall(
        r"_request_operations\[<int> (\w+)\]", (ENGINE / "exchange/run.pyx").read_text()
    )
    own = {kind.code for kind in kinds() if kind.phase == writer.Phase.REQUEST}
    assert sorted(OperationCode[name] for name in listed) == sorted(own)


@pytest.mark.parametrize(
    ("source", "prefix", "own"),
    [
        ("operations/path_regex.pyx", "PIECE_", writer.Piece),
        ("operations/limits.pyx", "EXTRACT_", writer.Extractor),
        ("python/bridge.pyx", "PHASE_", writer.Phase),
    ],
)
def test_other_numbers(source, prefix, own):
    numbers = sorted(constants(source, prefix).values())
    assert numbers == sorted(own)
