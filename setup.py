"""The compiled modules; everything else stands in pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# release, debug, sanitize; none = only the metadata (the editable install, which must not compile)
BUILD = os.environ.get("FASTPROXY_BUILD", "release")
DEBUG = BUILD == "debug"
SANITIZE = BUILD == "sanitize"

COMPILE = {
    "release": ["-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wno-sign-compare"],
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

LIBRARIES = {"tls": ["ssl", "crypto"], "compress": ["z"], "digest": ["crypto"]}

extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        libraries=LIBRARIES.get(path.stem.partition("_")[0], ["dl"]),
    )
    for path in sorted(Path("fastproxy").rglob("*.pyx"))
    if BUILD != "none"
]

setup(
    ext_modules=cythonize(
        extensions, compiler_directives=DIRECTIVES, nthreads=os.cpu_count() or 1, quiet=True
    )
)
