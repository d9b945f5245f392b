from collections.abc import Sequence
from typing import final

@final
class Writer:
    """Writes what stands in the rings of the workers; `run` is for a thread of its own.

    `rings` are descriptors, `wake` is the eventfd of their producers, `name` says in the log what
    is written, `gather` are milliseconds between two writes. Raises OSError.
    """

    def __init__(self, rings: Sequence[int], wake: int, name: str, gather: int = ...) -> None: ...
    def run(self) -> None: ...
    def set_output(self, descriptor: int) -> None:
        """Write there from the next whole line on. The descriptor is the writer's, which closes
        the one before, unless that is a standard one."""
    def stop(self) -> None:
        """Write what is there and let `run` return; what a failing output does not take is lost."""
