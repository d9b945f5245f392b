"""Find, or build once, the programs of a real API server.

`KUBEBUILDER_ASSETS` (the envtest convention) wins. Otherwise `kube-apiserver`, `etcd` and
`kubectl` are built as ordinary Go packages by module version into a cache outside the repository
(`$XDG_CACHE_HOME/fastproxy/kubernetes-VERSION/bin`). k8s.io/kubernetes cannot be built as a
dependency without naming its staging modules, hence the generated `go.mod`.

Run `python -m tests.support.kubernetes_binaries` to build without running tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KUBERNETES = "v1.35.4"
PACKAGES = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
REQUIRED = ("kube-apiserver", "etcd")
BUILD_TIMEOUT = 3 * 3600  # seconds; two slow cores need about an hour


class Unavailable(Exception):
    """No binaries and no way to make them; the text is the reason for skipping."""


@dataclass(frozen=True)
class Binaries:
    folder: Path

    @property
    def apiserver(self) -> Path:
        return self.folder / "kube-apiserver"

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"

    @property
    def kubectl(self) -> Path | None:
        path = self.folder / "kubectl"
        return path if path.exists() else None


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fastproxy" / f"kubernetes-{KUBERNETES[1:]}"


def find(*, build: bool) -> Binaries:
    """Give the folder with the programs, building them when allowed and necessary."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        if not complete(Path(assets)):
            raise Unavailable(f"KUBEBUILDER_ASSETS={assets} lacks one of {', '.join(REQUIRED)}")
        return Binaries(Path(assets))
    folder = cache_folder() / "bin"
    if complete(folder):
        return Binaries(folder)
    if shutil.which("go") is None:
        raise Unavailable("neither KUBEBUILDER_ASSETS nor a Go toolchain is present")
    if not build:
        raise Unavailable("no kube-apiserver yet: run `make test-cluster`, which builds it once")
    make(folder)
    return Binaries(folder)


def complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in REQUIRED)


def make(folder: Path) -> None:
    """Build all programs into `folder`; a finished one is not built again."""
    source = folder.parent / "module"
    source.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_module(source)
    for name, package in PACKAGES.items():
        if os.access(folder / name, os.X_OK):
            continue
        print(f"building {package} (once, may take long) ...", file=sys.stderr, flush=True)
        partial = folder / f".{name}.partial"
        go(
            ["build", "-mod=mod", "-trimpath", "-ldflags", flags(), "-o", str(partial), package],
            source,
        )
        partial.rename(folder / name)


def flags() -> str:
    version = f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}"
    return f"-s -w {version}"


def write_module(source: Path) -> None:
    """Write a go.mod that depends on k8s.io/kubernetes and names its staging modules."""
    described = json.loads(
        go(["mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"], source)
    )
    upstream = Path(described["GoMod"]).read_text()
    staging = re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0$", upstream, re.MULTILINE)
    etcd = re.search(r"(go\.etcd\.io/etcd/server/v3) (v\S+)", upstream)
    language = re.search(r"^go (\S+)$", upstream, re.MULTILINE)
    if not staging or etcd is None or language is None:
        raise Unavailable(f"go.mod of k8s.io/kubernetes {KUBERNETES} is not as expected")
    version = "v0" + KUBERNETES.removeprefix("v1")
    lines = [
        "module fastproxy.invalid/kubernetes",
        f"go {language[1]}",
        f"require k8s.io/kubernetes {KUBERNETES}",
        f"require {etcd[1]} {etcd[2]}",
        *(f"replace {module} => {module} {version}" for module in staging),
    ]
    (source / "go.mod").write_text("\n".join(lines) + "\n")


def go(arguments: list[str], folder: Path) -> str:
    """Run the Go tool at low priority with one compiler at a time."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    environment["GOFLAGS"] = " ".join(filter(None, [os.environ.get("GOFLAGS"), "-p=1"]))
    command = ["nice", "-n", "19", "go", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=BUILD_TIMEOUT,
        )
    except (subprocess.SubprocessError, OSError) as exception:
        raise Unavailable(f"{' '.join(command)}: {exception}") from exception
    return done.stdout


if __name__ == "__main__":
    try:
        print(find(build=True).folder)
    except Unavailable as exception:
        print(f"the cluster tests will be skipped: {exception}", file=sys.stderr)
