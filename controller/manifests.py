"""Kubernetes objects from a directory of YAML or JSON files, watched for change.

Idea. A file is cut into documents at its `---` lines before any YAML is parsed, so a broken
document is one finding and its neighbours live on. Files are read again only when their stamp
(inode, size, time of change) differs. Watching compares stamps a few times a second: that also sees
the symbolic links which Kubernetes swaps under a mounted ConfigMap, and file systems without
inotify. A change counts once the stamps have stood still for one interval, so that a directory is
not read half written.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from controller.fields import Malformed
from controller.objects import KubernetesObject, parse_object, reference_of, unknown_version
from controller.provenance import NOWHERE, Place
from controller.snapshot import Snapshot
from fastproxy import findings
from fastproxy.findings import Finding
from fastproxy.model import ObjectReference

SUFFIXES = (".yaml", ".yml", ".json")
SEPARATOR = re.compile(r"^---(?=\s|$).*$", re.M)
DIRECTIVES = re.compile(r"(?:[ \t]*(?:[%#].*)?(?:\n|\Z))*")
MOST_BYTES = 64 << 20
DEEPEST = 200
INTERVAL = 0.25  # seconds between two looks at the directory

Stamp = tuple[int, int, int]


class _Loader(yaml.CSafeLoader):
    """YAML as the API server understands it: a timestamp is a string like any other."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Loaded(NamedTuple):
    snapshot: Snapshot
    findings: tuple[Finding, ...]
    places: Mapping[ObjectReference, Place] = NOWHERE


class Read(NamedTuple):
    """The content of one file."""

    objects: tuple[tuple[KubernetesObject, Place], ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    stamp: Stamp
    objects: tuple[tuple[KubernetesObject, Place], ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Manifests:
    """The objects of one directory (or one file)."""

    path: Path
    interval: float = INTERVAL
    _files: dict[Path, _File] = field(default_factory=dict)
    _objects: dict[ObjectReference, KubernetesObject] = field(default_factory=dict)
    _loaded: Loaded = field(default_factory=lambda: Loaded(Snapshot(), ()))

    def load(self) -> Loaded:
        """Read what has changed since the last call; the same snapshot if nothing did."""
        return self._take(self._stamps())

    def changes(self, stop: threading.Event) -> Iterator[Loaded]:
        """Yield the state now and after every change, until `stop` is set."""
        stamps = self._stamps()
        yield self._take(stamps)
        while not stop.wait(self.interval):
            newer = self._stamps()
            if newer == stamps:
                continue
            while not stop.wait(self.interval):
                settled, newer = newer, self._stamps()
                if settled == newer:
                    break
            before, stamps = self._loaded, newer
            loaded = self._take(stamps)
            if loaded != before:
                yield loaded

    def _stamps(self) -> dict[Path, Stamp | str]:
        """Every manifest file with its stamp, or with why it has none."""
        stamps: dict[Path, Stamp | str] = {}
        if not self.path.is_dir():
            stamps[self.path] = _stamp(self.path)
            return stamps
        for folder, folders, names in os.walk(self.path, followlinks=True):
            # `..data` of a mounted ConfigMap holds each file a second time.
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.endswith(SUFFIXES) and not name.startswith("."):
                    path = Path(folder, name)
                    stamps[path] = _stamp(path)
        return stamps

    def _take(self, stamps: dict[Path, Stamp | str]) -> Loaded:
        problems: list[Finding] = []
        files: dict[Path, _File] = {}
        for path, stamp in stamps.items():
            if isinstance(stamp, str):
                problems.append(_unreadable(self._shown(path), stamp))
                continue
            known = self._files.get(path)
            if known is None or known.stamp != stamp:
                known = _read_file(path, self._shown(path), stamp)
            files[path] = known
        self._files = files
        objects: dict[ObjectReference, KubernetesObject] = {}
        places: dict[ObjectReference, Place] = {}
        for path in sorted(files):
            problems += files[path].findings
            for item, place in files[path].objects:
                reference = item.reference
                if reference in objects:
                    problems.append(_twice(reference, places[reference], place))
                objects[reference] = item
                places[reference] = place
        self._loaded = Loaded(self._follow(objects), tuple(problems), places)
        return self._loaded

    def _follow(self, objects: dict[ObjectReference, KubernetesObject]) -> Snapshot:
        """Apply what differs from the objects before."""
        before, self._objects = self._objects, objects
        changed = [item for name, item in objects.items() if before.get(name) is not item]
        return self._loaded.snapshot.with_changes(changed, before.keys() - objects.keys())

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.path)) if path != self.path else path.name


def _stamp(path: Path) -> Stamp | str:
    try:
        state = path.stat()
    except OSError as problem:
        return problem.strerror or "unknown error"
    return state.st_ino, state.st_size, state.st_mtime_ns


