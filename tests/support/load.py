"""A backend that says its name, and clients that notice every lost request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from tests.support.listening import Listening, read_head


class NamedBackend(Listening):
    """A keep-alive HTTP/1.1 server on a free port; answers its name, `/slow/S` after S seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        head, data = read_head(connection)
        while head:
            self.requests += 1
            path = head.split()[1].decode()
            if path.startswith("/slow/"):
                time.sleep(float(path.removeprefix("/slow/")))
            body = self.name.encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            head, data = read_head(connection, data)


class Client:
    """One keep-alive connection that behaves as RFC 9112 9.3.1 lets clients behave: a request on a
    *reused* connection that is closed before any byte of the answer is sent again on a new one."""

    def __init__(self, port: int, host: str = "a.test") -> None:
        self._port = port
        self._head = f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._connection: socket.socket | None = None
        self.sent_again = 0

    def request(self) -> tuple[int, bytes]:
        """Return status and body; raises OSError for a lost request."""
        for _ in range(2):
            fresh = self._connection is None
            if self._connection is None:
                self._connection = socket.create_connection(("127.0.0.1", self._port), 10)
            try:
                self._connection.sendall(self._head)
                head, body = self._read()
            except OSError as error:
                self.close()
                if fresh or getattr(error, "partial", False):
                    raise
                self.sent_again += 1
                continue
            if b"connection: close" in head.lower():
                self.close()
            return int(head[9:12]), body
        raise ConnectionError("lost twice")

    def _read(self) -> tuple[bytes, bytes]:
        assert self._connection is not None
        data = b""
        while True:
            head, end, body = data.partition(b"\r\n\r\n")
            if end:
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                if len(body) >= size:
                    return head, body
            part = self._connection.recv(65536)
            if not part:
                error = ConnectionResetError(f"closed after {len(data)} bytes")
                error.partial = bool(data)  # type: ignore[attr-defined]
                raise error
            data += part

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """Some clients that ask without pause until they are stopped."""

    def __init__(
        self,
        port: int,
        clients: int = 4,
        pause: float = 0.002,
        may_refuse: bool = False,
        keep_alive: bool = True,
    ) -> None:
        """With `may_refuse`, a client whose *connect* is refused ends quietly (drain)."""
        self._keep_alive = keep_alive
        self.answers: dict[tuple[int, bytes], int] = {}
        self.lost: list[str] = []
        self.sent_again = 0  # requests whose reused connection closed before any answer
        self.latencies: list[float] = []  # seconds, of answered requests
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(port, pause, may_refuse))
            for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int, pause: float, may_refuse: bool) -> None:
        client = Client(port)
        while not self._stop.is_set():
            asked = time.perf_counter()
            try:
                answer = client.request()
            except ConnectionRefusedError as error:
                if may_refuse:
                    break
                with self._lock:
                    self.lost.append(repr(error))
            except OSError as error:
                with self._lock:
                    self.lost.append(repr(error))
            else:
                with self._lock:
                    self.latencies.append(time.perf_counter() - asked)
                    self.answers[answer] = self.answers.get(answer, 0) + 1
                if not self._keep_alive:
                    client.close()
            time.sleep(pause)
        client.close()
        with self._lock:
            self.sent_again += client.sent_again

    @property
    def total(self) -> int:
        with self._lock:
            return sum(self.answers.values())

    def wait_for_more(self, count: int, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until that many further requests were answered."""
        goal = self.total + count
        deadline = time.monotonic() + 20
        while self.total < goal and alive():
            assert time.monotonic() < deadline, "the load has stopped"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
