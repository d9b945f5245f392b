"""The command `fastproxy`; each sub-command is a module of this package.

A sub-command has `add(commands)`, which declares its arguments and sets `run`, a function of the
parsed arguments that returns the exit code. Without a sub-command it is `run`, so that the
arguments of a Pod of Traefik 1.7 stay as they are. Arguments that argparse does not know are flags
of settings (`settings_flags`); they come as `arguments.given`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastproxy.cli import check, diff, explain, healthcheck, lint, match, routes, run, version
from fastproxy.cli.output import patient
from fastproxy.cli.reading import SETTINGS_FLAGS
from fastproxy.settings import flags as settings_flags
from fastproxy.settings.flags import FlagError, Given

COMMANDS = (run, check, lint, explain, match, routes, diff, healthcheck, version)
EXIT_CODES = """
exit codes:
  0  it went well; `run`: it was stopped
  1  something is wrong with what was looked at (`lint`: errors, `explain`: paths not served,
     `match`: no route, `diff`: traffic changes, `healthcheck`: not healthy)
  2  it could not be done: arguments or settings that cannot be used, a port in use
"""
NOT_HERE = {
    "bug": "sends a report to the makers of Traefik; write an issue instead",
    "storeconfig": "fills a key-value store; keep the settings file instead",
}


class Parser(argparse.ArgumentParser):
    """Knows its options, which stand among flags of settings."""

    def __init__(self, **options: Any) -> None:
        self.own: set[str] = set()
        super().__init__(**options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        self.own.update(name for name in names if name.startswith("-"))
        return super().add_argument(*names, **options)


class Commands:
    """Makes the parser of each sub-command."""

    def __init__(self) -> None:
        self.parsers: dict[str, Parser] = {}
        self.helps: dict[str, str] = {}

    def add_parser(
        self, name: str, help: str, settings: bool = True, examples: Sequence[str] = ()
    ) -> Parser:
        lines = "".join(f"  {example}\n" for example in examples)
        shown = f"\nexamples:\n{lines}" if lines else ""
        parser = Parser(
            prog=f"fastproxy {name}",
            description=help[0].upper() + help[1:] + ".",
            epilog=shown + (SETTINGS_FLAGS if settings else "") + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.parsers[name], self.helps[name] = parser, help
        parser.set_defaults(settings=settings)
        return parser

    def overview(self) -> str:
        rows = "\n".join(f"  {name:<12} {text}" for name, text in self.helps.items())
        return (
            "usage: fastproxy [COMMAND] [ARGUMENT ...]\n\n"
            "Traefik 1.7's Kubernetes Ingress provider with a compiled data plane.\n\n"
            f"commands (without one: run):\n{rows}\n\n"
            "`fastproxy COMMAND --help` tells what it takes; `fastproxy --version` is"
            f" `fastproxy version`.\n{EXIT_CODES}"
        )


def commands() -> Commands:
    made = Commands()
    for command in COMMANDS:
        command.add(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code (argparse's errors exit with 2)."""
    with patient():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    known = commands()
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help", "help"):
        print(known.overview(), end="")
        return 0
    if first == "--version":
        first = arguments[0] = "version"
    if first in NOT_HERE:
        print(f"fastproxy: {first} of Traefik 1.7 {NOT_HERE[first]}", file=sys.stderr)
        return 2
    if first and not first.startswith("-"):
        if first not in known.parsers:
            print(f"fastproxy: no command is called {first!r}", file=sys.stderr)
            print(known.overview(), end="", file=sys.stderr)
            return 2
        arguments = arguments[1:]
    else:
        first = "run"
    parser = known.parsers[first]
    flags: list[str] = []
    if parser.get_default("settings"):
        flags, arguments = settings_flags.separated(arguments, parser.own)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        file = Path(unknown[0]).is_file() and parser.get_default("settings")
        hint = f"; for settings write --configfile {unknown[0]}" if file else ""
        parser.error(f"{unknown[0]} is not known{hint}")
    parsed.given = _given(parser, flags)
    if parsed.given is None:
        return 2
    code: int = parsed.run(parsed)
    return code


def _given(parser: argparse.ArgumentParser, flags: list[str]) -> Given | None:
    try:
        return settings_flags.read(flags)
    except FlagError as problem:
        if problem.usage:
            parser.error(str(problem))
        print(f"fastproxy: {problem}", file=sys.stderr)
        return None
