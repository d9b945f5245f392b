"""
The `websockets` library as client and server, driven from ordinary test functions.

Its threaded flavour reads and writes one `ssl.SSLSocket` from two threads at once, which the ssl
module of Python 3.11 cannot do: about one connection in 300 never delivers anything after its TLS
handshake, with no proxy between. The asyncio flavour uses one thread, so that is what runs here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import unquote

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Data, Subprotocol

CHAT = [Subprotocol("chat")]
SECONDS = 10

Result = TypeVar("Result")


class Loop:
    """An event loop in a thread of its own; `run` waits for a coroutine from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(4 * SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class WebSocket:
    """A connected client; every method waits at most `SECONDS` seconds for what it names."""

    def __init__(self, loop: Loop, connection: ClientConnection) -> None:
        self._loop = loop
        self._connection = connection
        self.subprotocol = connection.subprotocol
        self.extensions = connection.protocol.extensions

    def send(self, message: Data | Sequence[Data]) -> None:
        """One message; a sequence is sent as fragments."""
        self._loop.run(self._connection.send(message))  # type: ignore[arg-type]

    def receive(self) -> Data:
        return self._loop.run(asyncio.wait_for(self._connection.recv(), SECONDS))

    def ping(self, data: bytes) -> None:
        """Send a ping and wait for its pong."""
        self._loop.run(self._ping(data))

    async def _ping(self, data: bytes) -> None:
        await asyncio.wait_for(await self._connection.ping(data), SECONDS)

    def close(self) -> None:
        self._loop.run(self._connection.close())


@contextmanager
def websocket(
    url: str, address: tuple[str, int], context: ssl.SSLContext | None
) -> Iterator[WebSocket]:
    """A client of `url` that connects to `address`, whatever the host of the URL is."""
    loop = Loop()
    client = WebSocket(loop, loop.run(_connect(url, address, context)))
    yield client
    client.close()
    loop.close()


async def _connect(
    url: str, address: tuple[str, int], context: ssl.SSLContext | None
) -> ClientConnection:
    return await connect(
        url,
        sock=socket.create_connection(address, SECONDS),
        ssl=context,
        subprotocols=CHAT,
        max_size=None,
        ping_interval=None,
        open_timeout=SECONDS,
    )


async def _answer(connection: ServerConnection) -> None:
    """Echo; the path may ask for something else."""
    path = connection.request.path if connection.request else ""
    if path.startswith("/close/"):
        _, _, code, reason = path.split("/", 3)
        await connection.close(int(code), unquote(reason))
        return
    if path == "/pinging":
        pong = await connection.ping(b"from behind")
        await asyncio.wait_for(pong, SECONDS)
        await connection.send("pong")
    async for message in connection:
        await connection.send(message)


@contextmanager
def websocket_origin(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of an echo server; `/close/CODE/REASON` and `/pinging` do what they say."""
    loop = Loop()
    server = loop.run(_serve(context))
    yield next(iter(server.sockets)).getsockname()[1]
    server.close()
    loop.run(server.wait_closed())
    loop.close()


async def _serve(context: ssl.SSLContext | None) -> Any:
    return await serve(_answer, "127.0.0.1", 0, ssl=context, max_size=None, subprotocols=CHAT)
