"""A route's operations at their edges: nothing to strip, no room left, headers in every spelling.

What each feature makes of its annotations stands in tests/features; here are the steps alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.operations.writer import (
    AddPrefix,
    AllowNetworks,
    EditRequestHeaders,
    Operation,
    RedirectRoot,
    ReplacePath,
    RewritePrefix,
    StripPrefixes,
)
from tests.native.step_probe import Answered, Passed, StepProbe, duration_text

LONG = b"/" + b"p" * 8000


def run(operations: Sequence[Operation], target: bytes = b"/", *lines: bytes) -> Passed | Answered:
    probe = StepProbe(b"".join(operation.encode() for operation in operations))
    head = b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a.test", *lines, b"", b""])
    return probe.run(head)


def strip(*prefixes: bytes) -> StripPrefixes:
    return StripPrefixes(prefixes)


PATHS = [
    # operations, path, what it becomes, or the status of an answer
    ([], b"/a", b"/a"),
    ([strip(b"/a")], b"/a", b"/"),
    ([strip(b"/a")], b"/a/", b"/"),
    ([strip(b"/a")], b"/a/b", b"/b"),
    ([strip(b"/a")], b"/ab", b"/b"),
    ([strip(b"/a")], b"/b", 404),
    ([strip(b"/a", b"/a/b")], b"/a/b/c", b"/c"),
    ([strip(b"/")], b"/", b"/"),
    ([strip(b"/a")], b"/a/%2e", b"/"),
    ([strip(b"/a")], b"/a/%2e%2e", 404),
    ([strip(b"/a/")], b"/a//b", b"/b"),
    ([strip(b"/a"), strip(b"/b")], b"/a/b/c", b"/c"),
    ([AddPrefix(b"/x")], b"/", b"/x/"),
    ([AddPrefix(b"x")], b"/y", b"/x/y"),
    ([AddPrefix(b"/x/")], b"/y", b"/x//y"),  # empty segments do not count, and are kept
    ([AddPrefix(b"/x")], b"//y//z", b"/x//y//z"),
    ([strip(b"/x")], b"/x//y//z/", b"//y//z/"),
    ([strip(b"/x")], b"//x//y", b"//y"),
    ([strip(b"/x/y")], b"/x///y/z//", b"/z//"),
    ([strip(b"/x/")], b"//x//y", b"/y"),
    ([strip(b"/")], b"//x", b"/x"),
    ([strip(b"/x//")], b"/x//y", 404),
    ([RewritePrefix(b"/a", b"/b")], b"//a//x", b"/b//x"),
    ([RewritePrefix(b"/a/x", b"/b")], b"/a//x//y", b"/b//y"),
    ([ReplacePath(b"/new")], b"//old", b"/new"),
    ([AddPrefix(b"/x"), strip(b"/x/y")], b"//y//z", b"//z"),
    ([strip(b"/x"), AddPrefix(b"/p")], b"/x/http://y", b"/p/http://y"),
    ([AddPrefix(b"/x"), strip(b"/x")], b"/y", b"/y"),
    ([AddPrefix(LONG)], LONG, b"/" + LONG[1:] + LONG),
    ([AddPrefix(LONG), AddPrefix(LONG)], LONG, 414),
    ([ReplacePath(b"/new")], b"/old?q", b"/new"),
    ([ReplacePath(b"new")], b"/old", b"/new"),
    ([ReplacePath(b"")], b"/old", b"/"),
    ([ReplacePath(b"/../x")], b"/old", 400),
    ([RewritePrefix(b"/a", b"/b")], b"/a/x", b"/b/x"),
    ([RewritePrefix(b"/a", b"")], b"/a", b"/"),
    ([RewritePrefix(b"/a", b"")], b"/ax", b"/x"),
    ([RewritePrefix(b"/a", b"/b")], b"/A", b"/A"),
    ([RewritePrefix(b"/a/b/c", b"/b")], b"/a", b"/a"),
    ([RewritePrefix(b"/a", b"/..")], b"/a/x", 400),
]


@pytest.mark.parametrize(("operations", "path", "expected"), PATHS)
def test_paths(operations: list[Operation], path: bytes, expected: bytes | int) -> None:
    found = run(operations, path)
    assert (found.status if isinstance(found, Answered) else found.path) == expected


def edit(*pairs: tuple[bytes, bytes]) -> EditRequestHeaders:
    return EditRequestHeaders(pairs)


HEADERS = [
    # edits, lines of the request, lines that go on but for Host
    ([edit((b"X-A", b"1"))], [], [b"X-A: 1"]),
    ([edit((b"X-A", b"1"))], [b"x-a: 2", b"X_A: 3", b"X-A: 4"], [b"X-A: 1"]),
    ([edit((b"X-A", b""))], [b"x-a: 2", b"X-B: 1", b"X_a: 2"], [b"X-B: 1"]),
    ([edit((b"X-A", b""))], [], []),
    ([edit((b"X-A", b"1"), (b"X-A", b"2"))], [], [b"X-A: 2"]),
    ([edit((b"X-A", b"1")), edit((b"x-a", b""))], [], []),
    ([edit((b"Connection", b"close"))], [], []),
    ([edit((b"Transfer-Encoding", b"chunked"))], [], []),
    ([edit((b"Content-Length", b"5"))], [], []),
    ([edit(*[(b"X-%d" % i, b"v") for i in range(300)])], [], [b"X-%d: v" % i for i in range(300)]),
]


@pytest.mark.parametrize(("operations", "lines", "expected"), HEADERS)
def test_headers(operations: list[Operation], lines: list[bytes], expected: list[bytes]) -> None:
    found = run(operations, b"/", *lines)
    assert isinstance(found, Passed)
    assert [b": ".join(field) for field in found.headers if field[0] != b"Host"] == expected


ROOT = [
    (b"/", (302, b"Location: http://a.test/ui\r\n")),
    (b"/?", None),
    (b"/?q", None),
    (b"/x", None),
    (b"/.", (302, b"Location: http://a.test/ui\r\n")),
    (b"/x/..", (302, b"Location: http://a.test/ui\r\n")),
]


@pytest.mark.parametrize(("target", "expected"), ROOT)
def test_a_redirect_of_the_root(target: bytes, expected: tuple[int, bytes] | None) -> None:
    found = run([RedirectRoot(b"/ui")], target)
    assert (expected is None) == isinstance(found, Passed)
    if isinstance(found, Answered):
        assert (found.status, found.lines) == expected


def row(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[bytes, int]:
    if network.version == 6:
        return network.network_address.packed, network.prefixlen
    mapped = b"\0" * 10 + b"\xff\xff" + network.network_address.packed
    return mapped, network.prefixlen + 96


NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


PEER = ipaddress.IPv6Address("::")  # of the probe; it decides where X-Forwarded-For does not


@given(st.lists(NETWORKS, min_size=1, max_size=4), st.data())
def test_white_lists(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network], data) -> None:
    """The address that X-Forwarded-For names, against the twin in Python's library."""
    near = data.draw(st.sampled_from(networks))
    offset = data.draw(st.integers(-2, min(near.num_addresses + 1, 1 << 40)))
    most = (1 << near.max_prefixlen) - 1
    number = min(max(int(near.network_address) + offset, 0), most)
    address = (ipaddress.IPv4Address if near.version == 4 else ipaddress.IPv6Address)(number)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    inside = any(
        candidate in network
        for network in networks
        for candidate in {address, mapped or address, as_mapped(address), PEER}
        if candidate.version == network.version
    )
    allow = AllowNetworks(tuple(map(row, networks)), use_forwarded_for=True)
    found = run([allow], b"/", f"X-Forwarded-For: {address}".encode())
    assert isinstance(found, Passed) == inside
    assert inside or (isinstance(found, Answered) and found.status == 403)


def as_mapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address is one in ::ffff:0:0/96 too."""
    if address.version == 6:
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


DURATIONS = [  # features.md 3.3
    (0, "0s"),
    (1, "1ns"),
    (999, "999ns"),
    (1_000, "1µs"),
    (20_000, "20µs"),
    (1_500, "1.5µs"),
    (999_999, "999.999µs"),
    (1_500_000, "1.5ms"),
    (350_000_000, "350ms"),
    (999_999_999, "999.999999ms"),
    (1_000_000_000, "1s"),
    (1_500_000_000, "1.5s"),
    (10_000_000_000, "10s"),
    (60_000_000_000, "1m0s"),
    (90_000_000_001, "1m30.000000001s"),
    (3_600_000_000_000, "1h0m0s"),
    (3_600_500_000_000, "1h0m0.5s"),
    (360_061_000_000_000, "100h1m1s"),
]


@pytest.mark.parametrize(("nanoseconds", "text"), DURATIONS)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration_text(nanoseconds) == text
