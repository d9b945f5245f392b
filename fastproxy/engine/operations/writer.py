"""The operations a route can carry, and their byte form in the compiled table.

A feature's `build` returns operations; `compile.py` writes them behind the route's record, and the
engine (`engine/exchange/run.pyx`) executes them in the order they stand in, without Python. A
`Scripted` operation is the exception: it makes the engine call a Python `Filter`.

Byte form of one operation, little-endian, padded to 8 bytes:

    u16 code   u16 flags   u32 size of the payload   payload

The codes stand in engine/operations/codes.pxd, the record in fastproxy/tables/block.pxd.

In a payload, `blob` is u32 size + bytes, without padding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from fastproxy.engine.operations.codes import OperationCode
from fastproxy.model.configuration import Config

QUESTION_SECONDS = 30.0  # how long `AskServer` waits for the whole answer (`features.md` 3.21)


class Phase(IntEnum):
    REQUEST = 0  # in order, before an endpoint is picked; may answer
    RESPONSE = 1  # on the head of a response received from a backend
    END = 2  # exactly once, when the exchange is over


class Extractor(IntEnum):
    """What a limit counts by (`features.md` 3.15)."""

    CLIENT_IP = 0
    REQUEST_HOST = 1
    REQUEST_HEADER = 2


class Piece(IntEnum):
    """What a piece of a replacement stands for."""

    TEXT = 0
    GROUP = 1  # of the match, by number
    HOST = 2
    METHOD = 3
    PATH = 4
    HEADER = 5  # by name


Pieces = tuple[tuple[Piece, int, bytes], ...]  # kind, number of the group, text or name


def blob(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def pairs(edits: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return struct.pack("<I", len(edits)) + b"".join(blob(n) + blob(v) for n, v in edits)


def blobs(items: tuple[bytes, ...]) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(blob(item) for item in items)


def encoded_pieces(pieces: Pieces) -> bytes:
    """How many groups of a match the pieces need (the whole match is the first), the pieces."""
    needed = 1 + max((number for _, number, _ in pieces), default=0)
    rows = (struct.pack("<II", kind, number) + blob(text) for kind, number, text in pieces)
    return struct.pack("<II", needed, len(pieces)) + b"".join(rows)


@dataclass(frozen=True)
class Operation:
    code: ClassVar[int] = 0
    phase: ClassVar[Phase] = Phase.REQUEST
    of_backend: ClassVar[bool] = False  # also done for a page that is fetched from the backend

    def payload(self) -> bytes:
        raise NotImplementedError

    def encode(self) -> bytes:
        data = self.payload()
        return (
            struct.pack("<HHI", self.code, self.of_backend, len(data))
            + data
            + bytes(-len(data) % 8)
        )


@dataclass(frozen=True)
class StripPrefixes(Operation):
    """Remove the longest matching string prefix, ensure one leading `/`, add X-Forwarded-Prefix;
    404 when none applies (`features.md` 3.5)."""

    code: ClassVar[int] = OperationCode.STRIP_PREFIXES
    prefixes: tuple[bytes, ...] = ()

    def payload(self) -> bytes:
        return blobs(tuple(sorted(self.prefixes, key=lambda p: (-len(p), p))))


@dataclass(frozen=True)
class AddPrefix(Operation):
    code: ClassVar[int] = OperationCode.ADD_PREFIX
    prefix: bytes = b""

    def payload(self) -> bytes:
        return blob(self.prefix)


@dataclass(frozen=True)
class ReplacePath(Operation):
    """path := value, old path in X-Replaced-Path."""

    code: ClassVar[int] = OperationCode.REPLACE_PATH
    path: bytes = b""

    def payload(self) -> bytes:
        return blob(self.path)


@dataclass(frozen=True)
class RewritePrefix(Operation):
    """`rewrite-target` whose pattern is a plain prefix: `^prefix(.*)` -> replacement + rest, with a
    leading `/` ensured (FIX 7), old path in X-Replaced-Path; no match changes nothing."""

    code: ClassVar[int] = OperationCode.REWRITE_PREFIX
    prefix: bytes = b""
    replacement: bytes = b""

    def payload(self) -> bytes:
        return blob(self.prefix) + blob(self.replacement)


@dataclass(frozen=True)
class AllowNetworks(Operation):
    """403 unless the client is inside one network (`features.md` 3.8).

    A network is a 16-byte address (IPv4 as IPv4-mapped IPv6, host bits zero) and 0..128 bits.
    """

    code: ClassVar[int] = OperationCode.ALLOW_NETWORKS
    networks: tuple[tuple[bytes, int], ...] = ()
    use_forwarded_for: bool = False

    def payload(self) -> bytes:
        rows = b"".join(address + struct.pack("<I", bits) for address, bits in self.networks)
        return struct.pack("<II", int(self.use_forwarded_for), len(self.networks)) + rows


@dataclass(frozen=True)
class RedirectRoot(Operation):
    """app-root: a request for exactly `/` without query is redirected to `target` on its host."""

    code: ClassVar[int] = OperationCode.REDIRECT_ROOT
    target: bytes = b""
    permanent: bool = False

    def payload(self) -> bytes:
        return struct.pack("<I", int(self.permanent)) + blob(self.target)


@dataclass(frozen=True)
class RedirectEntryPoint(Operation):
    """`redirect-entry-point`: to scheme://host:port + target, unless that is where we are."""

    code: ClassVar[int] = OperationCode.REDIRECT_ENTRY_POINT
    scheme: bytes = b"https"
    port: int = 443
    permanent: bool = False

    def payload(self) -> bytes:
        return struct.pack("<II", int(self.permanent), self.port) + blob(self.scheme)


