"""Forward authentication by the engine: its question beside the filter's, and every way it ends.

A site is asked twice wherever that means something: `engine` asks from the operation, `filter` from
Python (the operation is left out), and both clients must get, and both servers see, the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import features
from fastproxy.engine.operations import writer
from fastproxy.engine.operations.writer import EditRequestHeaders
from fastproxy.features.auth import FEATURE, Auth, Forward
from fastproxy.features.auth.forward import LIMIT, ForwardAuth, question, split
from fastproxy.features.buffering import Buffering
from fastproxy.features.error_pages import ErrorPages, Page
from fastproxy.model.configuration import Backend, Config, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.model.reply import Response
from fastproxy.settings.options import EntryPoint, EntryPointAuth, Settings, Users
from fastproxy.settings.options import Forward as ForwardSetting
from tests.native.step_probe import Passed, StepProbe
from tests.support.exchange import MemoryExchange, run
from tests.support.plane import Plane
from tests.support.sanitized import fuzz
from tests.support.scripted import Client, Origin, Peer, request

# --- the question ---

URL = "http://ann:p%40ss@auth.test:81/check?x=1"


class Canonical(MemoryExchange):
    """The head as the engine's view of it has it: Host is no header there."""

    host = "Shop.test:8080"


def sent(url: str, headers: list[tuple[str, str]]) -> bytes:
    """What `SubRequest.send` writes for a filter."""
    _, authority, path = split(url)
    rows = [("Host", authority), *headers]
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in rows), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def by_filter(passed: Passed, method: str, target: str, trust: bool, tls: bool) -> bytes:
    fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in passed.headers]
    asked: list[bytes] = []

    def remote(url: str, headers: list[tuple[str, str]], **_: object) -> Response:
        asked.append(sent(url, headers))
        return Response(204, [], b"")

    exchange = Canonical(
        target, method=method, headers=fields, remote=remote, scheme="https" if tls else "http"
    )
    run(ForwardAuth(Auth(Forward(URL, trust))).on_request(exchange))
    return asked[0]


NAMES = (
    *("X-Forwarded-For", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host"),
    *("X-Forwarded-Uri", "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip", "Authorization"),
    *("Cookie", "Expect", "Trailers", "Trailer", "Te", "Keep-Alive", "Proxy-Connection", "Upgrade"),
    *("X-A", "X-User"),
)
spelt = st.tuples(st.sampled_from(NAMES), st.sampled_from((str, str.lower, str.upper))).map(
    lambda pair: pair[1](pair[0])
)
folded = st.tuples(spelt, st.booleans()).map(lambda p: p[0].replace("-", "_") if p[1] else p[0])
values = st.sampled_from(("", "a", "10.0.0.1", "10.0.0.1, 10.0.0.2", "é", "100-continue"))
lines = st.lists(st.tuples(folded, values).filter(lambda p: p[0].lower() != "upgrade"), max_size=8)
ASCII_ONLY = {"expect": "100-continue", "authorization": "Bearer x"}  # or the request is refused
# what operations add is not filtered as what clients send
edits = st.lists(st.tuples(folded, values), max_size=3, unique_by=lambda p: p[0].lower())


@fuzz(300)
@given(
    sent_lines=lines, edits=edits, method=st.sampled_from(("GET", "POST", "PURGE")),
    target=st.sampled_from(("/", "/a/../b%2f?q", "//x", "/a?")), trust=st.booleans(),
    tls=st.booleans(),
)  # fmt: skip
def test_the_engine_asks_what_the_filter_asks(sent_lines, edits, method, target, trust, tls):
    rows = [(name, ASCII_ONLY.get(name.lower(), value)) for name, value in sent_lines]
    head = "".join(f"{name}: {value}\r\n" for name, value in rows)
    data = f"{method} {target} HTTP/1.1\r\nHost: Shop.test:8080\r\n{head}\r\n".encode("latin-1")
    changed = tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in edits)
    probe = StepProbe(EditRequestHeaders(changed).encode() if changed else b"", tls=tls)
    passed = probe.run(data)
    assert isinstance(passed, Passed)
    [operation] = question(Auth(Forward(URL, trust)))
    found = probe.question(operation.payload()[4:], b"192.0.2.7")
    assert found == by_filter(passed, method, target, trust, tls)


