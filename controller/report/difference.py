"""What changes between two sets of objects: for traffic, and for the verdicts about Ingresses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from controller.kubernetes.objects import Ingress
from controller.report.explanation import explain
from controller.report.inspection import Inspection
from fastproxy.model.configuration import Config
from fastproxy.model.matchers import text

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


@dataclass(frozen=True)
class Difference:
    kind: str  # "route", "backend", "certificate" or "verdict"
    name: str
    what: str  # "added", "removed" or "changed"
    details: tuple[str, ...] = ()
    traffic: bool = True  # requests are answered in another way


def differences(old: Inspection, new: Inspection) -> tuple[Difference, ...]:
    """Routes, backends, certificates, then verdicts."""
    before, after = old.view.translation.desired, new.view.translation.desired
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("route", _named(before.routes), _named(after.routes)),
        ("backend", _named(before.backends), _named(after.backends)),
        ("certificate", _named(before.certificates), _named(after.certificates)),
    ]
    found = [each for kind, left, right in pairs for each in _compare(kind, left, right)]
    return tuple(found + list(_verdicts(old, new)))


def _named(values: Any) -> dict[str, Any]:
    return {value.name: value for value in values}


def _compare(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield Difference(kind, name, REMOVED if new is None else ADDED)
        elif old != new:
            yield Difference(kind, name, CHANGED, tuple(_details(old, new)))


def _details(old: Any, new: Any) -> Iterator[str]:
    for item in fields(old):
        left, right = getattr(old, item.name), getattr(new, item.name)
        if item.compare and left != right:
            yield f"{item.name}: {_shown(item.name, left)} -> {_shown(item.name, right)}"


def _shown(name: str, value: Any) -> str:
    """Without what nobody else may see: of features their names, of keys nothing at all."""
    if name == "key":
        return "(another key)"
    if name == "chain":
        return f"sha256 {hashlib.sha256(value).hexdigest()[:16]}"
    if name == "matchers":
        return "; ".join(map(text, value)) or "(everything)"
    if name == "endpoints":
        return ", ".join(f"{e.url} weight {e.weight}" for e in value) or "(none)"
    if name == "configs":
        return ", ".join(_config(config) for config in value) or "(none)"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    return str(value)


def _config(config: Config) -> str:
    digest = hashlib.sha256(repr(config).encode()).hexdigest()[:6]
    return f"{type(config).__name__}#{digest}"


def _verdicts(old: Inspection, new: Inspection) -> Iterator[Difference]:
    left, right = _verdict_of(old), _verdict_of(new)
    for name in sorted(left.keys() | right.keys()):
        before, after = left.get(name), right.get(name)
        if before == after:
            continue
        what = ADDED if before is None else REMOVED if after is None else CHANGED
        detail = f"{before or '(not there)'} -> {after or '(not there)'}"
        yield Difference("verdict", name, what, (detail,), traffic=False)


def _verdict_of(inspection: Inspection) -> dict[str, str]:
    return {
        str(item.reference): explain(inspection, item.reference).verdict.value
        for item in inspection.view.looked.snapshot
        if isinstance(item, Ingress)
    }
