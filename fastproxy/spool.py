"""A body of unknown length: in memory up to a size, in a temporary file beyond it."""

from __future__ import annotations

import mmap
import tempfile
from typing import IO

Body = bytes | mmap.mmap  # what `finish` returns; both have a length and the buffer interface


class Spool:
    """Append with `write`, then read once with `finish`.

    `memory`: bytes kept in memory; 0 = all. The file has no name, so it is gone with its last user.
    Raises OSError when the disk is full.
    """

    __slots__ = ("_data", "_file", "_memory", "_size")

    def __init__(self, memory: int = 0) -> None:
        self._memory = memory
        self._data = bytearray()
        self._file: IO[bytes] | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._file is None and self._memory and self._size > self._memory:
            self._file = tempfile.TemporaryFile(prefix="fastproxy-")  # noqa: SIM115
            self._file.write(self._data)
            self._data = bytearray()
        if self._file is None:
            self._data += data
        else:
            self._file.write(data)

    def finish(self) -> Body:
        """The whole body. Of one on disk only the pages in use are in memory."""
        if self._file is None:
            return bytes(self._data)
        with self._file as file:
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
