"""One look at a directory of manifests: which files there are, and what shows that they changed.

A directory is what people and programs make of it. Links may lead in circles or to the root of the
file system, so each directory is looked at once, and a look ends after so many entries; FIFOs,
sockets and devices may hold whoever opens them, so only regular files are opened, and without
waiting. What cannot be looked at is told apart from what is not there: only the latter is gone.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")
MOST_BYTES = 16 << 20  # of a file
MOST_FOLDERS = 2_000
MOST_ENTRIES = 100_000  # of all directories together
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}

Stamp = tuple[int, ...]  # differs when the content may differ
Identity = tuple[int, int]  # device, inode


class Unreadable(Exception):
    """A file that cannot be read; the text says why. `passing`: without a change of the file it
    may become readable."""

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(slots=True)
class Look:
    """What was there; equal when nothing has changed."""

    files: dict[Path, Stamp | str] = field(default_factory=dict)  # or why it cannot be read
    folders: dict[Path, Identity | str] = field(default_factory=dict)  # or why not
    again: dict[Path, Path] = field(default_factory=dict)  # reached another time, and as what

    def unknown(self, path: Path) -> bool:
        """Whether a file that was not seen may be there all the same."""
        return any(isinstance(self.folders.get(parent), str) for parent in (path, *path.parents))

    def with_vanishing(self, before: Look) -> Look:
        """Take what was there one look ago for still there: a file is gone when two looks miss
        it, since a directory that changes meanwhile may be read without an entry it has."""
        return Look({**before.files, **self.files}, self.folders, self.again)


def look_at(root: Path) -> Look:
    """Look at a directory and all below it, or at one file."""
    look = Look()
    try:
        is_file = not stat.S_ISDIR(root.stat().st_mode)
    except OSError as problem:
        look.folders[root] = _reason(problem)
        return look
    if is_file:
        look.files[root] = stamp(root)
        return look
    seen: dict[Identity, Path] = {}
    entries = 0
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        # Links last, so that a directory is known by its own name.
        folder = folders.popleft() if folders else links.popleft()
        try:
            state = folder.stat()
            identity = state.st_dev, state.st_ino
            first = seen.setdefault(identity, folder)
            if first != folder:
                look.again[folder] = first
                continue
            look.folders[folder] = identity
            found = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as problem:
            look.folders[folder] = _reason(problem)
            continue
        entries += len(found)
        if entries > MOST_ENTRIES or len(seen) > MOST_FOLDERS:
            look.folders[root] = (
                f"there are more than {MOST_ENTRIES} entries or {MOST_FOLDERS} directories below it"
            )
            break
        _sort_in(look, found, folders, links)
    return look


def _sort_in(
    look: Look, found: Iterable[os.DirEntry[str]], folders: deque[Path], links: deque[Path]
) -> None:
    for entry in found:
        # `..data` of a mounted ConfigMap holds each file a second time.
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        try:
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
                continue
        except OSError:
            pass  # a link in a circle; `stamp` says so
        if entry.name.endswith(SUFFIXES):
            look.files[path] = stamp(path)


def stamp(path: Path) -> Stamp | str:
    try:
        state = path.stat()
    except OSError as problem:
        return _reason(problem)
    return _refused(state) or _stamp_of(state)


def read(path: Path) -> str:
    """The text of a regular file, with line ends as one character. Raises `Unreadable`."""
    try:
        # Not waiting: it may have become a FIFO since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            refused = _refused(os.fstat(descriptor))
            if refused:
                raise Unreadable(refused)
            data = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise Unreadable(_reason(problem), passing=True) from None
    if data is None:
        raise Unreadable("it holds nothing yet")
    if len(data) > MOST_BYTES:
        raise Unreadable(_too_large())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _stamp_of(state: os.stat_result) -> Stamp:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _refused(state: os.stat_result) -> str:
    if not stat.S_ISREG(state.st_mode):
        kind = KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        return f"it is {kind}, not a regular file"
    return _too_large() if state.st_size > MOST_BYTES else ""


def _too_large() -> str:
    return f"it is larger than {MOST_BYTES} bytes; split it"


def _reason(problem: OSError) -> str:
    return problem.strerror or "unknown error"
