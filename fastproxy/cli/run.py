"""`fastproxy run`: the proxy itself."""

from __future__ import annotations

import argparse
import contextlib
import logging
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastproxy import logs
from fastproxy.cli.check import add_file, loaded, tls_problems
from fastproxy.listeners import ListenError
from fastproxy.parent import Parent, Place, Programs
from fastproxy.settings import LOG_LEVELS, Settings
from fastproxy.tls_options import with_default_certificates

log = logging.getLogger("fastproxy")


def add(commands: Any) -> None:
    command = commands.add_parser("run", help="run the proxy")
    add_file(command)
    command.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        help="read Ingresses, Services, EndpointSlices and Secrets from the YAML files of a"
        " directory instead of an API server",
    )
    command.add_argument(
        "--workers", metavar="N", type=int, help="worker processes; default: one per processor"
    )
    command.add_argument(
        "--log-level",
        "--logLevel",
        metavar="LEVEL",
        type=str.upper,
        choices=LOG_LEVELS,
        help=f"one of {', '.join(LOG_LEVELS)}; default: ERROR",
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = loaded(arguments)
    if found is None:
        return 2
    settings = found.settings
    if arguments.workers is not None:
        settings = replace(settings, workers=arguments.workers)
    if arguments.log_level is not None:
        settings = replace(settings, log_level=arguments.log_level)
    refusal = _refusal(settings, arguments.manifests)
    if refusal is None:
        try:
            logs.configure(settings)
        except OSError as error:
            refusal = f"traefikLog.filePath: cannot be written ({error}); correct it"
    if refusal is not None:
        print(f"fastproxy: {refusal}", file=sys.stderr)
        return 2
    for warning in found.warnings:
        log.warning("%s", warning)
    return _start(settings, arguments.manifests)


def _refusal(settings: Settings, manifests: Path | None) -> str | None:
    if not 0 <= settings.workers <= 1024:
        return f"--workers is {settings.workers}; write 1 to 1024, or 0 for one per processor"
    if manifests is not None:
        try:
            next(manifests.iterdir(), None)
        except OSError as error:
            return f"--manifests {manifests} cannot be read ({error.strerror}); name a directory"
    elif settings.kubernetes is None:
        return (
            "nothing says where routes come from; add a [kubernetes] table to the settings file,"
            " or --manifests DIR"
        )
    return None


def _start(settings: Settings, manifests: Path | None) -> int:
    from fastproxy import _shared

    with contextlib.suppress(OSError, ValueError):  # a lower limit is no reason not to start
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        shared = _shared.create_region()
    except OSError as error:
        print(f"fastproxy: no shared memory for the limits: {error}", file=sys.stderr)
        return 2
    try:
        _preload()
    except ImportError as error:
        print(f"fastproxy: the engine cannot be loaded: {error}", file=sys.stderr)
        return 2
    settings = with_default_certificates(settings)
    problems, _ = tls_problems(settings)
    for problem in problems:
        print(f"fastproxy: {problem}", file=sys.stderr)
    if problems:
        return 2
    programs = Programs(_worker, _controller(manifests), forget_worker)
    try:
        parent = Parent(settings, programs, shared)
    except ListenError as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        return 2
    for name, point in sorted(parent.settings.entry_points.items()):
        log.info("entry point %s listens on %s", name, point.address)
    return parent.run()


# Features and the controller stay out of the parent: they would be one more thing to fail there.


def _preload() -> None:
    """Load what every worker needs and is no feature: a replacement starts in half the time, the
    workers share the memory, and an engine that does not fit its libraries ends the start."""
    import fastproxy.engine.data_plane
    import fastproxy.worker  # noqa: F401


def _worker(place: Place) -> None:
    from fastproxy import worker

    worker.run(place)


def _controller(manifests: Path | None) -> Callable[[int, Settings, int], None]:
    def run_controller(channel: int, settings: Settings, shared: int) -> None:
        from controller import loop
        from fastproxy.publish import open_publisher

        signal.signal(signal.SIGUSR1, lambda *_: logs.reopen())
        loop.run(settings, manifests, open_publisher(channel, settings, shared))

    return run_controller


def forget_worker(shared: int, number: int) -> None:
    """Give back what a dead worker held of the proxy-wide limits."""
    from fastproxy._shared import SharedRegion

    region = SharedRegion(shared)
    try:
        region.forget_worker(number)
    finally:
        region.close()
