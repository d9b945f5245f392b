"""Every limit at its edge: what is exactly as large is served, one more gets the documented answer,
however the bytes arrive."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from fastproxy import expression, templates
from fastproxy.features import rate_limit
from fastproxy.features.auth import passwords
from fastproxy.features.auth.forward import LIMIT as ANSWER
from fastproxy.features.error_pages import PAGE_LIMIT
from tests.support.feature_rows import Ask, Backend, Field, Row, answering, ingress, running
from tests.support.processes import wait_until
from tests.support.scripted import Client

LIMITS = """
[limits]
requestLine = 256
headerBlock = 1024
headerLines = 20
trailerBlock = 128
trailerLines = 3
requestBody = 4000
upstreamHeadBlock = 2048
requestsPerConnection = 3
"""


# --- [limits]: bytes to the client's side ---


def head(size: int = 0, lines: int = 0, method: str = "GET", more: str = "") -> bytes:
    """A head of that many bytes, and of that many header lines."""
    text = f"{method} / HTTP/1.1\r\nHost: HOST\r\nTE: trailers\r\nConnection: te\r\n{more}"
    while lines and text.count("\r\n") - 1 < lines:
        text += f"X-{text.count('X-')}: a\r\n"
    if size:
        text += "X-Long: "
        text += "b" * (size - len(text) - len("HOST.test") + len("HOST") - 4) + "\r\n"
    return f"{text}\r\n".encode()


def request_line(size: int) -> bytes:
    fixed = len("GET / HTTP/1.1")
    return f"GET /{'a' * (size - fixed)} HTTP/1.1\r\nHost: HOST\r\n\r\n".encode()


def body(size: int) -> bytes:
    return head(method="POST", more=f"Content-Length: {size}\r\n") + b"c" * size


def chunked(size: int, trailers: bytes = b"") -> bytes:
    start = head(method="POST", more="Transfer-Encoding: chunked\r\n")
    return start + b"%x\r\n%b\r\n0\r\n%b\r\n" % (size, b"c" * size, trailers)


def trailer_block(size: int) -> bytes:
    """Of lines with their ends, without the empty one."""
    return chunked(1, b"X-T: " + b"d" * (size - len("X-T: \r\n")) + b"\r\n")


def trailer_lines(count: int) -> bytes:
    return chunked(1, b"".join(b"X-%d: e\r\n" % number for number in range(count)))


def header_lines(count: int) -> bytes:
    return head(lines=count)


EDGES: dict[str, tuple[Callable[[int], bytes], int, int]] = {
    # what is sent for a size, the largest one, the answer to one more
    "requestLine": (request_line, 256, 414),
    "headerBlock": (head, 1024, 431),
    "headerLines": (header_lines, 20, 431),
    "requestBody": (body, 4000, 413),
    "requestBody, chunked": (chunked, 4000, 413),
    "trailerBlock": (trailer_block, 128, 400),
    "trailerLines": (trailer_lines, 3, 400),
}


def status_of(port: int, host: str, data: bytes, pieces: int) -> int:
    data = data.replace(b"HOST", b"%b" % host.encode(), 1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for start in range(0, len(data), pieces):
                client.sendall(data[start : start + pieces])
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before the end; what it says is read below
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (piece := client.recv(65536)):
                break
            answer += piece
        return int(answer.split(b" ", 2)[1])


# --- annotations: values, and bytes ---


def rates(count: int) -> dict[str, str]:
    sets = "".join(
        f"  r{number}:\n    period: {number + 1}s\n    average: 100\n    burst: 1000\n"
        for number in range(count)
    )
    return {"rate-limit": f"extractorfunc: client.ip\nrateset:\n{sets}"}


def pattern(size: int) -> dict[str, str]:
    regex = "^http://never/" + "a" * (size - len("^http://never/"))
    return {"redirect-regex": regex, "redirect-replacement": "http://b/"}


def terms(count: int) -> dict[str, str]:
    return {"circuit-breaker-expression": " || ".join(["NetworkErrorRatio() > 0.9"] * count)}


def nested(depth: int) -> dict[str, str]:
    text = "(" * depth + "NetworkErrorRatio() > 0.9" + ")" * depth
    return {"circuit-breaker-expression": text}


def characters(size: int) -> dict[str, str]:
    return {"circuit-breaker-expression": "NetworkErrorRatio() > 0.9".ljust(size)}


@dataclass(frozen=True)
class Edge:
    """An annotation that is in force at `largest`, and one more does what is documented: the route
    is not there (404)."""

    make: Callable[[int], dict[str, str]]
    largest: int
    on_service: bool = False
    beyond: int = 404

    def row(self, title: str, size: int) -> Row:
        made = self.make(size)
        return Row(f"{title} {size}", *(({}, made) if self.on_service else (made,)))


VALUES = {
    "rate sets": Edge(rates, rate_limit.MAX_BUCKETS),
    "pattern": Edge(pattern, templates.MAX_PATTERN),
    "terms": Edge(terms, expression.MAX_INSTRUCTIONS // 2, on_service=True),
    "nesting": Edge(nested, expression.MAX_DEPTH, on_service=True),
    "length": Edge(characters, expression.MAX_LENGTH, on_service=True),
}
BUFFERED = "{maxrequestbodybytes: 1000, memrequestbodybytes: 500, maxresponsebodybytes: 1000}"
ONE_RATE = "extractorfunc: request.header.X-Key\nrateset: {a: {period: 1h, average: 1, burst: 5}}"
ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/"}
PAGES = {"error-pages": "a: {status: ['500-503'], backend: pages.test/, query: /page}"}
ROWS = [
    Row("plain"),
    Row("buffered", {}, {"buffering": BUFFERED}),
    Row("rate", {"rate-limit": ONE_RATE}),
    Row("busy", {}, {"max-conn-amount": "4", "max-conn-extractor-func": "client.ip"}),
    Row("asks", ASKS),
    Row("paged", PAGES),
    *(edge.row(title, edge.largest + more) for title, edge in VALUES.items() for more in (0, 1)),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Backend]:
    made = Backend(1, "X-Auth-Answer")
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, server: Backend) -> Iterator[Field]:
    yield from running(
        tmp_path_factory.mktemp("edges"),
        ROWS,
        settings="[api]\n[ping]\n",
        manifests=ingress("pages", "pages.test", "/", "fence", {}),
        words={"AUTHPORT": str(server.ports[0])},
    )


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(tmp_path_factory.mktemp("narrow"), ROWS[:1], settings=LIMITS)


@pytest.mark.parametrize("pieces", [1 << 20, 7, 1])
@pytest.mark.parametrize(("make", "largest", "beyond"), EDGES.values(), ids=EDGES)
def test_limits_of_messages(
    narrow: Field, make: Callable[[int], bytes], largest: int, beyond: int, pieces: int
) -> None:
    port, host = narrow.ports["http"], narrow.host(ROWS[0])
    expected = {largest - 1: 200, largest: 200, largest + 1: beyond}
    sent = {size: make(size) for size in expected}
    found = {size: status_of(port, host, data, pieces) for size, data in sent.items()}
    assert found == expected


def test_the_head_of_an_endpoint(narrow: Field) -> None:
    """Bytes from the status line to the empty line."""
    host = narrow.host(ROWS[0])
    fixed = len("HTTP/1.1 200 OK\r\nX-Pad: \r\nContent-Length: 8\r\n\r\n")
    for size, status in ((2047, 200), (2048, 200), (2049, 502)):
        narrow.backend.always["/"] = {"headers": [["X-Pad", "p" * (size - fixed)]]}
        assert narrow.ask(Ask(), host).status == status, size
    narrow.backend.always.clear()


def test_requests_of_a_connection(narrow: Field) -> None:
    host = narrow.host(ROWS[0]).encode()
    with Client(narrow.ports["http"]) as client:
        ends = []
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            ends.append(client.response().values("Connection") == ["close"])
        assert ends == [False, False, True]
        assert client.drain() == b""


@pytest.mark.parametrize(("title", "edge"), VALUES.items(), ids=VALUES)
def test_limits_of_annotations(proxy: Field, title: str, edge: Edge) -> None:
    at, beyond = (edge.row(title, edge.largest + more) for more in (0, 1))
    assert proxy.send(at).status == 200
    assert proxy.send(beyond).status == edge.beyond
    found = json.loads(proxy.ask(Ask("/api/findings", entry_point="traefik"), "x").body)
    told = {finding["name"]: finding["code"] for finding in found}
    assert proxy.name(at) not in told
    assert told[proxy.name(beyond)] == "FP164"


@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 413)])
def test_a_buffered_request(proxy: Field, size: int, status: int) -> None:
    row = ROWS[1]
    assert proxy.ask(Ask(method="POST", body=b"x" * size), proxy.host(row)).status == status


@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 500)])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_buffered_response(proxy: Field, size: int, status: int, chunks: bool) -> None:
    wanted = answering(body="x" * size, chunked=chunks)
    assert proxy.ask(Ask(headers=(wanted,)), proxy.host(ROWS[1])).status == status


def test_a_burst(proxy: Field) -> None:
    ask = Ask(headers=(("X-Key", "one"),))
    statuses = [proxy.ask(ask, proxy.host(ROWS[2])).status for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


def test_connections_at_once(proxy: Field) -> None:
    slow = Ask(headers=(answering(delay=1.5),))
    proxy.backend.seen.clear()

    def ask(_: int) -> int:
        return proxy.ask(slow, proxy.host(ROWS[3])).status

    with ThreadPoolExecutor(4) as many:
        four = many.map(ask, range(4))
        wait_until(lambda: len(proxy.backend.seen) == 4, "four requests in progress")
        assert proxy.ask(Ask(), proxy.host(ROWS[3])).status == 429
        assert all(status == 200 for status in four)
    assert proxy.ask(Ask(), proxy.host(ROWS[3])).status == 200


@pytest.mark.parametrize(("size", "status"), [(ANSWER, 401), (ANSWER + 1, 500)])
def test_the_answer_of_an_authentication_server(
    proxy: Field, server: Backend, size: int, status: int
) -> None:
    server.always["/"] = {"status": 401, "body": "r" * size}
    answer = proxy.ask(Ask(), proxy.host(ROWS[4]))
    assert answer.status == status
    assert len(answer.body) == (size if status == 401 else 0)


@pytest.mark.parametrize("more", [0, 1])
def test_a_page(proxy: Field, more: int) -> None:
    """One that is too long is not shown; the status stays."""
    proxy.backend.always["/page"] = {"body": "p" * (PAGE_LIMIT + more)}
    answer = proxy.ask(Ask(headers=(answering(status=503),)), proxy.host(ROWS[5]))
    assert answer.status == 503
    assert len(answer.body) == (PAGE_LIMIT if not more else len(b"Internal Server Error"))


def test_passwords() -> None:
    """Of bcrypt 72 bytes count, longer ones than 1,024 are never right with MD5-crypt."""
    for size, right in ((passwords.MAX_MD5, True), (passwords.MAX_MD5 + 1, False)):
        stored = passwords.md5_crypt(b"x" * size, b"salt", b"$1$")
        assert passwords.verify(b"x" * size, stored) is right
    assert range(4, 18) == passwords.COSTS
