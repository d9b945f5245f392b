"""Why an Ingress is served, or is not: path by path, and what takes its requests instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from controller.kubernetes.objects import Ingress
from controller.report.inspection import Inspection
from controller.report.matching import Router, Unusable, request_of
from controller.translate.fragments import RouteFragment
from fastproxy.model.configuration import ObjectReference, Route
from fastproxy.model.findings import CLASS_SKIPPED, SCOPE_SKIPPED, Finding, Severity

DEFAULT = "spec.defaultBackend"
ELSEWHERE = {CLASS_SKIPPED.code, SCOPE_SKIPPED.code}  # nobody here is asked to serve it


class Verdict(StrEnum):
    SERVED = "served"
    PARTLY = "partly"  # some of its paths are not
    IGNORED = "ignored"  # it is ours, and nothing of it is served
    OTHER_CLASS = "other_class"  # another controller's, or outside of what is watched


@dataclass(frozen=True)
class PathExplained:
    field: str  # spec.rules[0].http.paths[0]
    host: str
    path: str
    route: str = ""  # its name; "" for none
    reason: str = ""  # why there is no route
    owner: ObjectReference | None = None  # if the route is that of another object
    hidden_by: str = ""  # the route that takes its requests, and whose it is

    @property
    def served(self) -> bool:
        return bool(self.route)


@dataclass(frozen=True)
class Explanation:
    ingress: ObjectReference
    verdict: Verdict
    sentence: str
    paths: tuple[PathExplained, ...]
    findings: tuple[Finding, ...]


def explain(inspection: Inspection, reference: ObjectReference) -> Explanation:
    """Raises KeyError when there is no such Ingress."""
    ingress = inspection.view.looked.snapshot.get(reference)
    if not isinstance(ingress, Ingress):
        raise KeyError(reference)
    found = inspection.by_object.get(reference, ())
    paths = tuple(_paths(inspection, ingress, found))
    verdict, sentence = _verdict(paths, found)
    return Explanation(reference, verdict, sentence, paths, found)


def _verdict(paths: tuple[PathExplained, ...], found: tuple[Finding, ...]) -> tuple[Verdict, str]:
    served = sum(path.served for path in paths)
    hidden = sum(bool(path.hidden_by) for path in paths)
    elsewhere = [finding for finding in found if finding.code in ELSEWHERE]
    if elsewhere:
        return Verdict.OTHER_CLASS, elsewhere[0].sentence
    if not served:
        return Verdict.IGNORED, _why(found)
    but = f"; {hidden} of them hidden by other routes" if hidden else ""
    if served == len(paths):
        return Verdict.SERVED, f"{_counted(served)} served{but}."
    return Verdict.PARTLY, f"{served} of {_counted(len(paths))} served{but}."


def _counted(paths: int) -> str:
    return f"{paths} path" if paths == 1 else f"{paths} paths"


def _why(found: Iterable[Finding]) -> str:
    errors = [finding.sentence for finding in found if finding.severity is Severity.ERROR]
    return errors[0] if errors else "It has no rule with a path, and no default backend."


def _paths(
    inspection: Inspection, ingress: Ingress, found: tuple[Finding, ...]
) -> Iterator[PathExplained]:
    view = inspection.view
    contribution = view.translator.contribution(ingress.reference)
    fragments = contribution.fragments if contribution is not None else ()
    by_field = {fragment.field: fragment for fragment in fragments}
    claim = contribution.claim if contribution is not None else None
    if ingress.has_default_backend:
        fragment = claim.fragment if claim is not None else None
        yield _path(inspection, ingress, DEFAULT, "", "", fragment, found)
    for number, rule in enumerate(ingress.rules):
        for position, item in enumerate(rule.paths or ()):
            at = f"spec.rules[{number}].http.paths[{position}]"
            yield _path(inspection, ingress, at, rule.host, item.path, by_field.get(at), found)


def _path(
    inspection: Inspection,
    ingress: Ingress,
    at: str,
    host: str,
    path: str,
    fragment: RouteFragment | None,
    found: tuple[Finding, ...],
) -> PathExplained:
    """`fragment` is what the Ingress contributes, whether it counts or not."""
    served = ingress.reference in inspection.view.translation.served
    route = inspection.view.routes.get(fragment.name) if fragment is not None and served else None
    if route is None:
        return PathExplained(at, host, path, reason=_reason(at, found))
    return PathExplained(
        at,
        host,
        path,
        route.name,
        owner=route.origin if route.origin != ingress.reference else None,
        hidden_by="" if at == DEFAULT else _hidden_by(inspection, route, host, path),
    )


def _reason(at: str, found: tuple[Finding, ...]) -> str:
    """What is told about the path itself, else about its rule, else about the whole Ingress."""
    rule = at.partition(".http")[0]
    for prefix in (at, rule, ""):
        for finding in found:
            fields = (finding.field, *finding.also)
            if any(field.startswith(prefix) for field in fields) and (
                finding.severity is Severity.ERROR
            ):
                return f"{finding.code} {finding.sentence}"
    return found[0].sentence if found else "nothing is known about it"


def _hidden_by(inspection: Inspection, route: Route, host: str, path: str) -> str:
    """The route that takes a request for just this host and path, if it is not its own."""
    router = Router(inspection.view)
    name = host.replace("*", "any", 1) or "any.invalid"
    try:
        request = request_of("GET", f"http://{name}{path or '/'}")
    except Unusable:
        return ""
    for point in route.entry_points:
        taken, _ = router.route(point, request)
        if taken and taken != route.name:
            other = inspection.view.routes.get(taken)
            owner = f" of {other.origin}" if other is not None and other.origin else ""
            return f"{taken}{owner}"
    return ""
