"""Python filters and their exchange: every way to answer, to fail, to wait, and to be left waiting.

The filters of this file are written by the tests; the engine runs in this process.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import struct
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from fastproxy.engine.operations.writer import Phase, Scripted
from fastproxy.engine.python.exchange import Exchange
from fastproxy.feature import Feature, Filter, OnInvalid, Scope
from fastproxy.model.configuration import Backend, Config, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.model.reply import Reply
from fastproxy.settings.options import EntryPoint, Settings
from tests.support.plane import Plane
from tests.support.running import dead_port
from tests.support.scripted import OK, Client, Origin, Peer, request, until

Function = Callable[[Exchange], Any]


class Script(Filter):
    """A filter made of functions; notes what becomes of its exchanges."""

    def __init__(
        self,
        request: Function | None = None,
        response: Callable[[Exchange, Any], None] | None = None,
        end: Function | None = None,
    ) -> None:
        self._request, self._response, self._end = request, response, end
        self.started = threading.Event()
        self.ends = 0
        self.cancelled = 0
        self.exchange: Exchange | None = None

    @property
    def phases(self) -> list[Phase]:
        given = {
            Phase.REQUEST: self._request, Phase.RESPONSE: self._response, Phase.END: True,
        }  # fmt: skip
        return [phase for phase, function in given.items() if function]

    def on_request(self, exchange: Exchange) -> Any:
        assert self._request is not None
        self.started.set()
        result = self._request(exchange)
        return self._watched(result) if isinstance(result, Awaitable) else result

    def on_response(self, exchange: Exchange, head: Any) -> None:
        assert self._response is not None
        self._response(exchange, head)

    def on_end(self, exchange: Exchange) -> None:
        self.ends += 1
        self.exchange = exchange
        if self._end is not None:
            self._end(exchange)

    async def _watched(self, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@dataclass(frozen=True, slots=True)
class Scripting(Config):
    number: int


SCRIPTS: dict[int, Script] = {}
NUMBERS = itertools.count()
FEATURE = Feature(
    name="Scripting",
    scope=Scope.INGRESS,
    annotations=(),
    read=lambda notes, refs: None,
    on_invalid=OnInvalid.DROP,
    config=Scripting,
    build=lambda config, context: [
        Scripted(in_phase=phase, config=config) for phase in SCRIPTS[config.number].phases
    ],
    filter=lambda config: SCRIPTS[config.number],
)


class Silent:
    """An endpoint's script that never answers, and notices when it is left."""

    def __init__(self) -> None:
        self.reached, self.left = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> bool:
        self.reached.set()
        while peer.socket.recv(65536):
            pass
        self.left.set()
        return False


