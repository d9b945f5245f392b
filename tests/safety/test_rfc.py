"""What RFC 9110 and 9112 oblige an intermediary to, and the cases of the corpus that show it.

`test_corpus.py` sends each of these cases over real sockets, whole, byte by byte and in pieces, and
judges what arrives at the origin and at the client.
"""

from __future__ import annotations

import pytest

from tests.e2e.test_own_answers import ANSWERS
from tests.safety.corpus import corpus
from tests.safety.messages import Message
from tests.safety.test_deadlines import WAITS
from tests.support.required_fields import REQUIRED, Required, lacking

NAMES = {case.name for case in corpus()}

MUSTS = [
    # section, what it obliges to, the cases (a * stands for any letters)
    ("9110 4.2.3", "authorities are compared without case and default port",
     "host/absolute-default-port* host/absolute-equal-but-case"),
    ("9110 4.2.4", "userinfo in a target is refused",
     "host/absolute-userinfo*"),
    ("9110 5.3", "the order of fields of one name is kept",
     "responses/set-cookie-twice"),
    ("9110 5.5", "CR, LF and NUL in a value: refused",
     "fields/value-*"),
    ("9110 5.6.1", "empty list elements are ignored",
     "connection/connection-many-empty-names"),
    ("9110 6.4.1", "responses to HEAD, 1xx, 204 and 304 have no content",
     "responses/head-* responses/status-204-* responses/status-304*"),
    ("9110 6.5.1", "trailers are not merged and fields of framing never pass",
     "chunks/trailer-*"),
    ("9110 7.2", "a request without Host, or with two: 400",
     "host/*"),
    ("9110 7.6.1", "Connection and the fields it names are removed",
     "responses/hop-by-hop-goes connection/connection-many-names"),
    ("9110 7.6.2", "Max-Forwards of OPTIONS and TRACE is counted",
     "connection/max-forwards-*"),
    ("9110 9.3.8, 15.5.6", "TRACE shows nobody what was sent: 405, which names what is allowed",
     "connection/max-forwards-0-trace"),
    ("9110 7.8", "Upgrade is sent with Connection; a 101 only to what was asked",
     "connection/upgrade-accepted* connection/upgrade-with-length*"),
    ("9110 7.8", "Upgrade in HTTP/1.0 is ignored",
     "connection/upgrade-in-1-0"),
    ("9110 8.6", "Content-Length only as digits; 0 where content is usual",
     "framing/post-says-length-0 framing/put-without-length"),
    ("9110 8.6", "no Content-Length in 1xx and 204",
     "responses/status-204-with-length responses/interim-with-length"),
    ("9110 10.1.1", "an unknown expectation: 417; Expect in 1.0 is ignored",
     "connection/expect*"),
    ("9110 15.2", "1xx never to a client of 1.0",
     "responses/interim-to-1-0"),
    ("9110 15.2.2", "101 nobody asked for is an error",
     "responses/interim-101-unasked"),
    ("9110 15.5.22", "426 names the protocol",
     "responses/upgrade-required connection/websocket-wrong-version"),
    ("9112 2.2", "bare CR: refused; one empty line before a request: ignored",
     "lines/*"),
    ("9112 2.3", "the version of the message is our own",
     "responses/from-1-0-with-length"),
    ("9112 3.2", "an invalid request line: 400",
     "lines/*"),
    ("9112 3.2.2", "an absolute target is served",
     "host/absolute-equal host/absolute-without-host-header"),
    ("9112 3.2.4", "asterisk form only with OPTIONS",
     "lines/*"),
    ("9112 5.1", "a blank before the colon: 400 in a request, removed in a response",
     "fields/blank-before-colon responses/blank-before-colon*"),
    ("9112 5.2", "folding: 400 in a request, 502 in a response",
     "fields/fold-* responses/fold"),
    ("9112 6.1", "Transfer-Encoding and Content-Length: refused",
     "framing/length-then-chunked framing/chunked-then-length "
     "responses/length-and-chunked"),
    ("9112 6.1", "an unknown coding: 501; Transfer-Encoding in 1.0: refused",
     "framing/* responses/coding-in-1-0"),
    ("9112 6.1", "no chunked to a client of 1.0",
     "responses/chunks-to-1-0"),
    ("9112 6.3", "a response with an invalid length: 502, connection closed",
     "responses/two-different-lengths responses/length-word"),
    ("9112 6.3", "what has no content is not refused for its length",
     "responses/head-length-word responses/status-304-length-and-chunked"),
    ("9112 7.1", "large chunk sizes: no overflow",
     "chunks/size-2-to-64 chunks/chunk-of-2-to-32-plus-5"),
    ("9112 7.1.1", "chunk extensions are ignored; blanks of endpoints are read",
     "chunks/extension-dropped responses/chunk-size-padded*"),
    ("9112 8", "an incomplete message is not passed as complete",
     "responses/closed-below-length responses/closed-between-chunks "
     "chunks/truncated-*"),
    ("9112 9.3", "the body is read to its end, or the connection closes",
     "responses/own-answer-* responses/early-response-*"),
    ("9112 9.3.2", "pipelined requests are answered in order",
     "connection/pipelin*"),
    ("9112 9.6", "nothing is read behind Connection: close",
     "connection/*-close"),
    ("9112 11.2", "bytes behind a response are never another one",
     "responses/response-behind-length responses/response-on-idle-connection"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "must", "cases"), MUSTS)
def test_it_has_cases(section: str, must: str, cases: str) -> None:
    for name in cases.split():
        start, star, end = name.partition("*")
        found = [n for n in NAMES if n.startswith(start) and end in n] if star else [name]
        assert found and NAMES.issuperset(found), f"{section}, {must}: no case {name}"


STATUSES = {own.status for own in ANSWERS} | {
    status for own in ANSWERS for status in own.statuses.values()
}
STATUSES |= {status for case in corpus() for some in case.statuses for status in some}
STATUSES |= {status for _, _, some in WAITS.values() for status in some}
# We ask nobody for what a proxy asks for, and answer no request by another one.
NEVER = {407, 303}
RIGHT = {
    "Date": "Tue, 01 Dec 2026 06:32:06 GMT",
    "Location": "https://a.test/",
    "WWW-Authenticate": 'Basic realm="traefik"',
    "Proxy-Authenticate": "Basic realm=x",
    "Allow": "GET, HEAD",
    "Connection": "upgrade",
    "Upgrade": "websocket",
    "Retry-After": "0",
}
FIELDS = [
    (row, status) for row in REQUIRED for status in row.statuses if isinstance(row.statuses, tuple)
]


@pytest.mark.parametrize(
    ("row", "status"), FIELDS, ids=lambda value: str(getattr(value, "name", value))
)
def test_the_fields_a_status_needs(row: Required, status: int) -> None:
    """Each answer of our own is looked at, in the corpus and in the table of own answers."""
    right = {**RIGHT, "Connection": "close"} if status == 408 else RIGHT
    others = [(other.name, right[other.name]) for other in REQUIRED if status in other.statuses]
    whole = Message(f"HTTP/1.1 {status} X", [("Content-Length", "0"), *others])
    assert list(lacking(whole)) == []
    without = Message(whole.start, [(n, v) for n, v in whole.fields if n != row.name])
    assert list(lacking(without)) == [f"{status} without {row.name} ({row.section})"]
    assert (status in STATUSES) is (status not in NEVER)
