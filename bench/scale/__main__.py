"""Run fastproxy against an API server with the objects of a large cluster.

    python -m bench.scale                      # stand-in API server
    python -m bench.scale --server real        # kube-apiserver and etcd, built once
    python -m bench.scale --ingresses 100      # one size only

One run measures several sizes one after the other, to see what depends on the size. The result goes
to bench/results/ as JSON. `providersThrottleDuration` is 0, so that the figures are
the cost of the work; with Traefik's default a second change waits up to 2 s.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.macro.report import machine
from bench.scale.cluster import NAMESPACE, Size, objects
from bench.scale.inside import inside
from bench.scale.measure import (
    Clients,
    Probe,
    cpu_seconds,
    endpoint_changes,
    ingress_changes,
    processes,
    sustained,
)
from tests.support.api_server import ApiServer
from tests.support.kubernetes_binaries import find
from tests.support.network import enter_private_network, pod_address
from tests.support.real_server import RealServer
from tests.support.serving import Pod, Serving

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    arguments = _arguments()
    sizes = [Size(n, 4 * n, n * 2 // 5) for n in map(int, arguments.ingresses.split(","))]
    enter_private_network()
    pods = [Pod(name, pod_address(n), 8080) for n, name in enumerate(("left", "right"))]
    results = [one_size(size, pods, arguments) for size in sizes]
    report = {
        "what": "control path at scale",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg(),  # others on the machine are part of the figures
        "server": arguments.server,
        "workers": arguments.workers,
        "sizes": results,
    }
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = RESULTS / f"scale-{arguments.server}-{sizes[-1].ingresses}-{stamp}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    print(path)


def one_size(size: Size, pods: list[Pod], arguments: argparse.Namespace) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        server, access = stack.enter_context(_server(arguments.server))
        populate(server, size)
        print(f"{size}: populated in {time.monotonic() - started:.1f} s", flush=True)
        result: dict[str, Any] = {"size": asdict(size), "rebuild": rebuild(size)}
        result["inside_the_controller"] = inside(size)
        print(json.dumps(result), flush=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        serving = Serving(folder, workers=arguments.workers, log_level="ERROR", **access)
        stack.callback(serving.stop)
        return result | measure(server, serving, pods, size, arguments)


def measure(
    server: Any, serving: Serving, pods: list[Pod], size: Size, arguments: argparse.Namespace
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    started = time.monotonic()
    serving.start()
    serving.wait_ready(180.0)
    result["start_to_ready_s"] = round(time.monotonic() - started, 2)
    result["processes_when_ready"] = processes(serving)
    clients = Clients(serving)
    probe = Probe(server, pods)
    probe.time(clients)  # from addresses where nobody answers to the first pod
    result["one_endpoint_change"] = endpoint_changes(probe, clients)
    print(json.dumps(result), flush=True)
    result["one_ingress_change"] = ingress_changes(server, clients, size)
    print(json.dumps(result["one_ingress_change"]), flush=True)
    controller = serving.controller()
    before, began = cpu_seconds(controller), time.monotonic()
    result["sustained_endpoint_changes"] = sustained(
        server, probe, clients, size, arguments.rate, arguments.seconds
    )
    used = (cpu_seconds(controller) - before) / (time.monotonic() - began)
    result["sustained_endpoint_changes"]["controller_cpu_share"] = round(used, 3)
    result["processes_at_the_end"] = processes(serving)
    clients.close()
    return result


def rebuild(size: Size) -> dict[str, float]:
    """What a full rebuild costs, in this process: parse, translate, compile the table."""
    from controller.sources.reflector import Change, Key
    from controller.sources.source import Cache
    from controller.translate.contributors import translate
    from fastproxy._core import build_matcher
    from fastproxy.features import FEATURES
    from fastproxy.publish.compiler import NOTHING, compile_table
    from fastproxy.settings.options import EntryPoint, Kubernetes, Settings

    points = {"http": EntryPoint(":80"), "https": EntryPoint(":443")}
    settings = Settings(
        entry_points=points, default_entry_points=("http", "https"), kubernetes=Kubernetes()
    )
    documents = [
        Change(Key(kind, NAMESPACE, item["metadata"]["name"]), item) for kind, item in objects(size)
    ]
    moments = [time.perf_counter()]
    cache = Cache()
    cache.deliver(documents)
    snapshot = cache.take().snapshot
    moments.append(time.perf_counter())
    desired = translate(snapshot, settings).desired
    moments.append(time.perf_counter())
    compiled = compile_table(desired, settings, FEATURES, NOTHING, build_matcher)
    moments.append(time.perf_counter())
    parse, translate, build = (b - a for a, b in itertools.pairwise(moments))
    return {
        "parse_s": round(parse, 3),
        "translate_s": round(translate, 3),
        "compile_s": round(build, 3),
        "routes": len(desired.routes),
        "table_bytes": len(compiled.block),
    }


def populate(server: Any, size: Size) -> None:
    if isinstance(server, ApiServer):
        for kind, item in objects(size):
            server.create(kind, item)
        return
    server.namespace(NAMESPACE)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda pair: server.create(*pair), list(objects(size))):
            pass


@contextlib.contextmanager
def _server(which: str) -> Iterator[tuple[Any, dict[str, str]]]:
    if which == "stand-in":
        with ApiServer() as server:
            yield server, {"endpoint": server.url}
        return
    real = RealServer(find(build=True))
    try:
        real.start()
        access = {"endpoint": real.url, "token": "administrator-token"}
        yield real, {**access, "ca_file": str(real.ca_file)}
    finally:
        real.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--server", choices=("stand-in", "real"), default="stand-in")
    parser.add_argument(
        "--ingresses",
        default="100,1000,5000",
        help="sizes; to each Ingress come a Service, 4 endpoints, and to two of five a certificate",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=int, default=100, help="endpoint changes per second")
    parser.add_argument("--seconds", type=int, default=20, help="how long to sustain them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
