"""Figures of the rounds, as a table for people and as JSON for later comparison."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.macro.measure import Sample
from bench.macro.workloads import BY_NAME, Workload

RESULTS = Path(__file__).resolve().parents[1] / "results"
Figures = dict[str, Any]


def figures(samples: Sequence[Sample], memory: Mapping[str, int]) -> Figures:
    """Medians over the rounds; all rounds' CPU figures, to see how far they spread."""
    return {
        "cpu_us": round(median(s.cpu_us for s in samples), 3),
        "cpu_us_rounds": [round(s.cpu_us, 3) for s in samples],
        "per_second": round(median(s.per_second for s in samples)),
        "p50_us": round(median(s.p50_us for s in samples)),
        "p99_us": round(median(s.p99_us for s in samples)),
        "busy": round(median(s.busy for s in samples), 3),
        "requests": sum(s.requests for s in samples),
        "errors": sum(s.errors for s in samples),
        "bad_status": sum(s.bad_status for s in samples),
        "pss_kib": memory["tree"],
        "pss_largest_kib": memory["largest"],
    }


def ratios(results: Mapping[str, Figures]) -> dict[str, float]:
    """How many times more CPU per request each peer needs than fastproxy."""
    own = results.get("fastproxy")
    if own is None:
        return {}
    return {
        name: round(found["cpu_us"] / own["cpu_us"], 3)
        for name, found in results.items()
        if name != "fastproxy"
    }


def goals(workload: Workload, found: Mapping[str, float]) -> dict[str, bool]:
    wanted = {"nginx": workload.nginx, "haproxy": workload.haproxy}
    return {n: found[n] >= goal for n, goal in wanted.items() if goal and n in found}


def show(workload: Workload, results: Mapping[str, Figures]) -> None:
    print(f"\n{workload.name}: {workload.doc}")
    print(
        f"  {'':12}{'CPU us':>9}{'req/s':>10}{'p50 us':>9}{'p99 us':>9}{'busy':>6}"
        f"{'PSS MiB':>9}{'errors':>8}  {'ratio':>6}  goal"
    )
    found = ratios(results)
    reached = goals(workload, found)
    wanted = {"nginx": workload.nginx, "haproxy": workload.haproxy}
    for name, row in results.items():
        ratio = f"{found[name]:6.2f}" if name in found else "      "
        goal = ""
        if name in reached:
            goal = f">= {wanted[name]:.2f} {'reached' if reached[name] else 'MISSED'}"
        print(
            f"  {name:12}{row['cpu_us']:9.2f}{row['per_second']:10d}{row['p50_us']:9d}"
            f"{row['p99_us']:9d}{row['busy']:6.2f}{row['pss_kib'] / 1024:9.1f}"
            f"{row['errors'] + row['bad_status']:8d}  {ratio}  {goal}",
            flush=True,
        )


def machine() -> dict[str, str]:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cpus": str(sum(1 for _ in Path("/sys/devices/system/cpu").glob("cpu[0-9]*"))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "architecture": platform.machine(),
        # of 2 CPUs that other programs may use as well: above 2, latencies say little
        "load_average": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def write(
    results: Mapping[str, Mapping[str, Figures]], others: Mapping[str, Any],
    versions: Mapping[str, str], options: argparse.Namespace, took: float,
) -> None:  # fmt: skip
    now = datetime.now(UTC)
    document = {
        "date": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": dict(versions),
        "rounds": options.rounds,
        "seconds_per_run": options.seconds,
        "seconds_in_all": round(took),
        "workloads": {
            name: {
                "doc": BY_NAME[name].doc,
                "figures": found,
                "ratios": ratios(found),
                "goals_reached": goals(BY_NAME[name], ratios(found)),
            }
            for name, found in results.items()
        },
        **others,
    }
    kind = "features" if options.features else "macro"
    path = options.output or RESULTS / f"{now:%Y%m%d-%H%M}-{kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{path} ({took:.0f} s)")
