"""The access log over real sockets (operations.md 1): a line for each exchange, what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fastproxy.settings.tables.logs import LOG_FIELDS
from tests.support.counts import times
from tests.support.feature_rows import Ask, Field, Row, answering
from tests.support.load import Load, NamedBackend
from tests.support.processes import children_of, wait_until
from tests.support.running import dead_port
from tests.support.users import JOE, USERS_SECRET
from tests.support.whole_program import SETTINGS, Proxy, started

LOG = """
[accessLog]
filePath = "{file}"
format = "{format}"
{more}
"""
EXTENDED = '[accessLog.fields]\nextended = "keep"'
RATE = "{extractorfunc: client.ip, rateset: {a: {period: 3600s, average: 1, burst: 1}}}"
OPENS_AT_ONCE = "ResponseCodeRatio(200, 300, 0, 600) > 0.5"
BASIC = {"auth-type": "basic", "auth-secret": "users"}
JOE_FIELD = ("Authorization", JOE.partition(": ")[2])
TRAEFIK = {"BackendName": "Traefik", "BackendAddr": ""}


@dataclass(frozen=True)
class Line:
    """`line` names only what is compared; F stands for the frontend's name, E for the endpoint."""

    row: Row
    line: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.row.title


def answered(status: int, flags: str, size: int, **more: Any) -> dict[str, Any]:
    """What our own answer says of itself."""
    return {
        "DownstreamStatus": status,
        "OriginStatus": status,
        "OriginContentSize": size,
        "DownstreamContentSize": size,
        "Flags": flags,
        **more,
    }


