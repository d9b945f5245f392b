"""Operations: the numbers in the Cython sources are those of `operations.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastproxy.engine import operations

ENGINE = Path(operations.__file__).parent


def constants(source, prefix="", enum=""):
    """The members of the `cdef enum`s of a source file, or of one, by name without the prefix."""
    text = (ENGINE / source).read_text()
    if enum:
        text = text.partition(f"cdef enum {enum}:")[2].partition("\n\n")[0]
    rows = re.findall(rf"^    {prefix}([A-Z_0-9]+) = (\d+)", text, re.MULTILINE)
    return {name: int(number) for name, number in rows}


def test_codes():
    own = {
        kind.__name__: kind.code
        for kind in vars(operations).values()
        if isinstance(kind, type) and issubclass(kind, operations.Operation) and kind.code
    }
    theirs = {
        name.title().replace("_", ""): n for name, n in constants("steps.pyx", enum="Code").items()
    }
    shortened = {"OfferEntryPointCertificate": "OfferCertificate"}
    assert {shortened.get(name, name): number for name, number in own.items()} == theirs


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
