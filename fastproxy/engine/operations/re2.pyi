"""RE2 without Python; see re2.pyx."""

from typing import final

@final
class Regex:
    """A compiled expression for the engine; ValueError when RE2 refuses the pattern."""

    pattern: bytes
    def __init__(self, pattern: bytes) -> None: ...
    def search(self, text: bytes, start: int = 0, groups: int = 1) -> list[tuple[int, int]] | None:
        """The spans of the leftmost match at or behind `start`, of the whole and of the first
        groups; (-1, -1) for a group that took no part. None without a match."""
