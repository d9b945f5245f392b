"""The arguments every command has, and the settings they lead to: one reading for all commands."""

from __future__ import annotations

import argparse
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from fastproxy.settings.file import Loaded, Problem, SettingsError, file_of, load

SETTINGS_FLAGS = """
settings:
  -c, --configfile FILE  TOML settings, or their directory; default: fastproxy.toml or traefik.toml
                         in /etc/fastproxy, /etc/traefik, $HOME/.traefik or the current directory
  -d, --debug            log everything
  -l, --loglevel LEVEL   DEBUG, INFO, WARN, ERROR, FATAL or PANIC
  --OPTION=VALUE         any option of the file: --kubernetes.ingressclass=edge, --workers=2,
                         --entrypoints='Name:http Address::80'; a switch alone is on (--kubernetes).
                         They are those of Traefik 1.7, in any case, and win over the file. All of
                         them: docs/settings.md
"""


def add_manifests(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--manifests",
        metavar="PATH",
        type=Path,
        help="take Ingresses, Services, EndpointSlices and Secrets from a YAML file, or from those"
        " of a directory, instead of an API server",
    )


def loaded(arguments: argparse.Namespace) -> Loaded | None:
    """Return the settings, or None after printing every problem."""
    try:
        return load(file_of(arguments.given), arguments.given)
    except SettingsError as error:
        show_warnings(error.warnings)
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return None


def show_warnings(warnings: Iterable[Problem | str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def no_provider(manifests: Path | None, with_kubernetes: bool) -> str:
    """Return why there is nothing to serve; "" if there is."""
    if manifests is None:
        if with_kubernetes:
            return ""
        return (
            "nothing says where routes come from; add a [kubernetes] table to the settings file,"
            " --kubernetes, or --manifests PATH"
        )
    try:
        if not manifests.is_dir() and not stat.S_ISREG(manifests.stat().st_mode):
            return f"--manifests {manifests} is no file and no directory; name one"
        next(manifests.iterdir(), None) if manifests.is_dir() else manifests.open("rb").close()
    except OSError as error:
        reason = error.strerror
        return f"--manifests {manifests} cannot be read ({reason}); name a directory or a file"
    return ""