LINES = [
    Line(
        Row("endpoint", ask=Ask("/a?b=c", "POST", body=b"12345")),
        {
            "FrontendName": "F", "BackendName": "F", "BackendAddr": "E", "Flags": "",
            "OriginStatus": 200, "DownstreamStatusLine": "200 OK", "OriginContentSize": 8,
            "RequestMethod": "POST", "RequestPath": "/a?b=c", "RequestLine": "POST /a?b=c HTTP/1.1",
            "RequestContentSize": 5, "RequestProtocol": "HTTP/1.1", "RetryAttempts": 0,
            "RequestPort": "-", "ClientHost": "127.0.0.1", "ClientUsername": "-",
            "EntryPointName": "http", "RequestScheme": "http", "Worker": 0,
        },
        ("GzipRatio",),
    ),
    Line(
        Row("status of an endpoint", ask=Ask(headers=(answering(status=418),)), status=418),
        {"OriginStatus": 418, "DownstreamStatus": 418, "Flags": ""},
    ),
    Line(
        Row("no route", ask=Ask("/x?y", host="nobody.test"), status=404),
        answered(
            404, "NR", 19, FrontendName="backend not found", RequestHost="nobody.test", **TRAEFIK
        ),
    ),
    Line(
        Row("no endpoints", {"protocol": "gopher"}, status=503),
        answered(503, "UH", 19, FrontendName="F"), ("BackendURL",),
    ),
    Line(
        Row("refused", endpoints=0, dead=1, status=502),
        answered(502, "UF", 11, FrontendName="F", BackendName="F"),
    ),
    Line(
        Row("white list", {"whitelist-source-range": "10.0.0.0/8"}, status=403),
        answered(403, "WL", 9, FrontendName="ipwhitelister for F", **TRAEFIK),
    ),
    Line(
        Row("rate limit", {"rate-limit": RATE}, again=1, status=429),
        {"Flags": "RL", "FrontendName": "rate limit for F", "DownstreamStatus": 429, **TRAEFIK},
    ),
    Line(
        Row("redirect", {"app-root": "/start"}, status=302),
        {"Flags": "RD", "FrontendName": "frontend redirect for F", "OriginStatus": 302, **TRAEFIK},
    ),
    Line(
        Row("not authenticated", BASIC, status=401),
        answered(401, "UA", 17, FrontendName="Auth for F", ClientUsername="-", **TRAEFIK),
    ),
    Line(
        Row("authenticated", BASIC, ask=Ask(headers=(JOE_FIELD,))),
        {"Flags": "", "ClientUsername": "joe", "request_Authorization": "REDACTED"},
    ),
    Line(
        Row("authenticated again, without Python", BASIC, ask=Ask(headers=(JOE_FIELD,)), again=2),
        {"Flags": "", "ClientUsername": "joe"},
    ),
    Line(
        Row("wrong password", BASIC, status=401, ask=Ask(headers=(
            ("Authorization", "Basic " + b64encode(b"joe:x").decode()),))),
        {"Flags": "UA", "ClientUsername": "-"},
    ),
    Line(
        Row("user nobody asked for", ask=Ask(headers=(JOE_FIELD,))), {"ClientUsername": "-"},
    ),
    Line(
        Row("allowed hosts", {"allowed-hosts": "b.test"}, status=500),
        {"Flags": "AH", "FrontendName": "F"}, ("BackendURL",),
    ),
    Line(
        Row("buffering", service={"buffering": "maxrequestbodybytes: 3"}, status=413,
            ask=Ask(method="POST", body=b"four")),
        {"Flags": "BL", "DownstreamStatus": 413, "FrontendName": "F"},
    ),
    Line(
        Row("breaker", service={"circuit-breaker-expression": OPENS_AT_ONCE}, again=1, status=503),
        {"Flags": "UO", "DownstreamStatus": 503, "FrontendName": "F"}, ("BackendURL",),
    ),
    Line(
        Row("error page", {"error-pages": "{a: {status: ['500'], backend: a.test/, query: /p}}"},
            ask=Ask(headers=(answering(status=500),)), status=500),
        {"Flags": "EP", "OriginStatus": 500, "DownstreamStatus": 500, "FrontendName": "F"},
    ),
    Line(
        Row("headers", ask=Ask(headers=(
            ("X-One", 'a "b"\\c'), ("x-one", "ä".encode().decode("latin-1")), ("Cookie", "s=1"),
            answering(headers=[["Set-Cookie", "t=1"], ["X-Out", "o"]])))),
        {
            "request_X-One": 'a "b"\\c,ä', "request_Cookie": "REDACTED", "origin_X-Out": "o",
            "origin_Set-Cookie": "REDACTED", "downstream_Set-Cookie": "REDACTED",
            "downstream_X-Out": "o", "downstream_Content-Length": "8",
        },
        ("request_Host",),
    ),
    Line(
        Row("client behind a balancer",
            ask=Ask(headers=(("X-Forwarded-For", "192.0.2.1, 10.0.0.1"),))),
        {"ClientHost": "192.0.2.1, 10.0.0.1"},
    ),
    Line(
        Row("entry point: white list", ask=Ask(entry_point="closed"), status=403),
        {"Flags": "WL", "FrontendName": "ipwhitelister for entrypoint closed", **TRAEFIK},
    ),
    Line(
        Row("entry point: white list, no route", status=403,
            ask=Ask(entry_point="closed", host="x.test")),
        {"Flags": "WL", "FrontendName": "ipwhitelister for entrypoint closed", **TRAEFIK},
    ),
    Line(
        Row("entry point: authentication", ask=Ask(entry_point="asking"), status=401),
        {"Flags": "UA", "FrontendName": "Auth for entrypoint asking", **TRAEFIK},
    ),
    Line(
        Row("entry point: redirect", ask=Ask(entry_point="moved"), status=302),
        {"Flags": "RD", "FrontendName": "entrypoint redirect for moved", **TRAEFIK},
    ),
]  # fmt: skip
POINTS = {
    "closed": "[entryPoints.closed.whiteList]\nsourceRange = ['10.0.0.0/8']",
    "asking": "[entryPoints.asking.auth.basic]\nusers = ['a:b']",
    "moved": "[entryPoints.moved.redirect]\nentryPoint = 'other'",
}


def read(file: Path, format: str = "json") -> list[Any]:
    text = file.read_text() if file.exists() else ""
    text = text[: text.rfind("\n") + 1]  # the last line may be on its way
    return [json.loads(line) if format == "json" else line for line in text.splitlines()]


def settled(file: Path, format: str = "json") -> None:
    """Wait for the lines of the requests that have asked whether all is there."""
    wait_until(lambda: read(file, format), "lines", 5)
    count = -1
    while count != len(read(file, format)):
        count = len(read(file, format))
        time.sleep(0.1)


