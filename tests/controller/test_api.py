"""The client of the API server: where it connects, what it sends, what it raises."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from controller.kubernetes.api import (
    TOKEN_PERIOD,
    Api,
    ApiError,
    ConfigurationError,
    Selection,
    Token,
    connect,
    object_path,
)
from controller.kubernetes.resources import CLASSES, INGRESSES, SECRETS, SERVICES, SLICES
from tests.support.api_server import ApiServer
from tests.support.api_store import KINDS, OLD_INGRESSES
from tests.support.kubernetes_objects import secret, service

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path


@pytest.mark.parametrize(
    "environment, options, url",
    [
        ({}, {"endpoint": "http://127.0.0.1:8001"}, "http://127.0.0.1:8001"),
        ({}, {"endpoint": "http://127.0.0.1:8001/"}, "http://127.0.0.1:8001"),
        ({}, {"endpoint": "127.0.0.1:8001"}, "http://127.0.0.1:8001"),
        ({}, {"endpoint": "127.0.0.1:6443", "certificate_file": "CA"}, "https://127.0.0.1:6443"),
        ({}, {"endpoint": "https://rancher/k8s/clusters/c-1"}, "https://rancher/k8s/clusters/c-1"),
        (IN_CLUSTER, {}, "https://10.96.0.1:443"),
        (IN_CLUSTER, {"token": "ignored"}, "https://10.96.0.1:443"),
        ({**IN_CLUSTER, "KUBERNETES_SERVICE_HOST": "fd00::1"}, {}, "https://[fd00::1]:443"),
        (IN_CLUSTER, {"endpoint": "api.example:6443"}, "https://api.example:6443"),
        (IN_CLUSTER, {"endpoint": "http://127.0.0.1:8001"}, "http://127.0.0.1:8001"),
        (
            {**IN_CLUSTER, "KUBERNETES_SERVICE_PORT": ""},
            {"endpoint": "http://127.0.0.1:8001"},
            "http://127.0.0.1:8001",
        ),
    ],
)
def test_url(account: Path, environment: dict[str, str], options: dict[str, str], url: str) -> None:
    if options.get("certificate_file"):
        options = {**options, "certificate_file": str(account / "ca.crt")}
    assert connect(environment=environment, account=account, **options).url == url


@pytest.mark.parametrize(
    "environment, options, text",
    [
        ({}, {}, "endpoint missing for external cluster client"),
        ({}, {"endpoint": "https://x", "certificate_file": "/nowhere/ca"}, "certAuthFilePath"),
        ({}, {"endpoint": "ftp://x"}, "not an http"),
        (IN_CLUSTER, {"account": Path("/nowhere")}, "token missing"),
    ],
)
def test_refusals(environment: dict[str, str], options: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        connect(environment=environment, **options)  # type: ignore[arg-type]


def test_missing_ca_falls_back_to_the_system(account: Path) -> None:
    (account / "ca.crt").unlink()
    assert connect(environment=IN_CLUSTER, account=account).url == "https://10.96.0.1:443"


def test_token_is_read_again_after_its_period(account: Path) -> None:
    now = [0.0]
    token = Token(file=account / "token", clock=lambda: now[0])
    assert token.current() == "first"
    (account / "token").write_text("second")
    now[0] = TOKEN_PERIOD - 1
    assert token.current() == "first"
    now[0] = TOKEN_PERIOD
    assert token.current() == "second"
    (account / "token").unlink()
    now[0] = 3 * TOKEN_PERIOD
    assert token.current() == "second"


def test_rotated_token_is_found_on_401(account: Path) -> None:
    with ApiServer(tokens={"first"}) as server:
        api = Api(server.url, Token(file=account / "token"))
        api.list(SERVICES)
        server.tokens = {"second"}
        (account / "token").write_text("second")
        api.list(SERVICES)
        server.tokens = {"third"}
        with pytest.raises(ApiError) as refused:
            api.list(SERVICES)
        assert refused.value.status == 401


def test_private_ca_and_bearer(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    with ApiServer(tls=context, tokens={"secret"}) as server:
        good = connect(server.url, "secret", str(tmp_path / "ca.crt"), environment={})
        assert good.list(SERVICES).items == []
        with pytest.raises(ApiError) as untrusted:
            connect(server.url, "secret", environment={}).list(SERVICES)
        assert untrusted.value.status == 0
        with pytest.raises(ApiError) as refused:
            connect(server.url, "wrong", str(tmp_path / "ca.crt"), environment={}).list(SERVICES)
        assert refused.value.status == 401


def test_list_pages_and_selections() -> None:
    with ApiServer() as server:
        for number in range(7):
            labels = {"part": "odd" if number % 2 else "even"}
            server.create("Service", service(f"s{number}", labels=labels))
        server.create("Service", service("s0", namespace="other"))
        api = connect(server.url, environment={})
        everything = api.list(SERVICES, page=3)
        assert len(everything.items) == 8
        assert server.counted("GET", "limit=3") == 3
        assert everything.version == str(server.store.revision)
        assert {item["kind"] for item in everything.items} == {"Service"}
        assert len(api.list(SERVICES, "other").items) == 1
        assert len(api.list(SERVICES, selection=Selection(labels="part=odd")).items) == 3
        named = Selection(fields="metadata.name=s0")
        assert len(api.list(SERVICES, selection=named).items) == 2


def test_expired_continue_token_is_gone() -> None:
    with ApiServer() as server:
        for number in range(4):
            server.create("Service", service(f"s{number}"))
        api = connect(server.url, environment={})
        token = api.get(SERVICES.path(), {"limit": "2"})["metadata"]["continue"]
        server.store.compact()
        with pytest.raises(ApiError) as expired:
            api.get(SERVICES.path(), {"limit": "2", "continue": token})
        assert expired.value.gone


def test_discovery_takes_the_newest() -> None:
    old = tuple(kind for kind in KINDS if kind.plural not in ("ingresses", "endpointslices"))
    with ApiServer(kinds=old + OLD_INGRESSES) as server:
        api = connect(server.url, environment={})
        chosen = api.first_served(INGRESSES)
        assert chosen is not None and chosen.group_version == "networking.k8s.io/v1beta1"
        assert api.first_served(SLICES) is None
        assert api.first_served(CLASSES) == CLASSES[0]


@pytest.mark.parametrize(
    "code, reason, attribute",
    [(403, "Forbidden", "forbidden"), (404, "NotFound", "missing"), (409, "Conflict", "conflict")],
)
def test_refusals_have_a_kind(code: int, reason: str, attribute: str) -> None:
    with ApiServer() as server:
        server.faults.refuse(code, reason, kind="Secret")
        with pytest.raises(ApiError) as refused:
            connect(server.url, environment={}).list(SECRETS)
        assert getattr(refused.value, attribute)
        assert (refused.value.status, refused.value.reason) == (code, reason)


def test_retry_after_is_told() -> None:
    with ApiServer() as server:
        server.faults.refuse(429, "TooManyRequests", retry_after=7)
        with pytest.raises(ApiError) as refused:
            connect(server.url, environment={}).list(SECRETS)
        assert refused.value.retry_after == 7.0


def test_a_dead_server_is_status_0() -> None:
    with ApiServer() as server:
        api = connect(server.url, environment={})
        assert api.reachable()
    assert not api.reachable()
    with pytest.raises(ApiError) as dead:
        api.list(SERVICES)
    assert dead.value.status == 0


def test_write_and_read_back() -> None:
    with ApiServer() as server:
        api = connect(server.url, environment={})
        made = api.create(SECRETS.path("default"), secret("a", {"k": b"v"}))
        path = object_path(SECRETS, "default", "a")
        assert api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
        api.patch(path, {"metadata": {"labels": {"x": "y"}}})
        with pytest.raises(ApiError) as stale:
            api.replace(path, made)
        assert stale.value.conflict
        api._call("DELETE", path)
        with pytest.raises(ApiError) as missing:
            api.get(path)
        assert missing.value.missing
