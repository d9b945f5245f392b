"""Frames of HTTP/2 by hand, right and wrong ones, and what a side has written, as text."""

from __future__ import annotations

import hyperframe.frame as twin

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
LARGEST = 16384

# codes of errors, RFC 9113 7
NO_ERROR, PROTOCOL, INTERNAL, FLOW, TIMEOUT, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = (
    range(10)
)
CALM = 11


def frame(
    kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def setting(number: int, value: int) -> bytes:
    return number.to_bytes(2, "big") + value.to_bytes(4, "big")


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


EMPTY_SETTINGS = frame(SETTINGS, 0, 0)


def frames(data: bytes) -> list[twin.Frame]:
    """What stands in `data`, all of it."""
    found = []
    while data:
        one, length = twin.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        assert len(data) >= 9 + length, "a frame was cut"
        found.append(one)
        data = data[9 + length :]
    return found


def told(data: bytes) -> list[str]:
    """The frames in a few words: `reset 3 8`, `data 1 16384 end`."""
    return [_told(one) for one in frames(data)]


def _told(one: twin.Frame) -> str:
    end = " end" if "END_STREAM" in one.flags else ""
    match one:
        case twin.DataFrame():
            return f"data {one.stream_id} {len(one.data)}{end}"
        case twin.HeadersFrame():
            return f"headers {one.stream_id}{end}"
        case twin.RstStreamFrame():
            return f"reset {one.stream_id} {one.error_code}"
        case twin.SettingsFrame():
            return "settings ack" if "ACK" in one.flags else "settings"
        case twin.PingFrame():
            return "ping ack" if "ACK" in one.flags else "ping"
        case twin.GoAwayFrame():
            return f"goaway {one.last_stream_id} {one.error_code}"
        case twin.WindowUpdateFrame():
            return f"window {one.stream_id} {one.window_increment}"
    return type(one).__name__
