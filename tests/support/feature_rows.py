"""Feature tests through real sockets: rows of manifest -> request -> backend and client.

All rows of a module share one running proxy: every row is an Ingress of its own host, with a
Service of its own. A backend records what arrives and answers as the request's headers ask.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.features import full
from tests.support.running import Proxy, backend_manifest, dead_port, free_port

Headers = Mapping[str, Any]  # name -> the value, a list of values, or None for "absent"


@dataclass(frozen=True)
class Ask:
    """A request; the client closes afterwards."""

    target: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    host: str = ""  # default: the row's
    entry_point: str = "http"


@dataclass(frozen=True)
class Row:
    """`backend` and `client` name only what is compared."""

    title: str
    ingress: Mapping[str, str] = field(default_factory=dict)
    service: Mapping[str, str] = field(default_factory=dict)
    path: str = "/"
    ask: Ask = Ask()
    again: int = 0  # how many times the request was sent before
    target: str | None = None  # at the backend; "" = the backend is not reached
    backend: Headers = field(default_factory=dict)
    status: int = 200
    client: Headers = field(default_factory=dict)
    body: bytes | None = None
    endpoints: int = 1
    dead: int = 0  # 1: and one endpoint nobody listens on
    group: str = ""  # rows of one group share host, Ingress and Service (those of the first row)
    rival: str = ""  # path of a second Ingress of the same host, without annotations

    def __str__(self) -> str:
        return self.title


@dataclass
class Seen:
    method: str
    target: str
    headers: http.client.HTTPMessage
    body: bytes
    server: int


class Backend:
    """Several servers. A request header (JSON) may ask for status, headers, body."""

    def __init__(
        self,
        count: int,
        asked_by: str = "X-Answer",
        echo: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked_by = asked_by
        self.tls = tls
        self.echo = echo  # answer with what was asked for
        self.always: dict[str, dict[str, Any]] = {}  # target -> what is answered, whoever asks
        self.seen: list[Seen] = []
        self.servers = [self._server(number) for number in range(count)]
        self.ports = [server.server_port for server in self.servers]

    def _server(self, number: int) -> http.server.ThreadingHTTPServer:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline() not in (b"\r\n", b""):  # trailers
                    pass
                return body

            def answer(self) -> None:
                body = self.body()
                if self.path != "/fence":
                    outer.seen.append(Seen(self.command, self.path, self.headers, body, number))
                asked = json.loads(self.headers.get(outer.asked_by) or "{}")
                wanted = outer.always.get(self.path, asked)
                statuses = wanted.get("statuses") or [wanted.get("status", 200)]
                count = sum(seen.target == self.path for seen in outer.seen)
                status = statuses[min(max(count, 1), len(statuses)) - 1]
                if number in wanted.get("bad", ()):
                    status = 503
                text = wanted.get("body", f"server {number}").encode()
                if wanted.get("echo"):
                    text = body
                if outer.echo:
                    status = int(self.headers.get("X-Page-Status") or 200)
                    wanted = {"headers": [["X-Page", "1"]]}
                    text = f"page {self.command} {self.path} {self.headers['Host']}".encode()
                time.sleep(wanted.get("delay", 0))
                self.send_response_only(status)
                for name, value in wanted.get("headers", []):
                    self.send_header(name, value)
                if wanted.get("pieces"):
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for piece in wanted["pieces"]:
                        time.sleep(wanted["pause"])
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece.encode()))
                    time.sleep(wanted["pause"])
                    self.wfile.write(b"0\r\n\r\n")
                    return
                if wanted.get("chunked"):
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text))
                    return
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD" and status not in (204, 304):  # which have no body
                    self.wfile.write(text)

            do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


def answering(header: str = "X-Answer", **wanted: Any) -> tuple[str, str]:
    return (header, json.dumps(wanted))


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Field:
    """A running proxy with the Ingresses of all rows."""

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Row],
        *,
        settings: str = "",
        entry_points: Mapping[str, str] | None = None,
        manifests: str = "",
        words: Mapping[str, str] | None = None,
        default_entry_points: str = '["http", "other"]',
        pages: bool = False,
        workers: int = 1,
        only_port: int = 0,
        spelling: str = "ingress",  # of the annotations, see `features.spelt`
        kubernetes: str = "",  # lines of the section [kubernetes]
    ) -> None:
        points = {"http": "", "other": "", "traefik": "", **(entry_points or {})}
        self.pages = Backend(1, echo=True) if pages else None
        self.ports = {name: free_port() for name in points}
        self.folder = folder
        self.words = dict(words or {})  # also replaced in the manifests
        self.backend = Backend(max([row.endpoints for row in rows], default=1))
        self._hosts: dict[str, str] = {}
        documents = [manifests] if manifests else []
        if self.pages is not None:
            documents.append(backend_manifest("pages", self.pages.ports))
        documents.append(backend_manifest("fence", self.backend.ports[:1]))
        documents.append(ingress("fence", "a.test", "/", "fence", {}))
        for number, row in enumerate(rows):
            if row.group and row.group in self._hosts:
                continue
            name = f"row{number}"
            assert row.title not in self._hosts, row.title
            self._hosts[row.group or row.title] = f"{name}.test"
            ports = [only_port] if only_port else self.backend.ports[: row.endpoints]
            ports += [dead_port()] * row.dead
            service = backend_manifest(name, ports)
            own = {key: value.replace("ROWNAME", name) for key, value in row.ingress.items()}
            documents.append(
                service.replace(
                    f"metadata: {{name: {name}, namespace: default}}",
                    f"metadata: {{name: {name}, namespace: default, "
                    f"annotations: {json.dumps(full(row.service, spelling))}}}",
                )
            )
            documents.append(ingress(name, f"{name}.test", row.path, name, full(own, spelling)))
            if row.rival:
                documents.append(ingress(f"{name}-rival", f"{name}.test", row.rival, name, {}))
        (folder / "manifests").mkdir()
        text = "\n---\n".join(documents)
        for word, value in self.words.items():
            text = text.replace(word, value)
        (folder / "manifests" / "all.yaml").write_text(text)
        tables = "".join(
            f'[entryPoints.{name}]\naddress = "127.0.0.1:{self.ports[name]}"\n{more}\n'
            for name, more in points.items()
        )
        text = f"workers = {workers}\ndefaultEntryPoints = {default_entry_points}\n"
        text += 'providersThrottleDuration = "100ms"\n'
        text += f"{settings}\n{tables}\n[kubernetes]\n{kubernetes}\n"
        self.proxy = Proxy(folder, folder / "manifests", text, self.ports["http"])

    def host(self, row: Row) -> str:
        return row.ask.host.replace("ROWNAME", self.name(row)) or self.name(row) + ".test"

    def name(self, row: Row) -> str:
        """Of the row's Ingress and Service."""
        return self._hosts[row.group or row.title].removesuffix(".test")

    def send(self, row: Row) -> Answer:
        return self.ask(row.ask, self.host(row))

    def ask(self, ask: Ask, host: str) -> Answer:
        port = self.ports[ask.entry_point]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest(ask.method, ask.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in ask.headers:
            connection.putheader(name, value)
        if ask.body:
            connection.putheader("Content-Length", str(len(ask.body)))
        connection.endheaders(ask.body or None)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def check(self, row: Row) -> None:
        for _ in range(row.again):
            self.send(row)
        self.backend.seen.clear()
        answer = self.send(row)
        words = {
            **self.words,
            "HOST": self.host(row),
            "ROWNAME": self.name(row),
            "OTHER": str(self.ports["other"]),
            "FIRST": str(self.backend.ports[0]),
        }
        assert answer.status == row.status, (answer, self.backend.seen)
        compare(answer.headers, row.client, words)
        if row.body is not None:
            assert answer.body == row.body
        if row.target == "":
            assert self.backend.seen == []
            return
        if row.target is not None or row.backend:
            seen = self.backend.seen[-1]
            if row.target is not None:
                assert seen.target == row.target
            compare(seen.headers, row.backend, words)

    def __enter__(self) -> Field:
        self.proxy.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.proxy.stop()
        self.backend.close()
        if self.pages is not None:
            self.pages.close()


def compare(found: http.client.HTTPMessage, expected: Headers, words: Mapping[str, str]) -> None:
    """Upper-case words of `words` in an expected value stand for what is only known now."""
    for name, value in expected.items():
        wanted = [] if value is None else [value] if isinstance(value, str) else list(value)
        for word, text in words.items():
            wanted = [value.replace(word, text) for value in wanted]
        assert (name, found.get_all(name) or []) == (name, wanted)


def ingress(name: str, host: str, path: str, service: str, annotations: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "annotations": full(annotations)},
            "spec": {
                "rules": [
                    {
                        "host": host,
                        "http": {
                            "paths": [
                                {
                                    "path": path,
                                    "pathType": "ImplementationSpecific",
                                    "backend": {
                                        "service": {"name": service, "port": {"number": 80}}
                                    },
                                }
                            ]
                        },
                    }
                ]
            },
        }
    )


def secret(name: str, data: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "data": {key: b64encode(text.encode()).decode() for key, text in data.items()},
        }
    )


def running(folder: Path, rows: Sequence[Row], **options: Any) -> Iterator[Field]:
    with Field(folder, rows, **options) as field_:
        yield field_
