"""Routes as C arrays; nothing here is of use to Python."""

from collections.abc import Iterable
from typing import Self, final

@final
class Rows:
    def __new__(cls, by_length: bool) -> Self: ...

def has_pattern(alternatives: Iterable[tuple[object, ...]]) -> bool: ...
