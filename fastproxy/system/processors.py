"""How many processors this process may use: affinity and the quotas of control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_processors(root: Path = Path("/")) -> int:
    """Return how many workers make sense: at least 1, a quota of 2.5 processors counts as 2.

    A worker more than the quota would be throttled by the kernel in the middle of requests.
    """
    count = len(os.sched_getaffinity(0))
    quota = processor_quota(root)
    return max(1, count if quota is None else min(count, int(quota)))


def processor_quota(root: Path = Path("/")) -> float | None:
    """Return the tightest quota of our control group and its ancestors, v1 or v2, or None."""
    quotas = [quota for directory in _groups(root) if (quota := _quota(directory)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the directories of our control group, deepest first, for every hierarchy with `cpu`.

    Inside a container the path the kernel names may not be mounted; its ancestors then are what
    the container can see, so missing directories are harmless.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            bases = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for base in bases:
            for length in range(len(parts), -1, -1):
                yield root.joinpath(base, *parts[:length])


def _quota(directory: Path) -> float | None:
    try:
        maximum, period = (directory / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            maximum = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if maximum in ("max", "-1") or not maximum.isdigit() or not period.isdigit():
        return None
    return int(maximum) / int(period) if int(period) else None
