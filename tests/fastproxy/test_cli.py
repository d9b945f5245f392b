"""The command line as a user sees it: real processes that end by themselves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastproxy.cli import main
from tests.support.processes import ROOT


def command(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *arguments],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "run" in capsys.readouterr().out
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("fastproxy ")


def test_as_a_module() -> None:
    done = command("version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fastproxy ")


def test_check(tmp_path: Path) -> None:
    assert command("check", directory=tmp_path).stdout == (
        "no settings file; the defaults are used\n"
    )
    (tmp_path / "traefik.toml").write_text("[kubernetes]\n")
    assert command("check", directory=tmp_path).stdout == "traefik.toml: correct\n"
    (tmp_path / "bad.toml").write_text("workers = 'x'\nlogLevle = 'INFO'\n")
    done = command("check", "--configfile", "bad.toml", directory=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "bad.toml: workers: is text; it must be a whole number, without quotes",
        "bad.toml: logLevle: is not known; did you mean 'logLevel'?",
    ]


REFUSED = [
    # settings, arguments, what stands in the one line on stderr
    ("workers = 'x'", [], "workers: is text; it must be a whole number, without quotes"),
    ("", ["--configfile", "missing.toml"], "cannot be read (No such file or directory)"),
    ("", [], "nothing says where routes come from"),
    ("", ["--manifests", "missing"], "--manifests missing cannot be read (No such file"),
    ("", ["--manifests", "fastproxy.toml"], "cannot be read (Not a directory)"),
    ("", ["--manifests", ".", "--workers", "-1"], "--workers is -1"),
    ("[traefikLog]\nfilePath='/missing/log'", ["--manifests", "."], "traefikLog.filePath"),
    ("[entryPoints.http]\naddress='127.0.0.1:PORT'", ["--manifests", "."],
     "entry point 'http' cannot listen on 127.0.0.1:PORT: another program listens there"),
    ("[entryPoints.traefik]\naddress='127.0.0.1:PORT'\n[entryPoints.http]\naddress='127.0.0.1:0'",
     ["--manifests", "."], "entry point 'traefik' cannot listen on 127.0.0.1:PORT"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "arguments", "expected"), REFUSED)
def test_run_refuses(text: str, arguments: list[str], expected: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "fastproxy.toml").write_text(text.replace("PORT", port))
        done = command("run", *arguments, directory=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert expected.replace("PORT", port) in done.stderr
    assert done.stdout == ""


def test_an_unknown_argument() -> None:
    done = command("run", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
