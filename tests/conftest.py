"""Options of the whole test-suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        action="store_true",
        help="rewrite what tests/cases/*.yaml expect; read the difference before you commit it",
    )
