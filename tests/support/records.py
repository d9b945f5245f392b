"""An engine in this process, made from Kubernetes objects; its records are collected."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from controller.snapshot.snapshot import Snapshot
from controller.sources.manifests import read_documents
from controller.translate.contributors import translate
from fastproxy.counters.region import create_region
from fastproxy.engine.operations.writer import Phase, Scripted
from fastproxy.feature import Feature, Filter, OnInvalid, Scope
from fastproxy.features import FEATURES
from fastproxy.model.configuration import Config, Route
from fastproxy.model.matchers import Host
from fastproxy.settings import file as settings_file
from tests.native import codec_probe, record_probe
from tests.support.plane import Plane
from tests.support.scripted import Client, until

# by the bits of `RecordFlag`
FLAGS = (
    "NR", "UH", "UO", "UF", "UFT", "DF", "UX", "UT", "UC", "UPE", "UTR", "URX", "DC", "DT",
    "DPE", "RL", "CL", "WL", "UA", "RD", "AH", "MD", "BL", "EP", "TC", "TU", "SD", "IE",
)  # fmt: skip


class Watching(Filter):
    def on_request(self, exchange: Any) -> None:
        record_probe.watch(exchange)
        codec_probe.use(exchange)


class Watched(Config):
    pass


class Failing(Filter):
    def on_request(self, exchange: Any) -> None:
        raise RuntimeError("as the test wants it")


class Failed(Config):
    pass


def feature(config: type[Config], filter_: type[Filter]) -> Feature:
    return Feature(
        name=config.__name__,
        scope=Scope.INGRESS,
        annotations=(),
        read=lambda notes, refs: None,
        on_invalid=OnInvalid.DROP,
        config=config,
        build=lambda config, context: [Scripted(in_phase=Phase.REQUEST, config=config)],
        filter=lambda config: filter_(),
    )


@dataclass
class Recording:
    """Its records. watch.test belongs to the machinery; at failing.test a filter fails."""

    plane: Plane
    https: int  # the port of the second entry point

    def settled(self, connections: int = 0) -> list[dict[str, Any]]:
        """The records since the last time, when every exchange that has begun has ended and so many
        connections are left."""
        # Connections are accepted in their order: behind these nothing waits in the kernel.
        socket.create_connection(("127.0.0.1", self.https)).close()
        self._ask()

        def even() -> bool:
            found = self.plane.call(self.plane.engine.statistics)
            return found["begun"] == found["ended"] and found["connections"] == connections

        until(even)
        return self.taken()

    def taken(self) -> list[dict[str, Any]]:
        """The same, as far as there are any yet."""
        records = [row for row in record_probe.taken if row["route"] != "watch"]
        record_probe.taken.clear()
        return records

    def _ask(self) -> None:
        with Client(self.plane.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: watch.test\r\n\r\n")
            assert client.response().status == 503  # it has no endpoint


def flags_of(row: dict[str, Any]) -> str:
    return " ".join(name for bit, name in enumerate(FLAGS) if row["flags"] & 1 << bit)


@contextmanager
def recording(text: str, objects: Sequence[dict[str, Any]]) -> Iterator[Recording]:
    """`text`: settings with the entry points http and https."""
    settings = settings_file.parse(text, "settings").settings
    documents = "\n---\n".join(json.dumps(document) for document in objects)
    found, problems = read_documents(documents, "objects")
    assert not problems
    desired = translate(Snapshot.of(found), settings).desired
    own = [
        Route("watch", ("http",), (Host(("watch.test",)),), 1, "", (Watched(),)),
        Route("failing", ("http",), (Host(("failing.test",)),), 1, "", (Failed(),)),
    ]
    region = create_region()
    features = (*FEATURES, feature(Watched, Watching), feature(Failed, Failing))
    with (
        closing(Plane(settings, features, region)) as plane,
        socket.create_server(("127.0.0.1", 0)) as https,
    ):
        plane.prepare(replace(desired, routes=(*desired.routes, *own)))
        plane.activate()
        https.setblocking(False)
        plane.call(lambda: plane.engine.listen(https.fileno(), 1))
        made = Recording(plane, https.getsockname()[1])
        made._ask()
        made.settled()
        yield made
        plane.call(plane.engine.stop_accepting)
    os.close(region)
