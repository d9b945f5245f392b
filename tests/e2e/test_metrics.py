"""The metrics of Traefik 1.7 over real sockets (operations.md 2.1), as a client counts them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counts import times
from tests.support.feature_rows import Ask, Field, Row, answering
from tests.support.h2_client import Client as Http2Client
from tests.support.load import Load, NamedBackend
from tests.support.processes import get, wait_until
from tests.support.whole_program import SETTINGS, Proxy, started

METRICS = "[metrics.prometheus]\n"
ROWS = [
    plain := Row("plain"),
    closed := Row("closed", {"whitelist-source-range": "10.0.0.0/8"}),
    retried := Row("retried", endpoints=1, dead=1),
]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parsed(text: str) -> Series:
    found: Series = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        key = (match[1], frozenset(LABEL.findall(match[2] or "")))
        assert key not in found, line
        found[key] = float(match[3])
    return found


def value(series: Series, name: str, **labels: str) -> float:
    """The sum over all series that have these labels."""
    wanted = {(key, text) for key, text in labels.items()}
    return sum(v for (found, has), v in series.items() if found == name and wanted <= has)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("metrics")
    with Field(folder, ROWS, settings=METRICS + "[retry]\nattempts = 3") as field:
        yield field


def scraped(field: Field) -> Series:
    answer = field.ask(Ask("/metrics", entry_point="traefik"), "a.test")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.body.decode())


def test_requests_are_counted(running: Field) -> None:
    """By code, method and protocol, at the entry point and at the backend."""
    name = f"{running.host(plain)}/"
    before = scraped(running)
    for _ in range(3):
        running.ask(Ask(), running.host(plain))
    running.ask(Ask(method="POST", body=b"x"), running.host(plain))
    running.ask(Ask(headers=(answering(status=500),)), running.host(plain))
    sse = ("Accept", "text/event-stream, text/plain;q=0.5")
    running.ask(Ask(headers=(sse,)), running.host(plain))
    running.ask(Ask(), running.host(closed))
    running.ask(Ask(), "nobody.test")
    after = scraped(running)

    def more(what: str, **labels: str) -> float:
        return value(after, what, **labels) - value(before, what, **labels)

    total = "traefik_backend_requests_total"
    assert more(total, backend=name, code="200", method="GET", protocol="http") == 3
    assert more(total, backend=name, code="200", method="POST") == 1
    assert more(total, backend=name, code="500", method="GET") == 1
    assert more(total, backend=name, protocol="sse") == 1
    assert more(total, backend=f"{running.host(closed)}/", code="403") == 1
    total = "traefik_entrypoint_requests_total"
    assert more(total, entrypoint="http") == 8
    assert more(total, entrypoint="http", code="404") == 1
    assert more(total, entrypoint="traefik") == 0  # our own paths
    seconds = "traefik_backend_request_duration_seconds"
    assert more(f"{seconds}_count", backend=name) == 6
    assert more(f"{seconds}_bucket", backend=name, le="+Inf") == 6
    assert 0 < more(f"{seconds}_sum", backend=name) < 5


def test_buckets(running: Field) -> None:
    name = f"{running.host(plain)}/"
    before = scraped(running)
    running.ask(Ask(headers=(answering(delay=0.15),)), running.host(plain))
    after = scraped(running)
    bucket = "traefik_backend_request_duration_seconds_bucket"
    more = {
        bound: value(after, bucket, backend=name, le=bound)
        - value(before, bucket, backend=name, le=bound)
        for bound in ("0.1", "0.3", "1.2", "5", "+Inf")
    }
    assert more == {"0.1": 0, "0.3": 1, "1.2": 1, "5": 1, "+Inf": 1}


def test_what_is_open(running: Field) -> None:
    name = f"{running.host(plain)}/"
    with Http2Client(running.ports["http"], running.host(plain)) as client:
        streams = [client.begin(client.head("/", "GET", answering(delay=1))) for _ in range(4)]
        time.sleep(0.3)
        found = scraped(running)
        assert value(found, "traefik_backend_open_connections", backend=name) == 4
        assert value(found, "traefik_entrypoint_open_connections", entrypoint="http") == 4
        for stream in streams:
            client.wait(stream)
    found = scraped(running)
    assert value(found, "traefik_backend_open_connections", backend=name) == 0
    assert value(found, "traefik_entrypoint_open_connections", entrypoint="http") == 0


def test_retries(running: Field) -> None:
    for _ in range(4):
        assert running.ask(Ask(), running.host(retried)).status == 200
    found = scraped(running)
    name = f"{running.host(retried)}/"
    # A retry takes a turn, so all but perhaps the first meet the dead endpoint.
    assert value(found, "traefik_backend_retries_total", backend=name) in (3, 4)


def test_clients_make_no_series(running: Field) -> None:
    before = scraped(running)
    with Http2Client(running.ports["http"], running.host(plain)) as client:
        for number in range(50):
            client.ask(f"/{number}", f"M{number}", host=f"h{number}.test")
    after = scraped(running)
    assert len(after) - len(before) < 20


def test_reloads_and_processes(running: Field) -> None:
    before = scraped(running)
    file = running.folder / "manifests" / "all.yaml"
    file.write_text(file.read_text().replace("a.test", "b.test"))
    name = ("traefik_config_reloads_total", frozenset[tuple[str, str]]())
    wait_until(lambda: scraped(running)[name] > before[name] >= 1, "the reload", 5)
    found = scraped(running)
    assert abs(value(found, "traefik_config_last_reload_success") - time.time()) < 30
    assert value(found, "process_resident_memory_bytes") > 10_000_000
    assert value(found, "process_open_fds") > 10
    assert value(found, "process_cpu_seconds_total") > 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")
def test_promtool(running: Field) -> None:
    running.ask(Ask(), running.host(plain))
    text = running.ask(Ask("/metrics", entry_point="traefik"), "a.test").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done.stderr


# --- processes that die ----------------------------------------------------------------------


@pytest.fixture
def proxy(tmp_path: Path, backend: NamedBackend) -> Iterator[Proxy]:
    made = started(tmp_path, backend, SETTINGS + METRICS)
    yield made
    made.close()


def counted(proxy: Proxy) -> float:
    status, body = get(proxy.ping_port, "/metrics")
    if status != 200:
        return -1
    return value(parsed(body.decode()), "traefik_backend_requests_total", backend="a.test/")


@pytest.mark.long
def test_counters_only_grow_and_agree_with_clients(proxy: Proxy) -> None:
    before = counted(proxy)
    load = Load(proxy.port)
    last = before
    kills = times(4, 30)
    for number in range(kills):
        time.sleep(0.5)
        os.kill(proxy.process_of(f"worker {number % 2}"), signal.SIGKILL)
        now = counted(proxy)
        assert now == -1 or now >= last
        last = max(now, last)
    load.stop()
    time.sleep(0.5)
    sent, unsure = sum(load.answers.values()), len(load.lost) + load.sent_again
    # A worker may be killed between the last byte of an answer and counting it.
    assert sent - kills <= counted(proxy) - before <= sent + unsure


def test_the_observer_dies_hangs_and_comes_back(proxy: Proxy) -> None:
    """Nobody notices but who asks for the metrics."""
    load = Load(proxy.port)
    assert counted(proxy) > 0
    observer = proxy.process_of("observer")
    os.kill(observer, signal.SIGKILL)
    wait_until(lambda: proxy.process_of("observer") != observer, "the next one", 5)
    wait_until(lambda: counted(proxy) > 0, "the metrics", 5)
    os.kill(proxy.process_of("observer"), signal.SIGSTOP)
    assert get(proxy.ping_port, "/ping")[0] == 200
    os.kill(proxy.process_of("observer"), signal.SIGCONT)
    wait_until(lambda: counted(proxy) > 0, "the metrics", 5)
    load.stop()
    assert not load.lost
