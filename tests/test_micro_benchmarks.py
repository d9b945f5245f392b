"""Every micro benchmark runs once, so that they cannot rot; nothing is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_every_micro_benchmark_runs() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", "bench/micro"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
