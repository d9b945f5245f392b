"""Every case of the corpus, sent whole, byte by byte and randomly split, against a real proxy.

Judged by the bytes that arrive at the recording origin and the bytes the client receives; see
`corpus.py` for the language of the cases and `messages.py` for the judge.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.safety.client import PROBE, Client, Outcome, run
from tests.safety.conftest import Bench
from tests.safety.corpus import Case, corpus
from tests.safety.messages import Message
from tests.safety.origin import Record
from tests.support.required_fields import lacking

SPLITS = ("whole", "bytes", "random")
CORPUS = corpus()


def check_message(message: Message, wanted: dict[str, Any]) -> list[str]:
    lines = [f"{name.lower()}: {value}" for name, value in message.fields]
    names = {name.lower() for name, _ in message.fields}
    trailers = [f"{name}: {value}" for name, value in message.trailers]
    has = [line.partition(":") for line in wanted.get("has", [])]
    missing = [f"{name.lower()}:{value}" for name, _, value in has]
    problems = [f"no {line!r} in {lines}" for line in missing if line not in lines]
    problems += [f"{name} in {lines}" for name in wanted.get("lacks", []) if name.lower() in names]
    if "line" in wanted and message.start != wanted["line"]:
        problems.append(f"first line {message.start!r}, not {wanted['line']!r}")
    if "body" in wanted and message.body != wanted["body"].encode("latin-1"):
        problems.append(f"body {message.body[:200]!r}, not {wanted['body'][:200]!r}")
    if "size" in wanted and len(message.body) != wanted["size"]:
        problems.append(f"{len(message.body)} bytes of body, not {wanted['size']}")
    if "chunked" in wanted and message.chunked != wanted["chunked"]:
        problems.append(f"chunked is {message.chunked}")
    if "trailers" in wanted and trailers != wanted["trailers"]:
        problems.append(f"trailers {trailers}, not {wanted['trailers']}")
    return problems


def check_arrival(record: Record, wanted: Any) -> list[str]:
    problems = [f"the origin was sent a bad message: {record.complaint}"] * bool(record.complaint)
    if wanted is None:
        return problems
    if wanted in ("nothing", "incomplete"):
        problems += [f"arrived: {record.raw!r}"] * bool(record.raw)
        open_ones = [c.received for c in record.partial if c not in record.closed]
        if wanted == "nothing":
            problems += [f"a part arrived: {c.received!r}" for c in record.partial]
        problems += [f"left open upstream after {data!r}" for data in open_ones]
        return problems
    problems += [f"never completed: {c.received!r}" for c in record.partial]
    expected = wanted if isinstance(wanted, list) else [wanted]
    count = wanted if isinstance(wanted, int) else len(expected)
    if len(record.requests) != count:
        arrived = [message.start for _, message in record.requests]
        return [*problems, f"{len(record.requests)} requests arrived, not {count}: {arrived}"]
    if isinstance(wanted, int):
        return problems
    for one, (backend, message) in zip(expected, record.requests, strict=True):
        problems += check_message(message, one)
        if backend != one.get("backend", backend):
            problems.append(f"arrived at backend {backend}")
        if "tunnelled" in one and record.tunnelled != one["tunnelled"].encode("latin-1"):
            problems.append(f"tunnelled {record.tunnelled!r}")
    return problems


def check_answers(case: Case, outcome: Outcome) -> list[str]:
    got = [message.status for message in outcome.responses]
    wanted = [sorted(some) for some in case.statuses]
    problems = []
    if len(got) < len(wanted) and 0 in wanted[-1] and not outcome.rest:
        got.append(0)
    if case.then == "reset":
        if len(got) == len(wanted) and got[-1] == 502:
            return []  # the fault came before the head was passed on
        # The last response must be visibly incomplete, or end with a reset.
        if len(got) == len(wanted) and outcome.ending != "rst":
            problems.append("a broken response ended cleanly")
        got, wanted = got[: len(wanted) - 1], wanted[:-1]
    if len(got) != len(wanted) or any(g not in w for g, w in zip(got, wanted, strict=False)):
        problems.append(f"statuses {got}, not {wanted}; then {outcome.ending} {outcome.rest!r}")
    if case.then in ("closed", "reset") and outcome.ending == "open":
        problems.append("the connection was not closed")
    if case.then == "closed" and outcome.rest:
        problems.append(f"after the last answer: {outcome.rest!r}")
    if case.then == "kept" and not outcome.kept:
        problems.append(f"the connection was not kept: {outcome.ending} {outcome.rest!r}")
    if case.arrives == "nothing":  # the answers are our own
        problems += [text for message in outcome.responses for text in lacking(message)]
    if case.client and outcome.responses:
        problems += check_message(outcome.responses[-1], case.client)
    return problems


def fence(bench: Bench) -> None:
    """A request of its own connection: when it is answered, everything before has been read."""
    client = Client(bench.address)
    with client.socket:
        client.socket.sendall(PROBE)
        found = client.response("GET")
    assert found is not None and found.status == 200, "the proxy no longer works"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_message(case: Case, split: str, bench: Bench) -> None:
    seed = zlib.crc32(case.name.encode())
    bench.origin.begin(case.answers, split, seed)
    outcome = run(case, bench.address, split, seed, bench.origin.settle)
    bench.origin.quiet()
    fence(bench)
    record = bench.origin.end(settled=case.arrives in ("nothing", "incomplete"))
    problems = check_answers(case, outcome) + check_arrival(record, case.arrives)
    assert not problems, "\n".join(problems)


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 300
    assert len({case.name for case in CORPUS}) == len(CORPUS)


def test_every_row_has_a_case() -> None:
    """Rows of the table of message cases; 50 is HTTP/2, which is not served yet."""
    missing = {str(row) for row in range(1, 50)} | {"path"}
    assert missing - {case.row for case in CORPUS} == set()
