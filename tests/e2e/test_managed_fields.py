"""Fields the proxy itself may set: who may send them, in a head and behind a chunked body."""

from __future__ import annotations

import hashlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.feature_rows import Ask, Field, Row, running, secret

FORGED = [
    *("X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Infos", "X-Forwarded-Prefix"),
    *("X-Replaced-Path", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host"),
    *("X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip"),
]
PLAIN = Row("plain")
STRIP = Row("strip", {"rule-type": "PathPrefixStrip"}, path="/a")
NAMED = Row("named", {"custom-request-headers": "X-Team: red||X-Gone:"})
AUTH = Row("auth", {"auth-type": "basic", "auth-secret": "users", "auth-header-field": "X-Team"})
ROWS = [PLAIN, STRIP]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(
        tmp_path_factory.mktemp("managed"),
        ROWS,
        entry_points={
            "http": '[entryPoints.http.forwardedHeaders]\ntrustedIPs = ["10.0.0.0/8"]\n',
            "other": '[entryPoints.other.forwardedHeaders]\ntrustedIPs = ["127.0.0.0/8"]\n',
        },
    )


def arrived(proxy: Field, row: Row, entry_point: str, name: str) -> list[str]:
    proxy.backend.seen.clear()
    ask = Ask("/a/b", headers=((name, "forged"),), entry_point=entry_point)
    assert proxy.ask(ask, proxy.host(row)).status == 200
    (seen,) = proxy.backend.seen
    return [value for field, value in seen.headers.items() if field.replace("_", "-") == name]


@pytest.mark.parametrize("name", FORGED)
def test_whom_they_are_believed_from(proxy: Field, name: str) -> None:
    assert "forged" not in arrived(proxy, PLAIN, "http", name)
    trusted = arrived(proxy, PLAIN, "other", name)
    assert ("forged" in trusted) == (name != "X-Forwarded-Server")


@pytest.mark.parametrize("name", FORGED)
def test_no_spelling_gets_past(proxy: Field, name: str) -> None:
    proxy.backend.seen.clear()
    spelling = name.replace("-", "_")
    ask = Ask("/a/b", headers=((spelling, "forged"), (spelling.upper(), "forged")))
    assert proxy.ask(ask, proxy.host(PLAIN)).status == 200
    assert "forged" not in proxy.backend.seen[0].headers.values()


@pytest.mark.parametrize(("entry_point", "client"), [("http", []), ("other", ["forged"])])
def test_a_feature_sets_its_own(proxy: Field, entry_point: str, client: list[str]) -> None:
    found = arrived(proxy, STRIP, entry_point, "X-Forwarded-Prefix")
    assert found == [*client, "/a"]


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[int, list[bytes]]]:
    """The port of an endpoint that keeps every byte of its requests, and these."""
    seen: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                data = b""
                while not data.endswith(b"\r\n\r\n") or (
                    b"chunked" in data and data.count(b"\r\n\r\n") < 2 and b"\r\n0\r\n" not in data
                ):
                    more = connection.recv(4096)
                    if not more:
                        break
                    data += more
                seen.append(data)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], seen
    listener.close()


@pytest.mark.parametrize(
    ("row", "passed"),
    [(PLAIN, [b"X-Sum", b"X-Team", b"X_Gone"]), (NAMED, [b"X-Sum"]), (AUTH, [])],
    ids=str,
)
def test_what_a_route_manages_does_not_come_back_as_a_trailer(
    recorded: tuple[int, list[bytes]], tmp_path: Path, row: Row, passed: list[bytes]
) -> None:
    port, seen = recorded
    users = "Basic YTpi" if row is AUTH else "none"
    password = b64encode(hashlib.sha1(b"b").digest()).decode()
    manifests = secret("users", {"auth": f"a:{{SHA}}{password}"})
    for proxy in running(tmp_path, [row], only_port=port, manifests=manifests):
        with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10) as client:
            client.sendall(
                f"POST / HTTP/1.1\r\nHost: {proxy.host(row)}\r\nConnection: TE, close\r\n"
                f"TE: trailers\r\nAuthorization: {users}\r\nTransfer-Encoding: chunked\r\n\r\n"
                "0\r\nX-Team: blue\r\nX_Gone: 1\r\nX-Sum: 2\r\nCookie: c\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        trailers = seen[-1].partition(b"\r\n\r\n0\r\n")[2].splitlines()
        assert {line.partition(b":")[0] for line in trailers if line} == set(passed)
