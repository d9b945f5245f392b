"""TLS and tunnels, as far as wrk cannot tell: resumed handshakes, and bytes after an upgrade."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.macro import measure
from bench.macro.peers import PEERS, Nginx, Peer

VOLUME = 1 << 30  # bytes through a tunnel
PIECE = bytes(256 * 1024)
UPGRADE = (
    b"GET /p0/s HTTP/1.1\r\nHost: h0.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class UpgradingNginx(Nginx):
    def location(self, path: str) -> str:
        headers = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
        return f"location {path} {{ proxy_pass http://backend; {headers} }}"


class Source:
    """An origin that sends VOLUME bytes after an upgrade."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                end, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with end, suppress(OSError):
            while head := end.recv(65536):
                if b"websocket" not in head.lower():
                    end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    continue
                end.sendall(SWITCHING)
                for _ in range(VOLUME // len(PIECE)):
                    end.sendall(PIECE)
                return


def drain(peer: Peer) -> int:
    """Open a tunnel and read it to the end; the bytes that came."""
    client: socket.socket = socket.create_connection(("127.0.0.1", peer.port), timeout=60)
    if peer.certificate is not None:
        client = measure.blind_context().wrap_socket(client, server_hostname="h0.example")
    buffer = bytearray(1 << 20)
    received = -len(SWITCHING)
    with client:
        client.sendall(UPGRADE)
        with suppress(ConnectionResetError, ssl.SSLError):
            while count := client.recv_into(buffer):
                received += count
    return received


def tunnels(names: list[str], folder: Path, *, tls: bool) -> dict[str, dict[str, float]]:
    """CPU milliseconds of the proxy for each GiB through a tunnel."""
    print(f"\ntunnel: 1 GiB after an upgrade{' through TLS' if tls else ''}")
    found: dict[str, dict[str, float]] = {}
    source = Source()
    for name in names:
        if name == "envoy":
            continue
        peer = (UpgradingNginx if name == "nginx" else PEERS[name])(folder)
        peer.certificate = measure.certificate(folder) if tls else None
        try:
            peer.start(source.port)
            before = measure.cpu_seconds(peer.pid)
            received = drain(peer)
            used = measure.cpu_seconds(peer.pid) - before
        except (RuntimeError, OSError) as error:
            print(f"  {name}: {error}")
            continue
        finally:
            peer.stop()
        if received < VOLUME:
            print(f"  {name}: only {received} bytes came")
            continue
        found[name] = {"cpu_ms_per_gib": round(used * 1000 * (1 << 30) / received, 1)}
        print(f"  {name:12}{found[name]['cpu_ms_per_gib']:9.0f} CPU ms per GiB", flush=True)
    source.listener.close()
    return found


def resumed(names: list[str], folder: Path, backend: int, seconds: int) -> dict[str, Any]:
    """CPU microseconds of the proxy for each resumed TLS 1.2 handshake, by `openssl s_time`."""
    print("\nresumed: TLS 1.2 handshakes from a ticket")
    found: dict[str, Any] = {}
    for name in names:
        if name == "envoy":
            continue
        peer = PEERS[name](folder)
        peer.certificate = measure.certificate(folder)
        try:
            peer.start(backend)
            before = measure.cpu_seconds(peer.pid)
            command = ["openssl", "s_time", "-connect", f"127.0.0.1:{peer.port}", "-tls1_2"]
            client = measure.start(
                [*command, "-reuse", "-time", str(seconds)],
                measure.LOAD_CPU,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output, _ = client.communicate(timeout=seconds + 30)
            used = measure.cpu_seconds(peer.pid) - before
        except (RuntimeError, OSError) as error:
            print(f"  {name}: {error}")
            continue
        finally:
            peer.stop()
        counts = re.findall(r"(\d+) connections in \d+ real seconds", output)
        if not counts or int(counts[-1]) == 0:
            print(f"  {name}: {output[-300:]}")
            continue
        found[name] = {"cpu_us": round(used * 1e6 / int(counts[-1]), 1)}
        print(f"  {name:12}{found[name]['cpu_us']:9.1f} CPU us", flush=True)
    return found
