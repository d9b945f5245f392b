"""Processes pinned to a CPU, and what they cost: CPU time, memory, and wrk's view of them."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PROXY_CPU = 0
LOAD_CPU = 1
FILES = 20_000


def start(command: Sequence[str], cpu: int, **options: object) -> subprocess.Popen[str]:
    """A child in a process group of its own, pinned to one CPU, allowed many descriptors."""

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))

    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, preexec_fn=prepare, start_new_session=True, text=True, **options
    )


def stop(process: subprocess.Popen[str], grace: float = 2.0) -> None:
    """End a child and its group: politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tree(root: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*"):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(root: int) -> float:
    """CPU time used so far by a process tree, to the nanosecond where the kernel tells."""
    total = 0.0
    for pid in tree(root):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError, IndexError, ValueError):
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def clock_ticks(root: int) -> float:
    """The same from utime and stime, as a check (10 ms steps)."""
    total = 0
    for pid in tree(root):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory_kib(root: int) -> dict[str, int]:
    """Proportional set size of a process tree and of its largest process."""
    sizes = []
    for pid in tree(root):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    sizes.append(int(line.split()[1]))
    return {"tree": sum(sizes), "largest": max(sizes, default=0)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate(folder: Path) -> Path:
    """A self-signed ECDSA P-256 certificate and its key in one PEM file."""
    target = folder / "certificate.pem"
    if not target.exists():
        key, chain = folder / "key.pem", folder / "chain.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=h0.example"),
                *("-keyout", str(key), "-out", str(chain)),
            ],
            check=True,
            capture_output=True,
        )
        target.write_bytes(chain.read_bytes() + key.read_bytes())
    return target


def blind_context() -> ssl.SSLContext:
    """A client that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(
    port: int, host: str, path: str, *, tls: bool = False, lines: Sequence[str] = ()
) -> bytes:
    """The bytes of one answer, b"" when there is none."""
    more = "".join(f"{line}\r\n" for line in lines)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as client:
        if tls:
            client = blind_context().wrap_socket(client, server_hostname=host)
        client.sendall(request.encode())
        parts = []
        while part := client.recv(65536):
            parts.append(part)
        return b"".join(parts)
    return b""


def wait_for(
    process: subprocess.Popen[str], port: int, host: str, path: str, *, tls: bool = False,
    lines: Sequence[str] = (), status: int = 200,
) -> bytes:  # fmt: skip
    """Ask until that status comes; RuntimeError after 30 s or when the process has ended."""
    end = time.monotonic() + 30
    answer = b""
    while time.monotonic() < end and process.poll() is None:
        answer = answers(port, host, path, tls=tls, lines=lines)
        if answer.startswith(f"HTTP/1.1 {status}".encode()):
            return answer
        time.sleep(0.1)
    raise RuntimeError(f"nothing useful on port {port}: {answer[:200]!r}")


class Backend:
    """The lean origin, compiled when its source is newer."""

    def __init__(self, build: Path) -> None:
        source, program = HERE / "backend.c", build / "backend"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            compiler = (os.environ.get("CC") or "cc").split()
            subprocess.run([*compiler, "-O2", "-o", str(program), str(source)], check=True)
        self.process = start(
            [str(program)], LOAD_CPU, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        stop(self.process)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk against one proxy."""

    requests: int
    per_second: float
    cpu_us: float  # of the proxy's process tree, per request
    busy: float  # share of its CPU the proxy used
    p50_us: float
    p99_us: float
    max_us: float
    errors: int
    bad_status: int


def run_wrk(
    port: int, root: int, seconds: int, connections: int, arguments: Sequence[str],
    *, tls: bool = False,
) -> Sample:  # fmt: skip
    """Load one proxy (process tree `root`) for some seconds."""
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"),
        *(
            "-s",
            str(HERE / "load.lua"),
            f"{'https' if tls else 'http'}://127.0.0.1:{port}/",
            "--",
            *arguments,
        ),
    ]
    before, begin = cpu_seconds(root), time.monotonic()
    process = start(command, LOAD_CPU, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=seconds + 60)
    finally:
        stop(process)
    used, took = cpu_seconds(root) - before, time.monotonic() - begin
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk failed: {output[-500:]}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    requests = result["requests"]
    return Sample(
        requests=requests,
        per_second=requests / result["seconds"],
        cpu_us=used / max(requests, 1) * 1e6,
        busy=used / took,
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        max_us=result["max_us"],
        errors=result["errors"],
        bad_status=result["bad_status"],
    )
