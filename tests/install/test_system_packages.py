"""tools/system-packages on machines that lack this and that.

apt and the compiler are stand-ins on a PATH of their own, which know what is installed from files
that the stand-in apt-get writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

GCC = """#!/bin/sh
# The last argument but one or more is the source; -o names what to write.
cd "$STATE"
[ -e libc6-dev ] || exit 1
grep -q Python.h "$1" && { [ -e python3-dev ] || [ -e python3.12-dev ] || exit 1; }
grep -q openssl "$1" && { [ -e libssl-dev ] || exit 1; }
grep -q zlib "$1" && { [ -e zlib1g-dev ] || exit 1; }
echo program > "$3"
"""

PYTHON = """#!/bin/sh
case $2 in
*ensurepip*) cd "$STATE"; [ -e python3-venv ] || [ -e python3.12-venv ] ;;
*sysconfig*) echo /usr/include/python ;;
*version_info*) [ ! -e "$STATE/old python" ] ;;
esac
"""

APT = """#!/bin/sh
for word; do case $word in
update)
    echo update >> "$STATE/log"
    echo "output of update"
    [ ! -e "$STATE/update fails" ]
    exit ;;
install)
    while [ "$1" != --no-install-recommends ]; do shift; done; shift
    echo "install $*" >> "$STATE/log"
    [ ! -e "$STATE/install fails" ] || { echo "No space left on device" >&2; exit 100; }
    for package; do
        : > "$STATE/$package"
        case $package in gcc|python3) cp "$STATE/programs/$package" "$STATE/../bin/" ;; esac
    done
    exit ;;
esac; done
"""

DPKG = """#!/bin/sh
case $1 in
--audit) cat "$STATE/half" 2>/dev/null || true ;;
--configure) echo configure >> "$STATE/log"; rm -f "$STATE/half" ;;
esac
"""

ALL = "python3 python3-venv gcc libc6-dev python3-dev libssl-dev zlib1g-dev"


@dataclass
class Machine:
    folder: Path

    def __post_init__(self) -> None:
        self.bin, self.state = self.folder / "bin", self.folder / "state"
        self.bin.mkdir()
        (self.state / "programs").mkdir(parents=True)
        for tool in ("sh", "cat", "cp", "dirname", "env", "grep", "id", "mktemp", "rm"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        for name, text in {"gcc": GCC, "python3": PYTHON}.items():
            self.program(self.state / "programs" / name, text)
        for name, text in {"apt-get": APT, "dpkg": DPKG}.items():
            self.program(self.bin / name, text)

    def program(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def has(self, *what: str) -> Machine:
        """Packages, and facts such as "update fails"."""
        for name in what:
            (self.state / name).touch()
            if (self.state / "programs" / name).exists():
                shutil.copy(self.state / "programs" / name, self.bin)
        return self

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "tools" / "system-packages", *arguments], capture_output=True, text=True,
            env={
                "PATH": str(self.bin), "STATE": str(self.state), "TMPDIR": str(self.folder),
            } | environment,
        )  # fmt: skip

    def log(self) -> list[str]:
        log = self.state / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if os.getuid():
        pytest.skip("apt-get is called through sudo, which a stand-in cannot replace")
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("there", "cc", "wanted"),
    [
        ("", "", ALL),
        # What a name in CC claims is not there because of that.
        ("", "gcc", ALL),
        ("python3 python3-venv python3-dev", "cc", ALL.replace("python3 python3-venv ", "")),
        ("python3", "", ALL.removeprefix("python3 ")),
        # A compiler without the C library's headers compiles nothing.
        ("python3 python3-venv gcc", "", "gcc libc6-dev python3-dev libssl-dev zlib1g-dev"),
        ("python3 python3-venv gcc libc6-dev", "", "python3-dev libssl-dev zlib1g-dev"),
        ("python3 python3-venv gcc libc6-dev", "gcc", "python3-dev libssl-dev zlib1g-dev"),
        (ALL.replace("libssl-dev ", ""), "", "libssl-dev"),
        (ALL.replace(" zlib1g-dev", ""), "", "zlib1g-dev"),
        (ALL.replace("python3-venv ", ""), "", "python3-venv"),
        (ALL.replace("python3-dev ", ""), "", "python3-dev"),
        (ALL.replace("python3 python3-venv ", ""), "", "python3 python3-venv"),
        (ALL, "", None),
        (ALL, "gcc", None),
    ],
)
def test_what_is_missing_is_installed(
    machine: Machine, there: str, cc: str, wanted: str | None
) -> None:
    machine.has(*there.split())
    environment = {"CC": cc} if cc else {}
    done = machine.run(**environment)
    if cc == "cc":  # only gcc has a stand-in: installed, and the CC named still is none
        assert done.returncode == 1 and "CC is set to 'cc'" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert machine.run("--list", **environment).stdout == ""
    assert machine.log() == ([] if wanted is None else ["update", f"install {wanted}"])


def test_list_installs_nothing(machine: Machine) -> None:
    assert machine.run("--list").stdout == f" {ALL}\n"
    assert machine.log() == []


def test_a_python_of_another_name_has_packages_of_that_name(machine: Machine) -> None:
    machine.has("gcc", "libc6-dev", "libssl-dev", "zlib1g-dev")
    machine.program(machine.bin / "python3.12", PYTHON)
    assert machine.run(PYTHON="python3.12").returncode == 0
    assert machine.log() == ["update", "install python3.12-venv python3.12-dev"]


@pytest.mark.parametrize("cc", ["clang", "ccache clang", "/opt/bin/tcc-1.0"])
def test_another_compiler_is_for_whoever_named_it(machine: Machine, cc: str) -> None:
    done = machine.has("python3", "python3-venv").run(CC=cc)
    assert done.returncode == 1 and machine.log() == []
    assert (
        done.stderr
        == f"CC is set to '{cc}', which compiles no C program: install it, or unset CC.\n"
    )


def test_after_a_failed_update_the_installation_decides(machine: Machine) -> None:
    done = machine.has("update fails").run()
    assert done.returncode == 0 and machine.run("--list").stdout == ""
    assert "output of update" in done.stderr and "going on with the lists" in done.stderr


def test_after_a_failed_installation_the_same_command_goes_on(machine: Machine) -> None:
    machine.has("install fails")
    done = machine.run()
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "try again" in done.stderr
    (machine.state / "install fails").unlink()
    assert machine.run().returncode == 0
    assert machine.log()[2:] == ["update", f"install {ALL}"]
    assert machine.run().returncode == 0 and len(machine.log()) == 4


def test_what_an_interrupted_apt_left_is_configured_first(machine: Machine) -> None:
    (machine.state / "half").write_text("The following packages are only half configured: gcc\n")
    assert machine.run().returncode == 0
    assert machine.log() == ["configure", "update", f"install {ALL}"]


def test_a_python_too_old_is_named(machine: Machine) -> None:
    done = machine.has("python3", "old python").run()
    assert done.returncode == 1
    assert "fastproxy needs Python 3.11 or newer; PYTHON=/path/to/python3 names one" in done.stderr


def test_without_apt_the_packages_are_named(machine: Machine) -> None:
    (machine.bin / "apt-get").unlink()
    done = machine.run()
    assert done.returncode == 1
    assert (
        done.stderr == f"No apt-get here: please install the equivalents of {ALL} and try again.\n"
    )
