"""The counters in shared memory: exact numbers, several processes, killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.counters.region import (
    KINDS,
    SharedRegion,
    clear_slot,
    create_region,
    slot_count,
    slot_size,
)
from fastproxy.expression import BREAKER, parse, program
from tests.support.limits import Breaker, RateLimiter, Rebalancer

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
START = 1_000 * SECOND
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = create_region()
    yield made
    os.close(made)


@pytest.fixture
def region(descriptor: int) -> Iterator[SharedRegion]:
    opened = SharedRegion(descriptor, 0)
    yield opened
    opened.close()


def in_processes(descriptor: int, count: int, code: str) -> list[str]:
    """Run `code` in processes that start together; they know `region`, `worker`, and `print`."""
    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    setup += "from fastproxy.counters.region import SharedRegion\n"
    processes = []
    for worker in range(count):
        begin = f"worker = {worker}\nregion = SharedRegion({descriptor}, {worker})\n"
        begin += "print('open', flush=True); sys.stdin.readline()\n"
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", setup + begin + code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=(descriptor,),
            )
        )
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0] for process in processes]


# --- the region


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_have_slots_of_whole_pages(kind: str) -> None:
    assert slot_count(kind) >= 1024
    assert slot_size(kind) % 4096 == 0


def test_an_untouched_region_costs_next_to_nothing(descriptor: int) -> None:
    region = SharedRegion(descriptor, 0)
    assert os.fstat(descriptor).st_blocks * 512 <= 16 * 4096
    for slot in range(100):
        region.rate_take(slot, b"10.0.0.1", [(SECOND, 5)], 11, START)
        region.connections_take(slot, b"10.0.0.1", 5)
    assert os.fstat(descriptor).st_blocks * 512 <= 100 * 3 * 4096 + 32 * 4096


def test_what_is_no_region_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(1 << 20)
        with pytest.raises(OSError):
            SharedRegion(file.fileno(), 0)
    with pytest.raises(OSError):
        SharedRegion(-1, 0)


def test_a_cleared_slot_is_as_new(descriptor: int, region: SharedRegion) -> None:
    buckets = [(SECOND, 1)]
    for slot in (3, 4):
        assert region.rate_take(slot, b"key", buckets, 11, START) == 0
        assert region.rate_take(slot, b"key", buckets, 11, START) == SECOND
    clear_slot(descriptor, "rate", 3)
    assert region.rate_take(3, b"key", buckets, 11, START) == 0
    assert region.rate_take(4, b"key", buckets, 11, START) == SECOND
    with pytest.raises(ValueError):
        clear_slot(descriptor, "rate", slot_count("rate"))


# --- maximum connections (features.md 3.15)


def test_a_key_has_at_most_its_amount(region: SharedRegion) -> None:
    tickets = []
    for _ in range(50):
        result, ticket = region.connections_take(0, b"10.0.0.1", 50)
        assert result == 1
        tickets.append(ticket)
    assert region.connections_take(0, b"10.0.0.1", 50) == (0, 0)
    assert region.connections_take(0, b"10.0.0.2", 50)[0] == 1
    assert region.connections_take(1, b"10.0.0.1", 50)[0] == 1
    region.connections_release(tickets[7])
    result, ticket = region.connections_take(0, b"10.0.0.1", 50)
    assert result == 1
    assert region.connections_take(0, b"10.0.0.1", 50) == (0, 0)
    for held in (*tickets[:7], *tickets[8:], ticket):
        region.connections_release(held)
    assert region.connections_take(0, b"10.0.0.1", 1)[0] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_takes_and_releases_add_up(steps: list[tuple[int, bool]], amount: int) -> None:
    descriptor = create_region()
    region = SharedRegion(descriptor, 1)
    held: dict[int, list[int]] = {number: [] for number in range(4)}
    for number, give in steps:
        if give and held[number]:
            region.connections_release(held[number].pop())
            continue
        result, ticket = region.connections_take(2, b"key %d" % number, amount)
        assert result == (len(held[number]) < amount)
        if result:
            held[number].append(ticket)
    region.close()
    os.close(descriptor)


def test_many_keys_at_once(region: SharedRegion) -> None:
    count = 20_000
    tickets = []
    for number in range(count):
        result, ticket = region.connections_take(0, b"%d" % number, 1)
        assert result == 1
        tickets.append(ticket)
    refused = sum(region.connections_take(0, b"%d" % n, 1)[0] == 0 for n in range(count))
    assert refused == count
    for ticket in tickets:
        region.connections_release(ticket)
    assert all(region.connections_take(0, b"%d" % n, 1)[0] == 1 for n in range(count))


def test_a_full_table_lets_through(region: SharedRegion) -> None:
    results = [region.connections_take(0, b"%d" % number, 1)[0] for number in range(150_000)]
    assert 120_000 < results.count(1) <= 139_840
    assert set(results) == {1, -1}


def test_the_amount_holds_over_processes(descriptor: int) -> None:
    code = (
        "taken = 0\n"
        "for _ in range(20000):\n"
        "    result, ticket = region.connections_take(5, b'key', 300)\n"
        "    if result and taken % 3 == 0: region.connections_release(ticket)\n"
        "    taken += result\n"
        "print(taken - (taken + 2) // 3)\n"
    )
    held = [int(line) for line in in_processes(descriptor, 3, code)]
    assert sum(held) == 300


def test_new_keys_are_counted_once_by_all_processes(descriptor: int) -> None:
    code = "print(sum(region.connections_take(6, b'%d' % n, 1)[0] == 1 for n in range(30000)))\n"
    assert sum(int(line) for line in in_processes(descriptor, 3, code)) == 30_000


def test_a_killed_process_gives_back_what_it_held(descriptor: int, region: SharedRegion) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from fastproxy.counters.region import SharedRegion\n"
        f"region = SharedRegion({descriptor}, 7)\n"
        "for _ in range(40): assert region.connections_take(0, b'key', 50)[0] == 1\n"
        "print('holding', flush=True)\n"
        "while True:\n"
        "    region.connections_release(region.connections_take(0, b'other', 50)[1])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, pass_fds=(descriptor,)
    )
    assert process.stdout is not None and process.stdout.readline() == "holding\n"
    for _ in range(10):
        assert region.connections_take(0, b"key", 50)[0] == 1
    assert region.connections_take(0, b"key", 50) == (0, 0)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert region.connections_take(0, b"key", 50) == (0, 0)
    parent = SharedRegion(descriptor)
    parent.forget_worker(7)
    parent.forget_worker(7)
    taken = [region.connections_take(0, b"key", 50)[0] for _ in range(41)]
    assert taken == [1] * 40 + [0]
    assert [region.connections_take(0, b"other", 50)[0] for _ in range(51)] == [1] * 50 + [0]


def test_a_successor_starts_with_nothing_held(descriptor: int, region: SharedRegion) -> None:
    first = SharedRegion(descriptor, 3)
    assert first.connections_take(0, b"key", 1)[0] == 1
    assert region.connections_take(0, b"key", 1)[0] == 0
    SharedRegion(descriptor, 3)
    assert region.connections_take(0, b"key", 1)[0] == 1


# --- rate limit (features.md 3.16)


def test_a_burst_then_one_token_per_interval(region: SharedRegion) -> None:
    def take(now: int) -> int:
        return region.rate_take(0, b"10.0.0.1", [(500 * MILLISECOND, 3)], 31, START + now)

    assert [take(0) for _ in range(4)] == [0, 0, 0, 500 * MILLISECOND]
    assert [take(500 * MILLISECOND) for _ in range(2)] == [0, 500 * MILLISECOND]
    # the fraction of an interval is lost
    assert [take(1400 * MILLISECOND) for _ in range(2)] == [0, 500 * MILLISECOND]
    assert take(1899 * MILLISECOND) == 500 * MILLISECOND
    assert take(1900 * MILLISECOND) == 0
    # a full bucket again, after 31 s from its creation
    assert [take(31 * SECOND) for _ in range(4)] == [0, 0, 0, 500 * MILLISECOND]


def test_tokens_of_other_buckets_are_given_back(region: SharedRegion) -> None:
    buckets = [(SECOND, 5), (60 * SECOND, 2)]
    taken = [region.rate_take(0, b"key", buckets, 601, START) for _ in range(10)]
    assert taken == [0, 0] + [60 * SECOND] * 8
    # three tokens are left in the first bucket
    assert region.rate_take(0, b"key", buckets, 601, START + 60 * SECOND) == 0


def test_a_bucket_without_interval_never_refuses(region: SharedRegion) -> None:
    assert [region.rate_take(0, b"key", [(0, 2)], 11, START) for _ in range(5)] == [0] * 5


BUCKETS = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 6)), min_size=1, max_size=5)
REQUESTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2 * SECOND)), min_size=1, max_size=80
)


@given(BUCKETS, st.integers(1, 12), REQUESTS)
@settings(max_examples=300, deadline=None)
def test_the_rate_limit_agrees_with_its_twin(
    buckets: list[tuple[int, int]], lifetime: int, requests: list[tuple[int, int]]
) -> None:
    descriptor = create_region()
    region = SharedRegion(descriptor, 0)
    twin = RateLimiter(buckets, lifetime)
    now = START
    for number, pause in requests:
        now += pause
        key = b"key %d" % number
        assert region.rate_take(9, key, buckets, lifetime, now) == twin.take(key, now)
    region.close()
    os.close(descriptor)


def test_days_and_huge_bursts(region: SharedRegion) -> None:
    day = 86_400 * SECOND
    buckets = [(day // 7, 3), (1, 1 << 40)]
    lifetime = 10 * 86_400 + 1
    assert [region.rate_take(0, b"k", buckets, lifetime, START) for _ in range(4)] == [
        0, 0, 0, day // 7,
    ]  # fmt: skip
    assert region.rate_take(0, b"k", buckets, lifetime, START + day // 7) == 0
    assert region.rate_take(0, b"k", buckets, lifetime, START + day // 7 + 5) == day // 7


def test_the_burst_holds_over_processes(descriptor: int) -> None:
    code = (
        "total = 0\n"
        "for n in range(5000):\n"
        f"    total += region.rate_take(1, b'key', [(10**12, 1000)], 10**5, {START}) == 0\n"
        f"    total += region.rate_take(2, b'%d' % n, [(10**12, 1)], 10**5, {START}) == 0\n"
        "print(total)\n"
    )
    assert sum(int(line) for line in in_processes(descriptor, 3, code)) == 1000 + 5000


def test_refills_are_granted_once_over_processes(descriptor: int) -> None:
    code = (
        "total = 0\n"
        "for second in range(2000):\n"
        f"    now = {START} + second * 10**9\n"
        "    total += region.rate_take(1, b'key', [(10**9, 1)], 10**6, now) == 0\n"
        "print(total)\n"
    )
    # Clocks that run apart may only lose tokens, never make any.
    assert sum(int(line) for line in in_processes(descriptor, 3, code)) <= 2000


def test_65536_keys_are_kept_and_more_evict_the_oldest(region: SharedRegion) -> None:
    buckets = [(1000 * SECOND, 1)]
    for number in range(65_536):
        assert region.rate_take(0, b"%d" % number, buckets, 10_001, START + number) == 0
    # The newest first: a key that is gone is taken in again, and another one makes room for it.
    kept = sum(
        region.rate_take(0, b"%d" % number, buckets, 10_001, START + 65_536) != 0
        for number in reversed(range(65_536))
    )
    assert kept >= 65_536 - 8
    # A flood of four times the room: the newest stay, and nothing is ever refused for lack of it.
    for number in range(400_000):
        now = START + SECOND + number
        assert region.rate_take(0, b"flood %d" % number, buckets, 10_001, now) == 0
    newest = sum(
        region.rate_take(0, b"flood %d" % number, buckets, 10_001, START + 2 * SECOND) != 0
        for number in range(399_999, 340_000, -1)
    )
    assert newest >= 59_999 * 0.99


def test_expired_keys_make_room(descriptor: int, region: SharedRegion) -> None:
    for second in range(50):
        for number in range(100):
            region.rate_take(
                0, b"%d %d" % (second, number), [(SECOND, 1)], 1, START + second * SECOND
            )
    assert os.fstat(descriptor).st_blocks * 512 < 64 * 4096


# --- circuit breaker (features.md 3.19)

CONDITIONS: dict[str, Callable[[Breaker, int], bool]] = {
    "NetworkErrorRatio() > 0.5": lambda b, now: b.network_error_ratio(now) > 0.5,
    "ResponseCodeRatio(500, 600, 0, 600) >= 0.25": lambda b, now: (
        b.response_code_ratio(500, 600, 0, 600, now) >= 0.25
    ),
    "LatencyAtQuantileMS(50.0) > 100": lambda b, now: b.latency_at_quantile_ms(50, now) > 100,
    "(NetworkErrorRatio() == 1.0 || LatencyAtQuantileMS(95.0) >= 300) "
    "&& ResponseCodeRatio(200, 300, 0, 600) < 0.75 || LatencyAtQuantileMS(0.0) == 999": (
        lambda b, now: (
            (
                (b.network_error_ratio(now) == 1 or b.latency_at_quantile_ms(95, now) >= 300)
                and b.response_code_ratio(200, 300, 0, 600, now) < 0.75
            )
            or b.latency_at_quantile_ms(0, now) == 999
        )
    ),
}


def compiled(text: str) -> bytes:
    return program(parse(text, BREAKER))


def test_a_breaker_trips_rations_and_recovers(region: SharedRegion) -> None:
    code = compiled("NetworkErrorRatio() > 0.5")

    def record(status: int, now: int) -> str:
        region.breaker_record(0, status, 5 * MILLISECOND, code, START + now)
        return region.breaker_state(0)

    assert record(200, 0) == "standby"
    assert record(502, MILLISECOND) == "standby"
    assert record(504, 2 * MILLISECOND) == "standby"  # evaluated at most every 100 ms
    assert record(200, 100 * MILLISECOND) == "standby"
    assert record(504, 101 * MILLISECOND) == "tripped"
    tripped = START + 101 * MILLISECOND
    assert not region.breaker_admit(0, tripped)
    assert not region.breaker_admit(0, tripped + 10 * SECOND - 1000)
    begin = tripped + 10 * SECOND
    assert not region.breaker_admit(0, begin)
    assert region.breaker_state(0) == "recovering"
    # after 4 s a fifth of the requests may pass: share < 0.2
    admitted = [region.breaker_admit(0, begin + 4 * SECOND) for _ in range(100)]
    assert sum(admitted) == 20
    # the windows were cleared: one good answer keeps it recovering
    region.breaker_record(0, 200, MILLISECOND, code, begin + 4 * SECOND)
    assert region.breaker_state(0) == "recovering"
    assert region.breaker_admit(0, begin + 10 * SECOND + 1000)
    assert region.breaker_state(0) == "standby"


def test_a_recovering_breaker_trips_again(region: SharedRegion) -> None:
    code = compiled("NetworkErrorRatio() > 0.5")
    region.breaker_record(0, 502, MILLISECOND, code, START)
    region.breaker_admit(0, START + 10 * SECOND)
    assert region.breaker_state(0) == "recovering"
    region.breaker_record(0, 502, MILLISECOND, code, START + 11 * SECOND)
    assert region.breaker_state(0) == "tripped"
    assert not region.breaker_admit(0, START + 20 * SECOND)


@given(
    st.sampled_from(sorted(CONDITIONS)),
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 7, 99, 100, 101, 700, 1000, 2500, 10_000, 11_000]),
            st.sampled_from([200, 200, 302, 404, 500, 502, 503, 504]),
            st.one_of(st.integers(0, 400), st.integers(0, 3_600_000)),
        ),
        max_size=60,
    ),
)
@settings(max_examples=300, deadline=None)
def test_the_breaker_agrees_with_its_twin(text: str, steps: list[tuple[int, int, int]]) -> None:
    descriptor = create_region()
    region = SharedRegion(descriptor, 0)
    code = compiled(text)
    twin = Breaker(CONDITIONS[text])
    now = START
    for pause, status, latency in steps:
        now += pause * MILLISECOND
        admitted = region.breaker_admit(1, now)
        assert admitted == twin.admit(now)
        if admitted:
            region.breaker_record(1, status, latency * MILLISECOND, code, now)
            twin.record(status, latency * MILLISECOND, now)
        assert region.breaker_state(1) == twin.state
    region.close()
    os.close(descriptor)


def test_a_breaker_sees_the_answers_of_all_processes(descriptor: int, region: SharedRegion) -> None:
    never = compiled("NetworkErrorRatio() > 1.0")
    code = (
        "for n in range(3000):\n"
        f"    status = 502 if worker == 0 else 200\n"
        f"    region.breaker_record(2, status, 10**6, {never!r}, {START})\n"
    )
    in_processes(descriptor, 3, code)
    # 3000 answers 502 and 6000 answers 200, exactly; the 404s only cause evaluations
    steps = [("> 0.5", "standby"), ("< 0.5", "standby"), ("== 0.5", "tripped")]
    for number, (comparison, state) in enumerate(steps):
        text = compiled(f"ResponseCodeRatio(502, 503, 200, 201) {comparison}")
        region.breaker_record(2, 404, 0, text, START + SECOND + number * SECOND)
        assert region.breaker_state(2) == state


# --- drr (features.md 3.13)


def test_a_server_of_errors_loses_its_share_step_by_step(region: SharedRegion) -> None:
    region.quality_reset(0, 77)
    assert region.quality_weights(0, [1, 1], START) == (1, 1)  # a reset is a change
    seen = []
    for tick in range(150):
        now = START + tick * SECOND // 2
        region.quality_record(0, 0, 200, now)
        region.quality_record(0, 1, 503, now)
        weights = region.quality_weights(0, [1, 1], now)
        if weights is not None:
            seen.append((now - START, weights))
    assert [weights for _, weights in seen] == [
        (4, 1), (16, 1), (64, 1), (256, 1), (1024, 1), (4096, 1),
    ]  # fmt: skip
    times = [at for at, _ in seen]
    assert times[0] == 9 * SECOND  # ten distinct seconds with answers
    assert {later - earlier for earlier, later in pairwise(times)} == {
        10 * SECOND + SECOND // 2  # the back-off must have passed
    }


def test_new_endpoints_restore_the_original_weights(region: SharedRegion) -> None:
    region.quality_reset(0, 1)
    for tick in range(25):
        for server, status in enumerate((200, 200, 500)):
            region.quality_record(0, server, status, START + tick * SECOND)
        region.quality_weights(0, [3, 2, 1], START + tick * SECOND)
    region.quality_reset(0, 1)
    assert region.quality_weights(0, [3, 2, 1], START + 26 * SECOND) is None
    region.quality_reset(0, 2)
    assert region.quality_weights(0, [3, 2, 1], START + 26 * SECOND) == (3, 2, 1)


def test_every_process_is_told_once(descriptor: int, region: SharedRegion) -> None:
    other = SharedRegion(descriptor, 1)
    for tick in range(12):
        region.quality_record(0, 0, 200, START + tick * SECOND)
        other.quality_record(0, 1, 503, START + tick * SECOND)
    now = START + 12 * SECOND
    assert region.quality_weights(0, [1, 1], now) == (4, 1)
    assert region.quality_weights(0, [1, 1], now) is None
    assert other.quality_weights(0, [1, 1], now) == (4, 1)
    assert other.quality_weights(0, [1, 1], now) is None


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([200, 200, 404, 500, 503, 505]),
            st.sampled_from([0, 100, 500, 1000, 5000]),
        ),
        max_size=120,
    ),
    st.lists(st.sampled_from([200, 200, 200, 503]), min_size=5, max_size=5),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_the_weights_agree_with_their_twin(
    original: list[int], steps: list[tuple[int, int, int]], habits: list[int]
) -> None:
    descriptor = create_region()
    region = SharedRegion(descriptor, 0)
    region.quality_reset(4, 5)
    twin = Rebalancer(original)
    weights = tuple(original)
    now = START
    rounds = [(server, habits[server], 150) for _ in range(40) for server in range(len(original))]
    for server, status, pause in rounds + steps + rounds:
        now += pause * MILLISECOND
        server %= len(original)
        region.quality_record(4, server, status, now)
        twin.record(server, status, now)
        weights = region.quality_weights(4, original, now) or weights
        assert weights == tuple(twin.weights)
    region.close()
    os.close(descriptor)


# --- nonces of digest authentication ---

DAY = 24 * 3600
NOON = 1_700_000_000


def nonce(number: int) -> bytes:
    return f"nonce {number}".encode()


def test_counts_of_a_nonce_must_rise(region: SharedRegion) -> None:
    counts = [1, 1, 0, 3, 2, 4, 0xFFFFFFFF, 0xFFFFFFFF]
    verdicts = [region.nonce_advance(nonce(1), count, NOON, DAY, NOON) for count in counts]
    assert verdicts == [True, False, False, True, False, True, True, False]
    assert region.nonce_advance(nonce(2), 1, NOON, DAY, NOON)


def test_what_the_full_table_forgot_is_refused(region: SharedRegion) -> None:
    """However many nonces come, none is accepted twice with a count."""
    fresh = [region.nonce_advance(nonce(n), 1, NOON + 1, DAY, NOON + 1) for n in range(100_000)]
    again = [region.nonce_advance(nonce(n), 1, NOON + 1, DAY, NOON + 2) for n in range(100_000)]
    assert not any(again)
    assert fresh[:30_000].count(False) <= 30
    # and the next hour's nonces find their place again
    later = NOON + 2 * 3600
    accepted = [region.nonce_advance(nonce(-n), 1, later, DAY, later) for n in range(1, 10_000)]
    assert accepted.count(False) <= 5  # whose 24 bits are those of another one in the same set


def test_ended_nonces_make_room_for_others(region: SharedRegion) -> None:
    for n in range(100_000):
        region.nonce_advance(nonce(n), 1, NOON, DAY, NOON)
    tomorrow = NOON + DAY + 2 * 3600
    accepted = [
        region.nonce_advance(nonce(-n), 1, tomorrow - 3600, DAY, tomorrow) for n in range(1, 20_000)
    ]
    assert accepted.count(False) <= 5


def test_a_clock_that_is_set_back_accepts_nothing_twice(region: SharedRegion) -> None:
    for n in range(200_000):
        region.nonce_advance(nonce(n), 1, NOON, DAY, NOON)
    before = NOON - 2 * 3600
    again = [region.nonce_advance(nonce(n), 1, NOON - DAY, DAY, before) for n in range(200_000)]
    assert not any(again)


def test_a_count_is_accepted_by_one_process_only(descriptor: int) -> None:
    code = """
    for n in range(20000):
        for count in 1, 2:
            if region.nonce_advance(b"%d" % n, count, 1700000000, 86400, 1700000000):
                print(n, count)
    """
    lines = in_processes(descriptor, 3, textwrap.dedent(code))
    accepted = [line for text in lines for line in text.split("\n") if line]
    assert len(accepted) == len(set(accepted))
    assert len({line.split()[0] for line in accepted}) > 19_900
