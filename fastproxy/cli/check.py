"""`fastproxy check`: say everything that is wrong with a settings file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fastproxy.cli import check_start
from fastproxy.settings import Settings
from fastproxy.settings_file import Loaded, Problem, SettingsError, find_file, load
from fastproxy.tls_options import TlsOptions, with_default_certificates


def add(commands: Any) -> None:
    command = commands.add_parser("check", help="check a settings file and start nothing")
    add_file(command)
    command.set_defaults(run=run)


def add_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--configfile",
        "--configFile",
        metavar="FILE",
        type=Path,
        help="TOML settings; default: fastproxy.toml or traefik.toml in /etc/fastproxy,"
        " /etc/traefik, $HOME/.traefik or the current directory",
    )


def loaded(arguments: argparse.Namespace) -> Loaded | None:
    """Return the settings, or None after printing every problem."""
    try:
        return load(arguments.configfile or find_file())
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return None


def tls_problems(settings: Settings) -> tuple[list[str], list[str]]:
    """Return what a worker would fail at when it makes its TLS contexts, and what it would leave
    out; reads the files the settings name."""
    from fastproxy.engine.tls_server import ServerContext

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


def run(arguments: argparse.Namespace) -> int:
    path = arguments.configfile or find_file()
    found = loaded(arguments)
    if found is None:
        return 2
    file = str(path) if path else "defaults"
    problems, warnings = (
        [f"{file}: {text}" for text in texts] for texts in tls_problems(found.settings)
    )
    problems += [
        str(Problem(file, key, sentence)) for key, sentence in check_start.problems(found.settings)
    ]
    warnings += [
        str(Problem(file, key, sentence)) for key, sentence in check_start.warnings(found.settings)
    ]
    for warning in (*found.warnings, *warnings):
        print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 2
    print(f"{path}: correct" if path else "no settings file; the defaults are used")
    return 0
