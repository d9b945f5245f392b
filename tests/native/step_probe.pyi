"""Request operations for tests and benchmarks, without a socket."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fastproxy.engine.operations.re2 import Regex

@dataclass(frozen=True, slots=True)
class Passed:
    """The request goes on, with this path and these headers."""

    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]

@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    lines: bytes
    body: bytes

@final
class StepProbe:
    """`operations` as a route carries them; `expressions` by filter slot."""

    def __init__(
        self, operations: bytes, expressions: Sequence[Regex] = (), *, tls: bool = False
    ) -> None: ...
    def run(self, data: bytes, rounds: int = 1) -> Passed | Answered:
        """Read a whole request head and run the operations over it, `rounds` times."""
    def question(self, payload: bytes, client: bytes) -> bytes | None:
        """What forward authentication asks about the head of the last run; `payload` is that of
        `AskServer` behind the slot. None when it is left to the filter."""

def duration_text(nanoseconds: int) -> str:
    """How an answer of the rate limit writes a duration."""

def replaced(regex: Regex, pieces: bytes, text: bytes) -> bytes | None:
    """Replace every match; `pieces` (encoded, without placeholders) stand for each. None without
    a match."""
