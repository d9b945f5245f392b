"""What a text of manifests holds: its objects with their places, and what is wrong with the others.

A document that is no YAML, and an object that is none of Kubernetes', is one finding and its
neighbours live on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller.kubernetes.fields import Malformed, as_list
from controller.kubernetes.objects import (
    KubernetesObject,
    parse_object,
    reference_of,
    unknown_version,
)
from controller.sources import yaml_text
from controller.sources.provenance import Place
from controller.sources.shape import shape_findings
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding

MOST_FAULTS = 100  # of a file; the rest of it is not read
NOBODY = ObjectReference("", "", "")

Located = tuple[KubernetesObject, Place]


@dataclass(slots=True)
class Contents:
    """Grows while a text is read."""

    path: Path
    file: str  # the path as it is shown
    objects: list[Located] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    meant: list[Located] = field(default_factory=list)  # malformed, as they were probably meant
    skipped: list[Finding] = field(default_factory=list)  # of kinds that nobody looks at
    faulty: bool = False  # something in it is not used

    def add(self, number: int, line: int, end: int, document: yaml_text.Document) -> None:
        """Add what document `number` holds, which stands in these lines."""
        data = document.value
        for twice in document.twice:
            here, first = line + twice.line, line + twice.first
            if twice.whole:
                # Nobody knows which of two blocks was meant, and one may protect a route.
                reason = f"the key {twice.path} is given twice, first in line {first}; keep one"
                self.add_broken(number, here, reason, data)
                return
            self.problems.append(
                findings.KEY_TWICE(
                    reference_of(data),
                    twice.path,
                    file=self.file,
                    line=here,
                    path=twice.path,
                    first=first,
                )
            )
        whole = Place(self.path, self.file, line, end)
        try:
            for item, index in _flattened(data):
                self._add_item(item, replace(whole, item=index, _lines={}))
        except Malformed as problem:
            self._add_malformed(data, problem, whole)

    def _add_item(self, item: Any, place: Place) -> None:
        self.problems += shape_findings(item, place)
        try:
            found = parse_object(item)
        except Malformed as problem:
            self._add_malformed(item, problem, place)
            if problem.object is not None:
                self.meant.append((problem.object, place))
            return
        if found is not None:
            self.objects.append((found, place))
        elif known := unknown_version(item):
            line = place.line_of("apiVersion")
            self._add_fault(
                findings.UNKNOWN_VERSION(
                    *(reference_of(item), "apiVersion", "", self.file, line),
                    kind=item["kind"],
                    version=item.get("apiVersion") or "(none)",
                    known=", ".join(known),
                )
            )
        else:
            self.skipped.append(_skipped(item, place))

    def _add_malformed(self, item: Any, problem: Malformed, place: Place) -> None:
        for fault in problem.faults:
            line = place.line_of(fault.field)
            self._add_fault(
                findings.MALFORMED(
                    *(reference_of(item), fault.field, "", self.file, line),
                    sentence=fault.sentence,
                )
            )

    def add_broken(self, number: int, line: int, reason: str, data: Any = None) -> None:
        self._add_fault(
            findings.BROKEN_DOCUMENT(
                *(reference_of(data), f"document {number}", "", self.file, line),
                reason=reason,
            )
        )

    def _add_fault(self, finding: Finding) -> None:
        self.faulty = True
        self.problems.append(finding)

    def add_unreadable(self, line: int, reason: str) -> None:
        self._add_fault(unreadable_file(self.file, reason, line))


def _skipped(item: Any, place: Place) -> Finding:
    kind, version = item.get("kind"), item.get("apiVersion")
    if kind and version:
        at, what = "kind", f"Objects of kind {kind} ({version}) are not looked at."
    else:
        at = "apiVersion" if kind else "kind"
        lacks = "no apiVersion" if kind else "no kind" if version else "neither kind nor apiVersion"
        what = f"It has {lacks}, so it is no object of Kubernetes."
    place_of = (reference_of(item), at, "", place.file, place.line_of("kind"))
    return findings.KIND_SKIPPED(*place_of, what=what, many="")


def unreadable_file(file: str, reason: str, line: int = 0) -> Finding:
    return findings.UNREADABLE_FILE(NOBODY, "", file=file, line=line, reason=reason)


def read_documents(
    text: str, file: str
) -> tuple[tuple[KubernetesObject, ...], tuple[Finding, ...]]:
    """All objects of a multi-document text, and what is wrong with the others."""
    contents = contents_of(text, Path(file), file)
    return tuple(item for item, _ in contents.objects), tuple(contents.problems)


def contents_of(text: str, path: Path, file: str) -> Contents:
    """The same with the places, for the content of `path`, which is shown as `file`."""
    contents = Contents(path, file)
    until = yaml_text.latest_end(text)
    for number, (line, piece) in enumerate(yaml_text.pieces(text), 1):
        if len(contents.problems) >= MOST_FAULTS:
            contents.add_unreadable(line, f"it holds {MOST_FAULTS} faults, and more from here on")
            break
        try:
            document = yaml_text.parse(piece, until)
        except yaml_text.Broken as problem:
            contents.add_broken(number, line + problem.line, problem.reason)
        else:
            end = line + piece.count("\n") + (not piece.endswith("\n"))
            contents.add(number, line, end, document)
    return contents


def _flattened(data: Any) -> Iterator[tuple[Any, int | None]]:
    """The items of a `List` with their numbers, or the one object; nothing for an empty document.

    Raises `Malformed`.
    """
    if data is None:
        return
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and "items" in data:
        kind = kind.removesuffix("List")
        for index, item in enumerate(as_list(data["items"], "items")):
            if kind and isinstance(item, dict):
                item = {"apiVersion": data.get("apiVersion"), "kind": kind} | item
            yield item, index
        return
    yield data, None
