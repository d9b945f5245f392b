"""The memory of aliases: never wrong, bounded, and a flood leaves it what matters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.exchange.cname_chains import Aliases, is_name

SECOND = 10**9
hosts = st.sampled_from([b"a", b"b", b"a.b", b"x" * 255])
steps = st.lists(
    st.tuples(hosts, st.one_of(st.none(), st.sampled_from([b"", b"a", b"y" * 255])),
              st.integers(0, 3)),
    max_size=30,
)  # fmt: skip


@given(steps)
def test_it_behaves_as_a_dictionary_with_deadlines(
    steps: list[tuple[bytes, bytes | None, int]],
) -> None:
    """Four names at most: nothing has to be forgotten."""
    memory, twin = Aliases(), dict[bytes, tuple[bytes, int]]()
    for now, (host, alias, age) in enumerate(steps):
        if alias is not None:
            memory.put(host, alias, now, now + age)
            twin[host] = alias, now + age
        for name in (b"a", b"b", b"a.b", b"x" * 255):
            known, until = twin.get(name, (b"", 0))
            assert memory.find(name, now) == (known if until > now else None)


def test_a_flood_of_names_without_alias_leaves_those_with_one() -> None:
    memory = Aliases()
    known = [b"www%d.test" % number for number in range(100)]
    for host in known:
        memory.put(host, b"shop.test", 0, SECOND)
    for number in range(50_000):
        memory.put(b"random%d.test" % number, b"", 0, 300 * SECOND)
    kept = [host for host in known if memory.find(host, 0) == b"shop.test"]
    assert kept == known
    remembered = sum(memory.find(b"random%d.test" % n, 0) is not None for n in range(50_000))
    assert 3_000 < remembered <= 4_096


@pytest.mark.parametrize("host, alias", [(b"", b"a"), (b"a" * 256, b""), (b"a", b"b" * 256)])
def test_what_is_too_long_is_not_kept(host: bytes, alias: bytes) -> None:
    memory = Aliases()
    memory.put(host, alias, 0, SECOND)
    assert memory.find(host, 0) is None


NAMES = {
    b"a.test": True, b"a": True, b"10.a": True, b"10.0.0.1": False, b"": False, b"::1": False,
    b"fe80::1": False, b"7": False, b"xn--bcher-kva.test": True, b"a" * 256: False,
}  # fmt: skip


@pytest.mark.parametrize("host, expected", NAMES.items())
def test_addresses_are_no_names(host: bytes, expected: bool) -> None:
    assert is_name(host) == expected
