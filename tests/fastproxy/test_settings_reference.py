from __future__ import annotations

from pathlib import Path

from fastproxy.settings.options import Settings, options
from fastproxy.settings.reference import MEANINGS, document, meaning, tables

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_option_has_a_meaning_and_nothing_else_has() -> None:
    used = set()
    for _, cls in tables(Settings, ""):
        for field in options(cls):
            assert meaning(cls, field.name)
            own = f"{cls.__name__}.{field.name}"
            used.add(own if own in MEANINGS else field.name)
    assert used == MEANINGS.keys()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), (
        "run: python -m fastproxy.settings.reference > docs/settings.md"
    )
