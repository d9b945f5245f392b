"""Mutated messages: whatever comes in, only strictly correct messages go out.

Each example starts from messages of the corpus and breaks them at random places. The client closes
its half afterwards, so every conversation has to end. What must hold, always: the origin is sent
nothing the strict reader refuses; the client gets strictly correct responses, or a visibly broken
last one; no more requests arrive than were answered or cut off; the proxy lives on.
"""

from __future__ import annotations

import random
import socket

from hypothesis import given
from hypothesis import strategies as st

from tests.safety.client import Client
from tests.safety.conftest import Bench
from tests.safety.corpus import corpus
from tests.safety.messages import Incomplete, Message, read_response
from tests.safety.origin import Answer
from tests.safety.test_corpus import fence
from tests.support.sanitized import fuzz

CORPUS = corpus()
SPLITS = ("whole", "random")
SHORT = [case.send for case in CORPUS if len(case.send) < 600 and case.method != "HEAD"]
ANSWERS = [a.send for case in CORPUS for a in case.answers if 0 < len(a.send) < 600]
# What parsers stumble over, besides any byte.
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"%",
    b"/",
    b"..",
    b"\xff",
]
SPICE += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"Host: b\r\n"]

Edit = tuple[int, int, bytes]
edits = st.lists(
    st.tuples(
        st.integers(0, 600), st.integers(0, 8), st.sampled_from(SPICE) | st.binary(max_size=3)
    ),
    max_size=4,
)


def mutate(message: bytes, changes: list[Edit]) -> bytes:
    """Replace `size` bytes at each place by others."""
    for place, size, text in changes:
        at = place % (len(message) + 1)
        message = message[:at] + text + message[at + size :]
    return message


def converse(bench: Bench, sent: bytes, answers: list[bytes], split: str) -> tuple[Client, int]:
    """Send, close our half, read to the end. Returns the client and what arrived."""
    bench.origin.begin([Answer(answer, then="close") for answer in answers], split, len(sent))
    client = Client(bench.address)
    with client.socket:
        client.send(sent, split, random.Random(len(sent)))
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            client.ending = "rst"
        client.wait_for_end()
    bench.origin.quiet()
    fence(bench)
    record = bench.origin.end()
    assert record.complaint == ""
    return client, len(record.requests)


def responses(data: bytes, ending: str) -> list[Message]:
    """All complete responses; Malformed is raised for anything a client could misread."""
    found: list[Message] = []
    while data:
        try:
            message = read_response(data, closed=ending == "fin")
        except Incomplete:
            return found
        found += [message] if message.status >= 200 else []
        data = data[message.size :]
    return found


@fuzz(150)
@given(
    st.lists(st.tuples(st.sampled_from(SHORT), edits), min_size=1, max_size=3),
    st.sampled_from(SPLITS),
)
def test_requests(bench: Bench, messages: list[tuple[bytes, list[Edit]]], split: str) -> None:
    sent = b"".join(mutate(message, changes) for message, changes in messages)
    if b"HEAD " in sent or b"pgrade" in sent:
        return  # their responses cannot be told from the bytes alone
    client, arrived = converse(bench, sent, [], split)
    assert client.ending != "open"
    answered = responses(client.data, client.ending)
    # One more may have been under way when the connection was cut.
    assert arrived <= len(answered) + 1


@fuzz(150)
@given(st.sampled_from(ANSWERS), edits, st.sampled_from(SPLITS))
def test_responses(bench: Bench, answer: bytes, changes: list[Edit], split: str) -> None:
    sent = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    client, arrived = converse(bench, sent, [mutate(answer, changes)], split)
    assert client.ending != "open"
    assert arrived <= 2  # a safe request may be sent twice
    assert len(responses(client.data, client.ending)) <= 1
