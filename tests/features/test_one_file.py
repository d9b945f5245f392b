"""One feature, one file: without the file, and its line in the list, the feature is gone.

Its annotations are unknown then, and everything else starts and works as before.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from controller.dialects.traefik.names import PROTECTING
from fastproxy.feature import Feature, Scope
from tests.support.feature_rows import ingress
from tests.support.running import backend_manifest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "fastproxy" / "features"
MODULES = sorted(
    path.stem for path in FOLDER.iterdir() if not path.name.startswith("_") and path.suffix != ".so"
)
# What others cannot do without, and who these are.
NEEDED = {
    "entry_points": "controller",  # names of routes, where they are offered
    "path_rules": "controller",
    "priority": "controller",
    "protocol": "controller",
    "weights": "controller",
    "auth": "fastproxy/publish/entry_point_features.py",  # entry points have these features too
    "redirect": "fastproxy/publish/entry_point_features.py",
    "whitelist": "fastproxy/publish/entry_point_features.py",
    "api": "fastproxy/publish/compiler.py",
    "metrics": "fastproxy/publish/compiler.py",
}
WITHOUT = [name for name in MODULES if name not in NEEDED]


def importers(name: str) -> set[str]:
    """Files outside of the folder which import a feature by its name."""
    form = re.compile(
        rf"^from fastproxy\.features(\.{name}\b| import (\([^)]*|[\w, ]*)\b{name}\b)", re.MULTILINE
    )
    files = [*(ROOT / "fastproxy").rglob("*.py*"), *(ROOT / "controller").rglob("*.py*")]
    return {
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix in (".py", ".pyx") and FOLDER not in path.parents and path.is_file()
        if form.search(path.read_text())
    }


@pytest.mark.parametrize("name", MODULES)
def test_who_knows_a_feature(name: str) -> None:
    found = importers(name)
    if name in WITHOUT:
        assert found == set()
    else:
        assert found
        assert all(path.startswith(NEEDED[name]) for path in found), found


def copied(folder: Path, gone: str) -> None:
    """The program without one feature; what stays the same is linked."""
    for package in ("fastproxy", "controller"):
        (folder / package).mkdir()
        for path in (ROOT / package).iterdir():
            if path.name not in ("features", "__pycache__"):
                (folder / package / path.name).symlink_to(path)
    features = folder / "fastproxy" / "features"
    features.mkdir()
    for path in FOLDER.iterdir():
        if path.stem not in (gone, "__init__", "__pycache__"):
            (features / path.name).symlink_to(path)
    text = (FOLDER / "__init__.py").read_text()
    lines = re.sub(rf"^ +{gone}(\.\w+)?,\n", "", text, flags=re.MULTILINE)
    assert len(text.splitlines()) - len(lines.splitlines()) >= 2
    (features / "__init__.py").write_text(lines)


def features_of(name: str) -> list[Feature]:
    module = importlib.import_module(f"fastproxy.features.{name}")
    return [value for value in vars(module).values() if isinstance(value, Feature)]


@pytest.mark.parametrize("name", WITHOUT)
def test_without_its_file_a_feature_is_gone(tmp_path: Path, name: str) -> None:
    copied(tmp_path, name)
    annotations = [(f.scope, a) for f in features_of(name) for a in f.annotations]
    assert annotations
    on = {
        scope: {a.keys[0]: a.example for where, a in annotations if where is scope}
        for scope in Scope
    }
    service = backend_manifest("shop", [80]).replace(
        "metadata: {name: shop, namespace: default}",
        "metadata: {name: shop, namespace: default, annotations: "
        f"{json.dumps(on[Scope.SERVICE])}}}",
    )
    shop = ingress("shop", "shop.test", "/", "shop", on[Scope.INGRESS])
    (tmp_path / "manifests.yaml").write_text(f"{service}\n---\n{shop}")
    (tmp_path / "settings.toml").write_text('[entryPoints.http]\naddress = ":80"\n')
    program = (
        "import sys, fastproxy.processes.worker, fastproxy.processes.parent, fastproxy.cli as cli\n"
        "sys.exit(cli.main(['lint', '--format', 'json', '--configfile', 'settings.toml',"
        " '--manifests', 'manifests.yaml']))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    told = {(f["code"], f["field"]) for f in json.loads(found.stdout)}
    codes = {True: "FP225", False: "FP168"}  # what was to protect is an error
    assert told == {
        (codes[bool(PROTECTING.search(a.name))], f"metadata.annotations[{a.keys[0]}]")
        for _, a in annotations
    }
    assert found.returncode == int("FP225" in {code for code, _ in told}), found.stderr
