"""The wheel: small, without generated C, symbols and probes, and with its licence."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.support.processes import ROOT

MB = 1 << 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """From what is built in place already, so nothing is compiled."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", folder,
         "--bdist-dir", folder / "tree"], cwd=ROOT, check=True, capture_output=True,
        env=os.environ | {"FASTPROXY_PROBES": "yes"},
    )  # fmt: skip
    [path] = folder.glob("*.whl")
    assert path.stat().st_size < 6 * MB
    return zipfile.ZipFile(path)


def test_what_is_in_it(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {Path(name).suffix for name in names if "dist-info" not in name} == {
        ".py", ".pyi", ".so",
    }  # fmt: skip
    assert not [name for name in names if "_probe" in name or name.startswith(("tests", "bench"))]
    assert list((ROOT / "tests/native").glob("*_probe.pyx"))
    modules = {name.partition(".")[0] for name in names if name.endswith(".so")}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "fastproxy").rglob("*.pyx")}
    assert modules == {name.removesuffix(".pyx") for name in sources}


def test_it_is_stripped(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    for name in wheel.namelist():
        if name.endswith(".so"):
            sections = subprocess.run(
                ["readelf", "--sections", "--wide", wheel.extract(name, tmp_path)],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            assert ".text" in sections, name
            assert ".symtab" not in sections and ".debug_info" not in sections, name


def test_its_metadata(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith("dist-info/METADATA")]
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier", [])
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
