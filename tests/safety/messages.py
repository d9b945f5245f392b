"""A slow, strict and independent HTTP/1.1 reader: the judge of what the proxy has sent.

It reads from complete byte strings and knows no leniency at all: whatever RFC 9110 and 9112 leave
to a recipient's mercy is an error here. Used for the requests that arrive at the recording origin
and for the responses that arrive at the client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/1\.1" % TOKEN)
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
FIELD = re.compile(
    rb"(%s):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*"
    % TOKEN
)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})")  # no extension: the proxy must never send one


class Malformed(Exception):
    """These bytes are not a strictly correct message."""


class Incomplete(Exception):
    """The message is right so far, but more bytes are needed."""


Fields = list[tuple[str, str]]


@dataclass
class Message:
    start: str  # the first line
    fields: Fields
    body: bytes = b""
    chunked: bool = False
    until_close: bool = False
    trailers: Fields = field(default_factory=list)
    size: int = 0  # bytes of the whole message on the wire

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.fields if n.lower() == name.lower()]

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])


def read_fields(block: bytes) -> Fields:
    fields: Fields = []
    for line in block.split(b"\r\n") if block else []:
        match = FIELD.fullmatch(line)
        if match is None:
            raise Malformed(f"header line {line!r}")
        fields.append((match[1].decode(), (match[2] or b"").decode("latin-1")))
    return fields


def read_head(data: bytes, start_line: re.Pattern[bytes]) -> Message:
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    if b"\0" in head or b"\n" in head.replace(b"\r\n", b"") or b"\r\r" in head:
        raise Malformed(f"bare CR, bare LF or NUL in {head!r}")
    if end < 0:
        raise Incomplete
    first, _, block = head.partition(b"\r\n")
    if start_line.fullmatch(first) is None:
        raise Malformed(f"first line {first!r}")
    return Message(first.decode("latin-1"), read_fields(block), size=end + 4)


def framing(message: Message) -> tuple[int | None, bool]:
    """The declared length, and whether the body is chunked."""
    lengths = message.values("Content-Length")
    codings = message.values("Transfer-Encoding")
    if len(lengths) + len(codings) > 1:
        raise Malformed(f"framed twice: {lengths} {codings}")
    if codings and codings != ["chunked"]:
        raise Malformed(f"Transfer-Encoding {codings}")
    if lengths and re.fullmatch("0|[1-9][0-9]{0,18}", lengths[0]) is None:
        raise Malformed(f"Content-Length {lengths[0]!r}")
    return int(lengths[0]) if lengths else None, bool(codings)


def read_chunks(message: Message, data: bytes) -> None:
    at = message.size
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        line = CHUNK_LINE.fullmatch(data, at, end)
        if line is None:
            raise Malformed(f"chunk line {data[at:end]!r}")
        size, at = int(line[1], 16), end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            raise Incomplete
        message.body += data[at : at + size]
        if data[at + size : at + size + 2] != b"\r\n":
            raise Malformed(f"chunk not followed by CRLF: {data[at : at + size + 2]!r}")
        at += size + 2
    end = at if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", at) + 2
    if end < at or len(data) < end + 2:
        raise Incomplete
    message.trailers = read_fields(data[at : end - 2] if end > at else b"")
    message.size = end + 2


def read_body(message: Message, data: bytes) -> Message:
    length, chunked = framing(message)
    if chunked:
        message.chunked = True
        read_chunks(message, data)
    elif length is not None:
        message.body = data[message.size : message.size + length]
        message.size += length
        if len(data) < message.size:
            raise Incomplete
    return message


def read_request(data: bytes) -> Message:
    """Read one request from the start of `data`. Raises Malformed or Incomplete."""
    message = read_head(data, REQUEST_LINE)
    if len(message.values("Host")) != 1:
        raise Malformed(f"Host {message.values('Host')}")
    if not message.target.startswith("/") and message.target != "*":
        raise Malformed(f"target {message.target!r}")
    return read_body(message, data)


def read_response(data: bytes, *, method: str = "GET", closed: bool = False) -> Message:
    """Read one response to `method`; `closed` = no byte will follow `data`."""
    message = read_head(data, STATUS_LINE)
    length, chunked = framing(message)
    if method == "HEAD" or message.status < 200 or message.status in (204, 304):
        framed = length is not None or chunked
        if framed and (message.status < 200 or message.status == 204):
            raise Malformed(f"{message.status} with a length")
        return message
    if length is None and not chunked:
        if not closed:
            raise Incomplete
        message.until_close = True
        message.body, message.size = data[message.size :], len(data)
        return message
    return read_body(message, data)
