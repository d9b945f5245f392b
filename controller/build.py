"""Routes whose operations cannot be built, as findings.

Some mistakes show only when a route is wired to an entry point (a client certificate asked for
where there is no TLS). The publisher meets them when it compiles; `fastproxy lint` compiles to
meet them.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastproxy import findings
from fastproxy.compile import NOTHING, compile_table
from fastproxy.features import FEATURES
from fastproxy.findings import Finding
from fastproxy.model import Desired, ObjectReference
from fastproxy.settings import Settings


def build_findings(desired: Desired, settings: Settings) -> tuple[Finding, ...]:
    """Compile for nothing but what goes wrong."""
    compiled = compile_table(desired, settings, FEATURES, NOTHING, lambda entries: b"")
    return failures_as_findings(desired, compiled.failures)


def failures_as_findings(
    desired: Desired, failures: Iterable[tuple[str, str]]
) -> tuple[Finding, ...]:
    """`failures` are pairs of route name and reason."""
    failed = dict(failures)
    if not failed:
        return ()
    nobody = ObjectReference("", "", "")
    return tuple(
        findings.ROUTE_NOT_BUILT(
            route.origin or nobody,
            "metadata.annotations",
            name=route.name,
            reason=failed[route.name],
        )
        for route in desired.routes
        if route.name in failed
    )
