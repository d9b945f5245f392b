"""Frames of HTTP/2: each check of their layer, cut at every byte; a twin is PyPI's `hyperframe`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hyperframe.frame as twin
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.native.frames_probe import PREFACE, FrameWriter, Reader
from tests.support.counts import times
from tests.support.h2_frames import (
    ACK,
    CALM,
    CONTINUATION,
    DATA,
    EMPTY_SETTINGS,
    END_HEADERS,
    FLOW,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    LARGEST,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL,
    PUSH,
    RESET,
    SETTINGS,
    WINDOW,
    WITH_PRIORITY,
    frame,
    number,
    setting,
)

Event = tuple[Any, ...]

HELLO = PREFACE + EMPTY_SETTINGS


def joined(events: list[Event]) -> list[Event]:
    """The events with the pieces of each DATA frame put together."""
    found: list[Event] = []
    for event in events:
        if event[0] == "data" and not event[4]:
            last = found[-1]
            assert last[0] == "data" and last[1] == event[1] and not last[3]
            found[-1] = (*last[:2], last[2] + event[2], event[3], *last[4:])
        else:
            found.append(event)
    return found


def read(data: bytes, cuts: list[int] | None = None, *, client: bool = False, block: int = 49152):
    """All events of `data`, fed in pieces that end at `cuts`."""
    reader = Reader(client, block)
    found: list[Event] = []
    places = [0, *(cuts or []), len(data)]
    for start, end in pairwise(places):
        found += reader.feed(data[start:end])
        if found and found[-1][0] == "error":
            break
    return joined(found)


def behind_hello(data: bytes, **how: Any) -> list[Event]:
    if how.get("client"):
        return read(EMPTY_SETTINGS + data, **how)[1:]
    return read(HELLO + data, **how)[1:]


# --- what is refused: each row fails when its check is taken out ---

# what, bytes behind preface and SETTINGS, code of the connection's error
ERRORS: list[tuple[str, bytes, int]] = [
    ("DATA larger than a frame may be", frame(DATA, 0, 1, length=LARGEST + 1), FRAME_SIZE),
    ("an unknown frame larger than one may be", frame(99, 0, 1, length=LARGEST + 1), FRAME_SIZE),
    ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
    ("DATA padded without a length", frame(DATA, PADDED, 1), FRAME_SIZE),
    ("DATA with more padding than payload", frame(DATA, PADDED, 1, b"\x03ab"), PROTOCOL),
    ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, b"\x82"), PROTOCOL),
    ("HEADERS on a server's stream", frame(HEADERS, END_HEADERS, 2, b"\x82"), PROTOCOL),
    ("HEADERS padded without a length", frame(HEADERS, PADDED | END_HEADERS, 1), FRAME_SIZE),
    (
        "HEADERS with half a priority",
        frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, b"\0\0\0\0"),
        FRAME_SIZE,
    ),
    (
        "HEADERS with more padding than payload",
        frame(HEADERS, PADDED | END_HEADERS, 1, b"\x03ab"),
        PROTOCOL,
    ),
    (
        "HEADERS with padding over the fragment behind a priority",
        frame(HEADERS, PADDED | WITH_PRIORITY | END_HEADERS, 1, b"\x02\0\0\0\0\0a"),
        PROTOCOL,
    ),
    ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\x01\0"), PROTOCOL),
    ("RST_STREAM on stream 0", frame(RESET, 0, 0, number(8)), PROTOCOL),
    ("RST_STREAM of 3 bytes", frame(RESET, 0, 1, b"abc"), FRAME_SIZE),
    ("RST_STREAM of 5 bytes", frame(RESET, 0, 1, b"abcde"), FRAME_SIZE),
    ("SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL),
    ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"abcde"), FRAME_SIZE),
    ("an ACK with settings", frame(SETTINGS, ACK, 0, setting(4, 5)), FRAME_SIZE),
    ("ENABLE_PUSH 2", frame(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL),
    ("a window of 2^31", frame(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW),
    ("frames of 16,383", frame(SETTINGS, 0, 0, setting(5, LARGEST - 1)), PROTOCOL),
    ("frames of 2^24", frame(SETTINGS, 0, 0, setting(5, 1 << 24)), PROTOCOL),
    ("ENABLE_CONNECT_PROTOCOL 2", frame(SETTINGS, 0, 0, setting(8, 2)), PROTOCOL),
    ("NO_RFC7540_PRIORITIES 2", frame(SETTINGS, 0, 0, setting(9, 2)), PROTOCOL),
    ("PUSH_PROMISE", frame(PUSH, END_HEADERS, 1, number(2) + b"\x82"), PROTOCOL),
    ("PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL),
    ("PING of 7 bytes", frame(PING, 0, 0, b"1234567"), FRAME_SIZE),
    ("PING of 9 bytes", frame(PING, 0, 0, b"123456789"), FRAME_SIZE),
    ("GOAWAY on a stream", frame(GOAWAY, 0, 1, number(0) + number(0)), PROTOCOL),
    ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, b"1234567"), FRAME_SIZE),
    ("WINDOW_UPDATE of 3 bytes", frame(WINDOW, 0, 1, b"abc"), FRAME_SIZE),
    ("WINDOW_UPDATE of 5 bytes", frame(WINDOW, 0, 0, b"abcde"), FRAME_SIZE),
    ("WINDOW_UPDATE 0 of the connection", frame(WINDOW, 0, 0, number(0)), PROTOCOL),
    (
        "WINDOW_UPDATE 0 with the reserved bit",
        frame(WINDOW, 0, 0, number(1 << 31)),
        PROTOCOL,
    ),
    ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1), PROTOCOL),
    (
        "CONTINUATION of another stream",
        frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, END_HEADERS, 3),
        PROTOCOL,
    ),
    (
        "CONTINUATION behind the block's end",
        frame(HEADERS, END_HEADERS, 1, b"\x82") + frame(CONTINUATION, END_HEADERS, 1),
        PROTOCOL,
    ),
    *(
        (
            f"frame {kind} inside a block",
            frame(HEADERS, 0, 1, b"\x82") + frame(kind, END_HEADERS, stream, payload),
            PROTOCOL,
        )
        for kind, stream, payload in (
            (DATA, 1, b"x"),
            (HEADERS, 1, b"\x82"),
            (PRIORITY, 1, b"\0\0\0\x03\0"),
            (RESET, 1, number(8)),
            (SETTINGS, 0, b""),
            (PING, 0, b"12345678"),
            (GOAWAY, 0, number(0) * 2),
            (WINDOW, 1, number(1)),
            (99, 1, b""),
        )
    ),
    (
        "nine CONTINUATION",
        frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x82") * 9,
        CALM,
    ),
    (
        "empty CONTINUATION without end",
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 9,
        CALM,
    ),
    (
        "a block of more than 48 KiB",
        frame(HEADERS, 0, 1, b"\x82" * LARGEST)
        + frame(CONTINUATION, 0, 1, b"\x82" * LARGEST) * 2
        + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        CALM,
    ),
]


@pytest.mark.parametrize(("data", "code"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_what_ends_the_connection(data: bytes, code: int) -> None:
    events = behind_hello(data)
    assert events[-1] == ("error", code)
    assert behind_hello(data, cuts=list(range(1, len(HELLO + data)))) == events


# what comes before SETTINGS
BAD_STARTS: list[tuple[str, bytes]] = [
    ("another preface", PREFACE[:-1] + b"\r"),
    ("HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n"),
    ("no SETTINGS", PREFACE + frame(PING, 0, 0, b"12345678")),
    ("HEADERS before SETTINGS", PREFACE + frame(HEADERS, 5, 1, b"\x82")),
    ("an ACK before SETTINGS", PREFACE + frame(SETTINGS, ACK, 0)),
]


@pytest.mark.parametrize("data", [b[1] for b in BAD_STARTS], ids=[b[0] for b in BAD_STARTS])
def test_how_a_connection_must_not_start(data: bytes) -> None:
    assert read(data) == [("error", PROTOCOL)]
    assert read(data, list(range(1, len(data)))) == [("error", PROTOCOL)]


def test_a_wrong_preface_is_known_at_its_first_wrong_byte() -> None:
    reader = Reader()
    assert reader.feed(b"P") == []
    assert reader.feed(b"O") == [("error", PROTOCOL)]


def test_a_server_sends_no_preface_and_may_not_ask_for_push() -> None:
    assert read(EMPTY_SETTINGS, client=True) == [("settings",)]
    assert read(HELLO, client=True)[-1][0] == "error"
    assert behind_hello(frame(SETTINGS, 0, 0, setting(2, 1))) == [("setting", 2, 1), ("settings",)]
    asked = frame(SETTINGS, 0, 0, setting(2, 1))
    assert behind_hello(asked, client=True) == [("error", PROTOCOL)]


def test_after_an_error_nothing_is_read() -> None:
    reader = Reader()
    assert reader.feed(HELLO + frame(DATA, 0, 0)) == [("settings",), ("error", PROTOCOL)]
    for data in (b"", EMPTY_SETTINGS, b"x" * 100):
        assert reader.feed(data) == [("error", PROTOCOL)]


# what, bytes, the events they are
STREAM_ERRORS: list[tuple[str, bytes, list[Event]]] = [
    ("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, b"abcd"), [("stream error", 1, FRAME_SIZE)]),
    ("PRIORITY of 6 bytes", frame(PRIORITY, 0, 1, b"abcdef"), [("stream error", 1, FRAME_SIZE)]),
    (
        "PRIORITY on itself",
        frame(PRIORITY, 0, 3, number(3) + b"\0"),
        [("stream error", 3, PROTOCOL)],
    ),
    (
        "PRIORITY on itself, exclusive",
        frame(PRIORITY, 0, 3, number(3 | 1 << 31) + b"\0"),
        [("stream error", 3, PROTOCOL)],
    ),
    (
        "HEADERS on itself, whose block counts all the same",
        frame(HEADERS, WITH_PRIORITY | END_HEADERS, 3, number(3) + b"\x10\x82"),
        [("headers", 3, b"\x82", False, PROTOCOL)],
    ),
    (
        "WINDOW_UPDATE 0 of a stream",
        frame(WINDOW, 0, 3, number(0)),
        [("stream error", 3, PROTOCOL)],
    ),
]


@pytest.mark.parametrize(
    ("data", "events"), [s[1:] for s in STREAM_ERRORS], ids=[s[0] for s in STREAM_ERRORS]
)
def test_what_ends_a_stream_and_not_the_connection(data: bytes, events: list[Event]) -> None:
    ping = ("ping", b"12345678")
    data += frame(PING, 0, 0, b"12345678")
    assert behind_hello(data) == [*events, ping]
    assert behind_hello(data, cuts=list(range(1, len(HELLO + data)))) == [*events, ping]


BLOCK = bytes(range(256)) * 4
FRAMES: list[tuple[str, bytes, list[Event]]] = [
    ("DATA", frame(DATA, 0, 1, b"abc"), [("data", 1, b"abc", False, True, 3, 0)]),
    ("the last DATA", frame(DATA, 1, 1, b"abc"), [("data", 1, b"abc", True, True, 3, 0)]),
    ("empty DATA", frame(DATA, 0, 1), [("data", 1, b"", False, True, 0, 0)]),
    ("the last DATA, empty", frame(DATA, 1, 1), [("data", 1, b"", True, True, 0, 0)]),
    (
        "padded DATA",
        frame(DATA, 1 | PADDED, 1, b"\x04abc\0\0\0\0"),
        [("data", 1, b"abc", True, True, 8, 5)],
    ),
    (
        "DATA of padding alone",
        frame(DATA, 1 | PADDED, 1, b"\x04\0\0\0\0"),
        [("data", 1, b"", True, True, 5, 5)],
    ),
    (
        "DATA of padding alone, not the last",
        frame(DATA, PADDED, 1, b"\x04\0\0\0\0"),
        [("data", 1, b"", False, True, 5, 5)],
    ),
    ("padding of length 0", frame(DATA, PADDED, 1, b"\0a"), [("data", 1, b"a", False, True, 2, 1)]),
    (
        "the largest DATA",
        frame(DATA, 0, 1, b"x" * LARGEST),
        [("data", 1, b"x" * LARGEST, False, True, LARGEST, 0)],
    ),
    (
        "the reserved bit of a stream",
        frame(DATA, 0, 1 | 1 << 31, b"a"),
        [("data", 1, b"a", False, True, 1, 0)],
    ),
    ("HEADERS", frame(HEADERS, 4, 1, BLOCK), [("headers", 1, BLOCK, False, 0)]),
    ("HEADERS without a block", frame(HEADERS, 5, 1), [("headers", 1, b"", True, 0)]),
    (
        "padded HEADERS with priority",
        frame(HEADERS, 5 | PADDED | WITH_PRIORITY, 1, b"\x02\0\0\0\0\x10" + BLOCK + b"\0\0"),
        [("headers", 1, BLOCK, True, 0)],
    ),
    (
        "HEADERS of padding alone",
        frame(HEADERS, 4 | PADDED, 1, b"\x02\0\0"),
        [("headers", 1, b"", False, 0)],
    ),
    (
        "HEADERS and CONTINUATION, whose END_STREAM is the first one's",
        frame(HEADERS, 1, 1, BLOCK[:3])
        + frame(CONTINUATION, 0, 1, BLOCK[3:9])
        + frame(CONTINUATION, 0, 1)
        + frame(CONTINUATION, 4, 1, BLOCK[9:]),
        [("headers", 1, BLOCK, True, 0)],
    ),
    (
        "padded HEADERS and CONTINUATION",
        frame(HEADERS, PADDED, 1, b"\x05" + BLOCK[:3] + b"\0" * 5)
        + frame(CONTINUATION, 4, 1, BLOCK[3:]),
        [("headers", 1, BLOCK, False, 0)],
    ),
    (
        "empty HEADERS and a block in CONTINUATION",
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 4, 1, BLOCK),
        [("headers", 1, BLOCK, False, 0)],
    ),
    (
        "eight CONTINUATION",
        frame(HEADERS, 0, 1, b"a")
        + frame(CONTINUATION, 0, 1, b"b") * 7
        + frame(CONTINUATION, 4, 1),
        [("headers", 1, b"abbbbbbb", False, 0)],
    ),
    (
        "a block of 48 KiB",
        frame(HEADERS, 0, 1, b"a" * LARGEST)
        + frame(CONTINUATION, 0, 1, b"b" * LARGEST)
        + frame(CONTINUATION, 4, 1, b"c" * LARGEST),
        [("headers", 1, b"a" * LARGEST + b"b" * LARGEST + b"c" * LARGEST, False, 0)],
    ),
    ("PRIORITY", frame(PRIORITY, 0, 3, number(1) + b"\x10"), [("priority", 3)]),
    ("RST_STREAM", frame(RESET, 0, 3, number(8)), [("reset", 3, 8)]),
    (
        "SETTINGS",
        frame(SETTINGS, 0, 0, setting(4, 70000) + setting(3, 7) + setting(0x99, 1 << 31)),
        [("setting", 4, 70000), ("setting", 3, 7), ("setting", 0x99, 1 << 31), ("settings",)],
    ),
    (
        "settings at the ends of their ranges",
        frame(
            SETTINGS,
            0,
            0,
            setting(4, (1 << 31) - 1) + setting(5, LARGEST) + setting(5, (1 << 24) - 1),
        ),
        [
            ("setting", 4, (1 << 31) - 1),
            ("setting", 5, LARGEST),
            ("setting", 5, (1 << 24) - 1),
            ("settings",),
        ],
    ),
    ("SETTINGS without any", EMPTY_SETTINGS, [("settings",)]),
    ("an ACK", frame(SETTINGS, ACK, 0), [("settings ack",)]),
    ("PING", frame(PING, 0, 0, b"12345678"), [("ping", b"12345678")]),
    ("the answer to PING", frame(PING, ACK, 0, b"12345678"), [("ping ack", b"12345678")]),
    ("GOAWAY", frame(GOAWAY, 0, 0, number(5) + number(2)), [("goaway", 5, 2)]),
    ("GOAWAY with text", frame(GOAWAY, 0, 0, number(5) + number(2) + b"why"), [("goaway", 5, 2)]),
    ("WINDOW_UPDATE", frame(WINDOW, 0, 3, number(1 << 31 | 5)), [("window", 3, 5)]),
    ("WINDOW_UPDATE of the connection", frame(WINDOW, 0, 0, number(5)), [("window", 0, 5)]),
    ("another frame", frame(0x10, 0xFF, 0, b"\0\0\0\x01u=1"), [("unknown", 0, 0x10)]),
    ("another frame on a stream", frame(99, 0, 7, b"x" * 300), [("unknown", 7, 99)]),
    ("unknown flags", frame(PING, 0xFE, 0, b"12345678"), [("ping", b"12345678")]),
]


@pytest.mark.parametrize(("data", "events"), [f[1:] for f in FRAMES], ids=[f[0] for f in FRAMES])
def test_frames_are_read(data: bytes, events: list[Event]) -> None:
    last = ("ping", b"abcdefgh")
    data = HELLO + data + frame(PING, 0, 0, b"abcdefgh")
    assert read(data) == [("settings",), *events, last]


@pytest.mark.parametrize(("data", "events"), [f[1:] for f in FRAMES], ids=[f[0] for f in FRAMES])
def test_frames_are_read_wherever_they_are_cut(data: bytes, events: list[Event]) -> None:
    expected = [("settings",), *events, ("ping", b"abcdefgh")]
    data = HELLO + data + frame(PING, 0, 0, b"abcdefgh")
    assert read(data, list(range(1, len(data)))) == expected
    inner = range(1, len(data)) if len(data) < 500 else range(1, len(data), 997)
    for cut in inner:
        assert read(data, [cut]) == expected


def test_memory_is_held_only_while_a_block_is_open() -> None:
    reader = Reader()
    reader.feed(HELLO + frame(HEADERS, 0, 1, b"a" * 10000) + b"\0\0\1")
    assert 10000 <= reader.memory <= 20000
    reader.feed(frame(CONTINUATION, 4, 1, b"b")[3:])
    reader.feed(EMPTY_SETTINGS)
    assert reader.memory == 0
    reader.feed(frame(HEADERS, 4, 3, b"a" * 10000))
    assert reader.memory == 0, "a block in one piece is not copied"


def test_a_block_takes_no_more_memory_than_has_come() -> None:
    reader = Reader()
    reader.feed(HELLO + frame(HEADERS, 0, 1, b"a", length=LARGEST))
    assert reader.memory <= 1024


# --- writing, read by the twin ---

WRITTEN: list[tuple[str, Callable[[FrameWriter], None], bytes]] = [
    (
        "SETTINGS",
        lambda w: w.settings([(4, 65536), (8, 1)]),
        frame(SETTINGS, 0, 0, setting(4, 65536) + setting(8, 1)),
    ),
    ("no SETTINGS", lambda w: w.settings([]), EMPTY_SETTINGS),
    ("an ACK", lambda w: w.settings_ack(), frame(SETTINGS, ACK, 0)),
    ("PING", lambda w: w.ping(b"12345678", False), frame(PING, 0, 0, b"12345678")),
    ("an answer", lambda w: w.ping(b"12345678", True), frame(PING, ACK, 0, b"12345678")),
    ("RST_STREAM", lambda w: w.reset(0x7FFFFFFF, 8), frame(RESET, 0, 0x7FFFFFFF, number(8))),
    ("GOAWAY", lambda w: w.goaway(5, 11), frame(GOAWAY, 0, 0, number(5) + number(11))),
    ("WINDOW_UPDATE", lambda w: w.window(3, 65536), frame(WINDOW, 0, 3, number(65536))),
    ("a head", lambda w: w.head(0x123456, DATA, 1, 7), frame(DATA, 1, 7, length=0x123456)),
    ("HEADERS", lambda w: w.block(1, BLOCK, True), frame(HEADERS, 5, 1, BLOCK)),
    ("an empty block", lambda w: w.block(1, b"", False), frame(HEADERS, 4, 1)),
]


@pytest.mark.parametrize(("write", "data"), [w[1:] for w in WRITTEN], ids=[w[0] for w in WRITTEN])
def test_frames_are_written(write: Callable[[FrameWriter], None], data: bytes) -> None:
    writer = FrameWriter()
    write(writer)
    assert writer.data == data and not writer.failed
    for capacity in range(len(data)):
        short = FrameWriter(capacity)
        write(short)
        assert short.failed and short.data == b"", "not cut"


@given(st.binary(max_size=200), st.integers(1, 50), st.booleans())
@example(b"", 1, True)
@example(b"x" * 50, 50, True)
@example(b"x" * 51, 50, True)
@example(b"x" * 100, 50, False)
def test_a_block_is_cut_into_frames(block: bytes, size: int, end: bool) -> None:
    writer = FrameWriter()
    writer.block(5, block, end, size)
    data, pieces, flags = writer.data, [], []
    while data:
        one, length = twin.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        assert one.stream_id == 5 and length <= size
        assert isinstance(one, twin.ContinuationFrame if pieces else twin.HeadersFrame)
        pieces.append(one.data)
        flags.append(set(one.flags))
        data = data[9 + length :]
    assert b"".join(pieces) == block
    assert flags[0] >= ({"END_STREAM"} if end else set())
    assert ["END_HEADERS" in f for f in flags] == [False] * (len(flags) - 1) + [True]
    short = FrameWriter(len(writer.data) - 1)
    short.block(5, block, end, size)
    assert short.failed and short.data == b""


# --- the twin writes, we read ---

STREAM = st.integers(0, 50).map(lambda n: 2 * n + 1)
PADDING = st.integers(0, 255)


def data_frame(stream: int, data: bytes, end: bool, padding: int | None) -> tuple[Any, list[Event]]:
    flags = ["END_STREAM"] * end + ["PADDED"] * (padding is not None)
    made = twin.DataFrame(stream, data, pad_length=padding or 0, flags=flags)
    extra = 0 if padding is None else padding + 1
    return made, [("data", stream, data, end, True, len(data) + extra, extra)]


def headers_frame(
    stream: int, block: bytes, end: bool, padding: int | None, priority: bool
) -> tuple[Any, list[Event]]:
    flags = ["END_HEADERS", *["END_STREAM"] * end, *["PADDED"] * (padding is not None)]
    made = twin.HeadersFrame(
        stream, block, pad_length=padding or 0, flags=flags + ["PRIORITY"] * priority
    )
    return made, [("headers", stream, block, end, 0)]


def settings_frame(values: dict[int, int]) -> tuple[Any, list[Event]]:
    made = twin.SettingsFrame(0, values)
    return made, [*(("setting", key, value) for key, value in values.items()), ("settings",)]


ONE = st.one_of(
    st.builds(data_frame, STREAM, st.binary(max_size=300), st.booleans(), st.none() | PADDING),
    st.builds(
        headers_frame,
        *(STREAM, st.binary(max_size=300), st.booleans(), st.none() | PADDING, st.booleans()),
    ),
    st.builds(
        settings_frame, st.dictionaries(st.sampled_from([1, 3, 6, 77]), st.integers(0, 1 << 31))
    ),
    st.builds(
        lambda data: (twin.PingFrame(0, data), [("ping", data)]), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda stream, code: (twin.RstStreamFrame(stream, code), [("reset", stream, code)]),
        *(STREAM, st.integers(0, 0xFFFFFFFF)),
    ),
    st.builds(
        lambda stream, size: (twin.WindowUpdateFrame(stream, size), [("window", stream, size)]),
        *(st.just(0) | STREAM, st.integers(1, 0x7FFFFFFF)),
    ),
    st.builds(
        lambda last, code, text: (twin.GoAwayFrame(0, last, code, text), [("goaway", last, code)]),
        *(st.integers(0, 0x7FFFFFFF), st.integers(0, 20), st.binary(max_size=40)),
    ),
    st.builds(lambda stream: (twin.PriorityFrame(stream, 0), [("priority", stream)]), STREAM),
)


@settings(max_examples=times(200, 5000))
@given(st.lists(ONE, max_size=12), st.data())
def test_what_the_twin_writes_is_read(
    frames: list[tuple[Any, list[Event]]], data: st.DataObject
) -> None:
    wire = HELLO + b"".join(one.serialize() for one, _ in frames)
    expected = [("settings",), *(event for _, events in frames for event in events)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    assert read(wire) == expected
    assert read(wire, cuts) == expected


@settings(max_examples=times(300, 10000))
@given(
    st.lists(
        st.one_of(
            st.builds(
                frame,
                st.integers(0, 12),
                st.integers(0, 255),
                st.integers(0, 7),
                st.binary(max_size=40),
            ),
            st.binary(max_size=30),
        ),
        max_size=8,
    ),
    st.booleans(),
    st.data(),
)
def test_any_bytes_are_read_alike_wherever_they_are_cut(
    pieces: list[bytes], client: bool, data: st.DataObject
) -> None:
    wire = (EMPTY_SETTINGS if client else HELLO) + b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    assert read(wire, cuts, client=client) == read(wire, client=client)