def next_line(file: Path, before: int) -> Any:
    wait_until(lambda: len(read(file)) > before, "the line", 3)
    return read(file)[-1]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Field, Path]]:
    folder = tmp_path_factory.mktemp("access")
    file = folder / "deep" / "access.log"
    names = '["http", "other", "closed", "asking", "moved"]'
    with Field(
        folder,
        [line.row for line in LINES],
        settings="allowMinWeightZero = true\n"
        + LOG.format(file=file, format="json", more=EXTENDED),
        entry_points=POINTS,
        default_entry_points=names,
        manifests=json.dumps(USERS_SECRET),
    ) as running:
        settled(file)
        yield running, file


@pytest.mark.parametrize("line", LINES, ids=str)
def test_lines(line: Line, logged: tuple[Field, Path]) -> None:
    running, file = logged
    for _ in range(line.row.again):
        before = len(read(file))
        running.send(line.row)
        next_line(file, before)
    before = len(read(file))
    answer = running.send(line.row)
    assert answer.status == line.row.status
    found = next_line(file, before)
    assert len(read(file)) == before + 1
    assert list(found) == sorted(found)
    name = f"{running.host(line.row)}/"
    endpoint = f"127.0.0.1:{running.backend.ports[0]}"

    def filled(value: Any) -> Any:
        if value == "E":
            return endpoint
        return re.sub(r"\bF\b", name, value) if isinstance(value, str) else value

    assert {key: found.get(key) for key in line.line} == {
        key: filled(value) for key, value in line.line.items()
    }
    assert not set(line.missing) & set(found)
    assert found["Duration"] == found["Overhead"] + found["OriginDuration"]
    assert abs(time.time() - _seconds(found["StartUTC"])) < 60


def _seconds(text: str) -> float:
    shortened = re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00")
    return datetime.fromisoformat(shortened).timestamp()


def test_every_field_occurs(logged: tuple[Field, Path]) -> None:
    """`GzipRatio` needs compression, which has a test of its own."""
    running, file = logged
    before = len(read(file))
    running.ask(Ask(), running.host(LINES[0].row))
    assert set(LOG_FIELDS) - set(next_line(file, before)) == {"GzipRatio"}


def test_our_own_paths_leave_no_line(logged: tuple[Field, Path]) -> None:
    running, file = logged
    before = len(read(file))
    assert running.ask(Ask("/ping", entry_point="traefik"), "a.test").status == 200
    running.ask(Ask(), running.host(LINES[0].row))
    next_line(file, before)
    assert len(read(file)) == before + 1


def send(port: int, data: bytes, leave: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(data)
        if leave:
            time.sleep(0.2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def test_a_client_that_left(logged: tuple[Field, Path]) -> None:
    running, file = logged
    before = len(read(file))
    host = running.host(LINES[0].row)
    slow = ": ".join(answering(delay=1))
    send(running.ports["http"], f"GET / HTTP/1.1\r\nHost: {host}\r\n{slow}\r\n\r\n".encode(), True)
    found = next_line(file, before)
    assert (found["DownstreamStatus"], found["Flags"]) == (499, "DC")


def test_what_is_no_request_leaves_no_line(logged: tuple[Field, Path]) -> None:
    running, file = logged
    before = len(read(file))
    assert send(running.ports["http"], b"GET / HTTP/9.9\r\n\r\n").startswith(b"HTTP/1.1 4")
    running.ask(Ask(), running.host(LINES[0].row))
    next_line(file, before)
    assert len(read(file)) == before + 1


COMMON = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"GET (?P<path>\S+) HTTP/1\.1" 200 '
    r'(?P<size>\d+) "(?P<referer>.*)" "(?P<agent>.*)" (?P<count>\d+) "a\.test/" '
    r'"http://127\.0\.0\.1:(?P<port>\d+)" \d+ms'
)


@dataclass
class Logged:
    proxy: Proxy
    file: Path
    backend: NamedBackend

    def ask(self, path: str = "/x", *headers: tuple[str, str], host: str = "a.test") -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers)
        text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        return send(self.proxy.port, text.encode("latin-1"))

    def lines(self) -> list[str]:
        return read(self.file, "common")


@pytest.fixture
def start(tmp_path: Path, backend: NamedBackend) -> Iterator[Any]:
    made: list[Proxy] = []

    def start(more: str = "", format: str = "common", file: str = "") -> Logged:
        path = Path(file) if file else tmp_path / "access.log"
        settings = SETTINGS + LOG.format(file=path, format=format, more=more)
        made.append(started(tmp_path, backend, settings))
        if path.parent == tmp_path and "filters" not in more and "/" not in file:
            settled(path, "common")
        return Logged(made[-1], path, backend)

    yield start
    for proxy in made:
        proxy.close()


