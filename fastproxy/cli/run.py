"""`fastproxy run`: the proxy itself."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastproxy.cli import version
from fastproxy.cli.check import start_problems
from fastproxy.cli.reading import add_manifests, loaded, no_provider
from fastproxy.processes.parent import Parent, Place, Programs
from fastproxy.processes.rings import Rings
from fastproxy.settings.file import file_of
from fastproxy.settings.options import Settings
from fastproxy.settings.tls_options import with_default_certificates
from fastproxy.system import logs
from fastproxy.system.descriptors import allowed, raise_limit
from fastproxy.system.listeners import ListenError
from fastproxy.system.titles import show_title

log = logging.getLogger("fastproxy")


def add(commands: Any) -> None:
    command = commands.add_parser("run", "run the proxy")
    add_manifests(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = loaded(arguments)
    if found is None:
        return 2
    settings, manifests = found.settings, arguments.manifests
    path = file_of(arguments.given)
    problems, warnings = start_problems(found, str(path) if path else "defaults", manifests)
    nothing = no_provider(manifests, settings.kubernetes is not None)
    problems += [nothing] if nothing else []
    if not problems:
        logs.set_role("parent")
        try:
            if settings.traefik_log.file_path:  # as 1.7 does
                Path(settings.traefik_log.file_path).parent.mkdir(parents=True, exist_ok=True)
            logs.configure(settings)
        except OSError as error:
            problems = [f"traefikLog.filePath: cannot be written ({error}); correct it"]
    if problems:
        return _refused(problems)
    told = [str(warning) for warning in (*found.warnings, *warnings)]
    return _start(settings, manifests, str(path) if path else "the default settings", told)


def _refused(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"fastproxy: {problem}", file=sys.stderr)
    return 2


def _warn(text: str) -> None:
    """Log a warning whatever the level: who comes from Traefik 1.7 has to see it once."""
    log.handle(log.makeRecord(log.name, logging.WARNING, __file__, 0, text, (), None))


def _start(settings: Settings, manifests: Path | None, file: str, warnings: Sequence[str]) -> int:
    from fastproxy.counters import region

    before, _ = raise_limit()
    try:
        shared = region.create_region()
    except OSError as error:
        print(f"fastproxy: no shared memory for the limits: {error}", file=sys.stderr)
        return 2
    try:
        _preload()
    except ImportError as error:
        print(f"fastproxy: the engine cannot be loaded: {error}", file=sys.stderr)
        return 2
    settings = with_default_certificates(settings)
    programs = Programs(_worker, _controller(manifests), _observer, forget_worker)
    try:
        parent = Parent(settings, programs, shared)
    except ListenError as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"fastproxy: no shared memory for the access log: {error}", file=sys.stderr)
        return 2
    log.info("%s starts as process %d with %s", version.text(), os.getpid(), file)
    for text in (*warnings, *parent.unheard):
        _warn(text)
    show_title(f"fastproxy: parent {' '.join(sys.argv[1:])}", "fastproxy")
    log.info("routes come from %s", _source(settings, manifests))
    for name, point in sorted(parent.settings.entry_points.items()):
        log.info("entry point %s listens on %s", name, point.address)
    _tell_room(parent.settings, len(parent.workers), before)
    return parent.run()


def _source(settings: Settings, manifests: Path | None) -> str:
    if manifests is not None:
        return f"the manifests in {manifests}"
    options = settings.kubernetes
    if options is not None and options.endpoint:
        return f"the API server {options.endpoint}"
    return "the API server of the cluster"


def _tell_room(settings: Settings, workers: int, before: int) -> None:
    wanted = settings.limits.max_connections
    found = allowed(wanted, len(settings.entry_points))
    raised = f", raised from {before}" if before < found.limit else ""
    descriptors = f"{found.limit} descriptors may be open (ulimit -n{raised})"
    if found.clients < wanted:
        few = found.clients < 0.9 * wanted
        log.log(
            logging.WARNING if few else logging.INFO,
            "each of %d workers takes %d connections of clients instead of the %d of"
            " limits.maxConnections, because only %s; raise that limit",
            *(workers, found.clients, wanted, descriptors),
        )
    else:
        log.info("each of %d workers takes %d connections; %s", workers, wanted, descriptors)


# Features and the controller stay out of the parent: they would be one more thing to fail there.


def _preload() -> None:
    """Load what every worker needs and is no feature: a replacement starts in half the time, the
    workers share the memory, and an engine that does not fit its libraries ends the start."""
    import fastproxy.engine.data_plane
    import fastproxy.processes.worker  # noqa: F401


def _worker(place: Place) -> None:
    from fastproxy.processes import worker

    worker.run(place)


def _observer(settings: Settings, rings: Rings, shared: int) -> None:
    from fastproxy.observer import process

    process.run(settings, rings, shared)


def _controller(manifests: Path | None) -> Callable[[int, Settings, int], None]:
    def run_controller(channel: int, settings: Settings, shared: int) -> None:
        from controller import loop
        from fastproxy.processes.heartbeat import CONTROLLER_NUMBER, Pulse
        from fastproxy.publish.publisher import open_publisher

        signal.signal(signal.SIGUSR1, lambda *_: logs.reopen())
        publisher = open_publisher(channel, settings, shared)
        pulse = Pulse(shared, CONTROLLER_NUMBER)
        loop.run(settings, manifests, publisher, beat=pulse.beat)

    return run_controller


def forget_worker(shared: int, number: int) -> None:
    """Give back what a dead worker held of the proxy-wide limits."""
    from fastproxy.counters.region import SharedRegion

    region = SharedRegion(shared)
    try:
        region.forget_worker(number)
    finally:
        region.close()
