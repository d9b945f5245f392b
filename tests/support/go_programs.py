"""Programs for tests, built once from public Go modules into a cache outside the repository.

`program(HELM)` looks on PATH, then in `$XDG_CACHE_HOME/fastproxy/go`, then builds. Who needs one
where it is not and cannot be made gets `Unavailable`, whose text is the reason for skipping.

Run `python -m tests.support.go_programs NAME...` to build without running tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 1800  # seconds for building one; helm takes three minutes on two slow cores


class Unavailable(Exception):
    pass


@dataclass(frozen=True)
class Program:
    name: str
    package: str
    version: str

    @property
    def place(self) -> Path:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return base / "fastproxy" / "go" / f"{self.name}-{self.version}" / self.name


HELM = Program("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
KUSTOMIZE = Program("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.8.1")
H2SPEC = Program("h2spec", "github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible")
PROGRAMS = {program.name: program for program in (HELM, KUSTOMIZE, H2SPEC)}


def program(wanted: Program, *, build: bool = False) -> Path:
    """The path of a program; one on PATH counts, whatever its version."""
    found = shutil.which(wanted.name)
    if found:
        return Path(found)
    if os.access(wanted.place, os.X_OK):
        return wanted.place
    if shutil.which("go") is None:
        raise Unavailable(f"neither {wanted.name} nor a Go toolchain is present")
    if not build:
        raise Unavailable(f"no {wanted.name}: python -m tests.support.go_programs {wanted.name}")
    return _built(wanted)


def _built(wanted: Program) -> Path:
    folder = wanted.place.parent
    partial = folder / ".partial"
    partial.mkdir(parents=True, exist_ok=True)
    source = f"{wanted.package}@{wanted.version}"
    print(f"building {source} (once) ...", file=sys.stderr, flush=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOBIN": str(partial)}
    try:
        subprocess.run(
            ["nice", "go", "install", source],
            env=environment,
            cwd=folder,
            check=True,
            timeout=TIMEOUT,
        )
    except (subprocess.SubprocessError, OSError) as problem:
        raise Unavailable(f"{source} cannot be built: {problem}") from problem
    (partial / wanted.name).rename(wanted.place)
    return wanted.place


def main(names: list[str]) -> int:
    status = 0
    for name in names:
        try:
            print(program(PROGRAMS[name], build=True))
        except Unavailable as problem:
            print(f"tests which need it will be skipped: {problem}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
