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
from tests.support.running import ingress_manifest


def command(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *arguments],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


COMMANDS = ("run", "check", "lint", "healthcheck", "version")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in COMMANDS)
    assert "exit codes:" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: fastproxy {name} ")
    assert all(f"\n  {code}  " in said for code in (0, 1, 2))
    assert ("--configfile" in said) == (name != "version")


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 0
    assert capsys.readouterr().out.startswith("fastproxy ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_shows_the_usage_of_its_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--nonsense"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: fastproxy {name} ")
    assert f"fastproxy {name}: error: --nonsense is not known" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("serve", "no command is called 'serve'"),
        ("bug", "bug of Traefik"),
        ("storeconfig", "key-value"),
    ],
)
def test_commands_there_are_not(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    assert words in capsys.readouterr().err


def test_without_a_command_it_is_run(tmp_path: Path) -> None:
    for arguments in ([], ["--loglevel=INFO"], ["-d"]):
        done = command(*arguments, directory=tmp_path)
        assert done.returncode == 2
        assert "nothing says where routes come from" in done.stderr


def wrong_manifests(folder: Path) -> str:
    """A file with so many mistakes that a pipe cannot hold what lint says of them."""
    path = folder / "a.yaml"
    rules = [(f"host-{i}.test", "/", "nowhere") for i in range(500)]
    path.write_text(ingress_manifest("a", rules))
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["version"], ["check"], ["check", "--help"], ["lint", "--manifests", "FILE"],
     ["lint", "--manifests", "FILE", "--format", "json"], ["run", "--help"], ["healthcheck"]],
)  # fmt: skip
def test_a_reader_who_leaves_changes_nothing(arguments: list[str], tmp_path: Path) -> None:
    file = wrong_manifests(tmp_path)
    words = [word.replace("FILE", file) for word in arguments]
    expected = command(*words, directory=tmp_path).returncode
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "fastproxy", *words],
        cwd=tmp_path, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, expected) in ((0, 0), (1, 1))
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_as_a_module() -> None:
    done = command("version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fastproxy ")


def test_check(tmp_path: Path) -> None:
    done = command("check", directory=tmp_path)
    assert done.stdout == "no settings file; the defaults are used\n"
    # `run` without more ends here, so `check` has to say it.
    assert done.stderr.startswith("warning: kubernetes: nothing says where routes come from")
    assert command("check", "--manifests", ".", directory=tmp_path).stderr == ""
    (tmp_path / "traefik.toml").write_text("[kubernetes]\n")
    assert command("check", directory=tmp_path).stdout == "traefik.toml: correct\n"
    (tmp_path / "bad.toml").write_text("workers = 'x'\nlogLevle = 'INFO'\n")
    done = command("check", "--configfile", "bad.toml", directory=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "warning: bad.toml: logLevle: is not known and ignored; did you mean 'logLevel'?",
        "bad.toml: workers: is text; it must be a whole number, without quotes",
    ]


REFUSED = [
    # settings, arguments, what stands in the one line on stderr
    ("workers = 'x'", [], "workers: is text; it must be a whole number, without quotes"),
    ("", ["--configfile", "missing.toml"], "cannot be read (No such file or directory)"),
    ("", [], "nothing says where routes come from"),
    ("", ["--manifests", "missing"], "--manifests missing cannot be read (No such file"),
    ("", ["--manifests", "/dev/null"], "--manifests /dev/null is no file and no directory"),
    ("", ["--manifests", ".", "--workers", "-1"], "command line: workers: is -1; write 0 or more"),
    ("", ["--retry.attempts=x"], "--retry.attempts is 'x'; it must be a number"),
    ("[docker]", ["--kubernetes"], "docker: takes routes from the containers of Docker;"),
    ("[traefikLog]\nfilePath='fastproxy.toml/log'", ["--manifests", "."], "traefikLog.filePath"),
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


@pytest.mark.parametrize(("text", "arguments", "expected"), REFUSED[:9])
def test_check_says_what_run_says(
    text: str, arguments: list[str], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "fastproxy.toml").write_text(text)
    done = command("check", *arguments, directory=tmp_path)
    assert expected in done.stderr
    assert done.returncode == (0 if "nothing says" in expected else 2)


def test_the_settings_file_may_be_named_by_its_directory(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/traefik.toml").write_text("[kubernetes]\nendpoint='http://127.0.0.1:1'\n")
    done = command("check", "-c", "etc", directory=tmp_path)
    assert (done.stdout, done.stderr) == ("etc/traefik.toml: correct\n", "")
