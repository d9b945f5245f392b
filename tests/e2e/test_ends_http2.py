"""Exchanges over HTTP/2 end exactly once, too, and their records say how."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.test_end_flags import SCRIPTS, SETTINGS, objects
from tests.support.h2_client import Client
from tests.support.records import Recording, flags_of, recording
from tests.support.scripted import Origin
from tests.support.tls import AUTHORITY, server_context
from tests.support.whole import origin


@pytest.fixture(scope="module")
def records() -> Iterator[Recording]:
    with (
        origin(server_context(AUTHORITY.issue_cert("other.test"))) as untrusted,
        closing(Origin(dict(SCRIPTS))) as good,
        recording(SETTINGS, objects(good.port, untrusted)) as made,
    ):
        yield made


def asks(host: str, path: str = "/x", body: bytes = b"") -> Callable[[Client], None]:
    def run(client: Client) -> None:
        client.ask(path, "POST" if body else "GET", body, host=f"{host}.test")

    return run


def many(client: Client) -> None:
    streams = [client.begin(client.head("/x", host="good.test")) for _ in range(50)]
    assert all(client.wait(stream).status == 200 for stream in streams)


def resets(client: Client) -> None:
    stream = client.begin(client.head("/silent", host="good.test"))
    client.ask("/x", host="good.test")  # the one before is under way
    client.connection.reset_stream(stream, 8)
    client.flush()
    client.ask("/x", host="good.test")


def resets_within_a_body(client: Client) -> None:
    stream = client.begin(client.head("/x", "POST", host="good.test"), end=False)
    client.send(stream, b"half", end=False)
    client.connection.reset_stream(stream, 8)
    client.flush()
    client.ask("/x", host="good.test")


def leaves(client: Client) -> None:
    for _ in range(5):
        client.begin(client.head("/silent", host="good.test"))
    client.ask("/x", host="good.test")
    client.socket.close()


def half_a_body(client: Client) -> None:
    stream = client.begin(client.head("/x", "POST", host="good.test"), end=False)
    client.send(stream, b"half", end=False)
    client.wait(stream)


def no_preface_follows(client: Client) -> None:
    client.raw(b"\0\0\0\1\1\0\0\0\0")  # HEADERS of stream 0
    with contextlib.suppress(Exception):
        while client.receive():
            pass


GOOD = (200, "")
WAYS: dict[str, tuple[Callable[[Client], None], list[tuple[int, str]]]] = {
    "complete": (asks("good"), [GOOD]),
    "with a body": (asks("good", body=b"hello"), [GOOD]),
    "many": (many, [GOOD] * 50),
    "no route": (asks("no"), [(404, "NR")]),
    "redirect": (asks("redirect"), [(301, "RD")]),
    "white list": (asks("white"), [(403, "WL")]),
    "a dead endpoint": (asks("dead"), [(502, "UF URX")]),
    "a filter fails": (asks("failing"), [(500, "IE")]),
    "cut": (asks("good", "/cut"), [(200, "UTR")]),
    "too large": (asks("good", body=bytes(100_001)), [(413, "DPE")]),
    "the client resets": (resets, [(499, "DC"), GOOD, GOOD]),
    "the client resets within a body": (resets_within_a_body, [(499, "DC"), GOOD]),
    "the client leaves": (leaves, [(499, "DC")] * 5 + [GOOD]),
    "half a body": (half_a_body, [(408, "DT")]),
    "a broken connection": (no_preface_follows, []),
}


@pytest.mark.parametrize("name", WAYS, ids=str)
def test_what_has_begun_ends_once(records: Recording, name: str) -> None:
    run, expected = WAYS[name]
    records.settled()
    with Client(records.plane.port) as client:
        run(client)
    rows = records.settled()
    assert sorted((row["status"], flags_of(row)) for row in rows) == sorted(expected)
    for row in rows:
        in_order(row)


def in_order(row: dict[str, Any]) -> None:
    times = [row[name] for name in ("first_byte", "head", "chosen", "answered") if row[name]]
    assert times == sorted(times), row
    assert bool(row["sent"]) == (row["status"] != 499), row
    assert bool(row["last_out"]) == (row["status"] != 499), row


def test_sizes(records: Recording) -> None:
    records.settled()
    with Client(records.plane.port) as client:
        answer = client.ask("/x", "POST", b"hello", host="good.test")
    (row,) = records.settled()
    assert answer.body == b"hello"
    assert (row["request_body"], row["response_body"], row["origin_body"]) == (5, 5, 5)
    assert row["route"] == "good.test/"
