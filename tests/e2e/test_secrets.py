"""No secret is ever shown: not in the log at its most talkative, not by the API."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path

from tests.support.feature_rows import ingress, secret
from tests.support.load import NamedBackend
from tests.support.processes import wait_until
from tests.support.running import backend_manifest
from tests.support.scripted import Client
from tests.support.tls import AUTHORITY, pem
from tests.support.whole_program import Proxy

HASH = "{SHA}" + base64.b64encode(b"canary-of-basic-auth").decode()
HA1 = "cab1e" * 6 + "aa"
SETTINGS = """
logLevel = "DEBUG"
workers = 1
[entryPoints.http]
address = "127.0.0.1:0"
[entryPoints.guarded]
address = "127.0.0.1:0"
[entryPoints.guarded.auth.basic]
users = ["eve:{SHA}Y2FuYXJ5LWluLXNldHRpbmdzIQ=="]
[entryPoints.https]
address = "127.0.0.1:0"
[entryPoints.https.tls]
[entryPoints.traefik]
address = "127.0.0.1:0"
[api]
[kubernetes]
token = "canary-token"
debugLogGeneratedTemplate = true
"""
CHAIN, KEY = (part.decode() for part in pem(AUTHORITY.issue_cert("tls.test")))
SECRETS = {
    "basic": {"auth": f"ann:{HASH}"},
    "digest": {"auth": f"ann:traefik:{HA1}"},
    "broken-basic": {"auth": "canary-password-without-colon"},
    "broken-digest": {"auth": "ann:canary-digest"},
    "two-keys": {"auth": "ann:canary-first", "more": "ann:canary-second"},
    "good-tls": {"tls.crt": CHAIN, "tls.key": KEY},
    "broken-tls": {"tls.crt": CHAIN, "tls.key": "-----BEGIN PRIVATE KEY-----\ncanaryKey\n"},
}
ROUTES = {
    "basic": {"auth-type": "basic", "auth-secret": "basic"},
    "digest": {"auth-type": "digest", "auth-secret": "digest"},
    "broken-basic": {"auth-type": "basic", "auth-secret": "broken-basic"},
    "broken-digest": {"auth-type": "digest", "auth-secret": "broken-digest"},
    "two-keys": {"auth-type": "basic", "auth-secret": "two-keys"},
    "forward": {
        "auth-type": "forward",
        "auth-url": "https://127.0.0.1:1/",
        "auth-tls-secret": "good-tls",
    },
    "open": {},
}
SHOWN_NOWHERE = [
    HASH.removeprefix("{SHA}"), HA1, "canary", "Y2FuYXJ5", *KEY.splitlines()[1:-1],
    base64.b64encode(b"ann:canary-sent").decode(),
]  # fmt: skip


def manifests(port: int) -> str:
    documents = [backend_manifest("shop", [port])]
    documents += [secret(name, data) for name, data in SECRETS.items()]
    documents += [ingress(name, f"{name}.test", "/", "shop", more) for name, more in ROUTES.items()]
    for name in ("good-tls", "broken-tls"):
        document = json.loads(ingress(name, f"{name}.test", "/", "shop", {}))
        document["spec"]["tls"] = [{"secretName": name}]
        documents.append(json.dumps(document))
    return "\n---\n".join(documents)


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    backend = NamedBackend("shop")
    proxy = Proxy(tmp_path, SETTINGS)
    try:
        proxy.write("all.yaml", manifests(backend.port))
        wait_until(lambda: status(proxy, "open.test") == 200, "the routes")
        credentials = base64.b64encode(b"ann:canary-sent").decode()
        answers = {
            name: status(proxy, f"{name}.test", f"Authorization: Basic {credentials}")
            for name in ROUTES
        }
        assert answers == {
            "basic": 401, "digest": 401, "forward": 500, "open": 200,
            "broken-basic": 404, "broken-digest": 404, "two-keys": 404,
        }  # fmt: skip
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.ping_port}/api/findings") as answer:
            findings = answer.read().decode()
        assert "broken-basic" in findings and "broken-tls" in findings
        log = proxy.log.read_text()
        assert "good-tls" in log  # the generated configuration is there
        for text in SHOWN_NOWHERE:
            assert text not in log
            assert text not in findings
    finally:
        proxy.close()
        backend.close()


def status(proxy: Proxy, host: str, *lines: str) -> int:
    with Client(proxy.port) as client:
        head = "".join(f"{line}\r\n" for line in (f"Host: {host}", *lines))
        client.send(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        return client.response().status
