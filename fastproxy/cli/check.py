"""`fastproxy check`: say everything that is wrong with a settings file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fastproxy.settings_file import Loaded, SettingsError, find_file, load


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


def run(arguments: argparse.Namespace) -> int:
    path = arguments.configfile or find_file()
    found = loaded(arguments)
    if found is None:
        return 2
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{path}: correct" if path else "no settings file; the defaults are used")
    return 0
