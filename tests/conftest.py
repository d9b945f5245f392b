"""Options of the whole test-suite."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, nothing about the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        action="store_true",
        help="rewrite what tests/cases/*.yaml expect; read the difference before you commit it",
    )
    parser.addoption(
        "--part",
        choices=("together", "alone"),
        help="only the tests that may run side by side, or only those marked `alone`",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("--part")
    if part is None:
        return
    chosen, others = [], []
    for item in items:
        is_alone = item.get_closest_marker("alone") is not None
        (chosen if is_alone is (part == "alone") else others).append(item)
    # Whole programs first: their files take longest, and whoever begins one last keeps all waiting.
    items[:] = sorted(chosen, key=lambda item: "e2e" not in item.path.parts)
    config.hook.pytest_deselected(items=others)
