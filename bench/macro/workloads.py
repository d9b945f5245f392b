"""The workloads, and what fastproxy has to reach in each: at least `nginx` and `haproxy` times
fewer CPU microseconds per request than they need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    doc: str
    connections: int = 64
    hosts: int = 2
    paths: int = 5
    headers: int = 0
    body: int = 0
    close: bool = False
    suffix: str = "s"
    variety: int = 0
    chunked: bool = False  # the body of requests
    deferred: bool = False
    tls: bool = False  # ECDSA P-256; wrk does not resume sessions
    nginx: float = 0.0
    haproxy: float = 0.0
    peers: tuple[str, ...] = ()  # empty: all
    quick: bool = False

    @property
    def routes(self) -> int:
        return self.hosts * self.paths

    @property
    def large(self) -> bool:
        return self.suffix == "m" or self.body >= 1 << 20

    def arguments(self) -> list[str]:
        """For load.lua, in its order."""
        return [
            str(value)
            for value in (
                *(self.hosts, self.paths, self.headers, self.body, int(self.close)),
                *(self.suffix, self.variety, int(self.chunked)),
            )
        ]


WORKLOADS = (
    Workload(
        "small",
        "GET without headers, 5 bytes, 64 keep-alive connections",
        nginx=1.2,
        haproxy=1.35,
        quick=True,
    ),
    Workload(
        "headers", "GET with 12 headers, 64 connections", headers=12, nginx=1.2, haproxy=1.35,
        quick=True,
    ),
    Workload(
        "thousand", "GET with 12 headers, 1,000 keep-alive connections",
        connections=1000, headers=12, nginx=1.35, haproxy=1.6,
    ),
    Workload(
        "connect", "a connection per request", close=True, nginx=1.0, haproxy=1.1, quick=True
    ),
    Workload(
        "connect-deferred", "a connection per request, deferred accept",
        close=True, deferred=True, nginx=1.2, haproxy=1.1,
    ),
    Workload(
        "tls", "TLS, GET with 12 headers, 64 keep-alive connections", headers=12, tls=True,
        nginx=1.2, haproxy=1.35, quick=True, peers=("fastproxy", "nginx", "haproxy"),
    ),
    Workload(
        "tls-handshake", "a full TLS handshake per request", close=True, tls=True,
        nginx=1.0, haproxy=1.0, peers=("fastproxy", "nginx", "haproxy"),
    ),
    Workload(
        "tls-1m", "TLS, 1 MiB responses", suffix="m", tls=True, nginx=1.0, haproxy=1.0,
        peers=("fastproxy", "nginx", "haproxy"),
    ),
    Workload("get-10k", "10 KiB responses", suffix="k", nginx=1.15, haproxy=1.35),
    Workload("post-10k", "10 KiB uploads", body=10240, nginx=1.15, haproxy=1.35),
    Workload("get-1m", "1 MiB responses", suffix="m", nginx=1.2, haproxy=0.8, quick=True),
    Workload("post-1m", "1 MiB uploads", body=1 << 20, nginx=1.2, haproxy=0.8),
    Workload(
        "routes-10", "10 routes, visited evenly by 10,000 different requests", headers=12,
        variety=10_000,
    ),
    Workload(
        "routes-10000", "10,000 routes, visited evenly by 10,000 different requests",
        hosts=1000, paths=10, headers=12, variety=10_000,
        peers=("fastproxy", "nginx", "haproxy"),
    ),
)  # fmt: skip

BY_NAME = {workload.name: workload for workload in WORKLOADS}