NOBODY = ObjectReference("", "", "")


def _unreadable(file: str, reason: str) -> Finding:
    return findings.UNREADABLE_FILE(NOBODY, "", file=file, reason=reason)


def _twice(reference: ObjectReference, first: Place, second: Place) -> Finding:
    return findings.DEFINED_TWICE(
        reference,
        "metadata.name",
        file=second.file,
        line=second.line_of("metadata.name"),
        first=f"{first.file}:{first.line}",
        second=f"{second.file}:{second.line}",
    )


def _read_file(path: Path, shown: str, stamp: Stamp) -> _File:
    if stamp[1] > MOST_BYTES:
        return _File(stamp, findings=(_unreadable(shown, f"it is larger than {MOST_BYTES} bytes"),))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        return _File(stamp, findings=(_unreadable(shown, reason),))
    found = read_text(text, path, shown)
    return _File(stamp, *found)


def read_documents(
    text: str, file: str
) -> tuple[tuple[KubernetesObject, ...], tuple[Finding, ...]]:
    """All objects of a multi-document text, and what is wrong with the others."""
    found = read_text(text, Path(file), file)
    return tuple(item for item, _ in found.objects), found.findings


def read_text(text: str, path: Path, file: str) -> Read:
    """The same with the places, for the content of `path`, which is shown as `file`."""
    objects: list[tuple[KubernetesObject, Place]] = []
    problems: list[Finding] = []
    for number, (line, document) in enumerate(_documents(text), 1):
        try:
            data = _parsed(document)
        except (yaml.YAMLError, RecursionError, ValueError) as problem:
            problems.append(_broken(problem, file, number, line))
            continue
        end = line + document.count("\n") + (not document.endswith("\n"))
        for index, item in enumerate(_flattened(data)):
            place = Place(path, file, line, end, None if item is data else index)
            try:
                found = parse_object(item)
            except Malformed as problem:
                problems.append(_malformed(item, problem, place))
            else:
                if found is not None:
                    objects.append((found, place))
                problems += _version_problem(item, place)
    return Read(tuple(objects), tuple(problems))


def _broken(problem: Exception, file: str, number: int, line: int) -> Finding:
    mark = getattr(problem, "problem_mark", None)
    return findings.BROKEN_DOCUMENT(
        NOBODY,
        f"document {number}",
        file=file,
        number=number,
        line=line + (mark.line if mark is not None else 0),
        reason=getattr(problem, "problem", None) or str(problem) or "it is not YAML",
    )


def _malformed(item: Any, problem: Malformed, place: Place) -> Finding:
    return findings.MALFORMED(
        reference_of(item),
        problem.field,
        file=place.file,
        line=place.line_of(problem.field),
        sentence=problem.sentence,
    )


def _version_problem(item: Any, place: Place) -> list[Finding]:
    known = unknown_version(item)
    if not known:
        return []
    kind, version = item["kind"], item["apiVersion"]
    finding = findings.UNKNOWN_VERSION(
        reference_of(item),
        "apiVersion",
        file=place.file,
        line=place.line_of("apiVersion"),
        kind=kind,
        version=version,
        known=", ".join(known),
    )
    return [finding]


def _parsed(document: str) -> Any:
    """JSON a hundred times faster than as the YAML it also is."""
    if document.lstrip()[:1] == "{":
        try:
            return orjson.loads(document)
        except ValueError:
            pass
    _check_depth(document)
    return yaml.load(document, Loader=_Loader)


def _check_depth(document: str) -> None:
    """Refuse nesting which would overflow the C stack of the YAML composer."""
    if sum(map(document.count, ("[", "{", "- ", "? "))) < DEEPEST:
        return
    depth = 0
    for event in yaml.parse(document, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError("it is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """Cut at `---` lines: the number of the first line of each piece, and the piece."""
    start, line = 0, 1
    for mark in SEPARATOR.finditer(text):
        piece = text[start : mark.start()]
        if not DIRECTIVES.fullmatch(piece):
            yield line, piece
        line += piece.count("\n")
        # What stands behind the dashes belongs to the document (`--- {kind: ...}`).
        start = mark.start() + 3
    if not DIRECTIVES.fullmatch(text[start:]):
        yield line, text[start:]


def _flattened(data: Any) -> Iterator[Any]:
    """The items of a `List`; nothing for an empty document."""
    if data is None:
        return
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and "items" in data:
        kind = kind.removesuffix("List")
        for item in data["items"] if isinstance(data["items"], list) else ():
            if kind and isinstance(item, dict):
                item = {"apiVersion": data.get("apiVersion"), "kind": kind} | item
            yield item
        return
    yield data
