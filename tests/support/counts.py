"""How often the tests marked `long` repeat what they do.

The default suite takes small numbers. `make test-long` sets FASTPROXY_TEST_LONG and takes those of
http-safety.md 7; what the tests measured then goes to the file FASTPROXY_TEST_FIGURES names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

LONG = os.environ.get("FASTPROXY_TEST_LONG") == "1"


def times(short: int, long: int) -> int:
    return long if LONG else short


def record(name: str, **figures: float | int | str) -> None:
    """Print figures of a test; a long run also keeps them, one object of JSON by test."""
    print(f"{name}: {figures}")
    file = os.environ.get("FASTPROXY_TEST_FIGURES")
    if not LONG or not file:
        return
    path = Path(file)
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = figures
    path.write_text(json.dumps(known, indent=1) + "\n")
