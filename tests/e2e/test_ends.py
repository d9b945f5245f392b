"""Every exchange that has begun ends exactly once, and its record says how.

The ways through the engine are those of the leak finder; the engine runs in this process, so that
what it reports can be looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.test_leaks import PATHS, SCRIPTS, SETTINGS, Field, asks, message, objects
from tests.support.records import Recording, flags_of, recording
from tests.support.scripted import Client, Origin
from tests.support.tls import AUTHORITY, client_hello, server_context
from tests.support.whole import Running, origin

# How the ways end that do not end with a complete answer of the endpoint: status and flags.
ENDS: dict[str, list[tuple[int, str]]] = {
    "route-less": [(404, "NR")],
    "no endpoint": [(503, "UH")],
    "a dead endpoint": [(502, "UF")],
    "endpoint resets": [(502, "UC")],
    "endpoint talks nonsense": [(502, "UPE")],
    "a cut response": [(200, "UTR")],
    "a bad request": [(400, "DPE")],
    "a head too large": [(431, "DPE")],
    "error pages": [(500, "EP")],
    "basic auth refuses": [(401, "UA")],
    "sent again": [(500, "")],
    "sent again after resets": [(502, "UC")],
    "sent again with a body": [(500, "")],
    "tunnel": [(101, "TC")],
    "TLS resumed": [],  # handshakes only
    "TLS, refused by the client": [],
    "TLS, the client vanishes": [],
    "TLS, half a hello": [],
    "TLS, nonsense": [(400, "DPE")],
}


@dataclass
class Place:
    recording: Recording
    field: Field

    def settled(self) -> list[dict[str, Any]]:
        return self.recording.settled(connections=1)  # the client's that stays

    def ended(self) -> int:
        plane = self.recording.plane
        return plane.call(lambda: plane.engine.statistics()["ended"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ends")
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    with (
        origin(server_context(AUTHORITY.issue_cert("127.0.0.1"))) as secure,
        closing(Origin(dict(SCRIPTS))) as good,
        recording(
            SETTINGS.format(folder=folder, http=0, https=0), objects(good.port, secure)
        ) as made,
        Client(made.plane.port) as client,
    ):
        ports = {"http": made.plane.port, "https": made.https}
        running = Running(folder, ports, None)  # type: ignore[arg-type]
        yield Place(made, Field(running, 0, client))


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_what_has_begun_ends_once(place: Place, path: str) -> None:
    before = place.ended()
    PATHS[path](place.field)
    records = place.settled()
    assert place.ended() - before == len(records) + 1  # and the one of `settled`
    ends = [(row["status"], flags_of(row)) for row in records]
    if path.startswith("leaves"):  # a reset may be faster than anything, an answer than a reset
        assert set(ends) <= {(499, "DC"), (200, "DC"), (200, "")}
    else:
        assert ends == ENDS.get(path, [(200, "")])
    for row in records:
        in_order(row)


def in_order(row: dict[str, Any]) -> None:
    """The times of what happened rise."""
    for names in (
        "first_byte head chosen connected secured written",
        "first_byte head body",
        "chosen answered last_in",
        "first_byte last_out",
    ):
        times = [row[name] for name in names.split() if row[name]]
        assert times == sorted(times), row
    assert row["first_byte"]
    assert bool(row["sent"]) == (row["status"] != 499), row
    assert bool(row["last_out"]) == (row["status"] != 499), row


# members of the record, by the way; `received` and `sent` include the heads
SIZES: dict[str, dict[str, int]] = {
    "POST": {"request_body": 5, "response_body": 5, "origin_body": 5},
    "HEAD": {"request_body": 0, "response_body": 0, "origin_body": 0},
    "POST in chunks, trailers": {"request_body": 5},
    "a large upload": {"request_body": 200_000, "response_body": 200_000},
    "a large response": {"response_body": 300_000, "origin_body": 300_000},
    "chunks back": {"response_body": 2560, "origin_body": 2560},
    "gzip": {"origin_body": 2560},
    "route-less": {"request_body": 0, "response_body": 19, "origin_body": 19, "own": 1},
    "error pages": {"origin_status": 500, "origin_body": 0},
    "buffered upload": {"request_body": 200_000, "response_body": 200_000},
    "sent again with a body": {"request_body": 5, "response_body": 0},
    "tunnel": {"request_body": 0, "response_body": 9},
}


@pytest.mark.parametrize("path", SIZES, ids=str)
def test_what_it_has_counted(place: Place, path: str) -> None:
    PATHS[path](place.field)
    (row,) = place.settled()
    assert row | SIZES[path] == row


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HT", {"received": 8, "head": 0, "body": 0, "route": None}),
        (
            message("/x", "Content-Length: 500", method="POST") + b"x",
            {"request_body": 1, "body": 0, "route": "a.test/"},
        ),
    ],
    ids=("a head", "a body"),
)
def test_a_client_that_ends_within_a_message(
    place: Place, data: bytes, expected: dict[str, Any]
) -> None:
    with place.field.connect() as client:
        client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.drain() == b""
    (row,) = place.settled()
    assert (row["status"], flags_of(row)) == (499, "DC")
    assert row | expected == row


def test_bytes_on_the_wire(place: Place) -> None:
    """Pipelined requests and their answers: each counts its own."""
    one, other = message("/x"), message("/chunked", "X-A: " + "b" * 100)
    with place.field.connect() as client:
        client.send(one + other)
        answers = [client.response(), client.response()]
    rows = place.settled()
    assert [row["received"] for row in rows] == [len(one), len(other)]
    assert [row["sent"] for row in rows] == [answer.size for answer in answers]


@pytest.mark.parametrize(("host", "scheme"), [("a.test", "http"), ("secure.test", "https")])
def test_how_it_got_to_the_endpoint(place: Place, host: str, scheme: str) -> None:
    """A connection that is there needs no time to be made."""
    rows = []
    for _ in range(2):
        asks(message("/x", host=host))(place.field)
        rows += place.settled()
    for row in rows:
        assert row["route"] == f"{host}/"
        assert row["endpoint"].startswith(f"{scheme}://127.0.0.1:")
        assert bool(row["connected"]) == (not row["reused"])
        assert bool(row["secured"]) == (scheme == "https" and not row["reused"])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (client_hello("a.test"), 501),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", 400),
        (message("/" + "x" * 12_000), 414),
        (message("/x", "X-A: " + "b" * 20_000), 431),
        (message("/x", method="BREW"), 501),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
    ],
    ids=("a TLS record", "a target", "a long target", "a long head", "a method", "a version"),
)
def test_what_is_refused_before_it_is_a_request(place: Place, data: bytes, status: int) -> None:
    place.settled()
    with place.field.connect() as client:
        client.send(data)
        assert client.response().status == status
    (row,) = place.settled()
    assert (row["status"], row["own"], row["head"], row["route"]) == (status, 1, 0, None)
    assert flags_of(row) == "DPE"
