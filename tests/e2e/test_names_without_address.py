"""Names that have no address: whatever needs one fails as soon as that is known."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, ingress, running
from tests.support.name_server import NameServer

UNKNOWN = "no-such-name.test"
EXTERNAL = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{type: ExternalName, externalName: {target}, ports: [{{port: 80}}]}}
---
"""
ASKS = {"auth-type": "forward", "auth-url": f"http://{UNKNOWN}:4181/check"}
CERTAIN = {"auth-type": "forward", "auth-url": f"https://{UNKNOWN}/", "auth-tls-insecure": "true"}
PAGES = {"error-pages": "a: {status: ['500-599'], backend: pages.test/, query: /page}"}
# behind a filter in Python the filter asks, not the engine
BEHIND = {**ASKS, **PAGES, "pass-client-tls-cert": "pem: true"}
ROWS = (
    Row("auth", ASKS, status=500, target=""),
    Row("auth over TLS", CERTAIN, status=500, target=""),
    Row("auth behind a filter", BEHIND, status=500, target=""),
    Row("buffered", ASKS, {"buffering": "{}"}, status=500, target=""),
    Row("error page", PAGES, ask=Ask(headers=(answering(status=503),)), status=503),
    Row("plain"),
)


@pytest.fixture(params=["unknown", "failing", "silent"])
def server(request: pytest.FixtureRequest) -> Iterator[NameServer]:
    try:
        server = NameServer(53)
    except PermissionError:
        pytest.skip("port 53 may not be taken here")
    server.failing, server.silent = request.param == "failing", request.param == "silent"
    yield server
    server.stop()


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory, server: NameServer) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("names")
    external = EXTERNAL.format(name="outside", target=UNKNOWN)
    external += ingress("outside", "outside.test", "/", "outside", {}) + "\n---\n"
    external += EXTERNAL.format(name="pages", target=f"pages.{UNKNOWN}")
    external += ingress("pages", "pages.test", "/", "pages", {})
    conf = server.resolv_conf(folder / "resolv.conf", "options ndots:1")
    yield from running(
        folder,
        ROWS,
        settings=f"[hostResolver]\nresolvConf = {json.dumps(str(conf))}\n",
        manifests=external,
        entry_points={"asks": f'[entryPoints.asks.auth.forward]\naddress = "http://{UNKNOWN}/"\n'},
        default_entry_points='["http", "asks"]',
    )


def test_what_needs_the_name_fails_at_once(proxy: Field, server: NameServer) -> None:
    """The first requests may wait for the lookup, the others know how it ended."""
    host = proxy.host(ROWS[-1])
    cases = [(row, proxy.host(row), row.status, row.ask) for row in ROWS]
    cases.append((None, "outside.test", 502, Ask()))
    cases.append((None, host, 500, Ask(entry_point="asks")))
    for known in (False, True):
        for row, name, status, ask in cases:
            started = time.monotonic()
            answer = proxy.ask(ask, name)
            took = time.monotonic() - started
            assert answer.status == status, (row, name)
            assert took < (2 if known or not server.silent else 8), (row, name, took)
    assert all(seen.headers["Host"] in (host, proxy.host(ROWS[4])) for seen in proxy.backend.seen)
