"""Start the example backends and fastproxy in front of them; `make run` calls this.

Everything ends with Ctrl-C, or when fastproxy ends. Where port 8000 is taken, `--port N` (`make run
ARGS='--port 8100'`) moves every port by the same step: /ping to N + 81, HTTPS to N + 443,
the backends to N + 1001 and the following.
"""

from __future__ import annotations

import argparse
import http.server
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import FrameType

HERE = Path(__file__).parent
PORT = 8000
BACKENDS = {
    9001: "shop",
    9002: "shop-canary",
    9003: "api",
    9004: "blog 1",
    9005: "blog 2",
    9006: "guide",
}

TRY = """
fastproxy is ready. Try, in another terminal:

  curl http://shop.localhost:8000/             one answer of ten comes from shop-canary
  curl http://shop.localhost:8000/api/items    the Service sees /items
  curl http://blog.localhost:8000/             one of two endpoints, in turn in each worker
  curl http://blog.localhost:8000/feed         one exact path elsewhere
  curl http://127.0.0.1:8000/ -H 'Host: shop.localhost'
  curl http://127.0.0.1:8081/ping
  curl -k https://shop.localhost:8443/         the same over TLS, by HTTP/2

Edit a file in {manifests}: the routes change at once. Ctrl-C ends everything.
"""


GUIDE = b""  # what http://localhost:8000/ says; set when the ports are known


class Echo(http.server.BaseHTTPRequestHandler):
    """Answer with the name of the server and the request as it arrived."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment; else each answer waits for a delayed ACK
    server: NamedServer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [f"{self.server.name} got", "", self.requestline, str(self.headers).rstrip()]
        text = "\n".join(lines).encode() + b"\n" + (b"\n" + body if body else b"")
        if self.server.name == "guide":
            text = GUIDE
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class NamedServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        super().__init__(("127.0.0.1", port), Echo)


def moved(text: str, step: int) -> str:
    """The text with each of our ports moved by `step`."""
    return re.sub(r"\b(8000|8081|8443|900[1-6])\b", lambda port: str(int(port[0]) + step), text)


def moved_files(folder: Path, step: int) -> Path:
    """Copies of the example files with other ports."""
    for file in HERE.rglob("*.[ty][oa]ml"):
        copy = folder / file.relative_to(HERE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(moved(file.read_text(), step))
    return folder


def guide(shown: str, step: int) -> bytes:
    """The text that is printed, for whoever opens http://localhost:8000/ first."""
    rows = (
        moved(TRY, step)
        .format(manifests=shown)
        .strip()
        .replace("Try, in another terminal:", "Try:")
    )
    return f"This page comes from an example backend, through fastproxy.\n\n{rows}\n".encode()


def start_backends(step: int) -> None:
    for usual, name in BACKENDS.items():
        port = usual + step
        try:
            server = NamedServer(port, name)
        except OSError as error:
            sys.exit(f"the example backend {name!r} cannot listen on port {port}: {error.strerror}")
        threading.Thread(target=server.serve_forever, daemon=True).start()


def wait_until_ready(proxy: subprocess.Popen[bytes], port: int) -> bool:
    """False when fastproxy has ended instead; it has said why."""
    while proxy.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            time.sleep(0.05)
    return False


def run(files: Path, shown: str, step: int) -> int:
    global GUIDE
    GUIDE = guide(shown, step)
    start_backends(step)
    command = [sys.executable, "-m", "fastproxy", "run"]
    command += ["--configfile", str(files / "fastproxy.toml")]
    command += ["--manifests", str(files / "manifests")]
    # In a session of its own: Ctrl-C is for us, fastproxy gets one clean SIGTERM.
    proxy = subprocess.Popen(command, start_new_session=True)
    try:
        if wait_until_ready(proxy, 8081 + step):
            print(moved(TRY, step).format(manifests=shown), flush=True)
        return proxy.wait()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        proxy.terminate()
        try:
            proxy.wait(10)
        except subprocess.TimeoutExpired:
            return 1
        return 0
    finally:
        proxy.kill()


def interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Start fastproxy with the example routes.")
    parser.add_argument("--port", type=int, default=PORT, help="of the entry point, not 8000")
    port = parser.parse_args().port
    if not 0 < port <= 65535 - 1006:
        parser.error("the port and those of the backends, 1,006 above, have to be ports")
    # Ctrl-C, `kill`, a terminal that is closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        if port == PORT:
            return run(HERE, "examples/manifests/", 0)
        with tempfile.TemporaryDirectory(prefix="fastproxy-example-") as folder:
            files = moved_files(Path(folder), port - PORT)
            return run(files, f"{files}/manifests/", port - PORT)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