def test_what_is_asked_in_full() -> None:
    probe = StepProbe(b"")
    probe.run(
        b"POST /a/../b?c HTTP/1.1\r\nHost: Shop.test\r\nCookie: a=b\r\n"
        b"X-Forwarded-For: 10.0.0.1\r\nContent-Length: 0\r\nConnection: X-B\r\nX-B: 1\r\n\r\n"
    )
    [operation] = question(Auth(Forward(URL)))
    assert probe.question(operation.payload()[4:], b"192.0.2.7") == (
        b"GET /check?x=1 HTTP/1.1\r\nHost: auth.test:81\r\nCookie: a=b\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: Shop.test\r\nX-Forwarded-Uri: /a/../b?c\r\n"
        b"Authorization: Basic YW5uOnBAc3M=\r\n\r\n"
    )


@pytest.mark.parametrize("url", ["http://a b/", "http://\u20ac..a/", "http://[x/"])
def test_a_url_that_cannot_be_asked_is_left_to_the_filter(url: str) -> None:
    assert question(Auth(Forward(url))) == []


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://a/\u20ac", "/%E2%82%AC", "a"),
        ("http://a/b c?d e=\u00fc#f", "/b%20c?d%20e=%C3%BC", "a"),
        ("http://a/%41%zz?x=%zz%", "/A%25zz?x=%zz%", "a"),
        ("http://b\u00fccher.test:81?q", "/?q", "xn--bcher-kva.test:81"),
    ],
)
def test_what_no_request_line_may_hold_is_escaped(url: str, line: str, host: str) -> None:
    (asked,) = question(Auth(Forward(url)))
    assert f"GET {line} HTTP/1.1\r\nHost: {host}\r\n".encode() in asked.encode()


# --- what becomes of it ---

Script = Callable[[Peer], bool | None]


def says(data: bytes, *, close: bool = False, pause: float = 0.0) -> Script:
    def script(peer: Peer) -> bool | None:
        peer.read_request()
        for number, piece in enumerate(data.split(b"|")):
            if number:
                time.sleep(pause)
            peer.send(piece)
        return False if close else None

    return script


