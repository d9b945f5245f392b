"""A settings file and a command line of Traefik 1.7, served: real sockets, real TLS."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.api_store import wait_until
from tests.support.processes import ROOT
from tests.support.running import backend_manifest, free_port, ingress_manifest
from tests.support.tls import AUTHORITY, client_context, pem
from tests.support.whole import origin

PASSWORD = base64.b64encode(b"ann:secret").decode()
USER = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="


@contextmanager
def running(folder: Path, arguments: Sequence[str]) -> Iterator[Path]:
    """`fastproxy ARGUMENTS` in a folder; gives its log."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastproxy", *arguments],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        )  # fmt: skip
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def ask(
    port: int, path: str, host: str = "a.test", authorization: str = "", tls: bool = False
) -> tuple[int, bytes]:
    """Status and body; 0 when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            connection = (
                ssl._create_unverified_context().wrap_socket(plain, server_hostname=host)
                if tls
                else plain
            )
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            head += f"Authorization: Basic {authorization}\r\n" if authorization else ""
            connection.sendall(f"{head}\r\n".encode())
            data = b""
            while part := connection.recv(65536):
                data += part
    except OSError:
        return 0, b""
    return int(data.split()[1]), data.partition(b"\r\n\r\n")[2]


def answers(port: int, path: str, status: int = 200, **more: str) -> None:
    wait_until(lambda: ask(port, path, **more)[0] == status, 20)


@pytest.fixture
def manifests(tmp_path: Path) -> Iterator[Path]:
    """A single file, as `--manifests` takes it too."""
    with origin() as port:
        file = tmp_path / "objects.yaml"
        text = ingress_manifest("a", [("a.test", "/", "web"), ("b.test", "/", "web")])
        file.write_text(f"{text}---{backend_manifest('web', [port])}")
        yield file


def test_web_with_authentication_and_a_path(tmp_path: Path, manifests: Path) -> None:
    http, web = free_port(), free_port()
    (tmp_path / "traefik.toml").write_text(
        f"""
[entryPoints.http]
address = "127.0.0.1:{http}"
[web]
address = "127.0.0.1:{web}"
path = "/edge"
[web.auth.basic]
users = ["{USER}"]
"""
    )
    # No sub-command: the arguments of a Pod.
    arguments = ["--configfile=traefik.toml", f"--manifests={manifests}", "--logLevel=ERROR"]
    with running(tmp_path, arguments) as log:
        answers(http, "/")
        answers(web, "/edge/ready")
        assert ask(web, "/edge/ping") == (200, b"OK")
        for path in ("/ping", "/ready", "/edge", "/edge/pin", "/edge/pingg", "/edgf/ping"):
            assert ask(web, path, authorization=PASSWORD)[0] == 404, path
        assert ask(web, "/edge/api/findings")[0] == 401
        status, body = ask(web, "/edge/api/findings", authorization=PASSWORD)
        assert (status, json.loads(body)) == (200, [])
        assert ask(web, "/api/findings", authorization=PASSWORD)[0] == 404
        assert ask(http, "/edge/ping")[0] == 200  # of the endpoint
        # Warnings are seen at every log level.
        assert "web: is deprecated" in log.read_text()
        assert "web.path: is '/edge'" in log.read_text()


def test_web_speaks_tls_with_its_certificate(tmp_path: Path, manifests: Path) -> None:
    http, web = free_port(), free_port()
    for name, part in zip(("w.crt", "w.key"), pem(AUTHORITY.issue_cert("web.test")), strict=True):
        (tmp_path / name).write_bytes(part)
    flags = [f"--web.address=127.0.0.1:{web}", "--web.certfile=w.crt", "--web.keyfile=w.key"]
    point = f"--entrypoints=Name:http Address:127.0.0.1:{http}"
    with running(tmp_path, ["run", *flags, point, "--manifests", str(manifests)]):
        answers(http, "/")
        assert certificate_of(web, "web.test") == ["web.test"]
        assert ask(web, "/ping", "web.test", tls=True) == (200, b"OK")


def certificate_of(port: int, name: str) -> list[str]:
    """The names of the certificate that a client who trusts our authority is shown; none when it
    cannot verify it."""
    context = client_context()
    context.check_hostname = False
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            found = connection.getpeercert() or {}
    except ssl.SSLError:
        return []
    return [str(value) for _, value in found["subjectAltName"]]


def acme_json(*names: Sequence[str]) -> str:
    entries = []
    for each in names:
        chain, key = (base64.b64encode(part).decode() for part in pem(AUTHORITY.issue_cert(*each)))
        domain = {"Main": each[0], "SANs": list(each[1:]) or None}
        entries.append({"Domain": domain, "Certificate": chain, "Key": key})
    return json.dumps({"Account": {"Email": "a@b"}, "Certificates": entries, "HTTPChallenges": {}})


def test_certificates_of_an_acme_json_until_a_secret_has_them(
    tmp_path: Path, manifests: Path
) -> None:
    https, inside = free_port(), free_port()
    (tmp_path / "acme.json").write_text(acme_json(["a.test", "www.a.test"], ["b.test"]))
    before = (tmp_path / "acme.json").read_bytes()
    (tmp_path / "traefik.toml").write_text(
        f"""
