"""Everything that can be said of the objects of a directory or a cluster, without serving them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from controller.kubernetes.objects import Ingress
from controller.report.build import built_findings, settings_findings
from controller.report.view import View, view
from controller.snapshot.snapshot import Snapshot
from controller.sources.provenance import located
from controller.translate.selection import Selection, class_field, class_of
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity, order
from fastproxy.settings.options import Kubernetes, Settings

RANKS = list(Severity)
NOBODY = ObjectReference("", "", "")
KINDS = ("Ingress", "Service", "EndpointSlice", "Endpoints", "Secret", "IngressClass")
PLURALS = {"Ingress": "Ingresses", "Endpoints": "Endpoints", "IngressClass": "IngressClasses"}


@dataclass(frozen=True)
class Inspection:
    view: View
    findings: tuple[Finding, ...]
    looked_at: str  # "2 Ingresses and 1 Service in 3 files"
    unread: bool = False  # something could not be read at all

    @cached_property
    def by_object(self) -> Mapping[ObjectReference, tuple[Finding, ...]]:
        found: dict[ObjectReference, tuple[Finding, ...]] = {}
        for finding in self.findings:
            found[finding.object] = (*found.get(finding.object, ()), finding)
        return found


def inspect(settings: Settings, manifests: Sequence[Path]) -> Inspection:
    """Translate once and give all findings, errors first.

    Raises ValueError for what cannot be looked at (settings, a directory without YAML),
    ConnectionError for a cluster which does not answer.
    """
    seen = view(settings, manifests)
    looked, translation, compiled = seen.looked, seen.translation, seen.compiled
    found = [
        *looked.findings,
        *translation.findings,
        *built_findings(translation.desired, compiled.failures, compiled.remarks),
        *seen.translator.examine((*looked.meant, *looked.snapshot.services.values())),
        *_selected(looked.snapshot, settings, {f.object for f in translation.findings}),
        *_by_kind(looked.skipped),
        *settings_findings(settings),
    ]
    if not looked.snapshot.ingresses and not any(f.object.kind == "Ingress" for f in found):
        found.append(findings.NOTHING_SERVED(NOBODY, ""))
    placed = sorted(
        dict.fromkeys(located(found, looked.places)),
        key=lambda f: (RANKS.index(f.severity), f.file, f.line, *order(f)),
    )
    unread = any(f.code == findings.UNREADABLE_FILE.code for f in placed)
    looked_at = _looked_at(looked.snapshot, len(looked.meant), looked.files)
    return Inspection(seen, tuple(placed), looked_at, unread)


def _by_kind(skipped: Iterable[Finding]) -> list[Finding]:
    """One note for each kind, at the first object of it."""
    groups: dict[str, list[Finding]] = {}
    for finding in skipped:
        groups.setdefault(finding.sentence, []).append(finding)
    return [
        findings.KIND_SKIPPED(
            group[0].object,
            group[0].field,
            file=group[0].file,
            line=group[0].line,
            what=sentence,
            many=f" There are {len(group)}." if len(group) > 1 else "",
        )
        for sentence, group in groups.items()
    ]


def _selected(
    snapshot: Snapshot, settings: Settings, told: set[ObjectReference]
) -> Iterable[Finding]:
    """Ingresses of other controllers, outside of namespaces and labels, or ours by name only."""
    selection = Selection(settings.kubernetes or Kubernetes())
    for ingress in snapshot.ingresses.values():
        if not selection.in_scope(ingress):
            yield findings.SCOPE_SKIPPED(ingress.reference, "metadata")
        elif not selection.is_ours(ingress, snapshot.classes) and ingress.reference not in told:
            yield findings.CLASS_SKIPPED(
                ingress.reference,
                class_field(ingress),
                value=_class_shown(ingress, snapshot),
                wanted=selection.wanted,
            )
        elif selection.by_name_only(ingress, snapshot.classes):
            yield findings.CLASS_WITHOUT_OBJECT(
                ingress.reference, class_field(ingress), value=class_of(ingress)
            )


def _class_shown(ingress: Ingress, snapshot: Snapshot) -> str:
    value = class_of(ingress) or "(none)"
    known = snapshot.classes.get(("", value))
    return f"{value} (of the controller {known.controller})" if known is not None else value


def _looked_at(snapshot: Snapshot, malformed: int, files: int) -> str:
    counts = Counter({kind: 0 for kind in KINDS})
    counts.update(item.reference.kind for item in snapshot)
    parts = [
        f"{n} {kind if n == 1 else PLURALS.get(kind, f'{kind}s')}"
        for kind, n in counts.items()
        if n
    ]
    parts += [f"{malformed} malformed"] if malformed else []
    where = f" in {files} {'file' if files == 1 else 'files'}" if files else ""
    return f"{', '.join(parts) or 'nothing'}{where}"
