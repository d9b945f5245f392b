"""Time reading and writing heads. Run with `make bench-micro`."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.test_core import operations_per_second
from tests.native.head_probe import Probe

ROUNDS = 1_000  # short enough to pass between two turns of the scheduler
SIX = [
    "Host: shop.example.com",
    "User-Agent: wrk/4.2.0",
    "Accept: */*",
    "Accept-Encoding: gzip, br",
    "X-Request-Id: 7b1a3c9e-0001-4f3e-9d52-8f6a1c2b3d4e",
    "Cookie: session=0123456789abcdef0123456789abcdef",
]
TWELVE = [
    *SIX,
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5",
    "Referer: https://shop.example.com/cart/items?page=2",
    "Cache-Control: no-cache",
    "Sec-Fetch-Mode: navigate",
    "X-Forwarded-For: 198.51.100.7",
    "Connection: keep-alive",
]
RESPONSE = [
    "Content-Type: application/json; charset=utf-8",
    "Content-Length: 1234",
    "Date: Sat, 21 Nov 2026 12:00:00 GMT",
    "Server: backend/1.0",
    "Cache-Control: max-age=60",
    'ETag: "33a64df551425fcc55e4d42a148795d9f25f89d4"',
]


def message(first: str, lines: list[str]) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode()


REQUESTS = pytest.mark.parametrize("lines", [SIX, TWELVE], ids=["6 headers", "12 headers"])


@REQUESTS
def test_request_head_parse(benchmark: BenchmarkFixture, lines: list[str]) -> None:
    data = message("GET /service-1/api/v1/items?page=2 HTTP/1.1", lines)
    assert benchmark(Probe().parse, data, ROUNDS) == len(data)
    operations_per_second(benchmark, ROUNDS)


@REQUESTS
def test_request_head_write(benchmark: BenchmarkFixture, lines: list[str]) -> None:
    probe = Probe()
    probe.parse(message("GET /service-1/api/v1/items?page=2 HTTP/1.1", lines))
    written = benchmark(probe.write_request, ROUNDS)
    assert written is not None and b"X-Forwarded-For: 192.0.2.1" in written
    operations_per_second(benchmark, ROUNDS)


def test_response_head_parse(benchmark: BenchmarkFixture) -> None:
    data = message("HTTP/1.1 200 OK", RESPONSE)
    assert benchmark(Probe(response=True).parse, data, ROUNDS) == len(data)
    operations_per_second(benchmark, ROUNDS)


def test_response_head_write(benchmark: BenchmarkFixture) -> None:
    probe = Probe(response=True)
    probe.parse(message("HTTP/1.1 200 OK", RESPONSE))
    written = benchmark(probe.write_response, ROUNDS)
    assert written is not None and written.startswith(b"HTTP/1.1 200 OK\r\n")
    operations_per_second(benchmark, ROUNDS)
