"""The pace of rebuilding and publishing, with an injected clock; what survives which failure."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.kubernetes.objects import parse_object
from controller.loop import SYNC_POLL, Controller, Loop, run
from controller.snapshot.snapshot import Name, Snapshot
from controller.sources.source import Taken
from fastproxy.settings.options import EntryPoint, Kubernetes, Settings
from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoint_slice, ingress, service
from tests.support.recorder import Clock, Recorder


class Script:
    """A source whose objects the test sets."""

    def __init__(self) -> None:
        self.ready = True
        self.snapshot = Snapshot()
        self.taken = 0
        self.stale = 0.0

    def start(self, wake: Any) -> None: ...
    def stop(self) -> None: ...
    def synced(self) -> bool:
        return self.ready

    def take(self) -> Taken:
        self.taken += 1
        return Taken(self.snapshot, ())

    def complete(self, secrets: frozenset[Name]) -> Snapshot | None:
        return None

    def staleness(self) -> float:
        return self.stale

    def problem(self) -> str:
        return "connection refused" if self.stale else ""

    def put(self, *documents: dict[str, Any]) -> None:
        parsed = [parse_object(document) for document in documents]
        self.snapshot = self.snapshot.with_changes([item for item in parsed if item])


def settings(throttle: float = 0.0, providers: float = 0.0) -> Settings:
    return Settings(
        entry_points={"http": EntryPoint(":80")},
        kubernetes=Kubernetes(throttle_duration=throttle),
        providers_throttle_duration=providers,
    )


class Bench:
    """A loop under an injected clock."""

    def __init__(self, throttle: float = 0.0, providers: float = 0.0) -> None:
        self.clock = Clock()
        self.source = Script()
        self.recorder = Recorder(self.clock)
        options = settings(throttle, providers)
        self.controller = Controller(options, self.recorder)
        self.loop = Loop(options, self.controller, self.source, None, self.clock)

    def put(self, *documents: dict[str, Any]) -> None:
        self.source.put(*documents)
        self.loop.wake()

    def until(self, end: float) -> None:
        """Run the loop as its thread would, until the clock stands at `end`."""
        while True:
            pause = self.loop.turn()
            if pause is None or self.clock.now + pause > end:
                self.clock.now = end
                return
            self.clock.now += max(pause, 1e-6)


def web(*addresses: str) -> list[dict[str, Any]]:
    return [service(), endpoint_slice(addresses=addresses)]


def test_nothing_before_the_first_complete_picture() -> None:
    bench = Bench()
    bench.source.ready = False
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    assert bench.loop.turn() == SYNC_POLL
    assert bench.source.taken == 0 and not bench.recorder.published
    bench.source.ready = True
    assert bench.loop.turn() is None
    assert bench.recorder.routes == [["a.example/"]]


def test_an_empty_cluster_is_published_too() -> None:
    bench = Bench()
    bench.loop.turn()
    assert bench.recorder.routes == [[]]


def test_deleting_the_last_ingress_clears_the_routes() -> None:
    bench = Bench()
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    bench.loop.turn()
    bench.source.snapshot = Snapshot()
    bench.loop.wake()
    bench.loop.turn()
    assert bench.recorder.routes == [["a.example/"], []]


def test_events_without_effect_publish_nothing() -> None:
    bench = Bench()
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    bench.loop.turn()
    bench.put(service("unrelated"))
    bench.loop.turn()
    bench.loop.wake()
    bench.loop.turn()
    assert len(bench.recorder.published) == 1 and not bench.recorder.moves


def test_throttle_duration_edges() -> None:
    """Leading edge at once, one rebuild per interval, the trailing state never lost."""
    bench = Bench(throttle=10.0)
    taken: list[float] = []
    take = bench.source.take

    def noting() -> Taken:
        taken.append(bench.clock.now)
        return take()

    bench.source.take = noting  # type: ignore[method-assign]
    bench.until(1000.0)  # the first complete picture
    for second in range(1, 25):
        bench.until(1000.0 + second)
        bench.put(ingress(f"i{second}", f"h{second}.example"), service())
    bench.until(1060.0)
    assert taken == pytest.approx([1000.0, 1010.0, 1020.0, 1030.0], abs=0.01)
    assert len(bench.recorder.routes[-1]) == 24


def test_throttle_duration_is_immediate_after_quiet() -> None:
    bench = Bench(throttle=10.0)
    bench.loop.turn()
    bench.until(1100.0)
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    assert bench.loop.turn() is None
    assert bench.recorder.published[-1][0] == 1100.0


def test_providers_throttle_edges() -> None:
    """The first at once; during the pause only the latest waits, and is applied at its end."""
    bench = Bench(providers=2.0)
    bench.put(*web("10.0.0.1"))
    bench.until(1000.0)
    for step, name in enumerate("abc"):
        bench.until(1000.5 + step / 10)
        bench.put(ingress(name, f"{name}.example"))
        bench.loop.turn()
    assert bench.source.taken == 4  # translated at once ...
    bench.until(1010.0)
    times = [at for at, _ in bench.recorder.published]
    assert times == pytest.approx([1000.0, 1002.0], abs=0.001)  # ... and published once
    assert bench.recorder.routes[-1] == ["a.example/", "b.example/", "c.example/"]


def test_back_to_the_published_state_publishes_nothing() -> None:
    bench = Bench(providers=2.0)
    bench.put(*web("10.0.0.1"))
    bench.until(1000.0)
    quiet = bench.source.snapshot
    bench.put(ingress("a", "a.example"))
    bench.loop.turn()
    bench.source.snapshot = quiet
    bench.loop.wake()
    bench.until(1010.0)
    assert len(bench.recorder.published) == 1


def test_endpoints_alone_are_moved_and_gathered() -> None:
    bench = Bench(providers=2.0)
    bench.put(
        ingress("a", "a.example"),
        ingress("b", "b.example", service="other"),
        *web("10.0.0.1"),
        service("other"),
        endpoint_slice("other", ("10.0.1.1",)),
    )
    bench.until(1000.0)
    bench.put(endpoint_slice(addresses=("10.0.0.2",)))
    bench.loop.turn()
    bench.put(endpoint_slice("other", ("10.0.1.2",)))
    bench.loop.turn()
    bench.put(endpoint_slice(addresses=("10.0.0.3",)))
    bench.until(1010.0)
    assert len(bench.recorder.published) == 1
    assert sorted((name, hosts) for _, name, hosts in bench.recorder.moves) == [
        ("a.example/", ["10.0.0.3"]),
        ("b.example/", ["10.0.1.2"]),
    ]


def test_endpoints_and_routes_together_are_one_publication() -> None:
    bench = Bench(providers=2.0)
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    bench.until(1000.0)
    bench.put(endpoint_slice(addresses=("10.0.0.2",)))
    bench.loop.turn()
    bench.put(ingress("b", "b.example"))
    bench.until(1010.0)
    assert not bench.recorder.moves
    desired = bench.recorder.published[-1][1]
    assert {e.host for backend in desired.backends for e in backend.endpoints} == {"10.0.0.2"}


def test_a_refusal_is_tried_again_in_full() -> None:
    bench = Bench()
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    bench.recorder.refuse = 2
    bench.until(1020.0)
    assert bench.recorder.routes == [["a.example/"]]
    bench.recorder.refuse = 1
    bench.put(ingress("b", "b.example"))
    bench.loop.turn()
    bench.put(endpoint_slice(addresses=("10.0.0.2",)))
    bench.until(1040.0)
    assert not bench.recorder.moves
    assert bench.recorder.routes[-1] == ["a.example/", "b.example/"]


def test_a_bug_keeps_the_last_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.put(ingress("a", "a.example"), *web("10.0.0.1"))
    bench.until(1000.0)
    translator = bench.controller._translator

    def broken(snapshot: Snapshot) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(translator, "update", broken)
    bench.put(ingress("b", "b.example"))
    bench.loop.turn()
    assert bench.recorder.routes == [["a.example/"]]
    bench.until(1010.0)
    assert bench.recorder.routes[-1] == ["a.example/", "b.example/"]


def test_findings_are_logged_once_until_they_change(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def logged() -> int:
        return sum("FP102" in record.getMessage() for record in caplog.records)

    bench.put(ingress("a", "a.example", service="missing"))
    bench.loop.turn()
    bench.put(service("unrelated"))
    bench.loop.turn()
    assert logged() == 1
    bench.put(service("missing"))
    bench.loop.turn()
    bench.source.snapshot = Snapshot()
    bench.put(ingress("a", "a.example", service="missing"))
    bench.loop.turn()
    assert logged() == 2


def test_staleness_is_told_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    caplog.set_level(logging.WARNING, "fastproxy.controller")
    for stale in (0.0, 1.0, 5.0, 60.0, 0.0):
        bench.source.stale = stale
        bench.loop.turn()
    texts = [record.getMessage() for record in caplog.records]
    assert ["no contact" in text for text in texts] == [True, False]
    shown = [json.loads(c) for path, c in bench.recorder.shown if path == "/api/source"]
    assert [state["connected"] for state in shown] == [True, False, True]
    assert shown[1]["awaySince"] and not shown[2]["awaySince"]


def test_run_serves_manifests(tmp_path: Path) -> None:
    documents = [ingress("a", "a.example"), *web("10.0.0.1")]
    (tmp_path / "all.yaml").write_text(yaml.dump_all(documents))
    recorder, stop = Recorder(), threading.Event()
    thread = threading.Thread(target=run, args=(settings(), tmp_path, recorder, stop))
    thread.start()
    wait_until(lambda: recorder.routes == [["a.example/"]])
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "options, text",
    [
        (None, "nothing to serve"),
        (Kubernetes(), "endpoint missing"),
        (Kubernetes(endpoint="http://127.0.0.1:1", label_selector="A and not B"), "label selector"),
        (Kubernetes(endpoint="http://x", cert_auth_file_path="/nowhere"), "certAuthFilePath"),
    ],
)
def test_a_provider_that_cannot_start_never_publishes(
    options: Kubernetes | None,
    text: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    caplog.set_level(logging.WARNING)
    recorder, stop = Recorder(), threading.Event()
    stop.set()
    run(Settings(kubernetes=options), None, recorder, stop)
    assert text in caplog.text and not recorder.published


def test_filename_is_refused_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    stop.set()
    run(Settings(kubernetes=Kubernetes(filename="my.tmpl")), tmp_path, Recorder(), stop)
    assert caplog.text.count("kubernetes.filename is not supported") == 1


def test_generated_configuration_is_logged_on_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastproxy.controller")
    options = Kubernetes(debug_log_generated_template=True)
    Controller(Settings(kubernetes=options), Recorder()).apply(Snapshot())
    assert 'generated configuration: {"backends":{}' in caplog.text


def test_run_follows_an_api_server_and_keeps_everything_when_it_is_away() -> None:
    with ApiServer() as server:
        server.create("Ingress", ingress("a", "a.example"))
        for kind, item in zip(("Service", "EndpointSlice"), web("10.0.0.1"), strict=True):
            server.create(kind, item)
        options = Settings(
            entry_points={"http": EntryPoint(":80")},
            kubernetes=Kubernetes(endpoint=server.url),
            providers_throttle_duration=0.0,
        )
        recorder, stop = Recorder(), threading.Event()
        thread = threading.Thread(target=run, args=(options, None, recorder, stop))
        thread.start()
        wait_until(lambda: recorder.routes == [["a.example/"]])
        server.stop()
        server.update("EndpointSlice", endpoint_slice(addresses=("10.0.0.2",)))
        server.start()
        wait_until(lambda: [m[1:] for m in recorder.moves] == [("a.example/", ["10.0.0.2"])])
        server.delete("Ingress", "default", "a")
        wait_until(lambda: recorder.routes == [["a.example/"], []])
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
