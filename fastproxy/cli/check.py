"""`fastproxy check`: say what `fastproxy run` with these arguments would say, and start nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fastproxy.cli import check_start
from fastproxy.cli.reading import add_manifests, loaded, no_provider, show_warnings
from fastproxy.settings.file import Loaded, Problem, file_of
from fastproxy.settings.options import Settings
from fastproxy.settings.tls_options import TlsOptions, with_default_certificates


def add(commands: Any) -> None:
    command = commands.add_parser("check", "check the settings as `run` reads them")
    add_manifests(command)
    command.set_defaults(run=run)


def tls_problems(settings: Settings) -> tuple[list[str], list[str]]:
    """Return what a worker would fail at when it makes its TLS contexts, and what it would leave
    out; reads the files the settings name."""
    from fastproxy.engine.tls.server import ServerContext

    problems: list[str] = []
    warnings: list[str] = []
    for name, point in sorted(with_default_certificates(settings).entry_points.items()):
        if point.tls is None:
            continue
        try:
            context = ServerContext(TlsOptions.of(point.tls))
        except (OSError, ValueError) as error:
            problems.append(f"entryPoints.{name}.tls cannot be used ({error}); correct it")
        else:
            warnings += [f"entryPoints.{name}.tls: {warning}" for warning in context.warnings]
    return problems, warnings


def start_problems(found: Loaded, file: str, manifests: Path | None) -> tuple[list[str], list[str]]:
    """Return what keeps the settings from working on this machine, and warnings: for `run` too."""
    settings = found.settings
    problems, warnings = ([f"{file}: {text}" for text in t] for t in tls_problems(settings))
    problems += [
        str(Problem(file, *each)) for each in check_start.problems(settings, manifests is None)
    ]
    warnings += [
        str(Problem(file, *each)) for each in check_start.warnings(settings, manifests is None)
    ]
    return problems, warnings


def run(arguments: argparse.Namespace) -> int:
    path = file_of(arguments.given)
    found = loaded(arguments)
    if found is None:
        return 2
    manifests: Path | None = arguments.manifests
    problems, warnings = start_problems(found, str(path) if path else "defaults", manifests)
    nothing = no_provider(manifests, found.settings.kubernetes is not None)
    if nothing and manifests is None:
        # Who checks a file may well give --kubernetes or --manifests to `run` alone.
        warnings.append(f"kubernetes: {nothing}; `fastproxy run` ends with exit code 2 without")
    elif nothing:
        problems.append(f"fastproxy: {nothing}")
    show_warnings((*found.warnings, *warnings))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 2
    print(f"{path}: correct" if path else "no settings file; the defaults are used")
    return 0