HOSTILE = [
    ('a "b" \\', r"a \"b\" \\"),
    ("ä".encode().decode("latin-1"), "ä"),
    ("\xe4\xff", r"\xe4\xff"),
    ("a\tb", r"a\x09b"),
]


def test_common(start: Any) -> None:
    it: Logged = start()
    for value, shown in HOSTILE:
        before = len(it.lines())
        it.ask("/y?z=1", ("User-Agent", value), ("Referer", value))
        wait_until(lambda before=before: len(it.lines()) > before, "the line", 3)
        found = COMMON.fullmatch(it.lines()[-1])
        assert found is not None, it.lines()[-1]
        assert (found["path"], found["agent"], found["referer"]) == ("/y?z=1", shown, shown)
        assert int(found["port"]) == it.backend.port


MODES = [
    ("[accessLog.fields]\ndefaultMode = 'drop'",
     r'- - - \[-\] "- - -" - - "http://r/" "agent" - - - 0ms'),
    ("[accessLog.fields.names]\nRequestCount = 'drop'\nstartutc = 'drop'",
     r'.* \[\S+ \+\d{4}\] .*" - "a.test/".*'),
    ("[accessLog.fields.headers]\ndefaultMode = 'drop'", r'.* 200 \d+ "-" "-" .*'),
    ("[accessLog.fields.headers]\ndefaultMode = 'redact'\n"
     "[accessLog.fields.headers.names]\nreferer = 'keep'",
     r'.* 200 \d+ "http://r/" "REDACTED" .*'),
    ("[accessLog.fields.queryParameters]\ndefaultMode = 'drop'", r'.*"GET /y HTTP/1.1".*'),
]  # fmt: skip


@pytest.mark.parametrize(("more", "pattern"), MODES)
def test_modes(start: Any, more: str, pattern: str) -> None:
    it: Logged = start(more)
    before = len(it.lines())
    it.ask("/y?z=1", ("User-Agent", "agent"), ("Referer", "http://r/"))
    wait_until(lambda: len(it.lines()) > before, "the line", 3)
    assert re.fullmatch(pattern, it.lines()[-1]), it.lines()[-1]


