"""The compiled modules; everything else stands in pyproject.toml.

A build may end at any point, by Ctrl-C, a full disk, a crash. What it has written half looks newer
than its source, so the next build would take it for done: everything a build writes gets its name
only when it is complete.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.install_lib import install_lib

# release, debug, sanitize; none = only the metadata (the editable install, which must not compile)
BUILD = os.environ.get("FASTPROXY_BUILD", "release")
DEBUG = BUILD == "debug"
SANITIZE = BUILD == "sanitize"
PROBES = (
    os.environ.get("FASTPROXY_PROBES") == "yes"
)  # modules for tests, which nothing else imports

COMPILE = {
    # No debug information: most of each file would be that, and `make debug` is there for it.
    "release": ["-O3", "-g0", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wno-sign-compare"],
    "debug": ["-O0", "-g", "-UNDEBUG"],
    # Undefined behaviour traps, which AddressSanitizer reports as ILL, with the line.
    "sanitize": [
        *("-O1", "-g", "-fno-omit-frame-pointer"),
        *("-fsanitize=address,undefined", "-fsanitize-undefined-trap-on-error"),
    ],
    "none": [],
}[BUILD]
LINK = ["-fsanitize=address"] if SANITIZE else []

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": False,
    "linetrace": False,
}

# By the module or its package.
LIBRARIES = {
    "fastproxy.engine.tls": ["ssl", "crypto"],
    "fastproxy.engine.exchange.compress": ["z"],
    "fastproxy.engine.operations.digest": ["crypto"],
    "tests.native.tls_probe": ["ssl", "crypto"],
}

C_FILES = Path("build/c")
UNFINISHED = Path("build/.translating")


def translate(extensions: list[Extension]) -> None:
    """Have Cython write the C of every module that has changed, and make it the modules' source."""
    if UNFINISHED.exists():
        begun = UNFINISHED.stat().st_mtime
        for file in C_FILES.rglob("*.c"):
            if file.stat().st_mtime >= begun:
                file.unlink()
    UNFINISHED.parent.mkdir(exist_ok=True)
    UNFINISHED.touch()
    translated = cythonize(
        extensions,
        build_dir=str(C_FILES),
        compiler_directives=DIRECTIVES,
        nthreads=os.cpu_count() or 1,
        quiet=True,
    )
    UNFINISHED.unlink()
    for extension, with_c in zip(extensions, translated, strict=True):
        extension.sources, extension.depends = with_c.sources, with_c.depends


class Build(build_ext):
    """Compile on all processors; what is half written has another name than what is done."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        translate(self.extensions)
        link = self.compiler.link_shared_object

        def link_whole(objects: list[str], output: str, *arguments: Any, **named: Any) -> None:
            link(objects, f"{output}.part", *arguments, **named)
            Path(f"{output}.part").replace(output)

        self.compiler.link_shared_object = link_whole
        super().build_extensions()

    def copy_file(self, source: str, target: str, *arguments: Any, **named: Any) -> Any:
        """Copy into the source tree; a process that has the old file mapped keeps the old file."""
        if Path(target).exists() and filecmp.cmp(source, target, shallow=False):
            return target, False
        shutil.copy(source, f"{target}.part")
        Path(f"{target}.part").replace(target)
        return target, True


class Stripped(install_lib):
    """What goes into a wheel: this tree's modules, without symbols and without probes."""

    def install(self) -> Any:
        written = []
        for file in super().install() or []:
            path = Path(file)
            source = Path(path.relative_to(Path(self.install_dir)))
            module = source.with_name(f"{source.name.partition('.')[0]}.pyx")
            known = source if path.suffix == ".py" else module
            if not known.exists() or source.parts[0] == "tests":
                path.unlink()  # left in build/ by an earlier build
                continue
            if path.suffix == ".so":
                subprocess.run(["strip", "--strip-unneeded", file], check=True)
            written.append(file)
        return written


def sources() -> list[Path]:
    if BUILD == "none":
        return []
    found = list(Path("fastproxy").rglob("*.pyx"))
    return sorted(found + list(Path("tests/native").glob("*.pyx")) if PROBES else found)


def libraries(module: str) -> list[str]:
    named = (names for prefix, names in LIBRARIES.items() if f"{module}.".startswith(f"{prefix}."))
    return next(named, ["dl"])


extensions = [
    Extension(
        module := ".".join(path.with_suffix("").parts),
        [str(path)],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        libraries=libraries(module),
        depends=["setup.py"],
    )
    for path in sources()
]

setup(ext_modules=extensions, cmdclass={"build_ext": Build, "install_lib": Stripped})
