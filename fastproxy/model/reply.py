"""Answers as Python sees them: what a filter returns, and what a sub-request brought."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Reply:
    """An answer made by fastproxy itself. Header text is latin-1; the engine adds Content-Length
    and Date, and nothing else."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.status = status
        self.body = body
        self.headers = tuple(headers)

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.body!r}, {self.headers!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and (self.status, self.body, self.headers) == (
            other.status,
            other.body,
            other.headers,
        )

    __hash__ = None  # type: ignore[assignment]


class Response:
    """A whole response of a backend to a sub-request; headers in their order."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = tuple(headers)
        self.body = body


def phrase(status: int) -> str:
    """The reason phrase, as Go's `http.StatusText` has it (Python changed that of 413)."""
    return "Request Entity Too Large" if status == 413 else HTTPStatus(status).phrase


def plain(status: int, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    """Status text as body, the usual form of own answers (`features.md` 1.2)."""
    return Reply(status, phrase(status).encode(), (TEXT, *headers))


# Headers which say how a message was framed, or speak of one connection: never copied from one
# message to another. Lower-case.
FRAMING = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)

# Headers which speak of the representation that a request asks for (RFC 9110 13.1, 14.2): a request
# for something else does not take them over. Lower-case.
CONDITIONS = frozenset(
    (
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    )
)
