"""setup.py: a build that was ended at any point leaves nothing half made that counts as done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT

NAMES = ["one", "two"]


class Tree:
    """The real setup.py with two small modules, built as tools/prepare builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "setup.py", folder)
        (folder / "fastproxy").mkdir()
        (folder / "fastproxy" / "__init__.py").touch()
        for name in NAMES:
            (folder / "fastproxy" / f"{name}.pyx").write_text(f"answer = '{name}'\n")

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"FASTPROXY_BUILD": "release"},
        )  # fmt: skip

    def build(self) -> None:
        process = self.start()
        out, _ = process.communicate()
        assert (process.returncode, out) == (0, b"")

    def answers(self) -> list[str]:
        modules = ", ".join(f"fastproxy.{name}" for name in NAMES)
        values = ", ".join(f"fastproxy.{name}.answer" for name in NAMES)
        show = f"import {modules}; print(*({values},))"
        return subprocess.run(
            [sys.executable, "-c", show],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()

    def made(self) -> dict[str, Path]:
        """Everything a build has made, by path."""
        found = [*self.folder.glob("build/**/*"), *self.folder.glob("fastproxy/*.so")]
        return {str(path.relative_to(self.folder)): path for path in found if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.timeout(300)
def test_killed_at_any_point_the_next_build_is_whole(tree: Tree) -> None:
    begun = time.monotonic()
    tree.build()
    whole = time.monotonic() - begun
    assert tree.answers() == NAMES
    for part in range(1, 6):
        for name in NAMES:
            source = tree.folder / "fastproxy" / f"{name}.pyx"
            source.write_text(f"answer = '{name}{part}'\n")
        process = tree.start()
        time.sleep(whole * part / 6)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        tree.build()
        assert tree.answers() == [f"{name}{part}" for name in NAMES]


def test_half_of_a_generated_file_is_written_again(tree: Tree) -> None:
    """As Cython leaves it when it is killed: newer than its source, and half."""
    tree.build()
    old = tree.folder / "build/c/fastproxy/one.c"
    other = (tree.folder / "build/c/fastproxy/two.c").stat().st_mtime_ns
    (tree.folder / "build/.translating").touch()
    half = old.read_bytes()[: old.stat().st_size // 2]
    old.write_bytes(half)
    (tree.folder / "fastproxy/two.pyx").write_text("answer = 'again'\n")
    tree.build()
    assert tree.answers() == ["one", "again"]
    assert len(old.read_bytes()) > len(half)
    assert (tree.folder / "build/c/fastproxy/two.c").stat().st_mtime_ns > other
    assert not (tree.folder / "build/.translating").exists()


def test_half_files_are_not_taken_for_whole_ones(tree: Tree) -> None:
    """What the linker and the copy into the source tree leave when they are killed."""
    tree.build()
    modules = [name for name in tree.made() if name.endswith(".so")]
    assert len(modules) == 4  # two in build/lib, two in the source tree
    for name in modules:
        (tree.folder / f"{name}.part").write_bytes(b"half")
        if name.startswith("fastproxy"):
            (tree.folder / name).write_bytes(b"half")
    (tree.folder / "fastproxy/one.pyx").write_text("answer = 'other'\n")
    tree.build()
    assert tree.answers() == ["other", "two"]


def test_a_mapped_module_keeps_its_file(tree: Tree) -> None:
    """A build beside a running fastproxy must not change the code that it runs."""
    tree.build()
    [module] = tree.folder.glob("fastproxy/one.*.so")
    before = module.stat().st_ino
    with module.open("rb") as mapped:
        (tree.folder / "fastproxy/one.pyx").write_text("answer = 'other'\n")
        tree.build()
        assert module.stat().st_ino != before and os.fstat(mapped.fileno()).st_nlink == 0


def test_what_the_source_tree_keeps_is_source(tree: Tree) -> None:
    tree.build()
    assert {path.suffix for path in (tree.folder / "fastproxy").iterdir()} == {".py", ".pyx", ".so"}
