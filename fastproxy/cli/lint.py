"""`fastproxy lint`: say everything that is wrong with the objects, and serve nothing.

Reads a directory of manifests, or the cluster that the settings file names, through the same
translation as `fastproxy run`. Exit code 0: nothing worse than warnings, 1: errors, 2: it could not
be done.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastproxy.cli.reading import add_manifests, loaded, show_warnings
from fastproxy.findings import Finding, Severity, as_json, order
from fastproxy.settings import Settings

SYNC_PATIENCE = 60.0  # seconds for the first complete picture of a cluster


def add(commands: Any) -> None:
    command = commands.add_parser("lint", "say what is wrong with Ingresses, Services and Secrets")
    add_manifests(command)
    command.add_argument(
        "--format", choices=("human", "json"), default="human", help="default: human"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = loaded(arguments)
    if found is None:
        return 2
    show_warnings(found.warnings)
    if arguments.manifests is not None and not arguments.manifests.exists():
        print(f"fastproxy: --manifests {arguments.manifests} does not exist", file=sys.stderr)
        return 2
    try:
        findings = inspect(found.settings, arguments.manifests)
    except (ValueError, ConnectionError) as problem:
        print(f"fastproxy: {problem}", file=sys.stderr)
        return 2
    show = as_json if arguments.format == "json" else _as_text
    print(show(findings))
    return int(any(finding.severity is Severity.ERROR for finding in findings))


def inspect(settings: Settings, manifests: Path | None) -> tuple[Finding, ...]:
    """Translate once and give all findings, errors first.

    Raises ValueError for settings which cannot be used, ConnectionError for a cluster which does
    not answer.
    """
    from controller.build import build_findings
    from controller.manifests import Manifests
    from controller.provenance import located
    from controller.translate import translate

    taken = Manifests(manifests).load() if manifests is not None else _cluster(settings)
    translation = translate(taken.snapshot, settings)
    built = build_findings(translation.desired, settings)
    found = located((*taken.findings, *translation.findings, *built), taken.places)
    return tuple(
        sorted(
            dict.fromkeys(found),
            key=lambda f: (f.severity is not Severity.ERROR, f.file, f.line, *order(f)),
        )
    )


def _cluster(settings: Settings) -> Any:
    from controller.api import ConfigurationError, connect
    from controller.source import ApiSource

    options = settings.kubernetes
    if options is None:
        raise ValueError("nothing to look at; name --manifests DIR or a file with [kubernetes]")
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


def _as_text(findings: Sequence[Finding]) -> str:
    """A finding a line, as compilers write them: file, line, what is wrong."""
    lines = []
    for finding in findings:
        place = f"{finding.place}: " if finding.place else ""
        lines.append(f"{place}{finding.severity.value:<7} {finding.as_line(place=False)}")
    errors = sum(f.severity is Severity.ERROR for f in findings)
    warnings = len(findings) - errors
    lines.append(f"{errors} {_plural('error', errors)}, {warnings} {_plural('warning', warnings)}")
    return "\n".join(lines)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
