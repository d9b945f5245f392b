"""How an option of the settings is declared: default, meaning, and what restricts its value.

The tables of options are dataclasses (`tables/`). An option's sentence stands beside it, and makes
`docs/settings.md` (`reference.py`). Durations are seconds, sizes bytes. The TOML key of an
attribute is its name without underscores in any case (`idle_timeout` is `idleTimeout`).

An attribute of type `float` is a duration, of type `object` is accepted and has no effect here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any

WITHOUT_EFFECT = "accepted, without effect"


def option(
    default: Any,
    meaning: str,
    *,
    key: str = "",
    minimum: int = 0,
    choices: tuple[str, ...] = (),
    aliases: Mapping[str, str] | None = None,
    lenient: bool = False,
    secret: bool = False,
) -> Any:
    """An option that a file or a flag can give; `meaning` is a Markdown sentence for its users.

    `key` is its TOML spelling where that is not the usual one. `aliases` are other words for a
    choice. `lenient`: another word than the choices is a warning, and the default holds, as in
    Traefik 1.7. `secret`: its value is never shown.
    """
    metadata = {
        "meaning": meaning,
        "key": key,
        "minimum": minimum,
        "choices": choices,
        "aliases": aliases or {},
        "lenient": lenient,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def ignored(key: str = "") -> Any:
    """An option of Traefik 1.7 that may stand in a file and changes nothing."""
    return option(None, WITHOUT_EFFECT, key=key)


def hidden(default: Any) -> Any:
    """What other options lead to; no file and no flag can say it."""
    return field(default=default, metadata={"hidden": True}, repr=False)


def options_of(cls: Any) -> tuple[Field[Any], ...]:
    """Return the attributes of a table that a file or a flag can give."""
    return tuple(each for each in fields(cls) if not each.metadata.get("hidden"))
