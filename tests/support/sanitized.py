"""What a build under sanitizers changes for tests (`make test-sanitize`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")

# Foreign programs must not get the sanitizer's run-time.
PLAIN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

# How many times as many examples; the default suite repeats the same few, to be quick and steady.
FUZZ = int(os.environ.get("FASTPROXY_FUZZ", "1"))


def fuzz(examples: int) -> settings:
    """Settings of a fuzz test that runs so many examples in the default suite."""
    return settings(
        max_examples=examples * FUZZ,
        derandomize=FUZZ == 1,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
