"""The annotations of one Kubernetes object, as features read them.

Lookup order and string rules are those of `provider.md` 5.1 and 8: the first existing key of
`ingress.kubernetes.io/NAME`, `traefik.ingress.kubernetes.io/NAME`, legacy key wins, even when its
value is empty; a value that is a legal quoted-string body and contains a backslash is unescaped
once (Traefik 1.7 rendered every value into a TOML string).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastproxy.feature import PREFIXES, Annotation, Invalid, OnInvalid
from fastproxy.model import findings
from fastproxy.model.findings import Kind
from fastproxy.yaml_keys import unread_keys

T = TypeVar("T")

ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
BODY = re.compile(
    r"""(?: [^"\\\n] | \\ (?: ([btnfr"\\]) | u([0-9A-Fa-f]{4}) | U([0-9A-Fa-f]{8}) ) )*+""", re.X
)
ESCAPE = re.compile(r"\\(?:([btnfr\"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")


def string_body(text: str) -> str | None:
    """Unescape what stands between the double quotes of a TOML string; None when it is not legal
    there (a bare `"`, a line feed, an unknown escape)."""
    if not BODY.fullmatch(text):
        return None
    try:
        return ESCAPE.sub(_escape, text)
    except (ValueError, OverflowError):
        return None


def _escape(match: re.Match[str]) -> str:
    if match[1]:
        return ESCAPES[match[1]]
    point = int(match[2] or match[3], 16)
    if 0xD800 <= point < 0xE000:
        raise ValueError("a surrogate is not a character")
    return chr(point)


def clean(text: str) -> str:
    """The text a feature sees: unescaped when that is possible, without trailing line feeds."""
    body = string_body(text) if "\\" in text else None
    return (text if body is None else body).rstrip("\n")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to tell the user about one annotation (`key` as written on the object)."""

    key: str
    sentence: str
    effect: OnInvalid | None = None  # None: the value is in force
    kind: Kind = findings.ANNOTATION_WARNING  # with `effect` None
    outcome: str = ""  # what happens to traffic, if it is not what the catalogue says


class ObjectNotes:
    """See `fastproxy.feature.Notes`. One instance per object and translation."""

    def __init__(self, annotations: Mapping[str, str] | None) -> None:
        self._annotations = annotations or {}
        self.problems: dict[Problem, None] = {}  # an ordered set

    def key(self, annotation: Annotation[Any]) -> str | None:
        return next((key for key in annotation.keys if key in self._annotations), None)

    def has(self, annotation: Annotation[Any]) -> bool:
        return self.key(annotation) is not None

    def get(self, annotation: Annotation[T]) -> T:
        key = self.key(annotation)
        if key is None:
            return annotation.default
        raw = self._annotations[key]
        try:
            if annotation.quoted and string_body(raw) is None:
                raise ValueError(
                    "has a bare double quote, a line feed or a backslash that starts no escape; "
                    "write every backslash twice"
                )
            if annotation.keys_inside is not None:
                self._look_inside(annotation, key, clean(raw))
            return annotation.parse(clean(raw))
        except ValueError as problem:
            sentence = str(problem)
            if annotation.on_invalid is not OnInvalid.DEFAULT:
                raise Invalid(annotation.name, sentence, annotation.on_invalid) from None
            sentence = self.with_cause(key, sentence)
            self.problems[Problem(key, sentence, OnInvalid.DEFAULT)] = None
            return annotation.default

    def _look_inside(self, annotation: Annotation[Any], key: str, text: str) -> None:
        unread = unread_keys(text, annotation.keys_inside or {})
        if unread:
            self.problems[Problem(key, "; ".join(unread), kind=findings.ANNOTATION_UNREAD)] = None

    def warn(
        self,
        annotation: Annotation[Any],
        sentence: str,
        effect: str = "",
        kind: Kind = findings.ANNOTATION_WARNING,
    ) -> None:
        key = self.key(annotation) or annotation.keys[0]
        sentence = self.with_cause(key, sentence)
        self.problems[Problem(key, sentence, None, kind, effect)] = None

    def with_cause(self, key: str, sentence: str) -> str:
        """One cause is one finding: where nobody reads a key, what follows from that is added."""
        for problem in list(self.problems):
            if problem.key == key and problem.kind is findings.ANNOTATION_UNREAD:
                del self.problems[problem]
                return f"{problem.sentence}. So {sentence}"
        return sentence

    def twice(self, annotations: Iterable[Annotation[Any]]) -> Iterator[tuple[str, str]]:
        """Of annotations that are there in several spellings: (ignored key, key that counts)."""
        for annotation in annotations:
            there = [key for key in annotation.keys if key in self._annotations]
            yield from ((key, there[0]) for key in there[1:])


def misspelt(keys: Collection[str], known: Collection[str]) -> tuple[tuple[str, str | None], ...]:
    """Keys under our prefixes which no feature knows, each with the nearest known key, if any.

    `known` is `fastproxy.features.KNOWN_ANNOTATIONS`.
    """
    unknown = []
    for key in sorted(keys):
        prefix = next((p for p in (*PREFIXES, "traefik.") if key.startswith(p)), None)
        if prefix is None or key in known:
            continue
        # Compared without the prefix, which would make everything look alike.
        names = {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}
        close = difflib.get_close_matches(key.removeprefix(prefix), names, n=1, cutoff=0.75)
        near = [names[name] for name in close]
        unknown.append((key, near[0] if near else None))
    return tuple(unknown)
