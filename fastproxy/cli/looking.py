"""What `lint`, `explain`, `match`, `routes` and `diff` have in common: what they look at."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastproxy.cli.reading import loaded, no_provider, show_warnings
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.settings.file import file_of
from fastproxy.settings.options import EntryPoint, EntryPointTls, Settings

if TYPE_CHECKING:
    from controller.report.inspection import Inspection

OUTPUTS = ("text", "json", "yaml", "github")


def add_objects(command: Any) -> None:
    command.add_argument(
        "--manifests",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="take objects from a YAML file, from those of a directory, or (-) from standard input,"
        " instead of an API server; may be given several times",
    )


def add_output(command: Any) -> None:
    command.add_argument(
        "-o",
        "--output",
        choices=OUTPUTS,
        default="text",
        help="default: text; github: annotations of a workflow",
    )


def inspection(arguments: argparse.Namespace, paths: Sequence[Path]) -> Inspection | None:
    """Look at `paths`, or at the cluster; None after saying why that cannot be done."""
    from controller.report.inspection import inspect

    found = loaded(arguments)
    if found is None:
        return None
    show_warnings(found.warnings)
    settings, notes = found.settings, list[Finding]()
    problem = _problem(paths, settings)
    if problem:
        print(f"fastproxy: {problem}", file=sys.stderr)
        return None
    if paths and file_of(arguments.given) is None:
        settings, notes = assumed(settings)
    try:
        result = inspect(settings, paths)
    except (ValueError, ConnectionError) as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        return None
    return replace(result, findings=(*result.findings, *notes))


def _problem(paths: Sequence[Path], settings: Settings) -> str:
    if not paths:
        return no_provider(None, settings.kubernetes is not None)
    if [str(path) for path in paths].count("-") > 1:
        return "standard input can be read once; give - once"
    for path in paths:
        if str(path) == "-":
            continue
        if not path.exists():
            return f"--manifests {path} does not exist"
        problem = no_provider(path, settings.kubernetes is not None)
        if problem:
            return problem
    return ""


def assumed(settings: Settings) -> tuple[Settings, list[Finding]]:
    """What is taken for granted without a settings file: the two entry points nearly everybody
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
