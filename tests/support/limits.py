"""The limits of `features.md` 3.13, 3.15, 3.16 and 3.19, written down slowly and plainly.

These are the twins that `fastproxy.counters.region` is compared with: one process, dictionaries,
no bound on memory, fractions instead of floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import gcd, inf

SECOND = 1_000_000_000


class RateLimiter:
    """Token buckets per key; a bucket is (nanoseconds per token, burst)."""

    def __init__(self, buckets: Sequence[tuple[int, int]], lifetime: int) -> None:
        self.buckets = buckets
        self.lifetime = lifetime * SECOND
        self.entries: dict[bytes, tuple[int, list[list[int]]]] = {}

    def take(self, key: bytes, now: int) -> int:
        created, state = self.entries.get(key, (-(1 << 62), []))
        if now - created >= self.lifetime:
            created, state = now, [[burst, now] for _, burst in self.buckets]
            self.entries[key] = (created, state)
        delays = []
        for (token, burst), bucket in zip(self.buckets, state, strict=True):
            refill = (now - bucket[1]) // token if token else 0
            if refill > 0:
                bucket[:] = min(burst, bucket[0] + refill), now
            delays.append(0 if bucket[0] >= 1 or token == 0 else token)
            bucket[0] -= bucket[0] >= 1
        if any(delays):
            for bucket, delay in zip(state, delays, strict=True):
                bucket[0] += delay == 0
        return max(delays)


class Window:
    """How many of the recorded values fall into the current and the nine seconds before."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int]] = []

    def add(self, value: int, now: int) -> None:
        self.records.append((now // SECOND, value))

    def count(self, wanted: Callable[[int], bool], now: int) -> int:
        second = now // SECOND
        return sum(wanted(v) for s, v in self.records if second - 10 < s <= second)


class Breaker:
    """Standby, tripped, recovering; `condition(window, latencies, now)` is the expression."""

    def __init__(self, condition: Callable[[Breaker, int], bool]) -> None:
        self.condition = condition
        self.state, self.until, self.checked = "standby", 0, -1
        self.allowed = self.denied = 0
        self.clear()

    def clear(self) -> None:
        self.answers = Window()
        self.latencies: list[tuple[int, int]] = []

    def admit(self, now: int) -> bool:
        if self.state == "tripped":
            if now < self.until:
                return False
            self.state, self.until = "recovering", now + 10 * SECOND
            self.allowed = self.denied = 0
        if self.state == "recovering":
            if now <= self.until:
                elapsed = now - (self.until - 10 * SECOND)
                share = Fraction(self.allowed + 1, self.allowed + 1 + self.denied)
                allow = share < Fraction(elapsed, 20 * SECOND)
                self.allowed += allow
                self.denied += not allow
                return allow
            self.state = "standby"
        return True

    def record(self, status: int, latency: int, now: int) -> None:
        self.answers.add(status, now)
        self.latencies.append((now // (10 * SECOND), latency // 1000))
        if now <= self.checked:
            return
        self.checked = now + SECOND // 10
        if self.state != "tripped" and self.condition(self, now):
            self.state, self.until = "tripped", now + 10 * SECOND
            self.clear()

    def network_error_ratio(self, now: int) -> Fraction:
        every = self.answers.count(lambda _: True, now)
        bad = self.answers.count(lambda status: status in (502, 504), now)
        return Fraction(bad, every) if every else Fraction(0)

    def response_code_ratio(self, a: int, b: int, c: int, d: int, now: int) -> Fraction:
        divisor = self.answers.count(lambda status: c <= status < d, now)
        share = self.answers.count(lambda status: a <= status < b, now)
        return Fraction(share, divisor) if divisor else Fraction(0)

    def latency_at_quantile_ms(self, quantile: float, now: int) -> int:
        """With the precision of 2 significant digits: every value is the highest of its step."""
        period = now // (10 * SECOND)
        values = sorted(v for p, v in self.latencies if period - 6 < p <= period)
        if not values:
            return 0
        position = max(int(quantile / 100 * len(values) + 0.5), 1)
        value = values[position - 1]
        step = 1 << max(value.bit_length() - 8, 0)
        return (value // step * step + step - 1) // 1000


class Rebalancer:
    """Weights that follow the answers of the servers (drr)."""

    def __init__(self, original: Sequence[int]) -> None:
        self.original = list(original)
        self.weights = list(original)
        self.answers = [Window() for _ in original]
        self.timer: float = -inf

    def record(self, server: int, status: int, now: int) -> None:
        self.answers[server].add(status, now)
        self.adjust(now)

    def adjust(self, now: int) -> None:
        if len(self.original) < 2 or now <= self.timer or not all(map(self.ready, self.answers)):
            return
        ratings = [self.rating(window, now) for window in self.answers]
        padded = ratings + [Fraction(0)] * (len(ratings) % 2 == 0)
        middle = sorted(padded)[len(padded) // 2]
        spread = sorted(abs(value - middle) for value in padded)[len(padded) // 2]
        bad = [value > Fraction(3, 2) * (middle + spread) for value in ratings]
        before = list(self.weights)
        if any(bad) and not all(bad):
            for server, is_bad in enumerate(bad):
                if not is_bad and self.weights[server] * 4 <= 4096:
                    self.weights[server] *= 4
        else:
            for server, goal in enumerate(self.original):
                if self.weights[server] != goal:
                    self.weights[server] = max(goal, self.weights[server] // 4)
        if self.weights != before:
            divisor = gcd(*self.weights)
            self.weights = [weight // divisor for weight in self.weights]
            self.timer = now + 10 * SECOND

    @staticmethod
    def is_bad(status: int) -> bool:
        return 500 <= status <= 504

    def ready(self, window: Window) -> bool:
        bad = {second for second, status in window.records if self.is_bad(status)}
        good = {second for second, status in window.records if not self.is_bad(status)}
        return len(bad) + len(good) >= 10

    def rating(self, window: Window, now: int) -> Fraction:
        bad = window.count(self.is_bad, now)
        good = window.count(lambda status: not self.is_bad(status), now)
        return Fraction(bad, bad + good) if bad else Fraction(0)
