"""Rendering the chart of `deploy/` with the real helm."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.support.deploy import DEPLOY
from tests.support.go_programs import HELM, Program, Unavailable, program

CHART = DEPLOY / "chart"


def found(wanted: Program) -> str:
    try:
        return str(program(wanted))
    except Unavailable as problem:
        pytest.skip(str(problem))


def run(values: Mapping[str, Any], *more: str, command: str = "template") -> Any:
    start = [found(HELM), command, "fastproxy", str(CHART)]
    if command == "lint":
        start = [found(HELM), "lint", "--strict", str(CHART)]
    return subprocess.run(
        [*start, "--namespace=fastproxy", "--kube-version=1.31.0", "--values=-", *more],
        input=yaml.safe_dump(dict(values)),
        capture_output=True,
        text=True,
        timeout=60,
    )


def rendered(values: Mapping[str, Any], *more: str) -> list[dict[str, Any]]:
    done = run(values, *more)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def refusal(values: Mapping[str, Any]) -> str:
    done = run(values)
    assert done.returncode == 1, done.stdout
    return str(done.stderr)
