"""Whatever lies in the directory of manifests, what was served stays, and another change is live
soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.controller.test_yaml_text import COSTLY
from tests.support.counts import record, times
from tests.support.load import Client, Load, NamedBackend
from tests.support.processes import wait_until
from tests.support.running import backend_manifest, ingress_manifest
from tests.support.whole_program import SETTINGS, Proxy, started

LIVE = 8.0  # seconds; 0.5 on an idle machine


def text(content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "odd.yaml").write_bytes(data) and None


def device(folder: Path) -> None:
    (folder / "odd.yaml").symlink_to("/dev/zero")


def loops(folder: Path) -> None:
    for number in range(3):
        (folder / f"loop{number}").symlink_to(".")


def everything(folder: Path) -> None:
    (folder / "everything").symlink_to("/")


ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": lambda folder: os.mkfifo(folder / "odd.yaml"),
    "device": device,
    "loops": loops,
    "directory": lambda folder: (folder / "odd.yaml").mkdir(),
    "dangling link": lambda folder: (folder / "odd.yaml").symlink_to("nowhere"),
    "no text": text(os.urandom(10_000)),
    **{f"costly: {name}": text(COSTLY[name]) for name in ("base 60", "laughing", "deep blocks")},
}


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_nothing_in_a_directory_stops_the_watching(proxy: Proxy) -> None:
    slowest = 0.0
    for number, (name, make) in enumerate(ODD.items()):
        before = set(proxy.manifests.iterdir())
        make(proxy.manifests)
        host = f"n{number}.test"
        began = time.monotonic()
        proxy.write("new.yaml", ingress_manifest("new", [(host, "/", "shop")]))
        client = Client(proxy.port, host)
        wait_until(lambda c=client: c.request() == (200, b"one"), f"a change beside: {name}", LIVE)
        slowest = max(slowest, time.monotonic() - began)
        assert Client(proxy.port).request() == (200, b"one")
        for path in set(proxy.manifests.iterdir()) - before - {proxy.manifests / "new.yaml"}:
            (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()
    record("odd things in a directory", kinds=len(ODD), slowest_change=slowest)


@pytest.mark.alone
def test_a_link_to_the_whole_file_system_is_told(proxy: Proxy) -> None:
    everything(proxy.manifests)
    wait_until(lambda: "FP202" in proxy.log.read_text() or "FP184" in proxy.log.read_text(), "it")
    assert Client(proxy.port).request() == (200, b"one")
    (proxy.manifests / "everything").unlink()
    proxy.write("new.yaml", ingress_manifest("new", [("new.test", "/", "shop")]))
    wait_until(lambda: Client(proxy.port, "new.test").request()[0] == 200, "a change", 30.0)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_moment_without_the_route(proxy: Proxy, backend: NamedBackend) -> None:
    """Slips, a directory moved away or replaced, and a swapped ConfigMap, under load."""
    good = ingress_manifest("shop", [("a.test", "/", "shop")])
    away = proxy.manifests.parent / "away"
    load = Load(proxy.port)
    rounds = times(1, 10)
    for number in range(rounds):
        for slip in (
            good.replace("spec:", "spec: ["),
            "",
            "kind: [",
            good.replace("paths:", "p:{"),
        ):
            proxy.write("ingress.yaml", slip)
            time.sleep(0.7)
            proxy.write("ingress.yaml", good)
            time.sleep(0.1)
        proxy.manifests.rename(away)
        time.sleep(0.8)
        proxy.manifests.mkdir()
        time.sleep(0.8)
        proxy.manifests.rmdir()
        away.rename(proxy.manifests)
        time.sleep(0.6)
        for version in ("x", "y", "x"):
            content = proxy.manifests / f"..{version}"
            content.mkdir(exist_ok=True)
            (content / "ingress.yaml").write_text(good + f"# {number}\n")
            (content / "service.yaml").write_text(backend_manifest("shop", [backend.port]))
            (proxy.manifests / "..new").symlink_to(content.name)
            (proxy.manifests / "..new").replace(proxy.manifests / "..data")
            for name in ("ingress.yaml", "service.yaml"):
                (proxy.manifests / "..link").symlink_to(f"..data/{name}")
                (proxy.manifests / "..link").replace(proxy.manifests / name)
            time.sleep(0.4)
    load.wait_for_more(50)
    load.stop()
    record("no moment without the route", rounds=rounds, answered=load.total, lost=len(load.lost))
    assert load.lost == []
    assert set(load.answers) == {(200, b"one")}
    log = proxy.log.read_text()
    assert "FP182" in log and "FP202" in log and "FP204" in log
    assert log.count("resolved: FP204") >= 1


def test_a_slip_at_the_start_serves_the_rest(tmp_path: Path, backend: NamedBackend) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "slip.yaml").write_text("kind: [")
    (folder / "half.yaml").write_text(
        ingress_manifest("half", [("half.test", "/", "shop")]) + "---\nx: y: z\n"
    )
    proxy = started(tmp_path, backend, SETTINGS)
    try:
        assert Client(proxy.port, "half.test").request() == (200, b"one")
        assert proxy.log.read_text().count("FP182") == 2
    finally:
        proxy.close()
