"""Start the example backends and fastproxy in front of them; `make run` calls this.

Everything ends with Ctrl-C, or when fastproxy ends.
"""

from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = {9001: "shop", 9002: "shop-canary", 9003: "api", 9004: "blog 1", 9005: "blog 2"}
READY = "http://127.0.0.1:8081/ready"

TRY = """
fastproxy is ready. Try, in another terminal:

  curl http://shop.localhost:8000/             one answer of ten comes from shop-canary
  curl http://shop.localhost:8000/api/items    the Service sees /items
  curl http://blog.localhost:8000/             two endpoints in turn
  curl http://blog.localhost:8000/feed         one exact path elsewhere
  curl http://127.0.0.1:8000/ -H 'Host: shop.localhost'
  curl http://127.0.0.1:8081/ping

Edit a file in examples/manifests/: the routes change at once. Ctrl-C ends everything.
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answer with the name of the server and the request as it arrived."""

    protocol_version = "HTTP/1.1"
    server: NamedServer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [f"{self.server.name} got", "", self.requestline, str(self.headers).rstrip()]
        text = "\n".join(lines).encode() + b"\n" + (b"\n" + body if body else b"")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class NamedServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        super().__init__(("127.0.0.1", port), Echo)


def start_backends() -> None:
    for port, name in BACKENDS.items():
        try:
            server = NamedServer(port, name)
        except OSError as error:
            sys.exit(f"the example backend {name!r} cannot listen on port {port}: {error.strerror}")
        threading.Thread(target=server.serve_forever, daemon=True).start()


def wait_until_ready(proxy: subprocess.Popen[bytes]) -> bool:
    """False when fastproxy has ended instead; it has said why."""
    while proxy.poll() is None:
        try:
            with urllib.request.urlopen(READY, timeout=1) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            time.sleep(0.05)
    return False


def main() -> int:
    start_backends()
    command = [sys.executable, "-m", "fastproxy", "run"]
    command += [
        "--configfile",
        str(HERE / "fastproxy.toml"),
        "--manifests",
        str(HERE / "manifests"),
    ]
    # In a session of its own: Ctrl-C is for us, fastproxy gets one clean SIGTERM.
    proxy = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if wait_until_ready(proxy):
            print(TRY, flush=True)
        return proxy.wait()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        proxy.terminate()
        try:
            proxy.wait(10)
        except subprocess.TimeoutExpired:
            proxy.kill()
        return 0


if __name__ == "__main__":
    sys.exit(main())