defaultEntryPoints = ["https"]
[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
[entryPoints.traefik]
address = "127.0.0.1:{inside}"
[api]
[acme]
email = "ops@example.org"
storage = "acme.json"
entryPoint = "https"
onHostRule = true
[acme.tlsChallenge]
"""
    )
    with running(tmp_path, ["--manifests", str(manifests), "--providersthrottleduration=0"]) as log:
        answers(inside, "/ready")
        assert certificate_of(https, "www.a.test") == ["a.test", "www.a.test"]
        assert certificate_of(https, "b.test") == ["b.test"]
        assert certificate_of(https, "other.test") == []  # self-signed, as by 1.7
        said = log.read_text()
        assert said.count("until it expires on") == 2 and "cert-manager" in said
        found = json.loads(ask(inside, "/api/findings")[1])
        assert [finding["code"] for finding in found] == ["FP261", "FP261"]
        assert {finding["field"] for finding in found} == {"a.test, www.a.test", "b.test"}
        # Its successor is in a Secret: it wins, although the file stays.
        chain, key = pem(AUTHORITY.issue_cert("b.test", "new.test"))
        secret = {"tls.crt": base64.b64encode(chain).decode()}
        secret["tls.key"] = base64.b64encode(key).decode()
        objects = [
            {"apiVersion": "v1", "kind": "Secret",
             "metadata": {"name": "b", "namespace": "default"},
             "type": "kubernetes.io/tls", "data": secret},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
             "metadata": {"name": "tls", "namespace": "default"},
             "spec": {"tls": [{"hosts": ["b.test"], "secretName": "b"}]}},
        ]  # fmt: skip
        with manifests.open("a") as file:
            file.write("".join(f"\n---\n{json.dumps(item)}\n" for item in objects))
        wait_until(lambda: certificate_of(https, "b.test") == ["b.test", "new.test"], 20)
        assert certificate_of(https, "a.test") == ["a.test", "www.a.test"]
    assert (tmp_path / "acme.json").read_bytes() == before


def test_flags_win_over_the_file(tmp_path: Path, manifests: Path) -> None:
    in_file, in_flag, inside = free_port(), free_port(), free_port()
    (tmp_path / "traefik.toml").write_text(
        f"""
defaultEntryPoints = ["nowhere"]
[entryPoints.http]
address = "127.0.0.1:{in_file}"
[entryPoints.traefik]
address = "127.0.0.1:{inside}"
"""
    )
    flags = [f"--entryPoints=Name:http Address:127.0.0.1:{in_flag}", "--DefaultEntryPoints=http"]
    with running(tmp_path, ["-c", "traefik.toml", *flags, "--manifests", str(manifests)]):
        answers(in_flag, "/")
        assert ask(in_file, "/")[0] == 0


def test_the_implicit_entry_point_gives_way(tmp_path: Path, manifests: Path) -> None:
    http = free_port()
    with socket.socket() as other:
        with suppress(OSError):  # somebody else's is as good
            other.bind(("", 8080))
            other.listen()
        point = f"--entrypoints=Name:http Address:127.0.0.1:{http}"
        arguments = [point, "--manifests", str(manifests), "--api", "--loglevel=ERROR"]
        with running(tmp_path, arguments) as log:
            answers(http, "/")
            assert (
                "entry point 'traefik' cannot listen on :8080: another program listens there"
            ) in log.read_text()


def test_ping_stays_open_on_a_guarded_entry_point(tmp_path: Path, manifests: Path) -> None:
    http = free_port()
    point = f"Name:http Address:127.0.0.1:{http} Auth.Basic.Users:{USER}"
    point += " WhiteList.SourceRange:10.1.2.3"
    flags = [f"--entrypoints={point}", "--ping.entrypoint=http", "--manifests", str(manifests)]
    with running(tmp_path, flags):
        answers(http, "/", 401)
        assert ask(http, "/ping") == (200, b"OK")
        assert ask(http, "/", authorization=PASSWORD)[0] == 403


def test_healthcheck_asks_the_running_proxy(tmp_path: Path, manifests: Path) -> None:
    http, inside = free_port(), free_port()
    flags = [f"--entrypoints=Name:http Address:127.0.0.1:{http}",
             f"--entrypoints=Name:traefik Address:127.0.0.1:{inside} TLS"]  # fmt: skip
    asking = [sys.executable, "-m", "fastproxy", "healthcheck", *flags]

    def asked() -> tuple[int, str]:
        done = subprocess.run(
            asking, capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        return done.returncode, done.stdout

    assert asked()[0] == 1
    with running(tmp_path, [*flags, "--manifests", str(manifests)]):
        answers(http, "/")
        assert asked() == (0, f"healthy: traefik (127.0.0.1:{inside}) /ping: 200\n")
