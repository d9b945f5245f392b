from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fastproxy.settings.declare import options_of
from fastproxy.settings.options import Settings
from fastproxy.settings.reader import table_in
from fastproxy.settings.reference import document, tables

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
TABLES = sorted({cls for _, cls in tables(Settings, "")}, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_every_option_says_what_it_means_beside_it(cls: type) -> None:
    options = options_of(cls)
    assert options
    for field in options:
        meaning = field.metadata["meaning"]
        assert meaning and meaning == meaning.strip() and not meaning.endswith("."), field.name
        assert f"| {meaning} |" in document()
    others = {field.name for field in dataclasses.fields(cls)} - {field.name for field in options}
    assert all(cls.__dataclass_fields__[name].metadata.get("hidden") for name in others)  # type: ignore[attr-defined]


def test_all_tables_are_found() -> None:
    assert len(TABLES) > 30
    assert table_in(Settings | None) is Settings


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), (
        "run: python -m fastproxy.settings.reference > docs/settings.md"
    )