def answers(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin({"/s/ok": answers})
    yield origin
    origin.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    settings = Settings(entry_points={"http": EntryPoint("127.0.0.1:0")})
    with closing(Plane(settings, (FEATURE,))) as made:
        yield made


def publish(plane: Plane, origin: Origin, script: Script | None) -> None:
    """Let /s run `script`, and /plain nothing."""
    routes = [Route("plain", ("http",), (PathPrefix(("/plain",)),), 1, "plain")]
    endpoints = (Endpoint("http", "127.0.0.1", origin.port),)
    if script is not None:
        number = next(NUMBERS)
        SCRIPTS[number] = script
        matchers = (PathPrefix(("/s",)),)
        routes.append(Route("scripted", ("http",), matchers, 1, "scripted", (Scripting(number),)))
    backends = tuple(Backend(route.backend, endpoints) for route in routes)
    plane.prepare(Desired(tuple(routes), backends))
    plane.activate()
    SCRIPTS.clear()  # only the engine holds it now


def settled(plane: Plane, script: Script, ends: int) -> None:
    """Everything of the exchanges is over, each was ended once, and others are served."""
    until(lambda: script.ends >= ends)
    until(lambda: plane.call(lambda: plane.engine.active) == 0)
    assert script.ends == ends
    with Client(plane.port) as client:
        assert client.ask("/plain/x").status == 200


# --- answering and failing ---


async def later(value: Any) -> Any:
    await asyncio.sleep(0.02)
    return value


def raising(error: BaseException) -> Function:
    def fail(exchange: Exchange) -> Any:
        raise error

    return fail


def failing_later(error: BaseException) -> Function:
    async def fail(exchange: Exchange) -> Any:
        await asyncio.sleep(0.02)
        raise error

    return fail


def edits(exchange: Exchange) -> None:
    exchange.set_header("X-Given", "1")
    exchange.path = "/s/edited"


async def edits_later(exchange: Exchange) -> None:
    await asyncio.sleep(0.01)
    exchange.set_header("X-Given", "1")
    await asyncio.sleep(0.01)
    exchange.path = "/s/edited"


def breaks_path(exchange: Exchange) -> None:
    exchange.path = "/s/../x"


async def breaks_path_later(exchange: Exchange) -> None:
    await asyncio.sleep(0.01)
    exchange.path = "/s/../x"


ERROR = b"Internal Server Error\n"
BAD = ("X-Bad", "a\r\nX-Injected: 1")
FOREIGN = ("X-Foreign", "\u20ac")
OUTCOMES = [
    ("goes on", {"request": lambda e: None}, 200, b"ok"),
    ("goes on later", {"request": lambda e: later(None)}, 200, b"ok"),
    ("answers", {"request": lambda e: Reply(418, b"tea")}, 418, b"tea"),
    ("answers later", {"request": lambda e: later(Reply(418, b"tea"))}, 418, b"tea"),
    ("raises", {"request": raising(ValueError("x"))}, 500, ERROR),
    ("raises later", {"request": failing_later(ValueError("x"))}, 500, ERROR),
    ("is cancelled by itself", {"request": failing_later(asyncio.CancelledError())}, 500, ERROR),
    ("answers nonsense", {"request": lambda e: "text"}, 500, ERROR),
    ("answers nonsense later", {"request": lambda e: later("text")}, 500, ERROR),
    ("line end in a header", {"request": lambda e: Reply(200, b"", (BAD,))}, 500, ERROR),
    ("line end, later", {"request": lambda e: later(Reply(200, b"", (BAD,)))}, 500, ERROR),
    ("not latin-1", {"request": lambda e: Reply(200, b"", (FOREIGN,))}, 500, ERROR),
    ("not latin-1, later", {"request": lambda e: later(Reply(200, b"", (FOREIGN,)))}, 500, ERROR),
    ("header with a line end", {"request": lambda e: e.set_header(*BAD)}, 500, None),
    ("header not latin-1", {"request": lambda e: e.set_header(*FOREIGN)}, 500, ERROR),
    ("edits", {"request": edits}, 200, b""),
    ("edits later", {"request": edits_later}, 200, b""),
    ("a bad path", {"request": breaks_path}, 400, b"Bad Request"),
    ("a bad path, later", {"request": breaks_path_later}, 400, b"Bad Request"),
    ("fetches what is dead",
     {"request": lambda e: e.fetch(f"http://127.0.0.1:{dead_port()}/")}, 500, ERROR),
    ("fetches from no backend",
     {"request": lambda e: e.fetch("http://x/", backend="no")}, 500, ERROR),
    ("raises in its response", {"response": lambda e, h: 1 / 0}, 200, b"ok"),  # it stays as it came
    ("raises at the end", {"end": raising(ValueError("x"))}, 200, b"ok"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("functions", "status", "body"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES]
)
def test_outcomes(
    plane: Plane, origin: Origin, functions: dict[str, Any], status: int, body: bytes | None
) -> None:
    script = Script(**functions)
    publish(plane, origin, script)
    for _ in range(3):
        with Client(plane.port) as client:
            client.socket.settimeout(5)
            answer = client.ask("/s/ok")
            assert answer.status == status, answer
            assert body is None or answer.body == body
            assert not answer.values("X-Injected")
    settled(plane, script, 3)
    edited = status == 200 and body == b""
    assert edited == (origin.seen[-2].target == "/s/edited")
    if edited:
        assert origin.seen[-2].values("X-Given") == ["1"]


def test_an_exchange_that_has_ended_says_so(plane: Plane, origin: Origin) -> None:
    script = Script()
    publish(plane, origin, script)
    with Client(plane.port) as client:
        assert client.ask("/s/ok").status == 200
    settled(plane, script, 1)
    ended = script.exchange
    assert ended is not None
    for use in (
        lambda: ended.path, lambda: ended.items(), lambda: ended.client_address,
        lambda: setattr(ended, "path", "/x"), lambda: ended.set_header("A", "b"),
        lambda: ended.route, lambda: ended.client_certificates,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="ended"):
            use()
    with pytest.raises(RuntimeError, match="ended"):
        asyncio.run(ended.fetch("http://127.0.0.1/"))


# --- clients that leave ---


async def waits(exchange: Exchange) -> None:
    await asyncio.sleep(60)


GET = request("/s/ok")
PART = request("/s/ok", "Content-Length: 10", method="POST") + b"half"
ASKED = "http://127.0.0.1:{port}/s/silent"
WAITS: list[tuple[str, Callable[[Exchange, int], Any], bytes, bool]] = [
    # where it waits, the function (with the endpoint's port), what was sent, whether the endpoint
    # holds a request then
    ("in on_request", lambda e, port: waits(e), GET, False),
    ("in on_request, with a body", lambda e, port: waits(e), PART, False),
    ("in a sub-request", lambda e, port: e.fetch(ASKED.format(port=port)), GET, True),
]


@pytest.mark.parametrize(
    ("function", "data", "reaches"),
    [row[1:] for row in WAITS],
    ids=[row[0] for row in WAITS],
)
def test_a_client_that_leaves(
    plane: Plane, origin: Origin, function: Any, data: bytes, reaches: bool
) -> None:
    script = Script(request=lambda exchange: function(exchange, origin.port))
    publish(plane, origin, script)
    for number in range(1, 4):
        silent = origin.scripts["/s/silent"] = Silent()
        script.started.clear()
        with Client(plane.port) as client:
            client.send(data)
            assert script.started.wait(10)
            assert silent.reached.wait(10) if reaches else not silent.reached.wait(0.06)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        settled(plane, script, number)
        until(lambda number=number: script.cancelled == number)
        assert not reaches or silent.left.wait(10)


def test_a_client_that_leaves_and_a_filter_that_insists(plane: Plane, origin: Origin) -> None:
    """It swallows the cancellation, goes on using the exchange, and answers."""
    seen: list[BaseException] = []

    async def insists(exchange: Exchange) -> Reply:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(error)
        try:
            exchange.path = "/x"
        except RuntimeError as error:
            seen.append(error)
        await asyncio.sleep(0.01)
        return Reply(200, b"late")

    script = Script(request=insists)
    publish(plane, origin, script)
    with Client(plane.port) as client:
        client.send(GET)
        assert script.started.wait(10)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: len(seen) == 2)
    settled(plane, script, 1)
    assert [type(error) for error in seen] == [asyncio.CancelledError, RuntimeError]


# --- generations meanwhile ---


def test_a_generation_meanwhile(plane: Plane, origin: Origin) -> None:
    """The request ends on the route it began on; then its filter is forgotten."""
    gate = plane.call(asyncio.Event)

    async def waits_for_the_gate(exchange: Exchange) -> None:
        await gate.wait()
        assert exchange.route == "scripted"

    script = Script(request=waits_for_the_gate)
    publish(plane, origin, script)
    with Client(plane.port) as client:
        client.send(GET)
        assert script.started.wait(10)
        for _ in range(3):
            publish(plane, origin, None)
            publish(plane, origin, Script())
        publish(plane, origin, None)
        with Client(plane.port) as other:
            assert other.ask("/s/ok").status == 404
        plane.call(gate.set)
        assert client.response().status == 200
        assert client.ask("/s/ok").status == 404
    settled(plane, script, 1)
    forgotten = weakref.ref(script)
    script.exchange = None
    del script, waits_for_the_gate
    until(lambda: plane.call(gc.collect) is not None and forgotten() is None, 10)