@dataclass(frozen=True)
class EditRequestHeaders(Operation):
    """Replace each header; an empty value deletes it (`features.md` 3.10)."""

    code: ClassVar[int] = OperationCode.EDIT_REQUEST_HEADERS
    edits: tuple[tuple[bytes, bytes], ...] = ()

    def payload(self) -> bytes:
        return pairs(self.edits)


@dataclass(frozen=True)
class SecureRequest(Operation):
    """The request part of the security headers (`features.md` 3.11, steps 1 to 5)."""

    code: ClassVar[int] = OperationCode.SECURE_REQUEST
    allowed_hosts: tuple[bytes, ...] = ()
    proxy_headers: tuple[bytes, ...] = ()
    ssl_proxy_headers: tuple[tuple[bytes, bytes], ...] = ()
    ssl_host: bytes = b""
    ssl_redirect: bool = False
    temporary: bool = False
    force_host: bool = False
    development: bool = False

    def payload(self) -> bytes:
        flags = (
            int(self.ssl_redirect)
            | int(self.temporary) << 1
            | int(self.force_host) << 2
            | int(self.development) << 3
        )
        return (
            struct.pack("<I", flags)
            + blob(self.ssl_host)
            + blobs(self.allowed_hosts)
            + blobs(self.proxy_headers)
            + pairs(self.ssl_proxy_headers)
        )


@dataclass(frozen=True)
class MaxConnections(Operation):
    """429 when the key already has `amount` requests in progress (`features.md` 3.15). The engine
    gives the count back at the end of the exchange by itself."""

    code: ClassVar[int] = OperationCode.MAX_CONNECTIONS
    of_backend: ClassVar[bool] = True
    slot: int = 0
    amount: int = 0
    extractor: Extractor = Extractor.CLIENT_IP
    header: bytes = b""

    def payload(self) -> bytes:
        return struct.pack("<IIqI", self.slot, int(self.extractor), self.amount, 0) + blob(
            self.header
        )


@dataclass(frozen=True)
class RateLimit(Operation):
    """Token buckets per key (`features.md` 3.16); a bucket is (nanoseconds per token, burst)."""

    code: ClassVar[int] = OperationCode.RATE_LIMIT
    of_backend: ClassVar[bool] = True
    slot: int = 0
    extractor: Extractor = Extractor.CLIENT_IP
    header: bytes = b""
    buckets: tuple[tuple[int, int], ...] = ()
    lifetime: int = 1  # seconds an entry lives from its creation

    def payload(self) -> bytes:
        rows = b"".join(struct.pack("<qq", token, burst) for token, burst in self.buckets)
        return (
            struct.pack(
                "<IIqII", self.slot, int(self.extractor), self.lifetime, 0, len(self.buckets)
            )
            + rows
            + blob(self.header)
        )


