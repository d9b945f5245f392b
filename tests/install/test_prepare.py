"""tools/prepare: what has not ended is done again, what has ended is not.

Python is a stand-in which notes what it is told, and fails, is killed or hangs where a test says.
It leaves half-made things behind, as the real one does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT, wait_until

# Says which step it is, leaves half of it, then does as told in the file `trouble`: "STEP HOW".
PYTHON = r"""#!/bin/bash
case "$*" in
"-m venv "*) step=venv; mkdir -p .venv/bin; echo half > .venv/half ;;
*--editable*) step=pip; case "$*" in *dev*) step=pip-dev ;; esac; echo half > .venv/half-package ;;
*"pip install"*) step=pip-build; echo half > .venv/half-package ;;
setup.py*) step=compile; echo half > fastproxy/one.half ;;
-c*) echo "a place"; exit ;;
esac
read -r where how < trouble 2>/dev/null
if [ "$where" = "$step" ]; then
    echo "$step $how" >> log
    case $how in
    fails) echo "No space left on device" >&2; exit 1 ;;
    killed) kill -KILL $$ ;;
    hangs) echo $$ > hanging.part; mv hanging.part hanging; exec sleep 60 ;;
    esac
fi
echo "$step" >> log
case $step in
venv) cp "$0" .venv/bin/python; rm .venv/half ;;
pip*) rm -f .venv/half-package ;;
compile)
    rm fastproxy/one.half
    touch fastproxy/one.so
    for source in fastproxy/*.pyx tests/native/*.pyx; do
        case $source in tests/*) [ "$FASTPROXY_PROBES" = yes ] || continue ;; esac
        echo module > "${source%.pyx}.cpython.so"
    done ;;
esac
"""

RUN = ["venv", "pip-build", "pip", "compile"]
TEST = ["venv", "pip-build", "pip-dev", "compile"]


class Clone:
    """A clone with one module and one probe, and the real tools/prepare."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tools").mkdir()
        (folder / "fastproxy").mkdir()
        (folder / "tests" / "native").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "prepare", folder / "tools")
        self.program("tools/system-packages", "#!/bin/sh\ncat missing 2>/dev/null; exit 0\n")
        self.program("tools/find-compiler", "#!/bin/sh\necho gcc\n")
        self.program("tools/find-python", '#!/bin/sh\necho "$PWD/stand-in-python"\n')
        self.program("stand-in-python", PYTHON)
        for name in (
            "pyproject.toml",
            "setup.py",
            "fastproxy/one.pyx",
            "tests/native/two_probe.pyx",
        ):
            (folder / name).touch()

    def program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def start(self, want: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.folder / "tools" / "prepare", want], text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # a shell cannot trap what it was started to ignore, as under nohup
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )  # fmt: skip

    def prepare(self, want: str) -> tuple[int, str, str]:
        process = self.start(want)
        out, errors = process.communicate(timeout=30)
        return process.returncode, out, errors

    def steps(self) -> list[str]:
        """What has been done since the last call; pip and the compiler run side by side."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        order = ["venv", "pip-build", "pip", "pip-dev", "compile"]
        return sorted(lines, key=lambda line: order.index(line.split()[0]))

    def trouble(self, text: str) -> None:
        (self.folder / "trouble").write_text(text)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_what_has_ended_is_not_done_again(clone: Clone) -> None:
    for want, steps in [
        ("run", ["venv", "pip-build", "pip", "compile"]),
        ("run", []),
        # The tests need more packages, and the probes.
        ("test", ["pip-build", "pip-dev", "compile"]),
        ("test", []),
        ("run", []),
        ("tools", []),
    ]:
        assert clone.prepare(want)[0] == 0
        assert clone.steps() == steps, want
    assert (clone.folder / ".venv/.installed").read_text().startswith("test ")


def test_tools_compile_nothing(clone: Clone) -> None:
    assert clone.prepare("tools")[0] == 0
    assert clone.steps() == ["venv", "pip-build", "pip-dev"]


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ("echo >> fastproxy/one.pyx", ["compile"]),
        ("echo > fastproxy/new.pxd", ["compile"]),
        ("echo >> setup.py", ["compile"]),
        ("rm fastproxy/one.cpython.so", ["compile"]),
        ("rm build/.built", ["compile"]),
        ("echo >> pyproject.toml", ["pip-build", "pip-dev", "compile"]),
        ("rm .venv/.installed", TEST),
        ("rm .venv/bin/python", TEST),
        ("rm -r .venv", TEST),
        ("echo > .venv/.installed", TEST),  # as an older Makefile left it
        ("mkdir fastproxy/__pycache__ && touch README", []),
    ],
)
def test_what_has_changed_is_done_again(clone: Clone, change: str, steps: list[str]) -> None:
    assert clone.prepare("test")[0] == 0
    clone.steps()
    subprocess.run(["bash", "-ec", f"sleep 0.02; {change}"], cwd=clone.folder, check=True)
    assert clone.prepare("test")[0] == 0
    assert clone.steps() == steps
    assert clone.prepare("test")[0] == 0
    assert clone.steps() == []


def test_a_clone_that_was_moved_is_installed_anew(clone: Clone, tmp_path: Path) -> None:
    assert clone.prepare("run")[0] == 0
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    shutil.copytree(clone.folder, moved, symlinks=True)
    clone.folder = moved
    clone.program("stand-in-python", PYTHON.replace('"a place"', '"another place"'))
    shutil.copy(moved / "stand-in-python", moved / ".venv/bin/python")
    clone.steps()
    assert clone.prepare("run")[0] == 0
    assert clone.steps() == RUN


@pytest.mark.parametrize("how", ["fails", "killed"])
@pytest.mark.parametrize("where", ["venv", "pip-build", "pip", "compile"])
def test_a_step_that_failed_is_done_again(clone: Clone, where: str, how: str) -> None:
    clone.trouble(f"{where} {how}")
    status, _, errors = clone.prepare("run")
    assert status == 1 and f"{where} failed" in errors
    assert ("No space left on device" in errors) == (how == "fails")
    assert not (clone.folder / ".venv/.installed").exists()
    assert not (clone.folder / "build/.built").exists()
    assert f"{where} {how}" in clone.steps()
    (clone.folder / "trouble").unlink()
    status, _, errors = clone.prepare("run")
    assert (status, errors) == (0, "")
    assert clone.steps() == RUN  # nothing of the half-made .venv is trusted
    assert not (clone.folder / ".venv/half-package").exists()


def test_a_build_that_failed_is_done_again_alone(clone: Clone) -> None:
    assert clone.prepare("run")[0] == 0
    clone.steps()
    (clone.folder / "fastproxy/one.pyx").write_text("changed")
    clone.trouble("compile fails")
    assert clone.prepare("run")[0] == 1
    (clone.folder / "trouble").unlink()
    assert clone.prepare("run")[0] == 0
    assert clone.steps() == ["compile fails", "compile"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["venv", "pip-build", "pip", "compile"])
def test_interrupted_anywhere_it_goes_on(clone: Clone, where: str, number: int) -> None:
    clone.trouble(f"{where} hangs")
    process = clone.start("run")
    wait_until(lambda: (clone.folder / "hanging").exists(), f"{where} hangs")
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (
        130,
        "\ninterrupted; the same command goes on from here\n",
    )
    hanging = int((clone.folder / "hanging").read_text())
    wait_until(lambda: not Path(f"/proc/{hanging}").exists(), "the end of the step")
    assert not (clone.folder / ".venv/.installed").exists()
    (clone.folder / "trouble").unlink()
    clone.steps()
    assert clone.prepare("run")[0] == 0
    assert clone.steps() == RUN
    assert (clone.folder / ".venv/.installed").exists() and (clone.folder / "build/.built").exists()


def test_killed_itself_it_goes_on_when_its_steps_are_gone(clone: Clone) -> None:
    clone.trouble("compile hangs")
    process = clone.start("run")
    wait_until(lambda: (clone.folder / "hanging").exists(), "the compiler hangs")
    process.kill()
    process.communicate(timeout=10)
    (clone.folder / "trouble").unlink()
    second = clone.start("run")
    # The step of the first still writes; the second waits for it.
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)
    os.kill(int((clone.folder / "hanging").read_text()), signal.SIGKILL)
    assert second.wait(30) == 0
    second.communicate()
    assert clone.prepare("run")[1] == ""


def test_each_step_is_one_line_with_its_time(clone: Clone) -> None:
    out = clone.prepare("test")[1].splitlines()
    assert [" ".join(line.split()[:-2]) for line in out] == [
        "virtual environment", "Cython and setuptools", "Python packages and 2 compiled modules",
    ]  # fmt: skip
    assert all(line.endswith(" s") and float(line.split()[-2]) >= 0 for line in out)
    assert clone.prepare("test")[1:] == ("", "")


def test_two_at_once_do_everything_once(clone: Clone) -> None:
    for process in [clone.start("run") for _ in range(3)]:
        assert process.communicate(timeout=30)[1] == "" and process.returncode == 0
    assert clone.steps() == RUN
