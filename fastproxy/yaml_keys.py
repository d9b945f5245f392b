"""Keys in the YAML value of an annotation which nobody reads, or which stand there twice.

Traefik 1.7 ignores both in silence. The keys are all lower-case, while its documentation of TOML
writes them in camel case, and so do people: `rateSet` is a limit that is not there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

ANY = "*"


def unread_keys(text: str, shape: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences without a full stop, one for each key; none when the text is no YAML mapping."""
    try:
        node = yaml.compose(text, Loader=yaml.CBaseLoader)
    except (yaml.YAMLError, RecursionError):
        return ()
    return tuple(dict.fromkeys(_walk(node, shape, shape, ())))


def _walk(
    node: yaml.Node | None, shape: Mapping[str, Any], whole: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[str]:
    if not isinstance(node, yaml.MappingNode) or len(at) > 8:
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name = str(key.value)
        if name in seen:
            yield f"the key `{name}` stands there twice, and the last one counts"
        seen.add(name)
        if name not in shape and ANY not in shape:
            yield f"nobody reads the key `{_short(name)}`; {_instead(name, shape, whole, at)}"
            continue
        below = shape.get(name, shape.get(ANY))
        if below is not None:
            yield from _walk(value, below, whole, (*at, name))


def _instead(
    name: str, shape: Mapping[str, Any], whole: Mapping[str, Any], at: tuple[str, ...]
) -> str:
    plain = {known.replace("-", "").replace("_", ""): known for known in shape}
    same = plain.get(name.lower().replace("-", "").replace("_", ""))
    if same:
        return f"write `{same}`"
    elsewhere = [path for path in _paths(whole) if path[-1] == name.lower()]
    if elsewhere:
        return f"it belongs at `{'.'.join(elsewhere[0]).replace(ANY, 'NAME')}`"
    close = difflib.get_close_matches(name.lower(), list(shape), n=1, cutoff=0.75)
    if close:
        return f"write `{close[0]}`"
    below = f" below `{'.'.join(at)}`" if at else ""
    return f"the keys{below} are {', '.join(shape)}"


def _paths(shape: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, below in shape.items():
        yield (*at, name)
        if below:
            yield from _paths(below, (*at, name))


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