@dataclass(frozen=True)
class CircuitBreaker(Operation):
    """503 while open (`features.md` 3.19). `program` is the expression in postfix form, see
    `fastproxy/expression.py`; observed answers are recorded at the end of the exchange."""

    code: ClassVar[int] = OperationCode.CIRCUIT_BREAKER
    of_backend: ClassVar[bool] = True
    slot: int = 0
    program: bytes = b""

    def payload(self) -> bytes:
        return struct.pack("<I", self.slot) + blob(self.program)


@dataclass(frozen=True)
class Affinity(Operation):
    """Sticky sessions (`features.md` 3.17): the cookie's value is the endpoint's URL.

    `attributes` is the text behind the value, e.g. `; Path=/; HttpOnly`.
    """

    code: ClassVar[int] = OperationCode.AFFINITY
    of_backend: ClassVar[bool] = True
    cookie: bytes = b""
    attributes: bytes = b"; Path=/"

    def payload(self) -> bytes:
        return blob(self.cookie) + blob(self.attributes)


@dataclass(frozen=True)
class EditResponseHeaders(Operation):
    """Replace each header of a backend's response; an empty value deletes it. In a value, `\\x01`
    stands for the nonce of this request (base64 of 16 random bytes, without padding)."""

    code: ClassVar[int] = OperationCode.EDIT_RESPONSE_HEADERS
    phase: ClassVar[Phase] = Phase.RESPONSE
    edits: tuple[tuple[bytes, bytes], ...] = ()
    only_ssl: bool = False  # only when the client side counts as TLS (see SecureRequest)

    def payload(self) -> bytes:
        return struct.pack("<I", int(self.only_ssl)) + pairs(self.edits)


@dataclass(frozen=True)
class FixLocation(Operation):
    """Location `http://HOST[/...]` becomes https when the exchange is SSL (3.11.7)."""

    code: ClassVar[int] = OperationCode.FIX_LOCATION
    phase: ClassVar[Phase] = Phase.RESPONSE
    host: bytes = b""

    def payload(self) -> bytes:
        return blob(self.host)


@dataclass(frozen=True)
class ErrorPages(Operation):
    """Responses whose status lies in a range are replaced: the engine parks the exchange and calls
    the Python filter's `on_intercept` (`features.md` 3.9). Ranges are inclusive."""

    code: ClassVar[int] = OperationCode.ERROR_PAGES
    ranges: tuple[tuple[int, int], ...] = ()
    config: Config | None = None

    def payload(self) -> bytes:
        rows = b"".join(struct.pack("<II", low, high) for low, high in self.ranges)
        return struct.pack("<II", 0, len(self.ranges)) + rows  # first word: filter slot, patched


@dataclass(frozen=True)
class Scripted(Operation):
    """Call a phase of the Python filter built from `config` (see `feature.Filter`).

    `compile.py` replaces the configuration by its filter slot; workers hold the live filter there.
    """

    code: ClassVar[int] = OperationCode.SCRIPTED
    in_phase: Phase = Phase.REQUEST
    config: Config | None = None

    def payload(self) -> bytes:
        return struct.pack("<II", 0, int(self.in_phase))  # first word: filter slot, patched


@dataclass(frozen=True)
class Compress(Operation):
    """gzip the response for clients that accept it (`features.md` 5.1): always `Vary:
    Accept-Encoding`, nothing for `Content-Type: application/grpc*` requests, nothing when the
    response is encoded already or shorter than 512 bytes; a response of unknown length starts at
    its first flush."""

    code: ClassVar[int] = OperationCode.COMPRESS

    def payload(self) -> bytes:
        return b""


@dataclass(frozen=True)
class OfferEntryPointCertificate(Operation):
    """pass-tls-cert: https endpoints are offered the entry point's own certificate, and its client
    CAs replace the trusted roots (`features.md` 3.18)."""

    code: ClassVar[int] = OperationCode.OFFER_CERTIFICATE

    def payload(self) -> bytes:
        return b""


