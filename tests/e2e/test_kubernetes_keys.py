"""Every key of `[kubernetes]` that shapes routes, through sockets: settings -> request -> origin.

What concerns the API server itself stands in `test_kubernetes.py` and `tests/cluster`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.running import Proxy, free_port
from tests.support.tls import AUTHORITY, pem, server_context
from tests.support.whole import Running, ingress, origin, secret, service, within

SETTINGS = """
defaultEntryPoints = {default}
workers = 1
logLevel = "DEBUG"
rootCAs = ["{folder}/roots.pem"]
providersThrottleDuration = "0s"
[ping]
entryPoint = "http"
[entryPoints.http]
address = "127.0.0.1:{http}"
[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
[[entryPoints.https.tls.certificates]]
certFile = "{folder}/static.crt"
keyFile = "{folder}/static.key"
[entryPoints.https.tls.clientCA]
files = ["{folder}/roots.pem"]
optional = true
[kubernetes]
"""
CLASS = {"kubernetes.io/ingress.class": "mine"}


@dataclass
class Ask:
    host: str
    path: str = "/"
    status: int = 200
    told: dict[str, str] = field(default_factory=dict)  # headers at the origin


@contextlib.contextmanager
def running(
    folder: Path, keys: str, objects: list[dict[str, Any]], default: str = '["http"]'
) -> Iterator[Running]:
    (folder / "manifests").mkdir()
    ports = {name: free_port() for name in ("http", "https")}
    for name, data in zip(
        ("static.crt", "static.key"), pem(AUTHORITY.issue_cert("a.test")), strict=True
    ):
        (folder / name).write_bytes(data)
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    settings = SETTINGS.format(folder=folder, default=default, **ports) + keys
    proxy = Proxy(folder, folder / "manifests", settings, ports["http"])
    made = Running(folder, ports, proxy, objects)
    made.write()
    proxy.launch()
    try:
        yield made
    finally:
        proxy.stop()


def plain(made: Running, host: str, path: str = "/") -> tuple[int, Any]:
    """Status and what the origin saw."""
    connection = http.client.HTTPConnection("127.0.0.1", made.ports["http"], timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if response.status == 200 else body
    except OSError:
        return 0, b""  # not started yet
    finally:
        connection.close()


def with_labels(document: dict[str, Any], **labels: str) -> dict[str, Any]:
    document["metadata"]["labels"] = labels
    return document


def of_class(document: dict[str, Any], name: str) -> dict[str, Any]:
    document["metadata"]["annotations"]["kubernetes.io/ingress.class"] = name
    return document


def elsewhere(document: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def longer(document: dict[str, Any], path: str) -> dict[str, Any]:
    document["spec"]["rules"][0]["http"]["paths"][0] |= {"path": path, "pathType": "Prefix"}
    return document


def objects(port: int) -> list[dict[str, Any]]:
    """One Ingress for each thing a key decides."""
    wide = longer(ingress("wide", "exact.test", "web", priority="40"), "/")
    return [
        *service("web", port),
        *(elsewhere(document, "other") for document in service("web", port)),
        ingress("plain", "plain.test", "web"),
        of_class(ingress("mine", "mine.test", "web"), "mine"),
        with_labels(ingress("labelled", "labelled.test", "web"), tier="front"),
        elsewhere(ingress("elsewhere", "elsewhere.test", "web"), "other"),
        ingress("kept", "kept.test", "web", preserve_host="true"),
        ingress("open", "open.test", "web", whitelist_source_range="127.0.0.1, nonsense"),
        wide,
        longer(ingress("exact", "exact.test", "web", rule_type="PathPrefixStrip"), "/x"),
    ]


HOST = {"Host": "plain.test"}
# Keys that do not disturb each other share a run.
CASES: dict[str, tuple[str, list[Ask], list[str]]] = {
    "defaults, and keys without effect": (
        'watch = false\ntrace = true\ntemplateVersion = 2\nconstraints = ["tag==x"]',
        [
            Ask("plain.test", told=HOST),
            Ask("mine.test", status=404),
            Ask("labelled.test"),
            Ask("elsewhere.test"),
            Ask("open.test"),
            Ask("exact.test", "/x/y", told={"path": "/x/y"}),
        ],
        [],
    ),
    "disablePassHostHeaders, routeOrder, whitelistInvalid, filename, debugLogGeneratedTemplate": (
        'disablePassHostHeaders = true\nrouteOrder = "specificity"\nwhitelistInvalid = "drop"\n'
        'filename = "/my.tmpl"\ndebugLogGeneratedTemplate = true',
        [
            Ask("plain.test", told={"Host": "127.0.0.1:ORIGIN", "X-Forwarded-Host": "plain.test"}),
            Ask("kept.test", told={"Host": "kept.test"}),
            Ask("exact.test", "/x/y", told={"path": "/y"}),
            Ask("open.test", status=404),
        ],
        [
            "kubernetes.filename is not supported",
            'generated configuration: {\\"backends\\":',
            '\\"plain.test/\\"',
            "Ingress default/open metadata.annotations",
        ],
    ),
    "ingressClass": (
        'ingressClass = "mine"',
        [Ask("mine.test"), Ask("plain.test", status=404), Ask("labelled.test", status=404)],
        [],
    ),
    "labelselector": (
        'labelselector = "tier in (front,back),!old"',
        [Ask("labelled.test"), Ask("plain.test", status=404), Ask("mine.test", status=404)],
        [],
    ),
    "namespaces": (
        'namespaces = ["other"]',
        [Ask("elsewhere.test"), Ask("plain.test", status=404)],
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_keys(tmp_path: Path, name: str) -> None:
    keys, asks, logged = CASES[name]
    with origin() as port, running(tmp_path, keys, objects(port)) as made:
        first = next(ask for ask in asks if ask.status == 200)
        assert within(20, lambda: plain(made, first.host, first.path)[0] == 200)
        for ask in asks:
            status, told = plain(made, ask.host, ask.path)
            assert status == ask.status, ask
            for header, value in ask.told.items():
                found = told["path"] if header == "path" else told["headers"].get(header)
                assert found == value.replace("ORIGIN", str(port)), (ask, told)
        for text in logged:
            assert text in made.proxy.log.read_text()


CLIENTS = trustme.CA()


@pytest.mark.parametrize("enabled", [True, False])
def test_enable_pass_tls_cert(tmp_path: Path, enabled: bool) -> None:
    """The endpoint asks for a certificate of the entry point's authority and tells what it got."""
    asking = server_context(AUTHORITY.issue_cert("127.0.0.1"), client_authority=AUTHORITY)
    with origin(asking) as port:
        documents = [
            *service("web", port),
            secret("unused", *pem(AUTHORITY.issue_cert("b.test"))),
            ingress("default", "a.test", "web", protocol="https"),
            ingress("no", "no.test", "web", protocol="https", pass_tls_cert="false"),
            ingress("yes", "yes.test", "web", protocol="https", pass_tls_cert="true"),
        ]
        keys = f"enablePassTLSCert = {str(enabled).lower()}"
        with running(tmp_path, keys, documents, default='["https"]') as made:

            def shown(host: str) -> list[str] | int:
                try:
                    status, told = made.get(host)
                except OSError:
                    return 0
                if status != 200:
                    return status
                return [name for _, name in (told["peer"] or {}).get("subjectAltName", ())]

            assert within(20, lambda: shown("yes.test") == ["a.test"])
            # Without, the endpoint ends the connection.
            assert shown("a.test") == (["a.test"] if enabled else 502)
            assert shown("no.test") == 502
