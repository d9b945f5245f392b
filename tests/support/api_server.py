"""A stand-in Kubernetes API server: real HTTP on loopback, every fault on request.

    with ApiServer() as server:
        server.create("Service", {...})
        api = connect(endpoint=server.url)
        server.faults.expire_watches()

What it serves: discovery, list (pages, continue, selectors), watch (window with 410, bookmarks),
create, replace, merge patch, delete, the status subresource, 409 on stale versions, bearer tokens,
TLS. What it does not: validation, defaulting, admission. The contract tests run against it and a
real server, which is what keeps it honest.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.support.api_store import (
    KINDS,
    Change,
    Filter,
    Kind,
    Object,
    Refused,
    Store,
    selected,
)


@dataclass
class Rule:
    """Refuse matching requests: by kind, namespace, verb; `times` None means until removed."""

    refusal: Refused
    kind: str = ""
    namespace: str | None = None
    verb: str = ""
    times: int | None = None
    retry_after: int | None = None

    def matches(self, kind: str, namespace: str, verb: str) -> bool:
        return (
            (self.kind in ("", kind))
            and (self.namespace in (None, namespace))
            and (self.verb in ("", verb))
        )


@dataclass
class Faults:
    """What goes wrong. Attributes may be set at any time; methods act on what is open now."""

    server: ApiServer
    rules: list[Rule] = field(default_factory=list)
    chunk_size: int = 0  # split watch data into chunks of so many bytes
    duplicate: bool = False  # every event twice
    reorder: bool = False  # events that are ready together are sent in reverse
    stalled: bool = False  # watches stay open and say nothing, not even bookmarks
    refuse_connections: bool = False  # accepted, then reset
    item_garbage: dict[str, list[Any]] = field(default_factory=dict)  # kind -> extra list items
    # (kind, verb) -> body of a 200 in place of the answer; ("", "get") is discovery
    instead: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def refuse(
        self,
        code: int,
        reason: str = "",
        kind: str = "",
        namespace: str | None = None,
        verb: str = "",
        times: int | None = None,
        retry_after: int | None = None,
    ) -> Rule:
        refusal = Refused(code, reason or f"Code{code}", f"scripted {code}")
        rule = Rule(refusal, kind, namespace, verb, times, retry_after)
        self.rules.append(rule)
        return rule

    def drop_watches(self, *, reset: bool = False) -> int:
        """Cut all open watches in mid-stream; give how many there were."""
        return self.server.end_watches("reset" if reset else "cut")

    def finish_watches(self) -> int:
        """End all open watches properly, as after `timeoutSeconds`."""
        return self.server.end_watches("finish")

    def expire_watches(self) -> int:
        """Forget history and send an ERROR event with code 410 into every open watch."""
        self.server.store.compact()
        return self.server.end_watches("expire")

    def send_raw(self, kind: str, data: bytes) -> int:
        """Write bytes into the open watches of a kind."""
        return self.server.inject(kind, data)

    def check(self, kind: str, namespace: str, verb: str) -> Rule | None:
        for rule in self.rules:
            if rule.matches(kind, namespace, verb) and rule.times != 0:
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None


@dataclass(eq=False)
class OpenWatch:
    kind: Kind
    namespace: str
    end: str = ""
    raw: list[bytes] = field(default_factory=list)


class ApiServer:
    """The server; `start` and `stop` may be repeated and keep port and objects."""

    def __init__(
        self,
        kinds: tuple[Kind, ...] = KINDS,
        tokens: set[str] | None = None,
        tls: ssl.SSLContext | None = None,
        bookmark_seconds: float = 60.0,
    ) -> None:
        self.store = Store()
        self.kinds = kinds
        self.tokens = tokens
        self.tls = tls
        self.bookmark_seconds = bookmark_seconds
        self.faults = Faults(self)
        self.requests: list[tuple[str, str]] = []  # (verb, path with query), for assertions
        self.watches: set[OpenWatch] = set()
        self.continuations: dict[str, tuple[int, list[Object]]] = {}
        self.port = 0
        self._http: _Server | None = None

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._http = _Server(("127.0.0.1", self.port), self)
        self.port = self._http.server_address[1]
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        """Stop listening and reset every connection; objects stay for the next `start`."""
        http, self._http = self._http, None
        if http is None:
            return
        self.end_watches("reset")
        http.shutdown()
        http.server_close()
        http.reset_all()

    def create(self, kind: str, new: Object) -> Object:
        return self.store.create(self._kind(kind), new)

    def update(self, kind: str, new: Object) -> Object:
        """Replace an object whatever its version."""
        new = {**new, "metadata": {**new["metadata"]}}
        new["metadata"].pop("resourceVersion", None)
        return self.store.update(self._kind(kind), new)

    def apply(self, kind: str, new: Object) -> Object:
        try:
            return self.create(kind, new)
        except Refused:
            return self.update(kind, new)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.store.delete(self._kind(kind), namespace, name)

    def read(self, kind: str, namespace: str, name: str) -> Object:
        return self.store.read(self._kind(kind), namespace, name)

    def items(self, kind: str, namespace: str = "") -> list[Object]:
        return self.store.list(self._kind(kind), namespace)[1]

    def watching(self, kind: str = "") -> int:
        """Count the open watches of a kind."""
        with self.store.changed:
            return sum(1 for watch in self.watches if kind in ("", watch.kind.kind))

    def counted(self, verb: str, text: str = "") -> int:
        """Count the requests so far with this verb and text in the path."""
        return sum(1 for seen, path in list(self.requests) if seen == verb and text in path)

    def end_watches(self, how: str) -> int:
        with self.store.changed:
            for watch in self.watches:
                watch.end = how
            self.store.changed.notify_all()
            return len(self.watches)

    def inject(self, kind: str, data: bytes) -> int:
        with self.store.changed:
            matching = [watch for watch in self.watches if watch.kind.kind == kind]
            for watch in matching:
                watch.raw.append(data)
            self.store.changed.notify_all()
            return len(matching)

    def _kind(self, name: str) -> Kind:
        return next(kind for kind in self.kinds if kind.kind == name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: ApiServer) -> None:
        self.owner = owner
        self._sockets: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = super().get_request()
        if self.owner.faults.refuse_connections:
            reset(connection)
            raise OSError("refused by script")
        self._sockets.add(connection)
        if self.owner.tls:
            connection = self.owner.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            self._sockets.add(connection)
        return connection, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are this server's daily bread."""

    def reset_all(self) -> None:
        for connection in list(self._sockets):
            reset(connection)
        self._sockets.clear()

    def close_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_PUT(self) -> None:
        self._answer("update")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def _answer(self, verb: str) -> None:
        owner = self.server.owner
        owner.requests.append((self.command, self.path))
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        try:
            self._authenticate()
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            document, code = self._dispatch(verb, parts.path, query, body)
        except Refused as refusal:
            document, code = refusal.document(), refusal.code
        if document is not None:
            self._send(code, document)

    def _authenticate(self) -> None:
        tokens = self.server.owner.tokens
        if tokens is None:
            return
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _dispatch(
        self, verb: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[Object | None, int]:
        owner = self.server.owner
        pieces = [piece for piece in path.split("/") if piece]
        if path in ("/readyz", "/livez", "/version"):
            return {"ok": True}, 200
        if pieces[:1] not in (["api"], ["apis"]):
            raise Refused(404, "NotFound", "no such path")
        depth = 2 if pieces[0] == "api" else 3
        group_version, rest = "/".join(pieces[1:depth]), pieces[depth:]
        known = [kind for kind in owner.kinds if kind.group_version == group_version]
        if not known:
            raise Refused(404, "NotFound", f"{group_version} is not served")
        if not rest:
            if self._sent_instead("", "get"):
                return None, 200
            return self._discovery(group_version, known), 200
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = next((kind for kind in known if kind.plural == rest[0]), None)
        if kind is None:
            raise Refused(404, "NotFound", f"{rest[0]} is not served")
        name, part = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
        if verb == "get" and not name:
            verb = "watch" if query.get("watch") in ("1", "true") else "list"
        rule = owner.faults.check(kind.kind, namespace, verb)
        if rule is not None:
            self._retry_after = rule.retry_after
            raise rule.refusal
        if self._sent_instead(kind.kind, verb):
            return None, 200
        if verb == "watch":
            self._watch(kind, namespace, query)
            return None, 200
        if verb == "list":
            return self._list(kind, namespace, query), 200
        return self._object(verb, kind, namespace, name, part, body)

    def _sent_instead(self, kind: str, verb: str) -> bool:
        data = self.server.owner.faults.instead.get((kind, verb))
        if data is not None:
            self._send_bytes(200, data)
        return data is not None

    def _discovery(self, group_version: str, known: list[Kind]) -> Object:
        resources = [
            {"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced}
            for kind in known
        ]
        return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}

    def _object(
        self, verb: str, kind: Kind, namespace: str, name: str, part: str, body: bytes
    ) -> tuple[Object, int]:
        store = self.server.owner.store
        document: Object = orjson.loads(body) if body else {}
        if document and verb != "patch" and kind.namespaced:
            document.setdefault("metadata", {}).setdefault("namespace", namespace)
        if verb == "create":
            return self._named(kind, store.create(kind, document)), 201
        if verb == "update":
            return self._named(kind, store.update(kind, document, part=part)), 200
        if verb == "patch":
            return self._named(kind, store.patch(kind, namespace, name, document, part)), 200
        if verb == "delete":
            return self._named(kind, store.delete(kind, namespace, name)), 200
        return self._named(kind, store.read(kind, namespace, name)), 200

    def _named(self, kind: Kind, item: Object) -> Object:
        return {**item, "kind": kind.kind, "apiVersion": kind.group_version}

    def _list(self, kind: Kind, namespace: str, query: dict[str, str]) -> Object:
        owner = self.server.owner
        token = query.get("continue", "")
        if token:
            revision, items = owner.continuations.pop(token, (-1, []))
            if revision < owner.store.compacted:
                raise Refused(410, "Expired", "the provided continue parameter is too old")
        else:
            revision, items = owner.store.list(kind, namespace)
            keep = selected(query.get("labelSelector", ""), query.get("fieldSelector", ""))
            items = [item for item in items if keep(item)]
            items += owner.faults.item_garbage.get(kind.kind, [])
        limit = int(query.get("limit") or 0) or len(items)
        metadata: Object = {"resourceVersion": str(revision)}
        if len(items) > limit:
            metadata["continue"] = f"{revision}.{len(owner.continuations)}.{time.monotonic_ns()}"
            owner.continuations[metadata["continue"]] = (revision, items[limit:])
        return {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.group_version,
            "metadata": metadata,
            "items": items[:limit],
        }

    _retry_after: int | None = None

    def _send(self, code: int, document: Object) -> None:
        self._send_bytes(code, orjson.dumps(document))

    def _send_bytes(self, code: int, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self._retry_after is not None:
            self.send_header("Retry-After", str(self._retry_after))
            self._retry_after = None
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _watch(self, kind: Kind, namespace: str, query: dict[str, str]) -> None:
        owner = self.server.owner
        version = query.get("resourceVersion", "")
        revision = int(version) if version.isdigit() else owner.store.revision
        with owner.store.changed:
            owner.store.since(revision)  # raises 410 before the head is sent
            watch = OpenWatch(kind, namespace)
            owner.watches.add(watch)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            _Stream(self, watch, revision, query).run()
        finally:
            with owner.store.changed:
                owner.watches.discard(watch)

    def write_chunked(self, data: bytes) -> None:
        step = self.server.owner.faults.chunk_size or len(data) or 1
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if step < len(data):
                self.wfile.flush()
        self.wfile.flush()


class _Stream:
    """One open watch: waits for changes, writes events, ends as told."""

    def __init__(
        self, handler: _Handler, watch: OpenWatch, revision: int, query: dict[str, str]
    ) -> None:
        self._handler = handler
        self._owner = handler.server.owner
        self._watch = watch
        self._revision = revision
        self._keep: Filter = selected(
            query.get("labelSelector", ""), query.get("fieldSelector", "")
        )
        self._bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        self._deadline = time.monotonic() + float(query.get("timeoutSeconds") or 1800)

    def run(self) -> None:
        owner = self._owner
        bookmark_at = time.monotonic() + owner.bookmark_seconds
        while True:
            with owner.store.changed:
                lines, raw, end = self._collect(min(self._deadline, bookmark_at))
            with contextlib.suppress(OSError):
                if raw or lines:
                    self._handler.write_chunked(b"".join(lines) + raw)
                now = time.monotonic()
                if now >= bookmark_at:
                    bookmark_at = now + owner.bookmark_seconds
                    self._bookmark()
                if not end:
                    continue
                self._finish(end)
            self._handler.close_connection = True
            return

    def _collect(self, until: float) -> tuple[list[bytes], bytes, str]:
        """Wait for something to say; called with the store's lock held."""
        owner, watch = self._owner, self._watch
        while True:
            raw, watch.raw = b"".join(watch.raw), []
            lines: list[bytes] = []
            if not owner.faults.stalled:
                lines = self._lines()
            now = time.monotonic()
            end = watch.end or ("finish" if now >= self._deadline else "")
            if lines or raw or end or (now >= until and not owner.faults.stalled):
                return lines, raw, end
            owner.store.changed.wait(max(until - now, 0.01) if until > now else 0.2)

    def _lines(self) -> list[bytes]:
        owner = self._owner
        try:
            changes = owner.store.since(self._revision)
        except Refused:
            self._watch.end = self._watch.end or "expire"
            return []
        self._revision = owner.store.revision
        found = [line for change in changes if (line := self._line(change)) is not None]
        if owner.faults.duplicate:
            found = [line for line in found for _ in (1, 2)]
        return found[::-1] if owner.faults.reorder else found

    def _line(self, change: Change) -> bytes | None:
        """Give what this watch sees of a change; leaving the selection looks like a deletion."""
        watch = self._watch
        if change.kind.storage != watch.kind.storage:
            return None
        if watch.namespace and change.object["metadata"].get("namespace") != watch.namespace:
            return None
        now = change.type != "DELETED" and self._keep(change.object)
        before = change.before is not None and self._keep(change.before)
        if now:
            return change.line("MODIFIED" if before else "ADDED")
        return change.line("DELETED") if before else None

    def _bookmark(self) -> None:
        if not self._bookmarks:
            return
        kind = self._watch.kind
        item = {
            "kind": kind.kind,
            "apiVersion": kind.group_version,
            "metadata": {"resourceVersion": str(self._revision)},
        }
        self._handler.write_chunked(orjson.dumps({"type": "BOOKMARK", "object": item}) + b"\n")

    def _finish(self, end: str) -> None:
        if end == "expire":
            gone = Refused(410, "Expired", "too old resource version")
            event = {"type": "ERROR", "object": gone.document()}
            self._handler.write_chunked(orjson.dumps(event) + b"\n")
        if end in ("expire", "finish"):
            self._handler.wfile.write(b"0\r\n\r\n")
            self._handler.wfile.flush()
        if end == "reset":
            reset(self._handler.connection)


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # close alone waits for rfile and wfile
    with contextlib.suppress(OSError):
        connection.close()
