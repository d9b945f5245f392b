"""The engine of one worker in this process: generations, and endpoints that change under them."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from fastproxy.features.headers import CustomRequestHeaders
from fastproxy.model.configuration import Backend, Config, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Retry, Settings
from fastproxy.system.channel import sealed_memory
from fastproxy.tables.change import Change
from tests.support.plane import Plane
from tests.support.serving import Pod

STEP = CustomRequestHeaders((("X-Step", "1"),))


@pytest.fixture(scope="module")
def pods() -> Iterator[dict[str, Pod]]:
    pods = {name: Pod(name) for name in "ab"}
    yield pods
    for pod in pods.values():
        pod.stop()


def plain(**options: object) -> Settings:
    return Settings(entry_points={"http": EntryPoint("127.0.0.1:0")}, **options)  # type: ignore[arg-type]


def desired(endpoints: tuple[Endpoint, ...], configs: tuple[Config, ...] = ()) -> Desired:
    route = Route("shop", ("http",), (PathPrefix(("/shop",)),), 1, "shop", configs)
    other = Route("other", ("http",), (PathPrefix(("/other",)),), 1, "other")
    return Desired((route, other), (Backend("shop", endpoints), Backend("other", endpoints[:1])))


def answers(plane: Plane, path: str = "/shop") -> set[str | int]:
    """Who answered a few requests: names of pods, or a status that is not 200."""
    found: set[str | int] = set()
    with closing(socket.create_connection(("127.0.0.1", plane.port), 5)) as client:
        reader = client.makefile("rb")
        for _ in range(4):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            status = int(reader.readline().split()[1])
            size = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            body = reader.read(size)
            found.add(json.loads(body)["pod"] if status == 200 else status)
    return found


# What a route is made of decides how a request finds its endpoint: directly or through a backend.
KINDS: list[tuple[str, tuple[Config, ...], Settings]] = [
    ("plain", (), plain()),
    ("with an operation", (STEP,), plain()),
    ("with retries", (), plain(retry=Retry())),
]

# Endpoints, and weights where they are not 1.
SEQUENCES: list[list[str]] = [
    ["a", "b", "ab", "b", "", "a", "a0", "a0b", "b"],
    ["", "a", "", "b"],
    ["ab", "a", "ba"],
]


def endpoints_of(text: str, pods: dict[str, Pod]) -> tuple[Endpoint, ...]:
    made: list[Endpoint] = []
    for letter in text:
        if letter == "0":
            made[-1] = replace(made[-1], weight=0)
        else:
            made.append(Endpoint("http", "127.0.0.1", pods[letter].port))
    return tuple(made)


def expected(text: str) -> set[str | int]:
    living = set(text.replace("a0", "")) - {"0"}
    return set(living) or ({500} if text else {503})


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by generations"])
@pytest.mark.parametrize("sequence", SEQUENCES, ids=",".join)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_endpoints_change(
    pods: dict[str, Pod],
    kind: tuple[str, tuple[Config, ...], Settings],
    sequence: Sequence[str],
    in_place: bool,
) -> None:
    _, configs, settings = kind
    with closing(Plane(settings)) as plane:
        plane.prepare(desired(endpoints_of(sequence[0], pods), configs))
        plane.activate()
        assert answers(plane) == expected(sequence[0])
        for text in sequence[1:]:
            endpoints = endpoints_of(text, pods)
            if in_place:
                plane.set_endpoints("shop", endpoints)
            else:
                plane.prepare(desired(endpoints, configs))
                plane.activate()
            assert answers(plane) == expected(text)


def test_endpoints_that_change_between_prepare_and_activate(pods: dict[str, Pod]) -> None:
    """The generation in preparation has the same live backend and must not miss it."""
    first = endpoints_of("a", pods)
    with closing(Plane(plain())) as plane:
        plane.prepare(desired(first))
        plane.activate()
        added = Route("new", ("http",), (PathPrefix(("/new",)),), 1, "other")
        plane.prepare(replace(desired(first), routes=(*desired(first).routes, added)))
        plane.set_endpoints("shop", endpoints_of("b", pods))
        assert answers(plane) == {"b"}
        assert answers(plane, "/new") == {404}
        plane.activate()
        assert answers(plane) == {"b"}
        assert answers(plane, "/other") == answers(plane, "/new") == {"a"}


DAMAGES: list[tuple[str, Callable[[bytearray], object]]] = [
    ("empty", lambda block: block.clear()),
    ("cut in the header", lambda block: block.__delitem__(slice(40, None))),
    ("cut at the end", lambda block: block.__delitem__(slice(len(block) - 8, None))),
    ("another magic", lambda block: block.__setitem__(0, 0)),
    ("another version", lambda block: block.__setitem__(8, 99)),
    ("a longer matcher", lambda block: block.__setitem__(slice(20, 24), b"\xff\xff\xff\x00")),
    ("more routes", lambda block: block.__setitem__(slice(28, 32), b"\xff\xff\xff\x00")),
    ("routes elsewhere", lambda block: block.__setitem__(slice(24, 28), b"\xf0\xff\xff\xff")),
    ("operations elsewhere", lambda block: block.__setitem__(slice(88, 92), b"\xf0\xff\xff\xff")),
    ("a name elsewhere", lambda block: block.__setitem__(slice(64, 68), b"\xf0\xff\xff\xff")),
]


@pytest.mark.parametrize(("_name", "damage"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_a_damaged_block_is_refused_and_nothing_changes(
    pods: dict[str, Pod], _name: str, damage: Callable[[bytearray], object]
) -> None:
    settings = plain()
    with closing(Plane(settings)) as plane:
        value = desired(endpoints_of("a", pods), (STEP,))
        plane.prepare(value)
        plane.activate()
        block = bytearray(plane.live.block)
        damage(block)
        descriptor = sealed_memory("test", bytes(block))
        with pytest.raises(ValueError):
            plane.call(lambda: plane.engine.prepare(2, descriptor, Change()))
        os.close(descriptor)
        assert answers(plane) == {"a"}


def test_only_what_was_prepared_is_activated(pods: dict[str, Pod]) -> None:
    with closing(Plane(plain())) as plane:
        plane.prepare(desired(endpoints_of("a", pods)))
        with pytest.raises(ValueError):
            plane.call(lambda: plane.engine.activate(7))
        assert answers(plane) == {404}
        plane.call(lambda: plane.engine.discard(1))
        with pytest.raises(ValueError):
            plane.activate()
        assert answers(plane) == {404}


def pools_of(plane: Plane, wanted: int) -> int:
    """How many pools there are, when they are as many as wanted or after 5 seconds."""
    deadline = time.monotonic() + 5
    while (found := plane.call(lambda: plane.engine.statistics()["pools"])) != wanted:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by generations"])
def test_pools_nobody_names_go_away(pods: dict[str, Pod], in_place: bool) -> None:
    """Also that of a stream which outlives its endpoint, when it has ended."""
    with closing(Plane(plain())) as plane, socket.create_server(("127.0.0.1", 0)) as slow:
        stay = endpoints_of("a", pods)
        gone = Endpoint("http", "127.0.0.1", slow.getsockname()[1])

        def change(endpoints: tuple[Endpoint, ...]) -> None:
            if in_place:
                plane.set_endpoints("shop", endpoints)
            else:
                plane.prepare(Desired(desired(()).routes, behind(endpoints)))
                plane.activate()

        def behind(endpoints: tuple[Endpoint, ...]) -> tuple[Backend, ...]:
            return (Backend("shop", endpoints), Backend("other", stay))

        plane.prepare(Desired(desired(()).routes, behind((gone,))))
        plane.activate()
        assert pools_of(plane, 2) == 2
        with closing(socket.create_connection(("127.0.0.1", plane.port), 5)) as client:
            client.sendall(b"GET /shop HTTP/1.1\r\nHost: h\r\n\r\n")
            with slow.accept()[0] as peer:
                change(endpoints_of("ab", pods))
                change(stay)
                change(endpoints_of("b", pods))
                time.sleep(0.5)
                assert pools_of(plane, 3) == 3  # a, b, and the slow one
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                assert client.recv(65536).endswith(b"hi")
        change(stay)
        change(stay[:0])
        assert pools_of(plane, 1) == 1
        assert answers(plane, "/other") == {"a"}
