"""`fastproxy version`."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from typing import Any


def add(commands: Any) -> None:
    command = commands.add_parser("version", "print the version", settings=False)
    command.set_defaults(run=run)


def text() -> str:
    try:
        version = metadata.version("fastproxy")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        version = "unknown"
    return f"fastproxy {version} (Python {platform.python_version()})"


def run(arguments: argparse.Namespace) -> int:
    print(text())
    return 0
