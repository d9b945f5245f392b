"""A client of HTTP/2 on PyPI's `h2`: blocking, one connection, and able to break the rules."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

Headers = Sequence[tuple[str, str]]


@dataclass
class Answer:
    """What has come for one stream."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.headers).get(":status", "0"))

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Client:
    def __init__(
        self, port: int, host: str = "a.test", tls: bool = False, wait: bool = False
    ) -> None:
        """`wait`: the first bytes go with those of the first request."""
        self.host = host
        self.scheme = "https" if tls else "http"
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])
            wrapped = context.wrap_socket(self.socket, server_hostname=host)
            assert wrapped.selected_alpn_protocol() == "h2"
            self.socket = wrapped
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.connection = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = {}
        self.goaway: list[int] = []  # codes
        self.last_ids: list[int] = []
        self.closed = False
        self.credit = True  # give windows back at once
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(1 << 24)
        if not wait:
            self.flush()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            try:
                self.socket.sendall(data)
            except (ConnectionError, ssl.SSLError):
                self.closed = True

    def raw(self, data: bytes) -> None:
        """Bytes past the library, which does not let one break rules."""
        self.flush()
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            self.closed = True

    def head(
        self, path: str = "/", method: str = "GET", *more: tuple[str, str], host: str | None = None
    ) -> list[tuple[str, str]]:
        return [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", self.host if host is None else host),
            (":path", path),
            *((name.lower(), value) for name, value in more),
        ]

    def begin(self, headers: Iterable[tuple[str, str]], end: bool = True) -> int:
        stream: int = self.connection.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.connection.send_headers(stream, list(headers), end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, end: bool = True) -> None:
        """Within the windows, waiting for them where necessary."""
        deadline = time.monotonic() + 20
        while data:
            room = min(
                self.connection.local_flow_control_window(stream),
                self.connection.max_outbound_frame_size,
                len(data),
            )
            if room <= 0:
                assert time.monotonic() < deadline, "no window"
                self.receive(0.5)
                if self.answers[stream].reset is not None or self.closed:
                    return
                continue
            self.connection.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
        if end:
            self.connection.end_stream(stream)
            self.flush()

    def receive(self, timeout: float = 5.0) -> bool:
        """Take what comes next; False when nothing does."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 17)
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.closed = True
            return False
        try:
            events = self.connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.closed = True
            raise
        for event in events:
            self._take(event)
        self.flush()
        return True

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway.append(int(event.error_code or 0))
            self.last_ids.append(event.last_stream_id or 0)
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.headers = list(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.credit and event.flow_controlled_length:
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)

    def wait(self, stream: int, timeout: float = 10.0) -> Answer:
        """The answer, when it is over in whatever way."""
        deadline = time.monotonic() + timeout
        answer = self.answers[stream]
        while not answer.ended and answer.reset is None and not self.closed:
            left = deadline - time.monotonic()
            assert left > 0, f"stream {stream} does not end: {answer}"
            self.receive(left)
        return answer

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes = b"",
        *more: tuple[str, str],
        host: str | None = None,
    ) -> Answer:
        stream = self.begin(self.head(path, method, *more, host=host), end=not body)
        if body:
            self.send(stream, body)
        return self.wait(stream)
