"""Two thousand certificates arrive while requests are answered: nobody waits for them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.sanitized import SANITIZED
from tests.support.scripted import Origin
from tests.support.tls import client_context
from tests.support.whole import Running, ingress, secret, service, serving, shown, within

CERTIFICATES = 2000
STALL = 1.0 if SANITIZED else 0.25  # seconds; 0.01 on a machine that has nothing else to do
SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1

[ping]
entryPoint = "http"

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""


def certificates(count: int) -> Iterator[tuple[str, bytes, bytes]]:
    """(name, chain, key), each with a key of its own."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    now = datetime.now(UTC)
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"h{number}.test"
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), number + 1)
        builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        leaf = builder.add_extension(names, critical=False).sign(authority, hashes.SHA256())
        secret_part = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        yield name, leaf.public_bytes(serialization.Encoding.PEM), secret_part


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    origin = Origin({})
    objects = [*service("plain", origin.port), ingress("any", "", "plain")]
    with serving(tmp_path, SETTINGS, objects, "http", "https") as made:
        yield made
    origin.close()


def arrive(running: Running) -> float:
    """Write them all at once; the longest time a plain request took until they were served."""
    for number, (name, chain, key) in enumerate(certificates(CERTIFICATES)):
        running.objects.append(secret(f"s{number}", chain, key))
        running.objects.append(ingress(f"i{number}", name, "plain", f"s{number}"))
    with asking(running.ports["http"]) as worst:
        running.write()
        assert within(40, lambda: served(running, f"h{CERTIFICATES - 1}.test"))
        return worst()


def served(running: Running, name: str) -> bool:
    with running.connect(name, context=client_context(verify=False)) as client:
        try:
            return shown(client) == [name]
        except x509.ExtensionNotFound:
            return False


# In a process of its own: what this one does must not look like a stall of the proxy.
ASK = """
import select, socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
worst = 0.0
while not select.select([0], [], [], 0)[0]:
    begin = time.monotonic()
    client.sendall(b"GET /ping HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    worst = max(worst, time.monotonic() - begin)
print(worst)
"""


@contextmanager
def asking(port: int) -> Iterator[Callable[[], float]]:
    """Requests one after the other; ends them and says how long the slowest took."""
    command = [sys.executable, "-c", ASK, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        time.sleep(0.5)
        yield lambda: float(process.communicate(b"end", 20)[0])


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_nobody_waits_while_certificates_arrive(running: Running) -> None:
    worst = arrive(running)
    print(f"the slowest request took {worst * 1e3:.1f} ms")
    assert worst < STALL
