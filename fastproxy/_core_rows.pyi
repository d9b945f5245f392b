"""Routes as C arrays; nothing here is of use to Python."""

from collections.abc import Iterable
from typing import final

@final
class Rows:
    def __init__(self, by_length: bool) -> None: ...

def has_pattern(alternatives: Iterable[tuple[object, ...]]) -> bool: ...
