# ruff: noqa: E501 -- the page, as it is written
"""Print docs/settings.md: `python -m fastproxy.settings.reference > docs/settings.md`."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from fastproxy.model import durations
from fastproxy.settings.declare import options_of
from fastproxy.settings.entry_points import OWN_PATHS
from fastproxy.settings.flags import SHORT
from fastproxy.settings.foreign import SECTIONS
from fastproxy.settings.options import Settings
from fastproxy.settings.reader import key_of

HEAD = """# Settings

Made by `python -m fastproxy.settings.reference > docs/settings.md`; do not edit.

A TOML file, named by `--configfile` (or by its directory), else `fastproxy.toml` or `traefik.toml` in `/etc/fastproxy`, `/etc/traefik`, `$HOME/.traefik` or the current directory.
The names are those of Traefik 1.7; their case does not matter.
A duration is a number of seconds, or text such as `"10s"`, `"1m30s"` or `"250ms"`.
`fastproxy check` names everything that is wrong with a file and a command line, as `fastproxy run` would.
An unknown key is a warning; it is refused where somebody counts on it (users, white lists, certificates).
`/ping` and `/ready` stay open on an entry point with authentication or a white list, as in Traefik 1.7.

## On the command line

Every option is a flag, named by its path in any case: `ingressClass` in `[kubernetes]` is `--kubernetes.ingressclass=edge`.
Flags win over the file. An unknown one is refused. Short ones: {short}.

* A switch alone is on (`--debug`, `--insecureskipverify`), and so is a table (`--kubernetes`, `--api`, `--retry`); `=false` switches it off. Other values follow `=` or a blank.
* A list is parted by commas (`--defaultentrypoints=http,https`); a flag given twice makes it longer. Names with modes: `--accesslog.fields.names="Username=drop Hostname=keep"`.
* An entry point is one text: `--entryPoints='Name:https Address::443 TLS:/a.crt,/a.key;/b.crt,/b.key Redirect.EntryPoint:http Compress:true'`. Its keys are the paths below `[entryPoints.NAME]`, with `.` or `_`, and {own}. `TLS` alone means certificates of Secrets. True is `true`, `enable` or `on`.

## Sections of Traefik 1.7 that are not here

| Section | What becomes of it |
|---|---|
{sections}
"""


def head() -> str:
    """Return what stands before the tables."""
    short = ", ".join(f"`-{letter}` = `--{name}`" for letter, name in SHORT.items())
    own = ", ".join(f"`{key}` (`{path}`)" for key, path in OWN_PATHS.items())
    sections = "\n".join(
        f"| {', '.join(f'`{key}`' for key in section.keys)} |"
        f" {'refused' if section.refused else 'a warning'}: {section.sentence} |"
        for section in SECTIONS
    )
    return HEAD.format(short=short, own=own, sections=sections)


def document() -> str:
    """Return the page."""
    parts = [head()]
    for path, cls in tables(Settings, ""):
        parts.append(f"\n## `[{path}]`\n" if path else "\n## At the top of the file\n")
        parts.append("| Option | Type | Default | Meaning |\n|---|---|---|---|")
        parts += [_row(cls, field, hint) for field, hint in _fields(cls)]
    return "\n".join(parts) + "\n"


def tables(cls: type, path: str) -> Iterator[tuple[str, type]]:
    """Yield every table with its path, outer ones first."""
    yield path, cls
    for field, hint in _fields(cls):
        inner = _table_of(hint)
        if inner is not None:
            below = f"{path}.{key_of(field)}".lstrip(".")
            yield from tables(
                inner, f"{below}.NAME" if typing.get_origin(hint) is Mapping else below
            )


def _fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in options_of(cls)]


def _table_of(hint: Any) -> type | None:
    for candidate in (hint, *typing.get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _row(cls: type, field: dataclasses.Field[Any], hint: Any) -> str:
    return f"| `{key_of(field)}` | {_type(hint)} | {_default(field, hint)} | {field.metadata['meaning']} |"


def _type(hint: Any) -> str:
    if _table_of(hint) is not None:
        return "list of tables" if typing.get_origin(hint) is tuple else "table"
    if typing.get_origin(hint) is tuple:
        return "list of numbers" if typing.get_args(hint)[0] is float else "list of texts"
    if typing.get_origin(hint) is Mapping:
        return "table of texts"
    return {bool: "true, false", int: "number", float: "duration", str: "text"}.get(hint, "any")


def _default(field: dataclasses.Field[Any], hint: Any) -> str:
    value: Any = field.default
    if _table_of(hint) is not None or typing.get_origin(hint) is Mapping or value is None:
        return "-"
    if isinstance(value, tuple):
        return "`[" + ", ".join(_literal(item) for item in value) + "]`"
    if hint is float:
        return f'`"{durations.format_duration(round(float(value) * durations.SECOND))}"`'
    return f"`{_literal(value)}`"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.stdout.write(document())
