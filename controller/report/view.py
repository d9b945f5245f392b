"""A cluster or some files as `fastproxy run` would serve them, for whoever asks about them.

The same sources, the same translation and the same compiled table; nothing is served.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controller.kubernetes.api import ConfigurationError, connect
from controller.kubernetes.objects import KubernetesObject
from controller.snapshot.snapshot import Snapshot
from controller.sources.folder import SUFFIXES
from controller.sources.manifests import Manifests, defined_twice
from controller.sources.provenance import Place
from controller.sources.source import ApiSource, Taken
from controller.translate.contributors import contributors
from controller.translate.translator import Translation, Translator
from fastproxy._core import build_matcher
from fastproxy.features import FEATURES
from fastproxy.model.configuration import ObjectReference, Route
from fastproxy.model.findings import Finding
from fastproxy.publish.compiler import NOTHING, Compiled, compile_table
from fastproxy.settings.options import Settings

SYNC_PATIENCE = 60.0  # seconds for the first complete picture of a cluster
STANDARD_INPUT = Path("-")


@dataclass(frozen=True)
class Looked:
    """The objects there are."""

    snapshot: Snapshot
    findings: tuple[Finding, ...] = ()
    places: Mapping[ObjectReference, Place] = field(default_factory=dict)
    meant: tuple[KubernetesObject, ...] = ()  # malformed objects, as they were probably meant
    skipped: tuple[Finding, ...] = ()  # what nobody looks at
    files: int = 0


@dataclass(frozen=True)
class View:
    settings: Settings
    looked: Looked
    translator: Translator
    translation: Translation
    compiled: Compiled

    @property
    def routes(self) -> Mapping[str, Route]:
        return {route.name: route for route in self.translation.desired.routes}


def view(settings: Settings, manifests: Sequence[Path]) -> View:
    """Look at files and directories (`-` is standard input), at the cluster without any.

    Raises ValueError for what cannot be looked at (settings, a directory without YAML),
    ConnectionError for a cluster which does not answer.
    """
    looked = look(settings, manifests)
    translator = Translator(contributors(settings))
    translation = translator.update(looked.snapshot)
    compiled = compile_table(translation.desired, settings, FEATURES, NOTHING, build_matcher)
    return View(settings, looked, translator, translation, compiled)


def look(settings: Settings, manifests: Sequence[Path]) -> Looked:
    if not manifests:
        taken = _cluster(settings)
        return Looked(taken.snapshot, taken.findings, meant=taken.meant)
    found = [_directory(path) for path in manifests]
    whole = found[0]
    for more in found[1:]:
        whole = _joined(whole, more)
    return whole


def _directory(path: Path) -> Looked:
    if path == STANDARD_INPUT:
        path = _spooled()
    files = _count_files(path)
    loaded = Manifests(path).load()
    return Looked(
        loaded.snapshot, loaded.findings, loaded.places, loaded.meant, loaded.skipped, files
    )


def _joined(first: Looked, second: Looked) -> Looked:
    """Both; of an object that both define the second counts, as of two files of a directory."""
    twice = [
        defined_twice(item.reference, first.places[item.reference], second.places[item.reference])
        for item in second.snapshot
        if first.snapshot.get(item.reference) is not None
    ]
    return Looked(
        first.snapshot.with_changes(second.snapshot),
        (*first.findings, *second.findings, *twice),
        {**first.places, **second.places},
        first.meant + second.meant,
        first.skipped + second.skipped,
        first.files + second.files,
    )


def _spooled() -> Path:
    """Standard input as a file, which findings about it can be located in."""
    folder = tempfile.mkdtemp(prefix="fastproxy-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "standard-input.yaml")
    path.write_bytes(sys.stdin.buffer.read())
    return path


def _count_files(path: Path) -> int:
    """How many files there are to read; ValueError when that is none."""

    def refuse(problem: OSError) -> None:
        raise ValueError(f"{problem.filename} cannot be read ({problem.strerror})")

    if not path.is_dir():
        return 1
    names = [name for _, _, names in os.walk(path, onerror=refuse) for name in names]
    count = sum(name.endswith(SUFFIXES) for name in names)
    if count:
        return count
    endings = ", ".join(SUFFIXES)
    others = f"; {len(names)} other files are there ({names[0]} ...)" if names else ""
    raise ValueError(f"{path} holds no file that ends in {endings}{others}: nothing was checked")


def _cluster(settings: Settings) -> Taken:
    options = settings.kubernetes
    if options is None:
        raise ValueError("nothing to look at; name --manifests PATH or a file with [kubernetes]")
    try:
        api = connect(options.endpoint, options.token, options.cert_auth_file_path)
    except ConfigurationError as problem:
        raise ValueError(str(problem)) from None
    source = ApiSource(api, options)
    woken = threading.Event()
    source.start(woken.set)
    try:
        pause = threading.Event()
        for _ in range(int(SYNC_PATIENCE / 0.1)):
            if source.synced():
                return source.take()
            pause.wait(0.1)
        raise ConnectionError(f"the API server gave no answer within {SYNC_PATIENCE:.0f} seconds")
    finally:
        source.stop()
