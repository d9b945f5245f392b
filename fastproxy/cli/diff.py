"""`fastproxy diff OLD NEW`: what changes for traffic, and for the verdicts about Ingresses.

Exit code 0: traffic stays as it is, 1: it changes, 2: something could not be looked at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastproxy.cli.looking import add_output, inspection
from fastproxy.cli.printing import Annotation, emit

if TYPE_CHECKING:
    from rich.console import Console

    from controller.report.difference import Difference

CLUSTER = "cluster"
SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def add(commands: Any) -> None:
    command = commands.add_parser(
        "diff",
        "say what changes between two sets of objects",
        examples=(
            "fastproxy diff main/deploy branch/deploy",
            "helm template shop | fastproxy diff cluster -",
        ),
    )
    for name in ("old", "new"):
        command.add_argument(
            name,
            metavar=name.upper(),
            help=f"a file, a directory, - for standard input, or {CLUSTER} for the API server",
        )
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from controller.report.difference import differences

    if arguments.old == arguments.new == "-":
        print("fastproxy: standard input can be read once; give - once", file=sys.stderr)
        return 2
    sides = []
    for side in (arguments.old, arguments.new):
        looked = inspection(arguments, () if side == CLUSTER else (Path(side),))
        if looked is None:
            return 2
        sides.append(looked)
    found = differences(*sides)
    emit(
        arguments,
        [_document(each) for each in found],
        lambda console: show(console, found),
        [_annotation(each) for each in found],
    )
    return int(any(each.traffic for each in found))


def _document(each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "name": each.name,
        "what": each.what,
        "traffic": each.traffic,
        "details": list(each.details),
    }


def _annotation(each: Difference) -> Annotation:
    level = "warning" if each.traffic else "notice"
    return Annotation(level, f"{each.kind} {each.what}", "\n".join((each.name, *each.details)))


def show(console: Console, found: tuple[Difference, ...]) -> None:
    for each in found:
        sign, colour = SIGNS[each.what]
        console.print(f"{sign} {each.kind} {each.name}", style=colour)
        for detail in each.details:
            console.print(f"    {detail}")
    changed = sum(each.traffic for each in found)
    console.print(
        f"{changed} {'change' if changed == 1 else 'changes'} for traffic" if changed
        else "traffic stays as it is"
    )  # fmt: skip
