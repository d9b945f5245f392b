"""Error pages fetched through the limits, breaker, cookie and retries of their backend."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from fastproxy.features.error_pages import ErrorPages, Page
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Settings
from tests.support.feature_rows import Answer, Ask, Field, Row, answering, running
from tests.support.plane import Plane
from tests.support.scripted import OK, Client, Origin, Peer

RATE = "{extractorfunc: client.ip, rateset: {a: {period: 1h, average: 1, burst: 3}}}"
PAGE_ROWS = [
    Row("dead", dead=1),
    Row("dead by name", {"preserve-host": "false"}, dead=1),
    Row("limited", {"rate-limit": RATE}),
    Row("crowded", {}, {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"}),
    Row("broken", {}, {"circuit-breaker-expression": "NetworkErrorRatio() > 0.5"}, endpoints=0,
        dead=1),
    Row("sticky", {}, {"affinity": "true"}, endpoints=3),
    Row("told", {"custom-response-headers": "X-Told: 1", "whitelist-source-range": "10.0.0.0/8"}),
]  # fmt: skip


def shop(number: int, page: Row) -> Row:
    """A route whose failures become the page of the route of this number."""
    pages = f"a: {{status: ['500-599'], backend: row{number}.test/, query: /page}}"
    return Row(f"shop of {page.title}", {"error-pages": pages})


SHOPS = {page.title: shop(number, page) for number, page in enumerate(PAGE_ROWS)}
ROWS = [*PAGE_ROWS, *SHOPS.values()]
UNFETCHED = b"Internal Server Error"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(tmp_path_factory.mktemp("pages"), ROWS)


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    settings = "[retry]\nattempts = 2\n"
    yield from running(tmp_path_factory.mktemp("retry"), ROWS, settings=settings)


def fail(proxy: Field, title: str, *headers: tuple[str, str], **more: float) -> Answer:
    """Ask a shop for what fails; its page comes instead."""
    ask = Ask("/x", headers=(answering(status=500, **more), *headers))
    answer = proxy.ask(ask, proxy.host(SHOPS[title]))
    assert answer.status == 500
    return answer


def test_a_dead_endpoint_of_the_pages_without_retry(proxy: Field) -> None:
    for title in ("dead", "dead by name"):
        bodies = Counter(fail(proxy, title).body for _ in range(6))
        assert bodies == {b"server 0": 3, UNFETCHED: 3}


@pytest.mark.parametrize(("title", "host"), [("dead", "0.0.0.0"), ("dead by name", "")])
def test_retry_fetches_the_page_from_the_next_endpoint(retrying: Field, title, host) -> None:
    retrying.backend.seen.clear()
    assert [fail(retrying, title).body for _ in range(6)] == [b"server 0"] * 6
    pages = [seen for seen in retrying.backend.seen if seen.target == "/page"]
    own = host or f"127.0.0.1:{retrying.backend.ports[0]}"
    assert [(seen.method, seen.headers["Host"]) for seen in pages] == [("GET", own)] * 6


def test_pages_take_tokens_of_their_backend(proxy: Field) -> None:
    """Three tokens: one for a request to the backend itself, two for pages."""
    assert proxy.ask(Ask("/"), proxy.host(PAGE_ROWS[2])).status == 200
    bodies = [fail(proxy, "limited").body for _ in range(4)]
    assert bodies == [b"server 0"] * 2 + [b"max rate reached: retry-in 1h0m0s"] * 2


def test_pages_take_places_among_the_connections_of_their_backend(proxy: Field) -> None:
    with ThreadPoolExecutor(3) as pool:
        # the shop answers after half a second, then the page, which takes as long
        slow = [pool.submit(fail, proxy, "crowded", delay=0.5) for _ in range(3)]
        bodies = Counter(future.result().body for future in slow)
    assert bodies == {b"server 0": 1, b"max connections reached: 1": 2}
    assert fail(proxy, "crowded").body == b"server 0"


def test_pages_count_for_the_breaker_of_their_backend(proxy: Field) -> None:
    assert fail(proxy, "broken").body == UNFETCHED
    time.sleep(0.12)
    assert fail(proxy, "broken").body in (UNFETCHED, b"Service Unavailable")
    assert fail(proxy, "broken").body == b"Service Unavailable"
    assert proxy.ask(Ask("/"), proxy.host(PAGE_ROWS[4])).status == 503


def test_pages_stick_to_an_endpoint(proxy: Field) -> None:
    answer = fail(proxy, "sticky")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    for _ in range(4):
        again = fail(proxy, "sticky", ("Cookie", cookie))
        assert (again.body, again.headers["Set-Cookie"]) == (answer.body, None)


def test_pages_get_the_response_headers_of_their_backend_but_not_its_white_list(proxy) -> None:
    answer = fail(proxy, "told")
    assert (answer.body, answer.headers["X-Told"]) == (b"server 0", "1")


NOT_TAKEN_OVER = [
    *("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
    *("Content-Type", "Content-Encoding", "Content-Language", "Content-MD5", "Digest"),
    *("Sec-WebSocket-Protocol", "X-HTTP-Method-Override", "Max-Forwards"),
]
TAKEN_OVER = ["Accept", "Accept-Language", "Cookie", "User-Agent", "X-Request-Id", "X-Range"]


@pytest.mark.parametrize("name", [*NOT_TAKEN_OVER, *TAKEN_OVER])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_are_not_asked_for_with_what_concerns_the_clients_target(
    proxy: Field, method: str, name: str
) -> None:
    proxy.backend.seen.clear()
    ask = Ask("/x", method, (answering(status=500), (name, "1")))
    assert proxy.ask(ask, proxy.host(SHOPS["told"])).status == 500
    first, page = proxy.backend.seen
    assert (first.headers[name], page.target) == ("1", "/page")
    assert page.headers[name] == ("1" if name in TAKEN_OVER else None)


def test_a_stale_connection_to_the_pages() -> None:
    """Each connection serves one page and is closed when it is used again; the page is then asked
    for once more, and only once, on a fresh one."""

    def fails(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")

    def page(peer: Peer) -> bool:
        peer.read_request()
        if peer.served or peer.number > 4:
            return False
        peer.send(OK)
        return True

    shop, pages = Origin({"/": fails}), Origin({"/page": page})
    config = ErrorPages((Page(((500, 599),), "pages", "/page"),))
    routes = (
        Route("shop", ("http",), (PathPrefix(("/",)),), 1, "shop", (config,)),
        Route("pages", ("http",), (PathPrefix(("/pages",)),), 1, "pages"),
    )
    backends = tuple(
        Backend(name, (Endpoint("http", "127.0.0.1", origin.port),))
        for name, origin in (("shop", shop), ("pages", pages))
    )
    settings = Settings(entry_points={"http": EntryPoint("127.0.0.1:0")})
    with closing(shop), closing(pages), closing(Plane(settings)) as plane:
        plane.prepare(Desired(routes, backends))
        plane.activate()
        with Client(plane.port) as client:
            answers = [client.ask("/") for _ in range(5)]
    assert [(answer.status, answer.body) for answer in answers] == [
        *[(503, b"ok")] * 4,
        (503, UNFETCHED),  # the fresh connection was closed too
    ]
    assert (pages.connections, len(pages.seen)) == (5, 9)
