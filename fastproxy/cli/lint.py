"""`fastproxy lint`: say everything that is wrong with the objects, and serve nothing.

Reads a file or directory of manifests, or the cluster that the settings file names, through the
same translation as `fastproxy run`. Exit code 0: nothing worse than warnings, 1: errors, 2: it
could not be done, or something could not be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from fastproxy.cli.looking import add_objects, add_output, inspection
from fastproxy.cli.printing import annotation_of, emit, finding_line
from fastproxy.model.findings import Severity, as_json

if TYPE_CHECKING:
    from rich.console import Console

    from controller.report.inspection import Inspection


def add(commands: Any) -> None:
    command = commands.add_parser(
        "lint",
        "say what is wrong with Ingresses, Services and Secrets",
        examples=(
            "fastproxy lint --manifests deploy/",
            "helm template shop | fastproxy lint --manifests -",
        ),
    )
    add_objects(command)
    command.add_argument(
        "--format",
        choices=("human", "json"),
        help="as --output: human is text, json a list without the counts",
    )
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = inspection(arguments, arguments.manifests)
    if found is None:
        return 2
    if arguments.format is not None:
        arguments.output = {"human": "text"}.get(arguments.format, arguments.format)
    rows = json.loads(as_json(found.findings))
    notes = map(annotation_of, found.findings)
    emit(arguments, rows, lambda console: show(console, found), notes)
    if arguments.output != "text":
        print(summary(found), file=sys.stderr)
    if found.unread:
        return 2
    return int(any(finding.severity is Severity.ERROR for finding in found.findings))


def show(console: Console, found: Inspection) -> None:
    """A finding a line, as compilers write them: file, line, what is wrong."""
    for finding in found.findings:
        console.print(finding_line(finding), soft_wrap=True)
    console.print(summary(found))


def summary(found: Inspection) -> str:
    """What was looked at, and how many there are of each severity."""
    counts = Counter(finding.severity for finding in found.findings)
    shown = [
        f"{counts[severity]} {_plural(severity.value, counts[severity])}"
        for severity in Severity
        if counts[severity] or severity is not Severity.NOTE
    ]
    return f"looked at {found.looked_at}\n{', '.join(shown)}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
