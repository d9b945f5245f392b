"""`fastproxy lint`: say everything that is wrong with the objects, and serve nothing.

Reads a file or directory of manifests, or the cluster that the settings file names, through the
same translation as `fastproxy run`. Exit code 0: nothing worse than warnings, 1: errors, 2: it
could not be done, or something could not be read.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from fastproxy.cli.reading import add_manifests, loaded, no_provider, show_warnings
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity, as_json
from fastproxy.settings.file import file_of
from fastproxy.settings.options import EntryPoint, EntryPointTls, Settings


def add(commands: Any) -> None:
    command = commands.add_parser("lint", "say what is wrong with Ingresses, Services and Secrets")
    add_manifests(command)
    command.add_argument(
        "--format", choices=("human", "json"), default="human", help="default: human"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from controller.report.inspection import inspect

    found = loaded(arguments)
    if found is None:
        return 2
    show_warnings(found.warnings)
    settings, notes = found.settings, list[Finding]()
    path = arguments.manifests
    if path is not None and not path.exists():
        problem = f"--manifests {path} does not exist"
    else:
        problem = no_provider(path, settings.kubernetes is not None)
    if problem:
        print(f"fastproxy: {problem}", file=sys.stderr)
        return 2
    if path is not None and file_of(arguments.given) is None:
        settings, notes = assumed(settings)
    try:
        inspection = inspect(settings, path)
    except (ValueError, ConnectionError) as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        return 2
    everything = [*inspection.findings, *notes]
    if arguments.format == "json":
        print(as_json(everything))
        print(_summary(everything, inspection.looked_at), file=sys.stderr)
    else:
        print(_as_text(everything, inspection.looked_at))
    if inspection.unread:
        return 2
    return int(any(finding.severity is Severity.ERROR for finding in everything))


def assumed(settings: Settings) -> tuple[Settings, list[Finding]]:
    """What lint takes for granted without a settings file: the two entry points nearly everybody
    has. `fastproxy run` opens only what it is told to open."""
    points = dict(settings.entry_points)
    if set(points) <= {"http", "traefik"}:
        points["https"] = EntryPoint(":443", tls=EntryPointTls())
    shown = ", ".join(
        f"{name} ({point.address}{' with TLS' if point.tls else ''})"
        for name, point in sorted(points.items())
    )
    text = (
        f"the entry points {shown}; defaultEntryPoints {', '.join(settings.default_entry_points)}"
    )
    note = findings.ASSUMED(ObjectReference("", "", ""), "", assumed=text)
    return replace(settings, entry_points=points), [note]


def _as_text(found: list[Finding], looked_at: str) -> str:
    """A finding a line, as compilers write them: file, line, what is wrong."""
    lines = []
    for finding in found:
        place = f"{finding.place}: " if finding.place else ""
        lines.append(f"{place}{finding.severity.value:<7} {finding.as_line(place=False)}")
    return "\n".join([*lines, _summary(found, looked_at)])


def _summary(found: list[Finding], looked_at: str) -> str:
    """What was looked at, and how many there are of each severity."""
    counts = [
        (severity.value, sum(finding.severity is severity for finding in found))
        for severity in Severity
    ]
    shown = [
        f"{count} {_plural(word, count)}"
        for word, count in counts
        if count or word != Severity.NOTE.value
    ]
    return f"looked at {looked_at}\n{', '.join(shown)}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
