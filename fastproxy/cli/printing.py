"""One answer in four forms: for people, for machines (JSON, YAML), for the log of a workflow."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastproxy.model.findings import Finding

WIDE = 200  # columns where there is no terminal: a line of a file need not fit a screen
LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


class Annotation(NamedTuple):
    """A line that GitHub shows beside the code."""

    level: str  # error, warning or notice
    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = {"file": self.file, "line": str(self.line or ""), "title": self.title}
        given = ",".join(f"{name}={_escaped(v, ':,')}" for name, v in place.items() if v)
        return f"::{self.level} {given}::{_escaped(self.message)}"


def _escaped(text: str, more: str = "") -> str:
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def annotation_of(finding: Finding) -> Annotation:
    return Annotation(
        LEVELS[finding.severity.value],
        f"{finding.code} {finding.object}" if finding.object.kind else finding.code,
        " ".join(part for part in (finding.sentence, finding.effect) if part),
        finding.file,
        finding.line,
    )


def emit(
    arguments: argparse.Namespace,
    document: Any,
    show: Callable[[Console], None],
    annotations: Iterable[Annotation],
) -> None:
    """Print an answer as `--output` asks: `document` holds what JSON can, `show` is for people."""
    if arguments.output == "json":
        print(json.dumps(document, indent=2))
    elif arguments.output == "yaml":
        print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")
    elif arguments.output == "github":
        for annotation in annotations:
            print(annotation)
    else:
        show(console())


def console() -> Console:
    """Colour on a terminal, unless NO_COLOR is set; nothing else but what is printed."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if terminal else WIDE,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )


def table(*headings: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def finding_line(finding: Finding) -> Text:
    """Like a line of `fastproxy lint`."""
    place = f"{finding.place}: " if finding.place else ""
    line = Text(place)
    line.append(f"{finding.severity.value:<7} ", style=COLOURS[finding.severity.value])
    return line.append(finding.as_line(place=False))
