"""`fastproxy routes`: all routes that the objects make, each with its rule and its endpoints.

Exit code 0, or 2 when nothing could be looked at.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastproxy.cli.looking import add_objects, add_output, inspection
from fastproxy.cli.printing import Annotation, emit, table
from fastproxy.model.configuration import Backend, Route
from fastproxy.model.matchers import text

if TYPE_CHECKING:
    from rich.console import Console

    from controller.report.inspection import Inspection


def add(commands: Any) -> None:
    command = commands.add_parser(
        "routes",
        "list the routes that the objects make",
        examples=(
            "fastproxy routes --manifests deploy/",
            "fastproxy routes -o json --manifests deploy/ | jq '.[].rule'",
        ),
    )
    add_objects(command)
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = inspection(arguments, arguments.manifests)
    if found is None:
        return 2
    rows = documents(found)
    notices = [
        Annotation("notice", f"route {row['name']}", f"{row['rule']} -> {row['backend']}")
        for row in rows
    ]
    emit(arguments, rows, lambda console: show(console, rows), notices)
    return 0


def documents(found: Inspection) -> list[dict[str, Any]]:
    desired = found.view.translation.desired
    backends = {backend.name: backend for backend in desired.backends}
    return [
        document(route, backends.get(route.backend) or Backend(route.backend))
        for route in desired.routes
    ]


def document(route: Route, backend: Backend) -> dict[str, Any]:
    return {
        "name": route.name,
        "rule": rule_of(route),
        "priority": route.priority,
        "tieBreak": route.tie_break,
        "entryPoints": list(route.entry_points),
        "features": features_of(route, backend),
        "backend": backend.name,
        "endpoints": [{"url": e.url, "weight": e.weight} for e in backend.endpoints],
        "origin": str(route.origin) if route.origin else "",
    }


def rule_of(route: Route) -> str:
    return ";".join(map(text, route.matchers))


def features_of(route: Route, backend: Backend) -> list[str]:
    """Names in the order in which a request meets them; what they hold may be secret."""
    from fastproxy.features import FEATURES

    there = {type(config) for config in (*route.configs, *backend.configs)}
    return [feature.name for feature in FEATURES if feature.config in there]


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    made = table("ROUTE", "RULE", "PRIORITY", "ENTRY POINTS", "ENDPOINTS", "OF")
    for row in rows:
        priority = str(row["priority"])
        if row["tieBreak"]:
            priority = f"{priority}, then {row['tieBreak']}"
        points, count = ", ".join(row["entryPoints"]), len(row["endpoints"])
        made.add_row(row["name"], row["rule"], priority, points, str(count), row["origin"])
    console.print(made)
    console.print(f"{len(rows)} {'route' if len(rows) == 1 else 'routes'}")
