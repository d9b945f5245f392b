"""One `--entryPoints` of Traefik 1.7: `Name:https Address::443 TLS:a.crt,a.key Compress:true`.

Words are parted by blanks, a key from its value by the first colon; the parts of a key by `.` or
`_`. A key is a TOML path below `[entryPoints.NAME]`, but for those in `OWN_PATHS`.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from fastproxy.settings.options import EntryPoint
from fastproxy.settings.reader import fields_of, table_in

TRUE = ("true", "enable", "on")  # everything else is false
OWN_PATHS: Mapping[str, str] = {
    "ca": "tls.clientca.files",
    "ca.optional": "tls.clientca.optional",
    "tls.defaultcertificate.cert": "tls.defaultcertificate.certfile",
    "tls.defaultcertificate.key": "tls.defaultcertificate.keyfile",
}


def parse_entry_point(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the table of an entry point; raises ValueError with a sentence."""
    if text[:1] in "'\"" and text[:1] == text[-1:]:
        text = text[1:-1]  # quotes of a shell that was never there
    name = ""
    table: dict[str, Any] = {}
    for word in text.split():
        key, colon, value = word.partition(":")
        path = key.lower().replace("_", ".")
        if path == "name":
            name = value
        elif path == "tls":
            _put(table, ["tls"], {})
            if value:
                _put(table, ["tls", "certificates"], _pairs(value))
        else:
            parts = OWN_PATHS.get(path, path).split(".")
            _put(table, parts, _value(parts, value if colon else ""))
    if not name:
        raise ValueError(f'{text!r} has no name; write for example "Name:http Address::80"')
    return name, table


def _put(table: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        below = table.get(key)
        if not isinstance(below, dict):
            below = table[key] = {}
        table = below
    if value != {} or not isinstance(table.get(path[-1]), dict):
        table[path[-1]] = value


def _pairs(text: str) -> list[dict[str, str]]:
    """`cert,key;cert,key`."""
    pairs = (pair.partition(",") for pair in text.split(";") if pair)
    return [{"certFile": cert, "keyFile": key} for cert, _, key in pairs]


def _value(path: list[str], text: str) -> Any:
    """The text as TOML would have it; of a key that nobody knows, the text itself."""
    cls: Any = EntryPoint
    hint: Any = None
    for part in path:
        if cls is None or part not in fields_of(cls):
            return text
        _, hint = fields_of(cls)[part]
        cls = table_in(hint)
    if cls is not None:
        return {}
    if hint is bool:
        return text.lower() in TRUE
    if typing.get_origin(hint) is tuple:
        return [item for item in text.split(",") if item]
    return text