def answer(status: str, *lines: str, body: bytes = b"") -> bytes:
    head = "".join(line + "\r\n" for line in (*lines, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


HUGE = b"x" * (LIMIT + 1)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SCRIPTS: dict[str, Script] = {
    "/ok": says(answer("204", "X-User: ann", "x-user: bob", "X_User: eve", "X-Group: a", "X-B: 1")),
    "/body": says(answer("200", body=b"x" * 100_000)),
    "/longest": says(answer("200", body=HUGE[1:])),
    "/huge": says(answer("200", body=HUGE)),
    "/huge-no": says(answer("403", body=HUGE)),
    "/chunked": says(CHUNKED + b"5\r\nhello\r\n|3\r\nyou\r\n|0\r\nX-Sum: 1\r\n\r\n", pause=0.02),
    "/huge-chunked": says(CHUNKED + (b"10000\r\n%b\r\n" % HUGE[:65536]) * 17),
    "/until-close": says(b"HTTP/1.1 200 OK\r\n\r\nhello|you", close=True, pause=0.02),
    "/interim": says(b"HTTP/1.1 103 X\r\nX-User: no\r\n\r\n|" + answer("200"), pause=0.02),
    "/switch": says(b"HTTP/1.1 101 X\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n", close=True),
    "/no": says(answer("401", "WWW-Authenticate: X", "Set-Cookie: a", "Set-Cookie: b", body=b"no")),
    "/no-chunked": says(CHUNKED.replace(b"200", b"403") + b"2\r\nno\r\n|0\r\n\r\n"),
    "/login": says(answer("302", "Location: login?x y", "Connection: X-B", "X-B: 1")),
    "/bad-location": says(answer("302", "Location: http://b:port/")),
    "/cut": says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", close=True),
    "/no-answer": says(b"", close=True),
    "/nonsense": says(b"hello\r\n\r\n", close=True),
}  # fmt: skip


Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Seen:
    """What a client got, and what the server and the backend were sent."""

    status: int
    fields: Fields
    body: bytes
    asked: list[tuple[str, Fields]]
    backend: list[Fields]


@dataclass
class Site:
    """Routes `/engine` and `/filter`, with the same authentication."""

    auth: Origin
    origin: Origin
    plane: Plane
    names: tuple[str, ...] = ("X-User", "x_group")
    asked: list[str] = field(default_factory=list)

    def publish(self, *paths: str, url: str = "", more: tuple[Config, ...] = ()) -> None:
        endpoints = (Endpoint("http", "127.0.0.1", self.origin.port),)
        backends = (Backend("b", endpoints), Backend("pages", endpoints))
        routes = [Route("pages", ("http",), (PathPrefix(("/pages",)),), 10, "pages")]
        for path in paths:
            method = Forward(url or f"http://127.0.0.1:{self.auth.port}{path}", False, self.names)
            for number, name in enumerate(("/engine", "/filter")):
                # two values, so that no slot is shared; `header_field` means nothing here
                config = Auth(method, header_field="filter" if number else "")
                rule = (PathPrefix((name + path,)),)
                configs = (config, *more)
                routes.append(
                    Route(f"{path} {name}", ("http",), rule, 10 + len(path), "b", configs=configs)
                )
        self.plane.prepare(Desired(routes=tuple(routes), backends=backends))
        self.plane.activate()

    def both(self, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> list[Seen]:
        """What client, server and backend see, without what differs between two requests."""
        found = []
        for name in ("/engine", "/filter"):
            self.auth.seen.clear()
            self.origin.seen.clear()
            with Client(self.plane.port) as client:
                got = client.ask(name + path, *lines, method=method, body=body)
            asked = [
                (head.start, without(head.fields, "X-Forwarded-Uri")) for head in self.auth.seen
            ]
            seen = [head.fields for head in self.origin.seen]
            found.append(Seen(got.status, without(got.fields, "Date"), got.body, asked, seen))
        return found


def without(fields: Fields, name: str) -> Fields:
    return [row for row in fields if row[0] != name]


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets the filter in Python was asked about."""
    asked: list[str] = []
    ask = ForwardAuth.on_request

    def counted(live, exchange):
        asked.append(exchange.target)
        return ask(live, exchange)

    monkeypatch.setattr(ForwardAuth, "on_request", counted)
    return asked


def build(config: Auth, context: object) -> list[writer.Operation]:
    made = list(FEATURE.build(config, context))  # type: ignore[misc, arg-type]
    return made[1:] if config.header_field == "filter" else made


@pytest.fixture
def site(filters: list[str]) -> Iterator[Site]:
    known = tuple(
        replace(feature, build=build) if feature is FEATURE else feature
        for feature in features.FEATURES
    )
    plane = Plane(Settings(entry_points={"http": EntryPoint("127.0.0.1:0")}), known)
    broken = {f"/{by}/ok/500": says(answer("500")) for by in ("engine", "filter")}
    with closing(Origin(SCRIPTS)) as auth, closing(Origin(broken)) as origin, closing(plane):
        yield Site(auth, origin, plane, asked=filters)


REFUSED = {"/no": 401, "/no-chunked": 403, "/login": 302}
FAILING = ("/huge", "/huge-no", "/huge-chunked", "/switch", "/bad-location", "/cut", "/no-answer",
           "/nonsense")  # fmt: skip
CLIENT = ("X-User: root", "x_user: root", "X-Group: wheel", "X-Forwarded-For: 10.0.0.1", "X-B: 2")


@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"hello"), ("HEAD", b"")])
def test_the_engine_does_what_the_filter_does(site: Site, path: str, method: str, body: bytes):
    site.publish(path)
    by_engine, by_filter = site.both(path, *CLIENT, method=method, body=body)
    assert by_engine == by_filter
    status = 500 if path in FAILING else REFUSED.get(path, 200)
    assert (by_engine.status, by_engine.backend != []) == (status, status == 200)
    assert site.asked == [f"/filter{path}"]


MORE: list[tuple[Config, ...]] = [
    (Buffering(),),
    (Buffering(max_request=4), ErrorPages((Page(((413, 413),), "pages", "/page/{status}"),))),
    (ErrorPages((Page(((401, 401), (500, 599)), "pages", "/page/{status}"),)),),
]


@pytest.mark.parametrize("more", MORE, ids=lambda more: "-".join(type(m).__name__ for m in more))
@pytest.mark.parametrize("path", ["/ok", "/no", "/huge"])
@pytest.mark.parametrize("lines", [(), ("Transfer-Encoding: chunked",)])
def test_with_other_features(site: Site, more, path, lines) -> None:
    """What follows takes the saved head on, and a page is asked for with it."""
    site.publish(path, more=more)
    body = b"5\r\nhello\r\n0\r\n\r\n" if lines else b"hello"
    for target in (path, f"{path}/500"):
        by_engine, by_filter = site.both(target, *CLIENT, *lines, method="POST", body=body)
        assert by_engine == by_filter
        assert all(("X-User", "root") not in seen or path != "/ok" for seen in by_engine.backend)
    if path == "/ok" and isinstance(more[0], ErrorPages):
        assert len(by_engine.backend) == 2


def test_copied_fields_replace_those_of_the_client(site: Site) -> None:
    site.publish("/ok")
    with Client(site.plane.port) as client:
        for _ in range(3):
            assert client.ask("/engine/ok", *CLIENT, "Connection: X-Group").status == 200
            found = [row for row in site.origin.seen[-1].fields if row[0].lower()[:2] == "x-"]
            assert [row for row in found if row[0][2] in "UuGgB"] == [
                ("X-B", "2"), ("X-User", "ann"), ("X-User", "bob"),
            ]  # fmt: skip
            assert site.origin.seen[-1].values("x_user") == []
            # asked for as `x_group`, which the answer does not have, and away in every spelling
            assert site.origin.seen[-1].values("X-Group") == []


def test_one_connection_serves_many_questions(site: Site) -> None:
    site.publish("/ok", "/body", "/no")
    with Client(site.plane.port) as client:
        for path, status in (("/ok", 200), ("/body", 200), ("/no", 401)) * 5:
            assert client.ask(f"/engine{path}").status == status
    assert site.auth.connections == 1
    assert site.asked == []


def test_an_idle_connection_that_was_closed_is_replaced(site: Site) -> None:
    """The server closes when the second question comes: it is sent again, once."""
    ask = says(answer("200"))
    site.auth.scripts["/once"] = lambda peer: False if peer.served else ask(peer)
    site.publish("/once")
    with Client(site.plane.port) as client:
        for number in range(1, 6):
            assert client.ask("/engine/once", method="POST", body=b"hello").status == 200
            assert len(site.auth.seen) == 2 * number - 1
    site.auth.scripts["/once"] = lambda peer: False
    with Client(site.plane.port) as client:
        assert client.ask("/engine/once").status == 500
    assert len(site.auth.seen) == 2 * 5 - 1 + 2


@pytest.mark.alone
def test_an_answer_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, filters) -> None:
    """The limit is for everything: bytes that keep coming do not extend it."""
    assert writer.QUESTION_SECONDS == 30.0
    monkeypatch.setattr(writer, "QUESTION_SECONDS", 0.5)
    drip = says(CHUNKED + b"|1\r\nx\r\n" * 20, pause=0.1)
    late = says(b"|" + answer("200"), pause=1.5)
    plane = Plane(Settings(entry_points={"http": EntryPoint("127.0.0.1:0")}))
    with (
        closing(Origin({"/drip": drip, "/late": late})) as auth, closing(Origin()) as origin,
        closing(plane), Client(plane.port) as client,
    ):  # fmt: skip
        site = Site(auth, origin, plane, asked=filters)
        site.publish("/drip", "/late")
        for path in ("/drip", "/late"):
            start = time.monotonic()
            got = client.ask(f"/engine{path}", method="POST", body=b"hello")
            assert (got.status, got.body) == (500, b"")
            assert 0.3 < time.monotonic() - start < 1.3
        assert origin.seen == filters == []
        waits_until(lambda: auth.open == 0)


def test_an_entry_point_asks_and_then_the_route(filters: list[str]) -> None:
    """Also behind a filter in Python, which then asks by itself."""
    with closing(Origin(SCRIPTS)) as auth, closing(Origin()) as origin:
        address = f"http://127.0.0.1:{auth.port}/ok"
        first = EntryPointAuth(forward=ForwardSetting(address, auth_response_headers=("X-B",)))
        known = EntryPointAuth(basic=Users(users=("ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",)))
        for auths, expected in ((first, []), (known, ["/engine/body"])):
            point = EntryPoint("127.0.0.1:0", auth=auths)
            with closing(Plane(Settings(entry_points={"http": point}))) as plane:
                site = Site(auth, origin, plane, asked=filters)
                site.publish("/body")
                with Client(plane.port) as client:
                    for _ in range(3):
                        got = client.ask(
                            "/engine/body", "Authorization: Basic YW5uOnNlY3JldA==", "X-B: 9",
                            method="POST", body=b"hello",
                        )  # fmt: skip
                        assert (got.status, got.body) == (200, b"hello")
                        wanted = ["1"] if auths is first else ["9"]
                        assert auth.seen[-1].values("X-B") == wanted
                        assert origin.seen[-1].values("X-B") == wanted
            assert filters == expected


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    site.publish("/ok", "/no", "/chunked")
    paths = ["/ok", "/no", "/chunked", "/no", "/ok"]
    with Client(site.plane.port) as client:
        client.send(b"".join(request(f"/engine{p}", method="POST", body=p.encode()) for p in paths))
        got = [client.response("POST") for _ in paths]
    assert [(m.status, m.body) for m in got] == [
        (401, b"no") if p == "/no" else (200, p.encode()) for p in paths
    ]


def slow(seconds: float) -> Script:
    def script(peer: Peer) -> None:
        peer.read_request()
        time.sleep(seconds)
        peer.send(answer("200"))

    return script


def test_an_upload_waits_for_the_answer(site: Site) -> None:
    site.auth.scripts["/slow"] = slow(0.3)
    site.publish("/slow")
    body = bytes(range(256)) * 4000
    head = request("/engine/slow", f"Content-Length: {len(body)}", method="POST")
    with Client(site.plane.port) as client:
        client.send(head + body[:10])
        time.sleep(0.1)
        client.send(body[10:])
        assert site.origin.seen == []
        got = client.response("POST")
    assert (got.status, got.body) == (200, body)


def test_a_client_that_leaves_takes_its_question_with_it(site: Site) -> None:
    gone: list[Client] = []
    site.auth.scripts["/slow"] = slow(0.4)
    site.publish("/slow", "/ok")
    for _ in range(5):
        client = Client(site.plane.port)
        client.send(request("/engine/slow"))
        waits_until(lambda: len(site.auth.seen) > len(gone))
        Peer(client.socket, 0).reset()
        gone.append(client)
    time.sleep(0.6)
    assert site.origin.seen == []
    waits_until(lambda: site.auth.open == 0)
    with Client(site.plane.port) as client:
        assert client.ask("/engine/ok").status == 200


def waits_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_change_of_the_configuration_meanwhile(site: Site) -> None:
    """The request that waits keeps its route; the pool of the old server goes when it has ended."""
    site.auth.scripts["/slow"] = slow(0.5)
    site.publish("/slow")
    assert site.plane.call(site.plane.engine.statistics)["pools"] == 2
    with closing(Origin(SCRIPTS)) as other, Client(site.plane.port) as client:
        client.send(request("/engine/slow"))
        waits_until(lambda: site.auth.seen != [])
        site.publish("/no", url=f"http://127.0.0.1:{other.port}/no")
        with Client(site.plane.port) as second:
            assert second.ask("/engine/no").status == 401
        assert client.response().status == 200
        site.publish("/no", url=f"http://127.0.0.1:{other.port}/no")
        site.publish("/no", url=f"http://127.0.0.1:{other.port}/no")
        waits_until(lambda: site.plane.call(site.plane.engine.statistics)["pools"] == 2)
        waits_until(lambda: site.auth.open == 0)


def test_nobody_listens(site: Site) -> None:
    with closing(Origin()) as dead:
        port = dead.port
    site.publish("/ok", url=f"http://127.0.0.1:{port}/ok")
    by_engine, by_filter = site.both("/ok")
    assert by_engine == by_filter
    assert by_engine.status == 500