@dataclass(frozen=True)
class RewriteRegex(Operation):
    """ReplacePathRegex: replace every match in the decoded path (`features.md` 3.5). The
    configuration's filter is the compiled expression (`engine.regex.Regex`)."""

    code: ClassVar[int] = OperationCode.REWRITE_REGEX
    pieces: Pieces = ()
    config: Config | None = None

    def payload(self) -> bytes:
        return struct.pack("<I", 0) + encoded_pieces(self.pieces)  # first word: slot, patched


@dataclass(frozen=True)
class RedirectRegex(Operation):
    """`redirect-regex`: to the URL with every match replaced, unless that is the same URL
    (`features.md` 3.7). The expression comes as in RewriteRegex."""

    code: ClassVar[int] = OperationCode.REDIRECT_REGEX
    pieces: Pieces = ()
    permanent: bool = False
    config: Config | None = None

    def payload(self) -> bytes:
        return struct.pack("<II", 0, int(self.permanent)) + encoded_pieces(self.pieces)


@dataclass(frozen=True)
class RememberedHeaders(Operation):
    """Add the header fields which the filter of the operation that follows made for an earlier
    request of the connection (`Exchange.remember_headers`), and leave that operation out."""

    code: ClassVar[int] = OperationCode.REMEMBERED_HEADERS
    config: Config | None = None

    def payload(self) -> bytes:
        return struct.pack("<I", 0)  # filter slot, patched


@dataclass(frozen=True)
class RememberedUser(Operation):
    """Basic authentication of users whose password was right lately (`Exchange.remember_user`): do
    what the filter of the operation that follows would do, and leave that operation out."""

    code: ClassVar[int] = OperationCode.REMEMBERED_USER
    config: Config | None = None
    header_field: bytes = b""  # gets the user's name
    remove_header: bool = False  # Authorization is not forwarded

    def payload(self) -> bytes:
        return struct.pack("<II", 0, int(self.remove_header)) + blob(self.header_field)  # patched


@dataclass(frozen=True)
class RememberedNonce(Operation):
    """Digest authentication with a nonce that was right before (`Exchange.remember_nonce`): do what
    the filter of the operation that follows would do, and leave that operation out."""

    code: ClassVar[int] = OperationCode.REMEMBERED_NONCE
    config: Config | None = None
    header_field: bytes = b""  # gets the user's name
    remove_header: bool = False  # Authorization is not forwarded
    lifetime: int = 0  # seconds, of a nonce

    def payload(self) -> bytes:
        numbers = struct.pack("<III", 0, int(self.remove_header), self.lifetime)
        return numbers + blob(self.header_field)  # first word: filter slot, patched


@dataclass(frozen=True)
class AskServer(Operation):
    """Forward authentication: ask the server (`Filter.asks`) what the filter of the operation that
    follows would ask, and leave that operation out when it admits the request. `start` is the
    request line and Host."""

    code: ClassVar[int] = OperationCode.ASK_SERVER
    config: Config | None = None
    trust: bool = False  # in the client's X-Forwarded-*
    start: bytes = b""
    credentials: bytes = b""  # Authorization, when the request has none
    response_headers: tuple[bytes, ...] = ()  # copied from the answer

    def payload(self) -> bytes:
        numbers = struct.pack("<II", 0, int(self.trust))  # first word: filter slot, patched
        return numbers + blob(self.start) + blob(self.credentials) + blobs(self.response_headers)


@dataclass(frozen=True)
class Buffer(Operation):
    """Read request and response completely before passing them on; sizes in bytes, 0 = unlimited
    (`features.md` 3.20). `program` is the retry expression in postfix form, see
    `fastproxy/expression.py`; empty: each request is sent once. What stands behind this operation
    runs for each attempt."""

    code: ClassVar[int] = OperationCode.BUFFER
    max_request: int = 0
    mem_request: int = 0
    max_response: int = 0
    mem_response: int = 0
    program: bytes = b""

    def payload(self) -> bytes:
        sizes = (self.max_request, self.mem_request, self.max_response, self.mem_response)
        return struct.pack("<QQQQ", *sizes) + blob(self.program)
