"""Answers fastproxy makes itself (`features.md` 1.2), as whole messages, for GET and HEAD.

Every situation exists once for each method, since some leave traces. What a filter that fails
answers is in `tests/engine/test_exchange.py`, an answer that ends too early in `test_faults.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import trustme

from tests.safety.messages import Message
from tests.support.feature_rows import Ask, Backend, Field, Row, answering, full, ingress, secret
from tests.support.required_fields import lacking
from tests.support.running import backend_manifest, dead_port
from tests.support.scripted import Client, Origin, Peer
from tests.support.tls import server_context

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Own:
    title: str
    status: int
    body: bytes | Mapping[str, bytes]  # a mapping: by method
    ingress: Mapping[str, str] = field(default_factory=dict)
    service: Mapping[str, str] = field(default_factory=dict)
    path: str = "/"
    target: str = "/"
    type: str = TEXT
    nosniff: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)  # by method, where they differ
    before: int = 0  # requests which are sent first
    port: str = ""  # the endpoint's, by its name in `ports`
    content: bytes = b""
    entry_point: str = "http"

    def __str__(self) -> str:
        return self.title


def error(title: str, status: int, body: bytes, **more: object) -> Own:
    return Own(title, status, body, nosniff=True, **more)  # type: ignore[arg-type]


def redirect(title: str, location: str, ingress: Mapping[str, str], **more: object) -> Own:
    """302 or, for HEAD, 307."""
    return Own(
        title, 302, {"GET": b"Found", "HEAD": b"Temporary Redirect"}, ingress,
        headers={"Location": location}, statuses={"HEAD": 307}, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def link(location: str, text: str) -> bytes:
    return f'<a href="{location}">{text}</a>.\n\n'.encode()


NOT_FOUND = b"404 page not found\n"
RATE = "{extractorfunc: client.ip, rateset: {a: {period: 3s, average: 6, burst: 1}}}"
ONE = {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"}
PERMANENT = {"redirect-permanent": "true"}
UNAUTHORIZED = b"401 Unauthorized\n"
ANSWERS = [
    error("no route", 404, NOT_FOUND, target="/", entry_point="other"),
    error("nothing is left to strip", 404, NOT_FOUND, ingress={"rule-type": "PathPrefixStrip"},
          path="/a/", target="/a"),
    Own("no endpoints", 503, b"Service Unavailable", {"protocol": "gopher"}),
    Own("breaker open", 503, b"Service Unavailable",
        service={"circuit-breaker-expression": "ResponseCodeRatio(200, 300, 0, 600) > 0.5"},
        before=1),
    Own("refused", 502, b"Bad Gateway", port="dead"),
    Own("reset", 502, b"Bad Gateway", port="faulty", target="/reset"),
    Own("closed", 502, b"Bad Gateway", port="faulty", target="/close"),
    Own("malformed, see adr/0005", 502, b"Bad Gateway", port="faulty", target="/garbage"),
    Own("no such name", 502, b"Bad Gateway", port="nowhere.invalid"),
    Own("dial timeout", 504, b"Gateway Timeout", port="full"),
    Own("response timeout", 504, b"Gateway Timeout", port="faulty", target="/silent"),
    Own("plain HTTP behind https", 500, b"Internal Server Error", {"protocol": "https"}),
    Own("certificate not trusted", 500, b"Internal Server Error", {"protocol": "https"},
        port="untrusted"),
    Own("all weights 0", 500, b"Internal Server Error", {"service-weights": "other: 100%"}),
    Own("white list", 403, b"Forbidden", {"whitelist-source-range": "10.0.0.0/8"}),
    Own("rate limit", 429, b"max rate reached: retry-in 500ms", {"rate-limit": RATE}, before=1,
        headers={"Retry-After": "0", "X-Retry-In": "500ms"}),
    Own("basic", 401, UNAUTHORIZED, {"auth-type": "basic", "auth-secret": "users"},
        type="text/plain", headers={"WWW-Authenticate": 'Basic realm="traefik"'}),
    Own("digest", 401, UNAUTHORIZED, {"auth-type": "digest", "auth-secret": "digest"},
        type="text/plain", headers={"WWW-Authenticate": "*"}),
    Own("forward unreachable", 500, b"",
        {"auth-type": "forward", "auth-url": "http://127.0.0.1:DEAD/"}, type=""),
    Own("forward, closed", 500, b"",
        {"auth-type": "forward", "auth-url": "http://127.0.0.1:FAULTY/close"}, type=""),
    Own("forward, bad Location", 500, b"",
        {"auth-type": "forward", "auth-url": "http://127.0.0.1:FAULTY/location"}, type=""),
    error("allowed hosts", 500, b"Bad Host\n", ingress={"allowed-hosts": "b.test"}),
    Own("request too large", 413, b"Request Entity Too Large",
        service={"buffering": "maxrequestbodybytes: 3"}, content=b"four"),
    Own("response too large", 500, b"Internal Server Error",
        service={"buffering": "maxresponsebodybytes: 3"}),
    redirect("app-root", "http://HOST/start", {"app-root": "/start"}),
    redirect("entry point", "http://HOST:OTHER/a?b", {"redirect-entry-point": "other"},
             target="/a?b"),
    redirect("regex", "https://HOST/a?b",
             {"redirect-regex": "^http:(.*)", "redirect-replacement": "https:$1"}, target="/a?b"),
    Own("permanent", 301, {"GET": b"Moved Permanently", "HEAD": b"Permanent Redirect"},
        {"app-root": "/start", **PERMANENT}, headers={"Location": "http://HOST/start"},
        statuses={"HEAD": 308}),
    Own("redirect to no URL", 502, b"Bad Gateway",
        {"redirect-regex": "^http://(.*)", "redirect-replacement": "http://a:b/"}),
    Own("ssl-redirect", 301, link("https://s.test/a?b=1&amp;c", "Moved Permanently"),
        {"ssl-redirect": "true", "ssl-host": "s.test"}, type=HTML, target="/a?b=1&c",
        headers={"Location": "https://s.test/a?b=1&c"}),
    Own("ssl-redirect, temporary", 307, link("https://s.test/", "Temporary Redirect"),
        {"ssl-redirect": "true", "ssl-host": "s.test", "ssl-temporary-redirect": "true"},
        type=HTML, headers={"Location": "https://s.test/"}),
    Own("slash", 301, link("/a?b", "Moved Permanently"), {"rule-type": "Path"}, path="/a",
        target="/a/?b", type=HTML, headers={"Location": "/a?b"}),
    Own("TLS handshake timeout", 504, b"Gateway Timeout", {"protocol": "https"}, port="mute"),
]  # fmt: skip
# A response to HEAD has nothing to be too large.
CASES = [
    (own, method)
    for own in ANSWERS
    for method in METHODS
    if (own.title, method) != ("response too large", "HEAD")
]

SETTINGS = """allowMinWeightZero = true
[forwardingTimeouts]
responseHeaderTimeout = "700ms"
dialTimeout = "700ms"
"""


def silent(peer: Peer) -> bool:
    while peer.socket.recv(65536):
        pass
    return False


def script(data: bytes) -> object:
    def run(peer: Peer) -> bool:
        peer.read_request()
        peer.send(data)
        return False

    return run


def reset(peer: Peer) -> bool:
    peer.reset()
    return False


SCRIPTS = {
    "/reset": reset,
    "/close": lambda peer: False,
    "/silent": silent,
    "/garbage": script(b"\x16\x03\x01garbage\r\n\r\n"),
    "/location": script(
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"
    ),
}


def message(own: Own, method: str) -> bytes:
    lines = [f"{method} {own.target} HTTP/1.1", f"Host: {host_of(own, method)}"]
    if own.content:
        lines.append(f"Content-Length: {len(own.content)}")
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + own.content


@dataclass(frozen=True)
class Answers:
    field: Field
    early: Mapping[tuple[str, str], Client]  # what was asked at once, as it takes seconds

    def ask(self, own: Own, method: str) -> Message:
        data = message(own, method)
        early = self.early.get((own.title, method))
        with early or Client(self.field.ports[own.entry_point]) as client:
            for _ in range(own.before):
                client.send(data)
                assert client.response(method).status == 200
            if early is None:
                client.send(data)
            return client.response(method)


def host_of(own: Own, method: str) -> str:
    return f"own{ANSWERS.index(own)}-{method.lower()}.test"


def objects(own: Own, method: str, ports: Mapping[str, int], good: int) -> Iterator[str]:
    if own.title == "no route":
        return
    name = host_of(own, method).removesuffix(".test")
    metadata = f"metadata: {{name: {name}, namespace: default}}"
    annotated = metadata[:-1] + f", annotations: {json.dumps(full(own.service))}}}"
    if own.port == "nowhere.invalid":
        yield (
            f"apiVersion: v1\nkind: Service\n{metadata}\nspec: {{type: ExternalName, "
            f"externalName: {own.port}, ports: [{{port: 80}}]}}"
        )
    else:
        port = ports[own.port] if own.port else good
        yield backend_manifest(name, [port]).replace(metadata, annotated)
    annotations = {
        key: value.replace("DEAD", str(ports["dead"])).replace("FAULTY", str(ports["faulty"]))
        for key, value in full(own.ingress).items()
    }
    made = json.loads(ingress(name, f"{name}.test", own.path, name, annotations))
    if own.title == "all weights 0":
        # Two Services: all of the weight is that of the one without endpoints.
        paths = made["spec"]["rules"][0]["http"]["paths"]
        other = json.loads(json.dumps(paths[0]))
        other["backend"]["service"]["name"] = "other"
        paths.append(other)
    yield json.dumps(made)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    origin = Origin(SCRIPTS)  # type: ignore[arg-type]
    good = Backend(1)
    untrusted = Backend(1, tls=server_context(trustme.CA().issue_cert("127.0.0.1")))
    full_ = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for connection in waiting:  # its queue overflows: further SYNs are dropped
        connection.setblocking(False)
        connection.connect_ex(full_.getsockname())
    mute = socket.create_server(("127.0.0.1", 0))  # never accepts, but the kernel does
    ports = {
        "mute": mute.getsockname()[1],
        "dead": dead_port(),
        "faulty": origin.port,
        "full": full_.getsockname()[1],
        "untrusted": untrusted.ports[0],
    }
    documents = [
        secret("users", {"auth": "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}),
        secret("digest", {"auth": "ann:traefik:00"}),
        "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: default}\n"
        "spec: {ports: [{port: 80}]}",
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: other, namespace: default}\n",
    ]
    for own in ANSWERS:
        for method in METHODS:
            documents += objects(own, method, ports, good.ports[0])
    with Field(
        tmp_path_factory.mktemp("own"), [], manifests="\n---\n".join(documents), settings=SETTINGS
    ) as it:
        early = {}
        for own, method in CASES:
            if "timeout" in own.title:
                client = Client(it.ports["http"])
                client.send(message(own, method))
                early[own.title, method] = client
        yield Answers(it, early)
    for connection in (full_, mute, *waiting):
        connection.close()
    for server in (origin, good, untrusted):
        server.close()


@pytest.mark.parametrize(("own", "method"), CASES, ids=str)
def test_own_answers(answers: Answers, own: Own, method: str) -> None:
    found = answers.ask(own, method)
    status = own.statuses.get(method, own.status)
    body = own.body if isinstance(own.body, bytes) else own.body[method]
    assert found.status == status
    assert found.body == (body if method == "GET" else b"")
    assert list(lacking(found)) == []
    headers = dict(found.fields)
    assert len(headers) == len(found.fields)
    assert headers.pop("Date")
    assert headers.pop("Server") == "fastproxy"
    if "*" in own.headers.values():
        headers["WWW-Authenticate"] = "*"
    expected = {"Content-Length": str(len(body)), **own.headers}
    if own.type:
        expected["Content-Type"] = own.type
    if own.nosniff:
        expected["X-Content-Type-Options"] = "nosniff"
    words = {"HOST": host_of(own, method), "OTHER": str(answers.field.ports["other"])}
    for word, text in words.items():
        expected = {name: value.replace(word, text) for name, value in expected.items()}
    assert headers == expected


def test_a_connection_too_many(tmp_path_factory: pytest.TempPathFactory) -> None:
    """429 of the connection limit; the other request is in progress meanwhile."""
    row = Row("limited", service=ONE, ask=Ask(headers=(answering(delay=0.5),)))
    with Field(tmp_path_factory.mktemp("limited"), [row]) as field_:
        host = field_.host(row)
        with Client(field_.ports["http"]) as slow:
            name, value = row.ask.headers[0]
            slow.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\n\r\n".encode())
            while not field_.backend.seen:
                pass
            for method in METHODS:
                with Client(field_.ports["http"]) as client:
                    client.send(f"{method} / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    found = client.response(method)
                body = b"max connections reached: 1"
                assert (found.status, found.body) == (429, body if method == "GET" else b"")
                headers = dict(found.fields)
                del headers["Date"], headers["Server"]
                assert headers == {"Content-Type": TEXT, "Content-Length": str(len(body))}
            assert slow.response().status == 200
