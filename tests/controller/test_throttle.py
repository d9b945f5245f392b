"""Leading edge at once, then a pause: with an injected clock, to the edge."""

from __future__ import annotations

from controller.throttle import Throttle


def test_first_at_once_then_one_per_pause() -> None:
    now = [100.0]
    throttle = Throttle(2.0, lambda: now[0])
    assert throttle.left() <= 0
    throttle.done()
    assert throttle.left() == 2.0
    now[0] += 1.5
    assert throttle.left() == 0.5
    now[0] += 0.5
    assert throttle.left() == 0.0


def test_zero_never_pauses_unless_asked() -> None:
    throttle = Throttle(0.0, lambda: 5.0)
    throttle.done()
    assert throttle.left() == 0.0
    throttle.done(at_least=3.0)
    assert throttle.left() == 3.0
