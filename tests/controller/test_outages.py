"""One line for one fact about the API server, whoever meets it."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from contextlib import suppress

import pytest
import trustme

from controller.kubernetes.answers import ApiError, Garbage
from controller.kubernetes.api import connect
from controller.kubernetes.outages import Outages
from tests.support.running import dead_port
from tests.support.tls import server_context

UNAUTHORIZED = ApiError(401, "Unauthorized", "token expired")
BROKEN = ApiError(500, "InternalError", "etcd")
FORBIDDEN = ApiError(403, "Forbidden", "may not list")
AWAY = ApiError(0, "Unreachable", "https://api:443: Connection refused")

STORIES = [
    # what happens: (who, error or None when it works), lines
    ("one fact for all", [("a", UNAUTHORIZED), ("b", UNAUTHORIZED), ("a", None), ("b", None)], [
        "the API server: 401 Unauthorized: token expired",
        "the API server works again",
    ]),
    ("the same again", [("a", BROKEN), ("a", BROKEN), ("a", None), ("a", None)], [
        "the API server: 500 InternalError: etcd",
        "the API server works again",
    ]),
    ("rights are of each", [("a", FORBIDDEN), ("b", FORBIDDEN), ("a", None)], [
        "a: 403 Forbidden: may not list; allow it to this account",
        "b: 403 Forbidden: may not list; allow it to this account",
        "a works again",
    ]),
    ("nonsense is of each", [("a", Garbage("no list")), ("a", None)], [
        "a: 200 Garbage: no list",
        "a works again",
    ]),
    ("another fault", [("a", BROKEN), ("a", FORBIDDEN), ("a", None)], [
        "the API server: 500 InternalError: etcd",
        "a: 403 Forbidden: may not list; allow it to this account",
        "a works again",
    ]),
    ("the loop tells that it is away", [("a", AWAY), ("b", AWAY), ("a", None), ("b", None)], []),
]  # fmt: skip


@pytest.mark.parametrize(("story", "events", "expected"), STORIES, ids=[s[0] for s in STORIES])
def test_what_is_told(
    story: str,
    events: list[tuple[str, ApiError | None]],
    expected: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "controller.kubernetes.outages")
    outages = Outages()
    for who, error in events:
        if error is None:
            outages.over(who)
        else:
            outages.met(who, error)
    assert [record.getMessage() for record in caplog.records] == expected


def test_the_effect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Outages().met("Lease a/b", FORBIDDEN, "every replica writes")
    assert caplog.messages == [
        "Lease a/b: 403 Forbidden: may not list; allow it to this account; every replica writes"
    ]


def unreachable(url: str) -> str:
    with pytest.raises(ApiError) as found:
        connect(url, environment={}).get("/api")
    assert found.value.status == 0
    return str(found.value)


def test_reasons_are_those_of_the_system() -> None:
    port = dead_port()
    assert unreachable(f"http://127.0.0.1:{port}") == f"http://127.0.0.1:{port}: Connection refused"
    name = "http://no-such-name.invalid:80"
    assert unreachable(name).startswith(f"{name}: ") and "HTTPConnection" not in unreachable(name)


def test_reasons_of_tls() -> None:
    stranger = server_context(trustme.CA().issue_cert("127.0.0.1"))
    for speaks, expected in (
        (stranger, "its certificate is refused ("),
        (None, "the TLS handshake"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            answer_once(listener, speaks)
            assert unreachable(url).startswith(f"{url}: {expected}")


def answer_once(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """In a thread: a TLS server nobody trusts, or something that is no TLS."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            if context is None:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                context.wrap_socket(connection, server_side=True)

    threading.Thread(target=serve, daemon=True).start()