FILTERS = [
    ("statusCodes = ['404']", {"/x": False, "/nobody": True, "/slow/0.3": False}),
    ("statusCodes = ['200-299']", {"/x": True, "/nobody": False, "/slow/0.3": True}),
    ("minDuration = '200ms'", {"/x": False, "/nobody": False, "/slow/0.3": True}),
    ("statusCodes = ['404']\nminDuration = '200ms'",
     {"/x": False, "/nobody": True, "/slow/0.3": True}),
    ("retryAttempts = true", {"/x": False, "/nobody": False}),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
def test_filters(start: Any, filters: str, expected: dict[str, bool]) -> None:
    it: Logged = start(f"[accessLog.filters]\n{filters}")
    for path in expected:
        it.ask(path, host="nobody.test" if path == "/nobody" else "a.test")
    time.sleep(0.3)
    shown = {path: any(f" {path} " in line for line in it.lines()) for path in expected}
    assert shown == expected


def observer_of(proxy: Proxy) -> int:
    return proxy.process_of("observer")


@pytest.mark.long
def test_one_line_for_each_answer_whatever_dies(start: Any, tmp_path: Path) -> None:
    """Workers and observers are killed under load, and files rotate; clients count the answers.

    A request whose worker dies is lost for its client, and may or may not have ended there.
    """
    it: Logged = start()
    time.sleep(0.2)
    before = len(it.lines())
    load = Load(it.proxy.port)
    rotated: list[Path] = []
    kills = times(6, 50)
    for number in range(kills):
        time.sleep(0.3)
        if number % 3 == 0:
            os.kill(it.proxy.process_of(f"worker {number % 2}"), signal.SIGKILL)
        elif number % 3 == 1:
            os.kill(observer_of(it.proxy), signal.SIGKILL)
        else:
            rotated.append(it.file.rename(tmp_path / f"access.{number}"))
            os.kill(it.proxy.process.pid, signal.SIGUSR1)
    answers = load.stop()
    time.sleep(1.5)
    lines = [line for file in (*rotated, it.file) for line in read(file, "common")]
    assert all(COMMON.fullmatch(line) for line in lines)
    numbers = [int(COMMON.fullmatch(line)["count"]) for line in lines]  # type: ignore[index]
    assert len(set(numbers)) == len(numbers)
    sent = sum(load.answers.values())
    unsure = len(load.lost) + load.sent_again
    # A worker may be killed between the last byte of an answer and its line.
    assert sent - kills <= len(lines) - before <= sent + unsure, answers


def test_a_stopped_observer_delays_nobody(start: Any) -> None:
    """It may hang as long as it likes; when the ring is full, lines are dropped and counted."""
    it: Logged = start("bufferBytes = 65536")
    os.kill(observer_of(it.proxy), signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(600):
        assert b"200 OK" in it.ask("/x", ("User-Agent", "a" * 500))
    assert time.monotonic() - began < 30
    os.kill(observer_of(it.proxy), signal.SIGCONT)
    wait_until(lambda: len(it.lines()) > 50, "the lines that were kept", 5)
    text = r"(\d+) lines of the access log were dropped"
    wait_until(lambda: re.search(text, it.proxy.log.read_text()), "the word about it", 15)
    told = sum(map(int, re.findall(text, it.proxy.log.read_text())))
    time.sleep(0.5)
    assert sum("GET /x" in line and "aaa" in line for line in it.lines()) == 600 - told


def test_lines_on_standard_output_are_whole(start: Any) -> None:
    it: Logged = start(file="/dev/stdout")
    for _ in range(20):
        it.ask()
    wait_until(lambda: len(COMMON.findall(it.proxy.log.read_text())) >= 20, "the lines", 5)


def test_the_last_lines_are_written_at_the_end(start: Any) -> None:
    it: Logged = start("bufferingSize = 100")
    for _ in range(50):
        it.ask()
    it.proxy.process.send_signal(signal.SIGTERM)
    it.proxy.process.wait(15)
    assert sum("GET /x" in line for line in it.lines()) >= 50
    assert not children_of(it.proxy.process.pid)


def test_a_file_that_cannot_be_opened_is_told(start: Any, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("")
    it: Logged = start(file=str(tmp_path / "no-folder" / "log"))
    wait_until(lambda: "accessLog.filePath" in it.proxy.log.read_text(), "the complaint", 5)
    assert b"200 OK" in it.ask()
    assert dead_port()  # nothing else was harmed


def test_a_pipe_without_reader_holds_nobody_up(start: Any, tmp_path: Path) -> None:
    """It is opened when somebody reads it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    it: Logged = start(file=str(pipe))
    wait_until(lambda: "cannot be opened" in it.proxy.log.read_text(), "the complaint", 5)
    for _ in range(5):
        assert b"200 OK" in it.ask()
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        data = b""

        def enough() -> bool:
            nonlocal data
            data += reader.read() or b""
            return data.count(b"GET /x") >= 5

        wait_until(enough, "the lines", 10)


def test_retried_requests(tmp_path: Path) -> None:
    file = tmp_path / "log"
    row = Row("retried", endpoints=1, dead=1)
    more = "[accessLog.filters]\nretryAttempts = true"
    settings = "[retry]\nattempts = 3\n" + LOG.format(file=file, format="json", more=more)
    with Field(tmp_path, [row], settings=settings) as running:
        for _ in range(4):
            assert running.send(row).status == 200
        wait_until(lambda: len(read(file)) >= 2, "the lines", 3)
        assert {line["RetryAttempts"] for line in read(file)} == {1}
        assert {line["OriginStatus"] for line in read(file)} == {200}


def test_compressed_answers(tmp_path: Path) -> None:
    file = tmp_path / "log"
    row = Row(
        "compressed", ask=Ask(headers=(("Accept-Encoding", "gzip"), answering(body="a" * 10_000)))
    )
    settings = LOG.format(file=file, format="json", more="")
    with Field(
        tmp_path, [row], settings=settings, entry_points={"http": "compress = true"}
    ) as running:
        answer = running.send(row)
        found = next_line(file, len([x for x in read(file) if x["OriginContentSize"] != 10_000]))
        assert found["OriginContentSize"] == 10_000
        assert found["DownstreamContentSize"] == len(answer.body) < 500
        assert found["GzipRatio"] == 10_000 / len(answer.body)
