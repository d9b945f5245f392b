"""How annotation values are read: the types of `provider.md` 5.1.

Every function takes the text of an annotation and returns a value, or raises ValueError with a
sentence that names the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import yaml

from fastproxy.feature import Annotation, OnInvalid

T = TypeVar("T")

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))

# YAML 1.1 (go-yaml v2) has more words for booleans than the annotations themselves.
YAML_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
YAML_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
YAML_NULL = frozenset(("", "~", "null", "Null", "NULL"))

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
INTEGER = re.compile(r"[+-]?[0-9]+")


def shown(text: str) -> str:
    """A value as it may stand in a sentence: quoted, cut. Only of an annotation that is `public`:
    findings go to the log, to Events and to `/api/findings`."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def text(value: str) -> str:
    return value


def flag(
    name: str, doc: str, *, example: str = "true", aliases: tuple[str, ...] = ()
) -> Annotation[bool]:
    """Declare an annotation that is true or false, false by default."""
    return Annotation(
        name=name,
        parse=boolean,
        default=False,
        doc=doc,
        example=example,
        aliases=aliases,
        public=True,
    )


def as_written(
    name: str,
    doc: str,
    example: str,
    *,
    parse: Callable[[str], str] = text,
    on_invalid: OnInvalid = OnInvalid.DEFAULT,
    aliases: tuple[str, ...] = (),
    quoted: bool = False,
    public: bool = False,
    unusable: OnInvalid | None = None,
) -> Annotation[str]:
    """Declare an annotation that is text, empty by default; `parse` may refuse or change it."""
    return Annotation(
        name,
        parse,
        "",
        doc,
        example,
        aliases,
        on_invalid,
        unusable=unusable,
        public=public,
        quoted=quoted,
    )


def boolean(value: str) -> bool:
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ValueError(f'{shown(value)} is not a boolean; write "true" or "false" in quotes')


def integer(value: str) -> int:
    if not INTEGER.fullmatch(value) or abs(int(value[:40])) >= 1 << 63:
        raise ValueError(f'{shown(value)} is not a whole number; write digits in quotes, e.g. "30"')
    return int(value)


def comma_list(value: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


class HeaderMap(NamedTuple):
    """`pairs` in the order of the keys' first appearance; `ignored` are the numbers of items that
    are no pair, the first is 1."""

    pairs: tuple[tuple[str, str], ...] = ()
    ignored: tuple[int, ...] = ()


def canonical(name: str) -> str:
    """`content-type` -> `Content-Type` (textproto.CanonicalMIMEHeaderKey of Go); a name that is no
    header name stays as it is."""
    if not TOKEN.fullmatch(name):
        return name
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


def header_map(value: str) -> HeaderMap:
    """`Name: value || Name2: value2`; later duplicates win. Items without `:`, and names or values
    that cannot stand in a header, are set aside; ValueError when no item is left."""
    pairs: dict[str, str] = {}
    ignored = []
    for number, item in enumerate(value.split("||"), 1):
        name, colon, content = (part.strip() for part in item.partition(":"))
        if not colon or not TOKEN.fullmatch(name) or any(c in content for c in "\r\n\0"):
            ignored.append(number)
        else:
            pairs[canonical(name)] = content
    if not pairs:
        raise ValueError("the value holds no header; write `Name: value || Name2: value2`")
    return HeaderMap(tuple(pairs.items()), tuple(ignored))


def yaml_mapping(value: str) -> Mapping[str, Any]:
    """A YAML mapping whose scalars are all still text (so that `1.50` stays `1.50`)."""
    try:
        document = yaml.load(value, Loader=yaml.BaseLoader)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"is not YAML{where}; check indentation and quotes") from None
    except RecursionError:
        raise ValueError("is nested too deeply; see the example of this annotation") from None
    if document is None:
        return {}
    return mapping(document, "the value")


def mapping(node: object, what: str) -> Mapping[str, Any]:
    if isinstance(node, str) and node in YAML_NULL:
        return {}
    if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
        raise ValueError(f"{what} is not a YAML mapping; write `key: value` lines")
    return node


def scalar(node: object, what: str) -> str:
    if not isinstance(node, str):
        raise ValueError(f"{what} is not a single value; write `{what}: value`")
    return "" if node in YAML_NULL else node


def yaml_boolean(node: object, what: str) -> bool:
    word = scalar(node, what)
    if word in YAML_TRUE:
        return True
    if word in YAML_FALSE or not word:
        return False
    raise ValueError(f"{what} is {shown(word)}, which is not a boolean; write true or false")


def yaml_integer(node: object, what: str) -> int:
    word = scalar(node, what).replace("_", "")
    if not word:
        return 0
    try:
        number = int(word, 8) if re.fullmatch(r"[+-]?0[0-7]+", word) else int(word[:40], 0)
    except ValueError:
        number = 1 << 63
    if abs(number) >= 1 << 63:
        raise ValueError(f"{what} is {shown(word)}, which is not a whole number")
    return number


def yaml_texts(node: object, what: str) -> tuple[str, ...]:
    if isinstance(node, str) and node in YAML_NULL:
        return ()
    if not isinstance(node, list):
        raise ValueError(f'{what} is not a list; write `{what}: ["...", "..."]`')
    return tuple(scalar(item, what) for item in node)


def read_field(
    node: Mapping[str, Any], name: str, read: Callable[[object, str], T], default: T
) -> T:
    """One field of a YAML mapping; absent = `default`."""
    return read(node[name], name) if name in node else default
