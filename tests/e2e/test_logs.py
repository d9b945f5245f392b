"""What an operator reads: the whole program's log, and its processes in `ps`."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.api_server import ApiServer
from tests.support.load import NamedBackend
from tests.support.processes import wait_until
from tests.support.running import backend_manifest, ingress_manifest
from tests.support.scripted import Origin, proxied
from tests.support.whole_program import Proxy, started


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


SETTINGS = """
workers = 3
providersThrottleDuration = "20ms"
[entryPoints.http]
address = "127.0.0.1:0"
[entryPoints.https]
address = "127.0.0.1:0"
[entryPoints.https.tls]
minVersion = "TLS12"
[entryPoints.traefik]
address = "127.0.0.1:0"
[metrics.statsd]
"""
ONCE = (  # each fact on one line, however many workers there are
    r"fastproxy \S+ \(Python \S+\) starts as process \d+ with \S+/fastproxy.toml",
    r"routes come from the manifests in \S+",
    r"entry point http listens on 127.0.0.1:\d+",
    r"entry point https listens on 127.0.0.1:\d+",
    r"entry point traefik listens on 127.0.0.1:\d+",
    r"each of 3 workers takes \d+ connections.* \d+ descriptors may be open \(ulimit -n.*",
    r"controller runs as process \d+",
    r"worker 0 runs as process \d+",
    r"worker 1 runs as process \d+",
    r"worker 2 runs as process \d+",
    r".*metrics.statsd: is understood, but nothing is pushed.*",
    r".*minVersion.*is 'TLS12' and is ignored.*",
)


def messages(proxy: Proxy) -> list[str]:
    return [
        json.loads(text) for text in re.findall(r'msg=("(?:[^"\\]|\\.)*")', proxy.log.read_text())
    ]


def count(proxy: Proxy, pattern: str) -> int:
    return sum(re.fullmatch(pattern, text) is not None for text in messages(proxy))


def test_a_start_tells_every_fact_once(tmp_path: Path) -> None:
    """At the default level, which nobody has set."""
    backend = NamedBackend("one")
    proxy = started(tmp_path, backend, SETTINGS)
    try:
        live = r"\d+ routes?, \d+ backends? live in \d+ ms.*"
        wait_until(lambda: count(proxy, r"1 route, 1 backend live in \d+ ms.*"), "the route")
        assert [count(proxy, pattern) for pattern in ONCE] == [1] * len(ONCE), messages(proxy)
        known = [*ONCE, live, r"FP\d+ .*", r"resolved: .*"]
        odd = [m for m in messages(proxy) if not any(re.fullmatch(k, m) for k in known)]
        assert odd == []
    finally:
        proxy.close()
        backend.close()


def test_changes_and_findings_are_followed(tmp_path: Path) -> None:
    backend, other = NamedBackend("one"), NamedBackend("two")
    proxy = started(tmp_path, backend, SETTINGS)
    try:
        wait_until(lambda: count(proxy, r"1 route, 1 backend live in .*"), "the first")
        proxy.write("service.yaml", backend_manifest("shop", [other.port]))
        moved = r"1 route, 1 backend live in \d+ ms \(endpoints of 1 backend moved\)"
        wait_until(lambda: count(proxy, moved), "the move")
        annotations = "{traefik.ingress.kubernetes.io/rule-typ: PathPrefix}"
        rules = [("b.test", "/", "shop"), ("c.test", "/", "nowhere")]
        proxy.write("b.yaml", ingress_manifest("b", rules, annotations))
        wait_until(lambda: count(proxy, r"2 routes, \d backends live in \d+ ms"), "two routes")
        unknown = r"FP102 Ingress default/b .*nowhere.*404.*"
        misspelt = r"FP168 Ingress default/b .*rule-typ.*rule-type.*"
        assert (count(proxy, unknown), count(proxy, misspelt)) == (1, 1)
        (proxy.manifests / "b.yaml").unlink()
        wait_until(lambda: count(proxy, f"resolved: {unknown}"), "the end of the finding")
        assert count(proxy, f"resolved: {misspelt}") == 1
    finally:
        proxy.close()
        backend.close()
        other.close()


def test_a_finding_in_json(tmp_path: Path) -> None:
    backend = NamedBackend("one")
    settings = SETTINGS.replace(
        "[entryPoints.http]", '[traefikLog]\nformat = "json"\n[entryPoints.http]'
    )
    proxy = None
    (tmp_path / "manifests").mkdir()
    file = tmp_path / "manifests" / "b.yaml"
    file.write_text(ingress_manifest("b", [("c.test", "/", "nowhere")]))
    try:
        proxy = Proxy(tmp_path, settings)

        def found() -> list[dict[str, object]]:
            lines = [json.loads(line) for line in proxy.log.read_text().splitlines()]
            return [line for line in lines if line.get("code") == "FP102"]

        line = wait_until(found, "the finding")[0]
        assert line["level"] == "error"
        assert line["role"] == "controller"
        assert line["pid"] == proxy.process_of("controller")
        assert line["object"] == "Ingress default/b"
        assert str(line["field"]).startswith("spec.rules[0]")
        assert "404" in str(line["effect"])
        assert str(line["file"]).endswith("b.yaml")
        text = file.read_text().splitlines()[int(str(line["line"])) - 1]
        assert "nowhere" in text or "path" in text or "backend" in text
        assert re.search(r"\.\d{3}Z$", str(line["time"]))
    finally:
        if proxy is not None:
            proxy.close()
        backend.close()


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_processes_are_named(tmp_path: Path) -> None:
    backend = NamedBackend("one")
    proxy = started(tmp_path, backend, SETTINGS)
    try:
        names = ["controller", "worker 0", "worker 1", "worker 2"]
        for name in names:
            assert title(proxy.process_of(name)) == f"fastproxy: {name}"
        assert title(proxy.process.pid).startswith("fastproxy: parent run")
        short = [Path(f"/proc/{proxy.process_of(name)}/comm").read_text().strip() for name in names]
        assert short == ["fastproxy-ctl", "fastproxy-w0", "fastproxy-w1", "fastproxy-w2"]
        os.kill(proxy.process_of("worker 1"), signal.SIGKILL)
        wait_until(lambda: count(proxy, r"worker 1 runs as process \d+") == 2, "another worker 1")
        wait_until(lambda: title(proxy.process_of("worker 1")) == "fastproxy: worker 1", "its name")
    finally:
        proxy.close()
        backend.close()


def test_a_hangup_says_what_it_does(tmp_path: Path) -> None:
    backend = NamedBackend("one")
    proxy = started(tmp_path, backend, SETTINGS)
    try:
        everybody = [proxy.process_of(n) for n in ("controller", "worker 0", "worker 1")]
        os.kill(proxy.process.pid, signal.SIGHUP)
        said = r"SIGHUP: nothing is read again\..*restart.*"
        wait_until(lambda: count(proxy, said), "a word")
        time.sleep(0.3)
        assert count(proxy, said) == 1
        assert [proxy.process_of(n) for n in ("controller", "worker 0", "worker 1")] == everybody
        assert proxy.is_ready()
    finally:
        proxy.close()
        backend.close()


def test_an_api_server_that_is_away(tmp_path: Path) -> None:
    """At the start and later: one line when it is away, with the reason, and one when back."""
    server = ApiServer()
    server.start()
    server.stop()
    settings = SETTINGS + f'[kubernetes]\nendpoint = "{server.url}"\n'
    log = tmp_path / "log"

    def say(pattern: str) -> Callable[[], bool]:
        return lambda: re.search(pattern, log.read_text()) is not None

    (tmp_path / "fastproxy.toml").write_text(settings)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastproxy", "run", "--configfile", tmp_path / "fastproxy.toml"],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(say(rf"routes come from the API server {server.url}"), "the source")
        wait_until(say(r"nothing is served yet: .*Connection refused"), "why nothing is served", 30)
        server.start()
        wait_until(say(r"0 routes, 0 backends live in"), "the first picture", 60)
        server.stop()
        away = r"no contact for \d+ s \(.*\); the last configuration stays in force"
        wait_until(say(away), "that it is away", 30)
        server.start()
        wait_until(say(r"contact again; the configuration follows"), "that it is back", 60)
        assert (
            len(re.findall("level=warning.*(?:no contact|nothing is served)", log.read_text())) == 2
        )
        assert "watch of" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)
        server.stop()
