"""`make run`, as a newcomer meets it: the printed URLs, the weights, and an end without remains."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.h2_client import Client as Http2Client
from tests.support.processes import ROOT, children_of, is_alive, wait_until
from tests.support.running import free_port
from tests.support.scripted import Client

STEPS = (0, 81, 443, *range(1001, 1007))  # from the entry point's port to the others
START = 60.0  # seconds; two interpreters and a manifest directory on a busy machine


def descendants(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(below for child in children_of(pid) for below in descendants(child))]


class MakeRun:
    """`make run` in a session of its own, as a terminal has it."""

    def __init__(self, port: int) -> None:
        self.port = port
        # The modules under test are built already, perhaps in another way than `make run` would.
        command = ["make", "PREPARE=true", f"VENV={sys.prefix}"]
        self.process = subprocess.Popen(
            [*command, "run", f"ARGS=--port {port}"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def wait_until_ready(self) -> None:
        wait_until(
            lambda: "Ctrl-C ends everything" in self.text or self.process.poll() is not None,
            "the list of URLs", START,
        )  # fmt: skip
        assert self.process.poll() is None, self.text

    def ask(self, client: Client, url: str, host: str) -> bytes:
        """The body of a 200; a name below `localhost` needs no resolver here."""
        found = re.fullmatch(r"http://([^/:]+):(\d+)(/.*)", url)
        assert found
        client.send(f"GET {found[3]} HTTP/1.1\r\nHost: {host or found[1]}\r\n\r\n".encode())
        answer = client.response()
        assert answer.status == 200, (url, answer)
        return answer.body

    def urls(self) -> list[tuple[str, str]]:
        """The URLs it prints, each with the Host it tells to send ("" = that of the URL)."""
        return re.findall(r"curl (http://\S+)(?: -H 'Host: (\S+)')?", self.text)


@pytest.fixture
def made() -> Iterator[MakeRun]:
    it = MakeRun(free_port(*STEPS[1:]))
    everybody: list[int] = []
    try:
        it.wait_until_ready()
        everybody = descendants(it.process.pid)
        yield it
    finally:
        everybody += descendants(it.process.pid)
        for pid in everybody:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        it.process.wait()
        print(it.text)


def server_of(body: bytes) -> str:
    return body.decode().partition(" got\n")[0]


def test_every_printed_url_answers_and_weights_hold(made: MakeRun) -> None:
    answers = {}
    for url, host in made.urls():
        with Client(int(url.split(":")[2].partition("/")[0])) as client:
            answers[url, host] = made.ask(client, url, host)
    base = f"localhost:{made.port}"
    assert list(answers) == [
        (f"http://shop.{base}/", ""),
        (f"http://shop.{base}/api/items", ""),
        (f"http://blog.{base}/", ""),
        (f"http://blog.{base}/feed", ""),
        (f"http://127.0.0.1:{made.port}/", "shop.localhost"),
        (f"http://127.0.0.1:{made.port + 81}/ping", ""),
    ]
    items = answers[f"http://shop.{base}/api/items", ""]
    assert server_of(items) == "api" and b"GET /items HTTP/1.1" in items
    assert server_of(answers[f"http://blog.{base}/feed", ""]) == "api"
    with Client(made.port) as client:  # one connection is one worker, whose turns are exact
        shop = Counter(server_of(made.ask(client, f"http://shop.{base}/", "")) for _ in range(100))
        blog = Counter(server_of(made.ask(client, f"http://blog.{base}/", "")) for _ in range(100))
    assert shop == {"shop": 90, "shop-canary": 10}
    assert blog == {"blog 1": 50, "blog 2": 50}


def test_the_same_over_tls_by_http_2(made: MakeRun) -> None:
    (url,) = re.findall(r"curl -k (https://\S+)", made.text)
    assert url == f"https://shop.localhost:{made.port + 443}/"
    with Http2Client(made.port + 443, "shop.localhost", tls=True) as client:
        answer = client.ask()
        assert (answer.status, server_of(answer.body)) == (200, "shop")


def test_localhost_says_what_to_try(made: MakeRun) -> None:
    with Client(made.port) as client:
        page = made.ask(client, f"http://localhost:{made.port}/", f"localhost:{made.port}").decode()
    for url, _ in made.urls():
        assert url in page
    folder = re.search(r"Edit a file in (\S+)/manifests/", made.text)
    assert folder and f"{folder[1]}/manifests/" in page


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "the terminal closes"])
def test_it_ends_with_everything_it_started(made: MakeRun, how: str) -> None:
    everybody = descendants(made.process.pid)
    assert len(everybody) >= 5  # make, the script, parent, controller, a worker
    folder = re.search(r"Edit a file in (\S+)/manifests/", made.text)
    assert folder
    if how == "Ctrl-C":  # the terminal sends it to the whole group
        os.killpg(made.process.pid, signal.SIGINT)
    elif how == "SIGTERM":
        made.process.terminate()
    else:
        os.killpg(made.process.pid, signal.SIGHUP)
    made.process.wait(30)
    for pid in everybody:
        wait_until(lambda pid=pid: not is_alive(pid), f"end of process {pid}")
    assert "stopping" in made.text and "Traceback" not in made.text
    assert not Path(folder[1]).exists()
    for step in STEPS:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", made.port + step))


def test_a_port_that_is_taken_is_named() -> None:
    port = free_port(*STEPS[1:])
    with socket.create_server(("127.0.0.1", port + 1003)):
        it = MakeRun(port)
        assert it.process.wait(START) != 0
        wait_until(lambda: f"cannot listen on port {port + 1003}" in it.text, "the reason")
