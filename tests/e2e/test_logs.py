"""SIGUSR1 to the first process: every process goes on in a new log file."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

from tests.support.processes import wait_until
from tests.support.running import ingress_manifest
from tests.support.scripted import Origin, proxied


def test_log_files_are_reopened_by_all_processes(tmp_path: Path) -> None:
    file, old = tmp_path / "fastproxy-own.log", tmp_path / "rotated.log"
    origin = Origin()
    main = f'logLevel = "INFO"\ntraefikLog.filePath = "{file}"'
    with proxied(tmp_path, {"shop": [("127.0.0.1", origin.port)]}, main=main) as proxy:
        assert "worker 0 runs as process" in file.read_text()
        file.rename(old)
        os.kill(proxy.pid, signal.SIGUSR1)
        numbers = itertools.count()

        def controller_writes() -> bool:
            """Each time about another Ingress: a file is opened with the next line in it."""
            rules = [("b.test", "/", f"nowhere{next(numbers)}")]
            (tmp_path / "manifests" / "broken.yaml").write_text(ingress_manifest("broken", rules))
            time.sleep(0.5)
            return file.exists() and "nowhere" in file.read_text()

        wait_until(controller_writes, "the controller's word in the new file")
        os.kill(proxy.pid, signal.SIGTERM)
        wait_until(lambda: "stopping" in file.read_text(), "the parent's word in the new file")
        assert "has died" not in old.read_text() + file.read_text()
    origin.close()
