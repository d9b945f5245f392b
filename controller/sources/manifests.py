"""Kubernetes objects from a directory of YAML or JSON files, watched for change.

Idea. Files are read again only when their stamp differs (`folder.py`). Watching compares stamps a
few times a second: that also sees the symbolic links which Kubernetes swaps under a mounted
ConfigMap, and file systems without inotify. A change counts once the stamps have stood still for
one interval, so that a directory is not read half written; after `DEADLINE` it counts in any case.

What was good stays: a file that is broken or cannot be read keeps all the objects it held, a
directory that cannot be read keeps its files. Only what is not there any more is gone. Each is a
finding for as long as it lasts.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from controller.kubernetes.objects import KubernetesObject
from controller.snapshot.snapshot import Snapshot
from controller.sources.contents import (
    NOBODY,
    Located,
    contents_of,
    read_documents,
    unreadable_file,
)
from controller.sources.folder import Identity, Look, Stamp, Unreadable, look_at, read
from controller.sources.provenance import NOWHERE, Place
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding

log = logging.getLogger(__name__)

__all__ = ["Loaded", "Manifests", "read_documents"]

INTERVAL = 0.25  # seconds between two looks at the directory
DEADLINE = 2.0  # seconds after which a change counts although others follow
KEPT = "The file stays in force as it was before."
ERROR = findings.Severity.ERROR
STALE = 3.0  # seconds without a look that are worth telling
SHARE = 4  # a look is followed by a pause of at least so many times its duration


class Loaded(NamedTuple):
    snapshot: Snapshot
    findings: tuple[Finding, ...]
    places: Mapping[ObjectReference, Place] = NOWHERE
    meant: tuple[KubernetesObject, ...] = ()  # malformed objects, as they were probably meant
    skipped: tuple[Finding, ...] = ()  # what nobody looks at


@dataclass(frozen=True, slots=True)
class _File:
    stamp: Stamp | str | None = None
    objects: tuple[Located, ...] = ()
    findings: tuple[Finding, ...] = ()
    whole: bool = False  # the objects are all those of a text without fault
    kept: bool = False  # and what is there now is not that text
    again: bool = False  # it could not be read for a reason that may pass
    meant: tuple[Located, ...] = ()  # see Loaded
    skipped: tuple[Finding, ...] = ()


NOTHING = _File()


@dataclass(slots=True)
class Manifests:
    """The objects of one directory (or one file)."""

    path: Path
    interval: float = INTERVAL
    readable: bool = False  # the directory was read at least once
    _current_at: float = field(default_factory=time.monotonic)  # when all there was was known
    _away: bool = False  # the directory could not be read the last time
    _took: float = 0.0  # seconds of the last look
    _files: dict[Path, _File] = field(default_factory=dict)
    _folders: dict[Path, Identity] = field(default_factory=dict)
    _objects: dict[ObjectReference, KubernetesObject] = field(default_factory=dict)
    _loaded: Loaded = field(default_factory=lambda: Loaded(Snapshot(), ()))

    def load(self) -> Loaded:
        """Read what has changed since the last call; the same snapshot if nothing did."""
        return self._take(self._look())

    def changes(self, stop: threading.Event) -> Iterator[Loaded]:
        """Yield the state now and after every change, until `stop` is set."""
        look = self._look()
        yield self._take(look)
        while not stop.wait(self._pause()):
            newer = self._look()
            if newer == look and not self._retry():
                continue
            until = time.monotonic() + DEADLINE
            while not stop.wait(self._pause()):
                settled, newer = newer, self._look()
                if settled == newer:
                    break
                if time.monotonic() >= until:
                    newer = newer.with_vanishing(settled)
                    break
            before, look = self._loaded, newer
            loaded = self._take(look)
            if loaded != before:
                yield loaded

    def _look(self) -> Look:
        started = time.monotonic()
        look = look_at(self.path)
        self._took = time.monotonic() - started
        self._away = isinstance(look.folders.get(self.path), str)
        self._note_time()
        return look

    def _note_time(self) -> None:
        if not self._away:
            self._current_at = time.monotonic()

    def staleness(self) -> float:
        """Seconds since the directory could be read; 0 if they are few."""
        seconds = time.monotonic() - self._current_at
        return seconds if seconds > STALE else 0.0

    def _retry(self) -> bool:
        """Forget the stamps of files that may be readable by now; whether there are any."""
        failed = {path: file for path, file in self._files.items() if file.again}
        self._files.update({path: replace(file, stamp=None) for path, file in failed.items()})
        return bool(failed)

    def _pause(self) -> float:
        return max(self.interval, SHARE * self._took)

    def _take(self, look: Look) -> Loaded:
        self.readable = self.readable or not self._away
        emptied = self._emptied(look)
        files: dict[Path, _File] = {}
        for path in sorted({*self._files, *look.files}):
            known, stamp = self._files.get(path, NOTHING), look.files.get(path)
            if stamp is None:
                if look.unknown(path) or not emptied.isdisjoint(path.parents):
                    files[path] = known
            elif known.stamp == stamp:
                files[path] = known
            else:
                files[path] = _read_file(path, self._shown(path), stamp, known)
        self._files = files
        self._note_time()
        return self._gather(self._folder_findings(look, sorted(emptied)))

    def _folder_findings(self, look: Look, emptied: Iterable[Path]) -> list[Finding]:
        """Findings about directories that cannot be read, or were not read again."""
        found = []
        for folder, reason in look.folders.items():
            if not isinstance(reason, str):
                continue
            if self.readable:
                kind = findings.UNREADABLE_DIRECTORY
                found.append(kind(NOBODY, "", file=self._shown(folder), reason=reason))
            else:
                found.append(unreadable_file(self._shown(folder), reason))
        for folder, other in look.again.items():
            kind = findings.DIRECTORY_AGAIN
            found.append(kind(NOBODY, "", file=self._shown(folder), other=self._shown(other)))
        for folder in emptied:
            found.append(findings.DIRECTORY_REPLACED(NOBODY, "", file=self._shown(folder)))
        return found

    def _emptied(self, look: Look) -> set[Path]:
        """Directories in whose place there is an empty one, as when a volume is not mounted.

        The topmost may also have been moved away and made again. Remembers what is there.
        """
        emptied = set()
        folders: dict[Path, Identity] = {}
        for folder in {**self._folders, **look.folders}:
            before, now = self._folders.get(folder), look.folders.get(folder)
            if now is None or isinstance(now, str):
                if before is not None and (now is not None or look.unknown(folder)):
                    folders[folder] = before
                continue
            folders[folder] = now
            if before is None or (now == before if folder == self.path else now[0] == before[0]):
                continue
            held = any(folder in path.parents for path in self._files)
            if held and not any(folder in path.parents for path in look.files):
                emptied.add(folder)
                folders[folder] = before
        self._folders = folders
        return emptied

    def _gather(self, problems: list[Finding]) -> Loaded:
        objects: dict[ObjectReference, KubernetesObject] = {}
        places: dict[ObjectReference, Place] = {}
        kept: set[ObjectReference] = set()
        # What is kept of a file gives way to what stands in another one now.
        for _, file in sorted(self._files.items(), key=lambda f: (not f[1].kept, f[0])):
            problems += file.findings
            for item, place in file.objects:
                reference = item.reference
                if reference in objects and reference not in kept:
                    problems.append(defined_twice(reference, places[reference], place))
                (kept.add if file.kept else kept.discard)(reference)
                objects[reference] = item
                places[reference] = place
        meant = [pair for _, file in sorted(self._files.items()) for pair in file.meant]
        for item, place in meant:
            places.setdefault(item.reference, place)
        skipped = tuple(f for _, file in sorted(self._files.items()) for f in file.skipped)
        self._loaded = Loaded(
            self._follow(objects),
            tuple(problems),
            places,
            tuple(item for item, _ in meant),
            skipped,
        )
        return self._loaded

    def _follow(self, objects: dict[ObjectReference, KubernetesObject]) -> Snapshot:
        """Apply what differs from the objects before."""
        before, self._objects = self._objects, objects
        changed = [item for name, item in objects.items() if before.get(name) is not item]
        return self._loaded.snapshot.with_changes(changed, before.keys() - objects.keys())

    def _shown(self, path: Path) -> str:
        name = str(path.relative_to(self.path)) if path != self.path else path.name or str(path)
        # A name may be any bytes; a finding is text of one line.
        return " ".join(os.fsencode(name).decode(errors="replace").split())


def defined_twice(reference: ObjectReference, first: Place, second: Place) -> Finding:
    return findings.DEFINED_TWICE(
        reference,
        "metadata.name",
        file=second.file,
        line=second.line_of("metadata.name"),
        first=f"{first.file}:{first.line}",
        second=f"{second.file}:{second.line}",
    )


def _read_file(path: Path, shown: str, stamp: Stamp | str, known: _File) -> _File:
    """Read a file; one with a fault keeps what it held before."""
    again = False
    try:
        if isinstance(stamp, str):
            raise Unreadable(stamp)
        text = read(path)
        if known.objects and not text.strip():
            raise Unreadable("it is empty; delete it if nothing is to be served from it")
        contents = contents_of(text, path, shown)
        problems, faulty = contents.problems, contents.faulty
    except Unreadable as problem:
        problems, faulty, again = [unreadable_file(shown, str(problem))], True, problem.passing
    except Exception as problem:
        # A bug of ours must not end the watching: the proxy would go stale in silence.
        log.exception("reading %s failed", shown)
        problems, faulty = [unreadable_file(shown, f"a bug of ours ({problem!r})")], True
    else:
        if not (faulty and known.whole):
            return _File(
                stamp,
                tuple(contents.objects),
                tuple(problems),
                whole=not faulty,
                meant=tuple(contents.meant),
                skipped=tuple(contents.skipped),
            )
    if known.objects:
        problems = [replace(p, effect=KEPT) if p.severity is ERROR else p for p in problems]
    return replace(known, stamp=stamp, findings=tuple(problems), kept=True, again=again)
