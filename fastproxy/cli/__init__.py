"""The command `fastproxy`; each sub-command is a module of this package.

A sub-command has `add(subparsers)`, which declares its arguments and sets `run`, a function of the
parsed arguments that returns the exit code: 0, 1 (something is wrong with what was looked at) or
2 (it could not be done: bad arguments, bad settings, a port in use).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fastproxy.cli import check, lint, run, version

COMMANDS = (run, check, lint, version)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="fastproxy",
        description="Traefik 1.7's Kubernetes Ingress provider with a compiled data plane.",
    )
    commands = top.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    top = parser()
    parsed = top.parse_args(arguments)
    if not hasattr(parsed, "run"):
        top.print_help()
        return 0
    code: int = parsed.run(parsed)
    return code
