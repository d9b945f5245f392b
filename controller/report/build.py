"""Routes whose operations cannot be built, as findings.

Some mistakes show only when a route is wired to an entry point (a client certificate asked for
where there is no TLS). The publisher meets them when it compiles; `fastproxy lint` compiles to
meet them.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.dialects.traefik.reading import annotation_field
from fastproxy.feature import PREFIXES
from fastproxy.features import FEATURES
from fastproxy.model import findings
from fastproxy.model.configuration import Desired, ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.publish.compiler import NOTHING, compile_table
from fastproxy.settings.options import Settings

NOBODY = ObjectReference("", "", "")


def settings_findings(settings: Settings) -> tuple[Finding, ...]:
    """What the settings leave for somebody to do, as long as they are in force."""
    acme = settings.acme
    if acme is None:
        return ()
    return tuple(
        findings.ACME_CERTIFICATE(
            NOBODY,
            ", ".join(certificate.names),
            file=acme.storage or acme.storage_file,
            ended="has expired on" if certificate.expired else "expires on",
            until=certificate.until,
        )
        for certificate in acme.certificates
    )


def build_findings(desired: Desired, settings: Settings) -> tuple[Finding, ...]:
    """Compile for nothing but what goes wrong."""
    compiled = compile_table(desired, settings, FEATURES, NOTHING, lambda entries: b"")
    return built_findings(desired, compiled.failures, compiled.remarks)


def built_findings(
    desired: Desired, failures: Iterable[tuple[str, str]], remarks: Iterable[tuple[str, str, str]]
) -> tuple[Finding, ...]:
    """`failures` are route name and reason, `remarks` route name, annotation and reason."""
    return failures_as_findings(desired, failures) + _remarks_as_findings(desired, remarks)


def _remarks_as_findings(
    desired: Desired, remarks: Iterable[tuple[str, str, str]]
) -> tuple[Finding, ...]:
    told: dict[str, list[tuple[str, str]]] = {}
    for name, annotation, sentence in remarks:
        told.setdefault(name, []).append((annotation, sentence))
    if not told:
        return ()
    found = [
        findings.NEVER_FIRES(
            route.origin or NOBODY, annotation_field(PREFIXES[0] + annotation), sentence=sentence
        )
        for route in desired.routes
        for annotation, sentence in told.get(route.name, ())
    ]
    return tuple(dict.fromkeys(found))


def failures_as_findings(
    desired: Desired, failures: Iterable[tuple[str, str]]
) -> tuple[Finding, ...]:
    """`failures` are pairs of route name and reason."""
    failed = dict(failures)
    if not failed:
        return ()
    return tuple(
        findings.ROUTE_NOT_BUILT(
            route.origin or NOBODY,
            "metadata.annotations",
            name=route.name,
            reason=failed[route.name],
        )
        for route in desired.routes
        if route.name in failed
    )
