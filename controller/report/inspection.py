"""Everything that can be said of the objects of a directory or a cluster, without serving them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.kubernetes.api import ConfigurationError, connect
from controller.kubernetes.objects import Ingress
from controller.report.build import build_findings, settings_findings
from controller.snapshot.snapshot import Snapshot
from controller.sources.folder import SUFFIXES
from controller.sources.manifests import Manifests
from controller.sources.provenance import located
from controller.sources.source import ApiSource, Taken
from controller.translate.contributors import contributors
from controller.translate.selection import Selection, class_field, class_of
from controller.translate.translator import Translator
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity, order
from fastproxy.settings.options import Kubernetes, Settings

SYNC_PATIENCE = 60.0  # seconds for the first complete picture of a cluster
RANKS = list(Severity)
NOBODY = ObjectReference("", "", "")
KINDS = ("Ingress", "Service", "EndpointSlice", "Endpoints", "Secret", "IngressClass")
PLURALS = {"Ingress": "Ingresses", "Endpoints": "Endpoints", "IngressClass": "IngressClasses"}


@dataclass(frozen=True, slots=True)
class Inspection:
    findings: tuple[Finding, ...]
    looked_at: str  # "2 Ingresses and 1 Service in 3 files"
    unread: bool = False  # something could not be read at all


def inspect(settings: Settings, manifests: Path | None) -> Inspection:
    """Translate once and give all findings, errors first.

    Raises ValueError for what cannot be looked at (settings, a directory without YAML),
    ConnectionError for a cluster which does not answer.
    """
    files, skipped = 0, list[Finding]()
    if manifests is None:
        taken = _cluster(settings)
    else:
        files = _count_files(manifests)
        loaded = Manifests(manifests).load()
        taken, skipped = Taken(*loaded[:4]), _by_kind(loaded.skipped)
    translator = Translator(contributors(settings))
    translation = translator.update(taken.snapshot)
    found = [
        *taken.findings,
        *translation.findings,
        *build_findings(translation.desired, settings),
        *translator.examine((*taken.meant, *taken.snapshot.services.values())),
        *_selected(taken.snapshot, settings, {f.object for f in translation.findings}),
        *skipped,
        *settings_findings(settings),
    ]
    if not taken.snapshot.ingresses and not any(f.object.kind == "Ingress" for f in found):
        found.append(findings.NOTHING_SERVED(NOBODY, ""))
    placed = sorted(
        dict.fromkeys(located(found, taken.places)),
        key=lambda f: (RANKS.index(f.severity), f.file, f.line, *order(f)),
    )
    unread = any(f.code == findings.UNREADABLE_FILE.code for f in placed)
    return Inspection(tuple(placed), _looked_at(taken.snapshot, len(taken.meant), files), unread)


def _count_files(path: Path) -> int:
    """How many files there are to read; ValueError when that is none."""

    def refuse(problem: OSError) -> None:
        raise ValueError(f"{problem.filename} cannot be read ({problem.strerror})")

    if not path.is_dir():
        return 1
    names = [name for _, _, names in os.walk(path, onerror=refuse) for name in names]
    count = sum(name.endswith(SUFFIXES) for name in names)
    if count:
        return count
    endings = ", ".join(SUFFIXES)
    others = f"; {len(names)} other files are there ({names[0]} ...)" if names else ""
    raise ValueError(f"{path} holds no file that ends in {endings}{others}: nothing was checked")


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


def _cluster(settings: Settings) -> Taken:
    options = settings.kubernetes
    if options is None:
        raise ValueError("nothing to look at; name --manifests PATH or a file with [kubernetes]")
    try:
        api = connect(options.endpoint, options.token, options.cert_auth_file_path)
    except ConfigurationError as problem:
        raise ValueError(str(problem)) from None
    source = ApiSource(api, options)
    woken = threading.Event()
    source.start(woken.set)
    try:
        pause = threading.Event()
        for _ in range(int(SYNC_PATIENCE / 0.1)):
            if source.synced():
                return source.take()
            pause.wait(0.1)
        raise ConnectionError(f"the API server gave no answer within {SYNC_PATIENCE:.0f} seconds")
    finally:
        source.stop()
