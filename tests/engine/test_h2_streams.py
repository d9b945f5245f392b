"""Connections of HTTP/2 without a socket: states, windows, budgets, order; PyPI's `h2` as peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.frames_probe import PREFACE
from tests.native.streams_probe import Connection
from tests.support.counts import times
from tests.support.h2_frames import (
    ACK,
    CALM,
    CANCEL,
    CLOSED,
    COMPRESSION,
    CONTINUATION,
    DATA,
    EMPTY_SETTINGS,
    FLOW,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    LARGEST,
    NO_ERROR,
    PING,
    PRIORITY,
    PROTOCOL,
    REFUSED,
    RESET,
    SETTINGS,
    TIMEOUT,
    WINDOW,
    WITH_PRIORITY,
    frame,
    frames,
    number,
    setting,
    told,
)

Event = tuple[Any, ...]

GET = bytes.fromhex("82868441016f")
FIELDS_OF_GET = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"o"),
]
OK = [(b":status", b"200")]
HELLO = PREFACE + EMPTY_SETTINGS
CONNECTION_WINDOW = 1 << 20
STREAM_WINDOW = 65536


def request(stream: int, end: bool = True, block: bytes = GET) -> bytes:
    return frame(HEADERS, 5 if end else 4, stream, block)


def body(stream: int, data: bytes, end: bool = False) -> bytes:
    return frame(DATA, int(end), stream, data)


def serving(*data: bytes) -> Connection:
    """A server whose client has said hello and `data`; what it wrote so far is gone."""
    connection = Connection()
    connection.receive(HELLO + frame(SETTINGS, ACK, 0) + b"".join(data))
    connection.output()
    return connection


def events_of(connection: Connection, data: bytes) -> list[Event]:
    return connection.receive(data)


def answer(connection: Connection, stream: int, data: bytes = b"") -> None:
    connection.headers(stream, OK, not data)
    if data:
        connection.data(stream, data, True)
    connection.release(stream)


# --- the start ---


def test_a_server_starts_with_its_settings_and_a_larger_window() -> None:
    connection = Connection()
    settings_frame, window = frames(connection.output())
    assert settings_frame.settings == {
        **{1: 4096, 3: 128, 4: 65536, 5: 16384, 6: 32768},
        **{8: 1, 9: 1},
    }
    assert (window.stream_id, window.window_increment) == (0, CONNECTION_WINDOW - 65535)
    assert connection.receive(HELLO) == [("settled",)]
    assert told(connection.output()) == ["settings ack"]


def test_a_client_starts_with_the_preface_and_refuses_push() -> None:
    connection = Connection(client=True)
    data = connection.output()
    assert data.startswith(PREFACE)
    settings_frame, _ = frames(data[len(PREFACE) :])
    assert settings_frame.settings == {1: 4096, 2: 0, 4: 65536, 5: 16384, 6: 32768}


def test_the_first_block_of_a_side_gives_up_the_table() -> None:
    connection = serving(request(1), request(3))
    connection.headers(1, OK, True)
    connection.headers(3, OK, True)
    first, second = frames(connection.output())
    assert (first.data, second.data) == (b"\x20\x08\x03200", b"\x08\x03200")


# --- RFC 9113 5.1 and what it refuses: each row fails when its check is taken out ---

# what, what has come before, bytes, what we make of them, what we write
STATES: list[tuple[str, bytes, bytes, list[Event], list[str]]] = [
    ("DATA of an idle stream", b"", body(1, b"x"), [("failed", PROTOCOL)], ["goaway 0 1"]),
    (
        "DATA of a server's stream",
        request(1),
        body(2, b"x"),
        [("failed", PROTOCOL)],
        ["goaway 1 1"],
    ),
    (
        "RST_STREAM of an idle stream",
        b"",
        frame(RESET, 0, 1, number(8)),
        [("failed", PROTOCOL)],
        ["goaway 0 1"],
    ),
    (
        "WINDOW_UPDATE of an idle stream",
        b"",
        frame(WINDOW, 0, 1, number(8)),
        [("failed", PROTOCOL)],
        ["goaway 0 1"],
    ),
    (
        "WINDOW_UPDATE 0 of an idle stream",
        b"",
        frame(WINDOW, 0, 1, number(0)),
        [("failed", PROTOCOL)],
        ["goaway 0 1"],
    ),
    ("PRIORITY of an idle stream", b"", frame(PRIORITY, 0, 1, number(0) + b"\0"), [], []),
    (
        "PRIORITY of an idle stream on itself",
        b"",
        frame(PRIORITY, 0, 1, number(1) + b"\0"),
        [("failed", PROTOCOL)],
        ["goaway 0 1"],
    ),
    ("a lower stream", request(5), request(3), [("failed", PROTOCOL)], ["goaway 5 1"]),
    ("HEADERS behind the end", request(1), request(1), [("aborted", 1, CLOSED)], ["reset 1 5"]),
    ("DATA behind the end", request(1), body(1, b"x"), [("aborted", 1, CLOSED)], ["reset 1 5"]),
    (
        "HEADERS that are no trailers",
        request(1, False),
        request(1, False),
        [("aborted", 1, PROTOCOL)],
        ["reset 1 1"],
    ),
    (
        "PRIORITY of a wrong length",
        request(1),
        frame(PRIORITY, 0, 1, b"1234"),
        [("aborted", 1, FRAME_SIZE)],
        ["reset 1 6"],
    ),
    (
        "PRIORITY on itself",
        request(1),
        frame(PRIORITY, 0, 1, number(1) + b"\0"),
        [("aborted", 1, PROTOCOL)],
        ["reset 1 1"],
    ),
    (
        "WINDOW_UPDATE 0",
        request(1),
        frame(WINDOW, 0, 1, number(0)),
        [("aborted", 1, PROTOCOL)],
        ["reset 1 1"],
    ),
    (
        *("a stream's window above 2^31 - 1", request(1)),
        *(frame(WINDOW, 0, 1, number(0x7FFFFFFF)), [("aborted", 1, FLOW)], ["reset 1 3"]),
    ),
    (
        *("the connection's window above 2^31 - 1", request(1)),
        *(frame(WINDOW, 0, 0, number(0x7FFFFFFF)), [("failed", FLOW)], ["goaway 1 3"]),
    ),
    (
        *("a window above 2^31 - 1 by SETTINGS", request(1) + frame(WINDOW, 0, 1, number(1))),
        *(frame(SETTINGS, 0, 0, setting(4, 0x7FFFFFFF)), [("failed", FLOW)], ["goaway 1 3"]),
    ),
    (
        *("a new stream that depends on itself", b""),
        *(frame(HEADERS, 5 | WITH_PRIORITY, 1, number(1) + b"\0" + GET), [], ["reset 1 1"]),
    ),
    ("a broken block", b"", request(1, True, b"\x80"), [("failed", COMPRESSION)], ["goaway 0 9"]),
    (
        "a broken block of trailers",
        request(1, False),
        request(1, True, b"\x80"),
        [("failed", COMPRESSION)],
        ["goaway 1 9"],
    ),
    (
        *("a block of too many fields", b"\0" * 0),
        *(request(1, True, b"\x82" * 4097), [("failed", CALM)], ["goaway 0 11"]),
    ),
    (
        *("a header bomb", request(1, True, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000)),
        *(request(3, True, b"\xbe" * 100), [("failed", CALM)], ["goaway 1 11"]),
    ),
    ("RST_STREAM", request(1), frame(RESET, 0, 1, number(8)), [("aborted", 1, 8)], []),
    ("GOAWAY", request(1), frame(GOAWAY, 0, 0, number(0) * 2), [("going away", 0)], []),
    (
        *("GOAWAY of a higher stream than before", frame(GOAWAY, 0, 0, number(0) * 2)),
        *(frame(GOAWAY, 0, 0, number(1) + number(0)), [("failed", PROTOCOL)], ["goaway 0 1"]),
    ),
    ("an unknown frame", request(1), frame(99, 0, 1, b"x"), [], []),
    ("PING", b"", frame(PING, 0, 0, b"12345678"), [], ["ping ack"]),
    ("an empty DATA", request(1, False), body(1, b""), [], []),
    ("the end of a body", request(1, False), body(1, b"", True), [("body", 1, b"", True)], []),
    ("a body", request(1, False), body(1, b"abc"), [("body", 1, b"abc", False)], []),
    (
        *("trailers", request(1, False) + body(1, b"a")),
        *(request(1, True, b"\x00\x01a\x01b"), [("trailers", 1, [(b"a", b"b")], True)], []),
    ),
]


@pytest.mark.parametrize(
    ("before", "data", "events", "written"), [s[1:] for s in STATES], ids=[s[0] for s in STATES]
)
def test_states(before: bytes, data: bytes, events: list[Event], written: list[str]) -> None:
    connection = serving(before)
    assert connection.receive(data) == events
    assert told(connection.output()) == written
    if events and events[0][0] == "failed":
        assert connection.receive(request(99)) == events, "nothing more is read"
    else:
        assert connection.receive(request(99)) == [("head", 99, FIELDS_OF_GET, True)]


# what comes for a stream that has ended, what we make of it, what we write; by how it ended
AFTER: list[tuple[str, bytes, dict[str, tuple[list[Event], list[str]]]]] = [
    (
        "HEADERS",
        request(1),
        {
            "complete": ([("failed", CLOSED)], ["goaway 3 5"]),
            "reset by its client": ([("failed", CLOSED)], ["goaway 3 5"]),
            "reset by us": ([], []),
        },
    ),
    (
        "DATA",
        body(1, b"x" * 9),
        {
            "complete": ([], ["reset 1 5"]),
            "reset by its client": ([], ["reset 1 5"]),
            "reset by us": ([], []),
        },
    ),
    ("WINDOW_UPDATE", frame(WINDOW, 0, 1, number(5)), {}),
    ("WINDOW_UPDATE 0", frame(WINDOW, 0, 1, number(0)), {}),
    ("RST_STREAM", frame(RESET, 0, 1, number(8)), {}),
    ("PRIORITY", frame(PRIORITY, 0, 1, number(3) + b"\0"), {}),
]


@pytest.mark.parametrize("how", ["complete", "reset by its client", "reset by us"])
@pytest.mark.parametrize(("data", "results"), [a[1:] for a in AFTER], ids=[a[0] for a in AFTER])
def test_what_comes_after_the_end(
    data: bytes, results: dict[str, tuple[list[Event], list[str]]], how: str
) -> None:
    connection = serving(request(1), request(3))
    if how == "complete":
        answer(connection, 1)
    elif how == "reset by us":
        connection.reset(1, CANCEL)
        connection.release(1)
    else:
        connection.receive(frame(RESET, 0, 1, number(8)))
        connection.release(1)
    connection.output()
    before = connection.figures
    events, written = results.get(how, ([], []))
    assert connection.receive(data) == events
    assert told(connection.output()) == written
    if not events:
        assert connection.figures["receive window"] == before["receive window"], "given back"
        assert connection.receive(data if data[3] == DATA else b"") == []
        assert told(connection.output()) == [], "told once"


def test_what_was_on_its_way_to_a_stream_we_have_reset_is_ignored_and_decoded() -> None:
    connection = serving(request(1, False))
    connection.reset(1, CANCEL)
    assert connection.receive(body(1, b"x" * 100) + request(1, True, b"\x40\x01a\x01b")) == []
    events = connection.receive(request(3, True, GET + b"\xbf"))
    assert events[0][2][-1] == (b"a", b"b"), "the table is in step"
    connection.release(1)
    assert connection.figures["receive window"] == CONNECTION_WINDOW


# --- content-length ---

# length promised, bodies, what we make of the last one
LENGTHS = [
    (3, [b"abc"], True, ("body", 1, b"abc", True)),
    (3, [b"ab", b"c"], True, ("body", 1, b"c", True)),
    (3, [b"abc", b""], True, ("body", 1, b"", True)),
    (0, [b""], True, ("body", 1, b"", True)),
    (3, [b"abcd"], False, ("aborted", 1, PROTOCOL)),
    (3, [b"ab", b"cd"], True, ("aborted", 1, PROTOCOL)),
    (3, [b"ab"], True, ("aborted", 1, PROTOCOL)),
    (3, [b""], True, ("aborted", 1, PROTOCOL)),
    (0, [b"a"], True, ("aborted", 1, PROTOCOL)),
]


@pytest.mark.parametrize(("length", "bodies", "end", "expected"), LENGTHS)
def test_a_body_has_the_length_it_was_promised(
    length: int, bodies: list[bytes], end: bool, expected: Event
) -> None:
    connection = serving(request(1, False))
    connection.promise(1, length)
    for data in bodies[:-1]:
        connection.receive(body(1, data))
    assert connection.receive(body(1, bodies[-1], end)) == [expected]


def test_trailers_do_not_end_a_body_early() -> None:
    connection = serving(request(1, False))
    connection.promise(1, 3)
    assert connection.receive(body(1, b"ab") + request(1)) == [
        ("body", 1, b"ab", False),
        ("aborted", 1, PROTOCOL),
    ]


# --- windows ---


def test_more_than_a_streams_window_ends_the_stream_and_more_than_the_connections_ends_that() -> (
    None
):
    connection = serving(*(request(2 * n + 1, False) for n in range(17)))
    full = b"".join(body(1, b"x" * LARGEST) for _ in range(4))
    assert [event[0] for event in connection.receive(full)] == ["body"] * 4
    assert connection.receive(body(1, b"x")) == [("aborted", 1, FLOW)]
    for stream in range(3, 33, 2):
        connection.receive(full.replace(b"\0\0\0\x01", number(stream)))
    assert connection.receive(body(33, b"x" * LARGEST))[-1] == ("failed", FLOW)


def test_padding_counts_and_is_given_back_at_once() -> None:
    connection = serving(request(1, False))
    padded = frame(DATA, 8, 1, b"\xff" + b"\0" * 255)
    for _ in range(10000):
        assert connection.receive(padded) in ([], [("failed", CALM)])
        assert connection.figures["receive window"] == CONNECTION_WINDOW
    assert connection.failed == CALM, "they move nothing"


def test_a_window_is_given_back_in_halves_when_bytes_have_left() -> None:
    connection = serving(request(1, False))
    connection.now = 1000
    connection.receive(body(1, b"x" * LARGEST) * 2)
    assert told(connection.output()) == []
    connection.credit(1, LARGEST)
    assert told(connection.output()) == []
    connection.credit(1, LARGEST)
    assert told(connection.output()) == ["window 1 32768"]


def upload(connection: Connection, most: int, wait: int, kept: int = 0) -> int:
    """Send until a stream has been given `most` more bytes, `wait` ms between; its window then."""
    window, sent = STREAM_WINDOW, 0
    while sent < most:
        connection.receive(body(1, b"x" * LARGEST))
        sent += LARGEST
        window -= LARGEST
        if sent > kept:
            connection.credit(1, LARGEST)
        for line in told(connection.output()):
            if line.startswith("window 1 "):
                window += int(line.split()[2])
        connection.now += wait
    return window


@pytest.mark.parametrize(
    ("round_trip", "wait", "kept", "grows"),
    [(100, 5, 0, True), (100, 300, 0, False), (0, 0, 0, True), (100, 5, 60000, False)],
    ids=["limited by its window", "slow by itself", "near", "piling up"],
)
def test_a_window_grows_for_a_peer_that_it_limits(
    round_trip: int, wait: int, kept: int, grows: bool
) -> None:
    connection = serving(request(1, False))
    connection.round_trip = round_trip
    window = upload(connection, 4 << 20, wait, kept)
    assert (window > 400_000) is grows
    assert window <= 1 << 20
    room = connection.figures["room"]
    assert room == (64 << 20) - (connection.figures["window"] - CONNECTION_WINDOW) - (
        ((1 << 20) - STREAM_WINDOW) if grows else 0
    )
    connection.release(1)
    assert connection.figures["room"] == (64 << 20) - (
        connection.figures["window"] - CONNECTION_WINDOW
    )


def test_a_dead_streams_bytes_are_given_back_to_the_connection() -> None:
    connection = serving(request(1, False))
    connection.receive(body(1, b"x" * LARGEST) * 3)
    assert connection.figures["receive window"] == CONNECTION_WINDOW - 3 * LARGEST
    connection.release(1)
    assert connection.figures["receive window"] == CONNECTION_WINDOW


def test_a_response_waits_for_both_windows() -> None:
    connection = serving(request(1), request(3))
    connection.headers(1, OK)
    connection.data(1, b"x" * 100000, True)
    assert told(connection.all_output()) == [
        "headers 1",
        *["data 1 16384"] * 3,
        "data 1 16383",
    ]
    connection.headers(3, OK)
    connection.data(3, b"y" * 10, True)
    assert told(connection.all_output()) == ["headers 3"], "the connection's window is used up"
    connection.receive(frame(WINDOW, 0, 0, number(5)))
    assert told(connection.all_output()) == ["data 3 5"]
    connection.receive(frame(WINDOW, 0, 1, number(40000)))
    assert connection.all_output() == b""
    connection.receive(frame(WINDOW, 0, 0, number(100000)))
    rest = told(connection.all_output())
    assert rest[:2] in (["data 3 5 end", "data 1 16384"], ["data 1 16384", "data 3 5 end"])
    assert rest[-1] == "data 1 1697 end"


def test_windows_may_become_negative_and_wait() -> None:
    connection = serving(request(1))
    connection.headers(1, OK)
    connection.data(1, b"x" * 65535)
    connection.all_output()
    connection.receive(frame(WINDOW, 0, 0, number(1 << 20)))
    connection.receive(frame(SETTINGS, 0, 0, setting(4, 100)))
    assert connection.window(1) == 100 - 65535
    connection.data(1, b"y" * 50, True)
    assert told(connection.all_output()) == ["settings ack"]
    connection.receive(frame(WINDOW, 0, 1, number(65435)))
    assert connection.window(1) == 0 and connection.all_output() == b""
    connection.receive(frame(WINDOW, 0, 1, number(1)))
    assert told(connection.all_output()) == ["data 1 1"]
    connection.receive(frame(SETTINGS, 0, 0, setting(4, 65535)))
    assert told(connection.all_output()) == ["settings ack", "data 1 49 end"]


def test_a_window_flipped_ten_thousand_times_costs_the_frames_budget() -> None:
    connection = serving(*(request(2 * n + 1) for n in range(128)))
    flips = 0
    while connection.failed is None:
        connection.receive(frame(SETTINGS, 0, 0, setting(4, flips % 2)))
        connection.output()
        flips += 1
    assert connection.failed == CALM and flips <= 1200


# --- the order of what is sent ---


def test_streams_take_turns_of_one_frame() -> None:
    connection = serving(frame(WINDOW, 0, 0, number(1 << 24)), request(1), request(3), request(5))
    connection.receive(frame(SETTINGS, 0, 0, setting(4, 1 << 20)))
    connection.output()
    for stream in (1, 3, 5):
        connection.headers(stream, OK)
        connection.data(stream, b"x" * 200000, True)
    order = [line.split()[1] for line in told(connection.all_output()) if "data" in line]
    behind = order[4:]  # what was alone at first went at once
    assert {*behind[:3]} == {"1", "3", "5"}
    for start in range(0, 24, 3):
        assert {*behind[start : start + 3]} == {"1", "3", "5"}


def test_little_is_cut_into_frames_before_the_socket_takes_it() -> None:
    connection = serving(frame(WINDOW, 0, 0, number(1 << 24)), request(1))
    connection.receive(frame(SETTINGS, 0, 0, setting(4, 1 << 24)))
    connection.headers(1, OK)
    connection.data(1, b"x" * 1000000, True)
    assert connection.waiting(1) > 900000
    assert len(connection.output(0) or b"") == 0
    first = connection.output()
    assert 65536 <= len(first) < 65536 + 2 * LARGEST
    assert connection.waiting(1) > 850000
    rest = connection.all_output()
    assert sum(len(f.data) for f in frames(first + rest) if f.type == DATA) == 1000000


def test_trailers_come_behind_the_data_that_waits() -> None:
    connection = serving(request(1))
    connection.headers(1, OK)
    connection.data(1, b"x" * 70000)
    connection.headers(1, [(b"grpc-status", b"0")], True)
    assert told(connection.all_output())[-1] == "data 1 16383"
    connection.receive(frame(WINDOW, 0, 0, number(70000)) + frame(WINDOW, 0, 1, number(70000)))
    assert told(connection.all_output()) == ["data 1 4465", "headers 1 end"]
    assert connection.state(1) == (True, True, False)


def test_an_early_response_ends_the_request() -> None:
    connection = serving(request(1, False))
    connection.headers(1, OK)
    connection.data(1, b"no", True)
    assert told(connection.all_output()) == ["headers 1", "data 1 2 end", f"reset 1 {NO_ERROR}"]
    assert connection.receive(body(1, b"more")) == []


def test_data_is_cut_for_tls_records() -> None:
    connection = Connection(data_size=16375)
    connection.receive(HELLO + request(1))
    connection.output()
    connection.headers(1, OK)
    connection.data(1, b"x" * 20000, True)
    assert told(connection.all_output()) == ["headers 1", "data 1 16375", "data 1 3625 end"]


def test_a_large_head_is_sent_in_frames_the_peer_takes() -> None:
    connection = serving(request(1))
    connection.headers(1, [(b":status", b"200"), (b"x", b"y" * 40000)], True)
    assert told(connection.output()) == ["headers 1 end", "ContinuationFrame", "ContinuationFrame"]


# --- what a peer may cost ---


def one_more(n: int) -> int:
    return 2 * n + 1


ATTACKS: list[tuple[str, Callable[[int], bytes], int]] = [
    ("rapid reset", lambda s: request(s) + frame(RESET, 0, s, number(8)), 200),
    ("WINDOW_UPDATE 0", lambda s: request(s) + frame(WINDOW, 0, s, number(0)), 200),
    ("a window overflow", lambda s: request(s) + frame(WINDOW, 0, s, number(0x7FFFFFFF)), 200),
    ("DATA behind the end", lambda s: request(s) + body(s, b"x"), 200),
    ("HEADERS behind the end", lambda s: request(s) + request(s), 200),
    ("PRIORITY of a wrong length", lambda s: request(s) + frame(PRIORITY, 0, s, b"1"), 200),
    ("PRIORITY on itself", lambda s: request(s) + frame(PRIORITY, 0, s, number(s) + b"\0"), 200),
    ("a new stream on itself", lambda s: frame(HEADERS, 0x25, s, number(s) + b"\0" + GET), 200),
    ("no content-length kept", lambda s: request(s, False) + request(s, False), 200),
    ("PING", lambda s: frame(PING, 0, 0, b"12345678"), 1000),
    ("unasked answers", lambda s: frame(PING, ACK, 0, b"12345678"), 1000),
    ("SETTINGS", lambda s: EMPTY_SETTINGS, 1000),
    ("unasked ACK", lambda s: frame(SETTINGS, ACK, 0), 1000),
    ("PRIORITY", lambda s: frame(PRIORITY, 0, s, number(0) + b"\0"), 1000),
    ("PRIORITY_UPDATE", lambda s: frame(0x10, 0, 0, number(1) + b"u=1"), 1000),
    ("unknown frames", lambda s: frame(99, 0, 0), 1000),
    ("WINDOW_UPDATE", lambda s: frame(WINDOW, 0, 0, number(1)), 1100),
    ("GOAWAY", lambda s: frame(GOAWAY, 0, 0, number(0) * 2), 1000),
    ("empty DATA", lambda s: request(1, False) * (s == 1) + body(1, b""), 1001),
    ("resets of one stream", lambda s: request(1) * (s == 1) + frame(RESET, 0, 1, number(8)), 1002),
]


@pytest.mark.parametrize(("attack", "most"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS])
def test_what_moves_nothing_is_borne_for_a_while(attack: Callable[[int], bytes], most: int) -> None:
    connection = serving()
    live = turns = 0
    while connection.failed is None and turns < 5000:
        for event in connection.receive(attack(one_more(turns))):
            if event[0] == "aborted":
                connection.release(event[1])
        live = max(live, connection.figures["live"])
        connection.output()
        turns += 1
    assert connection.failed == CALM
    assert most - 2 <= turns <= most + 2
    assert live <= 2


def test_a_stream_counts_until_its_owner_has_let_go_of_it() -> None:
    connection = serving()
    refused = 0
    for n in range(300):
        connection.receive(request(one_more(n)) + frame(RESET, 0, one_more(n), number(8)))
        refused += told(connection.output()).count(f"reset {one_more(n)} {REFUSED}")
        if connection.failed is not None:
            break
        assert connection.figures["live"] <= 128
    assert refused and connection.failed == CALM


def test_stream_129_is_refused_and_the_others_are_not() -> None:
    connection = serving(*(request(one_more(n)) for n in range(128)))
    assert connection.receive(request(257)) == []
    assert told(connection.output()) == [f"reset 257 {REFUSED}"]
    answer(connection, 1)
    assert connection.receive(request(259))[0][:2] == ("head", 259)


def test_budgets_come_back_with_time_and_with_what_is_useful() -> None:
    connection = serving()

    def cancel(n: int) -> None:
        connection.receive(request(one_more(n)) + frame(RESET, 0, one_more(n), number(8)))
        connection.release(one_more(n))
        connection.output()

    for n in range(150):
        cancel(n)
    assert connection.figures["resets"] == 50
    connection.now = 5000
    connection.receive(b"")
    assert connection.figures["resets"] == 100
    for n in range(150, 250):
        connection.receive(request(one_more(n)))
        answer(connection, one_more(n))
    assert connection.figures["resets"] == 200
    connection.receive(frame(PING, 0, 0, b"12345678") * 500)
    assert connection.figures["frames"] == 500
    connection.now = 6000
    connection.receive(b"")
    assert connection.figures["frames"] == 550
    connection.now = 1_000_000
    connection.receive(b"")
    assert (connection.figures["frames"], connection.figures["resets"]) == (1000, 200)


def test_clients_that_cancel_calls_with_deadlines_are_borne() -> None:
    connection = serving()
    for n in range(2000):
        stream = one_more(n)
        connection.receive(request(stream))
        if n % 2:
            connection.receive(frame(RESET, 0, stream, number(8)))
            connection.release(stream)
        else:
            answer(connection, stream)
        connection.output()
    assert connection.failed is None


def test_a_peer_that_does_not_read_is_not_read() -> None:
    connection = serving(frame(SETTINGS, 0, 0, setting(4, 1 << 30)))
    pings = 0
    while not connection.choked and connection.failed is None:
        connection.receive(frame(PING, 0, 0, b"12345678") * 10)
        connection.receive(request(one_more(pings)))
        connection.headers(one_more(pings), [*OK, (b"x", b"y" * 3000)], True)
        connection.release(one_more(pings))
        pings += 1
    assert connection.choked and pings < 100


# --- time ---


def test_who_says_nothing_is_waited_for_ten_seconds() -> None:
    for data in (b"", PREFACE, HELLO):  # no preface, no SETTINGS, no ACK
        connection = Connection()
        connection.receive(data)
        connection.output()
        connection.now = 9999
        assert connection.overdue() == [] and connection.failed is None
        connection.now = 10000
        assert connection.overdue() == [] and connection.failed == TIMEOUT
        assert told(connection.output()) == [f"goaway 0 {TIMEOUT}"]


def test_a_header_block_has_ten_seconds() -> None:
    connection = serving()
    connection.now = 50000
    connection.receive(frame(HEADERS, 0, 1, GET))
    connection.now = 59000
    connection.receive(frame(CONTINUATION, 0, 1, GET))
    assert connection.overdue() == [] and connection.failed is None
    connection.now = 60000
    connection.overdue()
    assert connection.failed == CALM


@pytest.mark.parametrize(("taken", "expected"), [(0, [1]), (4095, [1]), (4096, [])])
def test_a_stream_with_data_has_to_take_some(taken: int, expected: list[int]) -> None:
    connection = serving(frame(SETTINGS, 0, 0, setting(4, 0)), request(1), request(3))
    connection.headers(1, OK)
    connection.data(1, b"x" * 100000)
    connection.output()
    connection.receive(frame(WINDOW, 0, 1, number(taken)) if taken else b"")
    connection.all_output()
    connection.now = 59999
    assert connection.overdue() == []
    connection.now = 60000
    before = connection.figures["resets"]
    assert connection.overdue() == expected
    assert connection.figures["resets"] == before - len(expected)
    assert connection.state(1)[2] == bool(expected)


# --- the end ---


def test_a_drain_says_goaway_twice_and_loses_no_stream() -> None:
    connection = serving(request(1))
    connection.drain()
    assert told(connection.output()) == [f"goaway {0x7FFFFFFF} 0", "ping"]
    assert connection.receive(request(3))[0][:2] == ("head", 3), "it was on its way"
    connection.receive(frame(PING, ACK, 0, b"draining"))
    assert told(connection.output()) == ["goaway 3 0"]
    block = GET + b"\x40\x01a\x01b"
    assert connection.receive(request(5, False, block) + body(5, b"x" * 1000)) == []
    assert connection.receive(frame(RESET, 0, 5, number(8))) == []
    assert connection.figures["receive window"] == CONNECTION_WINDOW
    assert connection.output() == b"" and not connection.drained
    answer(connection, 1)
    assert not connection.drained
    answer(connection, 3)
    assert connection.drained
    connection.drain()
    assert b"goaway" not in connection.output()


def test_a_drain_does_not_wait_for_an_answer_to_its_ping() -> None:
    connection = serving()
    connection.drain()
    connection.output()
    connection.now = 999
    connection.overdue()
    assert connection.output() == b""
    connection.now = 1000
    connection.overdue()
    assert told(connection.output()) == ["goaway 0 0"] and connection.drained


def test_after_a_failure_nothing_but_goaway_is_sent() -> None:
    connection = serving(request(1))
    connection.fail(CALM)
    connection.fail(PROTOCOL)
    connection.headers(1, OK)
    connection.data(1, b"x", True)
    connection.release(1)
    assert told(connection.output()) == [f"goaway 1 {CALM}"] and connection.drained


# --- as a client ---


def calling() -> Connection:
    connection = Connection(client=True)
    connection.receive(EMPTY_SETTINGS + frame(SETTINGS, ACK, 0))
    connection.output()
    return connection


def test_one_stream_is_opened_before_the_server_has_told_its_limit() -> None:
    connection = Connection(client=True)
    assert (connection.open(), connection.open()) == (1, None)
    connection.receive(frame(SETTINGS, 0, 0, setting(3, 3)))
    assert [connection.open() for _ in range(3)] == [3, 5, None]
    connection.release(1)
    assert connection.open() == 7


def test_no_more_than_a_hundred_streams_are_opened() -> None:
    connection = calling()
    assert [connection.open() for _ in range(101)] == [*range(1, 200, 2), None]


def test_no_stream_is_opened_behind_a_goaway() -> None:
    connection = calling()
    connection.open()
    connection.open()
    assert connection.receive(frame(GOAWAY, 0, 0, number(1) + number(0))) == [("going away", 1)]
    assert connection.open() is None


RESPONSES: list[tuple[str, bytes, list[Event], list[str]]] = [
    ("a response", request(1, True, b"\x88"), [("head", 1, OK, True)], []),
    ("DATA before HEADERS", body(1, b"x"), [("aborted", 1, PROTOCOL)], ["reset 1 1"]),
    (
        "a response nobody asked for",
        request(3, True, b"\x88"),
        [("failed", PROTOCOL)],
        ["goaway 0 1"],
    ),
    ("DATA nobody asked for", body(3, b"x"), [("failed", PROTOCOL)], ["goaway 0 1"]),
    ("PUSH_PROMISE", frame(5, 4, 1, number(2) + b"\x82"), [("failed", PROTOCOL)], ["goaway 0 1"]),
    ("a reset", frame(RESET, 0, 1, number(7)), [("aborted", 1, 7)], []),
    (
        "a withdrawn CONNECT",
        frame(SETTINGS, 0, 0, setting(8, 1)) + frame(SETTINGS, 0, 0, setting(8, 0)),
        [("settled",), ("failed", PROTOCOL)],
        ["settings ack", "goaway 0 1"],
    ),
]


@pytest.mark.parametrize(
    ("data", "events", "written"), [r[1:] for r in RESPONSES], ids=[r[0] for r in RESPONSES]
)
def test_responses(data: bytes, events: list[Event], written: list[str]) -> None:
    connection = calling()
    connection.open()
    connection.headers(1, [(b":method", b"GET")], True)
    connection.output()
    assert connection.receive(data) == events
    assert told(connection.output()) == written


def test_interim_responses_come_before_the_final_one() -> None:
    connection = calling()
    connection.open()
    assert connection.receive(request(1, False, b"\x08\x03103")) == [
        ("head", 1, [(b":status", b"103")], False)
    ]
    assert connection.receive(request(1, False, b"\x88"))[0][0] == "head"
    assert connection.receive(body(1, b"x") + request(1, True, b"\x00\x01a\x01b")) == [
        ("body", 1, b"x", False),
        ("trailers", 1, [(b"a", b"b")], True),
    ]


# --- PyPI's h2 is the peer ---

BODY = st.binary(max_size=2000).map(lambda data: data * 40)
FIELDS = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "a.test")]


def pieces(data: bytes, cuts: Iterator[int]) -> Iterator[bytes]:
    while data:
        size = next(cuts)
        yield data[:size]
        data = data[size:]


def endless(sizes: list[int]) -> Iterator[int]:
    while True:
        yield from sizes


class Echo:
    """Our server, which sends back what it is sent, and the twin as its client."""

    def __init__(self, cuts: list[int]) -> None:
        self.ours = Connection()
        self.theirs = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.theirs.initiate_connection()
        self.cuts = endless(cuts)
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def turn(self) -> bool:
        """Let both sides speak; whether anything was said."""
        up = self.theirs.data_to_send()
        for piece in pieces(up, self.cuts):
            for event in self.ours.receive(piece):
                self.serve(event)
        down = self.ours.output()
        for piece in pieces(down, self.cuts):
            for event in self.theirs.receive_data(piece):
                self.take(event)
        return bool(up or down)

    def serve(self, event: Event) -> None:
        assert event[0] in ("settled", "head", "body"), event
        if event[0] == "head":
            self.ours.headers(event[1], OK)
        if event[0] == "body":
            self.ours.data(event[1], event[2], event[3])
            self.ours.credit(event[1], len(event[2]))
            if event[3]:
                self.ended.add(event[1])

    def take(self, event: h2.events.Event) -> None:
        assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset), event
        if isinstance(event, h2.events.DataReceived):
            assert event.stream_id is not None and event.flow_controlled_length is not None
            assert event.data is not None
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            if event.flow_controlled_length:
                self.theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def send(self, bodies: dict[int, bytes]) -> None:
        """As much as the windows allow."""
        for stream in list(bodies):
            size = min(
                self.theirs.local_flow_control_window(stream),
                self.theirs.max_outbound_frame_size,
                len(bodies[stream]),
            )
            if size or not bodies[stream]:
                self.theirs.send_data(stream, bodies[stream][:size], size == len(bodies[stream]))
                bodies[stream] = bodies[stream][size:]
                if not bodies[stream]:
                    del bodies[stream]


@settings(max_examples=times(25, 500), deadline=None)
@given(
    st.lists(BODY, min_size=1, max_size=8), st.lists(st.integers(1, 30000), min_size=1, max_size=6)
)
def test_the_twin_as_our_client(sent: list[bytes], cuts: list[int]) -> None:
    echo = Echo(cuts)
    streams = {2 * n + 1: data for n, data in enumerate(sent)}
    for stream in streams:
        echo.theirs.send_headers(stream, FIELDS)
    waiting = dict(streams)
    while waiting or echo.turn():
        echo.send(waiting)
        echo.turn()
    assert {s: echo.received.get(s, b"") for s in streams} == streams
    assert echo.ended == set(streams)
    for stream in streams:
        assert echo.ours.state(stream) == (True, True, False)
        echo.ours.release(stream)
    figures = echo.ours.figures
    assert figures["live"] == 0 and figures["receive window"] == figures["window"]


@settings(max_examples=times(25, 500), deadline=None)
@given(
    st.lists(BODY, min_size=1, max_size=8), st.lists(st.integers(1, 30000), min_size=1, max_size=6)
)
def test_the_twin_as_our_server(sent: list[bytes], cuts: list[int]) -> None:
    ours = Connection(client=True)
    theirs = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    theirs.initiate_connection()
    sizes = endless(cuts)
    received: dict[int, bytes] = {}
    unsent: dict[int, bytes] = {}
    ended: set[int] = set()
    for piece in pieces(theirs.data_to_send(), sizes):
        ours.receive(piece)
    streams = {2 * n + 1: data for n, data in enumerate(sent)}
    for stream, data in streams.items():
        assert ours.open() == stream
        ours.headers(stream, [(name.encode(), value.encode()) for name, value in FIELDS])
        ours.data(stream, data, True)
    idle = 0
    while idle < 2:
        idle += 1
        for piece in pieces(ours.output(), sizes):
            idle = 0
            for event in theirs.receive_data(piece):
                if isinstance(event, h2.events.DataReceived):
                    assert event.stream_id is not None and event.data is not None
                    assert event.flow_controlled_length is not None
                    received[event.stream_id] = received.get(event.stream_id, b"") + event.data
                    if event.flow_controlled_length:
                        theirs.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                if isinstance(event, h2.events.StreamEnded):
                    assert event.stream_id is not None
                    theirs.send_headers(event.stream_id, [(":status", "200")])
                    unsent[event.stream_id] = received.get(event.stream_id, b"")
        for stream in list(unsent):
            size = min(theirs.local_flow_control_window(stream), 16384, len(unsent[stream]))
            theirs.send_data(stream, unsent[stream][:size], size == len(unsent[stream]))
            unsent[stream] = unsent[stream][size:]
            if not unsent[stream]:
                del unsent[stream]
        for piece in pieces(theirs.data_to_send(), sizes):
            idle = 0
            for told_event in ours.receive(piece):
                kind, stream = told_event[:2] if len(told_event) > 1 else (told_event[0], 0)
                assert kind in ("settled", "head", "body"), told_event
                if kind == "body":
                    ours.credit(stream, len(told_event[2]))
                    received[-stream] = received.get(-stream, b"") + told_event[2]
                    ended |= {stream} if told_event[3] else set()
    assert {s: received.get(-s, b"") for s in streams} == streams
    assert ended == set(streams)
    for stream in streams:
        ours.release(stream)
    assert ours.figures["live"] == 0
    assert ours.figures["receive window"] == ours.figures["window"]


# --- anything ---

STEP = st.one_of(
    st.builds(request, st.integers(0, 6).map(one_more), st.booleans()),
    st.builds(
        frame, st.integers(0, 10), st.integers(0, 255), st.integers(0, 13), st.binary(max_size=20)
    ),
    st.builds(body, st.integers(0, 6).map(one_more), st.binary(max_size=3000), st.booleans()),
    st.builds(
        lambda s, v: frame(WINDOW, 0, s, number(v)), st.integers(0, 9), st.integers(0, 99999)
    ),
    st.builds(lambda v: frame(SETTINGS, 0, 0, setting(4, v)), st.integers(0, 99999)),
    st.builds(lambda s, c: frame(RESET, 0, s, number(c)), st.integers(0, 13), st.integers(0, 13)),
)
ACTION = st.tuples(
    st.sampled_from(
        ["answer", "credit", "release", "reset", "output", "data", "trailers", "drain"]
    ),
    st.integers(0, 6).map(one_more),
    st.integers(1, 70000),
)


@settings(max_examples=times(300, 10000), deadline=None)
@given(st.lists(STEP | ACTION, max_size=40))
def test_whatever_comes_and_goes_windows_and_memory_are_accounted_for(
    steps: list[bytes | tuple[str, int, int]],
) -> None:
    connection = serving()
    held: dict[int, int] = {}
    written = b""
    for step in steps:
        if isinstance(step, bytes):
            for event in connection.receive(step):
                if event[0] == "head":
                    held[event[1]] = 0
                if event[0] == "body":
                    held[event[1]] += len(event[2])
        elif step[0] == "drain":
            connection.drain()
        elif step[0] == "output":
            written += connection.output()
        elif step[1] in held:
            kind, stream, size = step
            if kind == "answer":
                connection.headers(stream, OK, size % 2 == 0)
            elif kind == "credit":
                part = min(size, held[stream])
                connection.credit(stream, part)
                held[stream] -= part
            elif kind == "release":
                connection.release(stream)
                del held[stream]
            elif kind == "reset":
                connection.reset(stream, CANCEL, size % 2 == 0)
            elif kind == "data":
                connection.data(stream, b"z" * size, size % 3 == 0)
            else:
                connection.headers(stream, [(b"a", b"b")], True)
    for stream in held:
        connection.release(stream)
    figures = connection.figures
    assert figures["live"] == 0
    if connection.failed is None:
        assert figures["receive window"] == figures["window"]
        written += connection.all_output()
        assert figures["room"] + max(0, figures["window"] - CONNECTION_WINDOW) == 64 << 20
    decoder = hpack.Decoder()
    for one in frames(written):
        if one.type == HEADERS:
            decoder.decode(one.data)


def test_what_a_connection_and_a_stream_weigh() -> None:
    connection, stream = Connection().sizes
    assert connection <= 1500 and stream <= 256
