"""Read one feature's annotations as the translation does, for tables of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastproxy.feature import PREFIXES, BuildContext, Feature, Invalid, OnInvalid
from fastproxy.features import KNOWN_ANNOTATIONS
from fastproxy.model.configuration import Backend, Config, Route
from fastproxy.notes import ObjectNotes


@dataclass(frozen=True)
class Refs:
    path: str = "/"
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    entry_points: Mapping[str, Any] = field(default_factory=lambda: {"http": None, "https": None})

    whitelist_invalid: str = "allow"
    enable_pass_tls_cert: bool = False

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        return self.secrets.get(name)


@dataclass(frozen=True)
class Bad:
    """What a bad value does; `part` must stand in the sentence."""

    effect: OnInvalid
    part: str = ""


def spelt(name: str, spelling: str) -> str:
    """The full key of a short name: "ingress" and "traefik" are the two prefixes, "legacy" the
    names of 1.3 to 1.6 where there is one."""
    keys = [key for key in KNOWN_ANNOTATIONS if key.endswith(f"/{name}")]
    if spelling == "legacy" and keys and (aliases := KNOWN_ANNOTATIONS[keys[0]].aliases):
        return aliases[0]
    prefix = PREFIXES[1] if spelling == "traefik" else PREFIXES[0]
    return prefix + name


def full(annotations: Mapping[str, str], spelling: str = "ingress") -> dict[str, str]:
    """Short names get a prefix; names with a `/` or a dot are full keys."""
    return {
        key if "/" in key or "." in key else spelt(key, spelling): value
        for key, value in annotations.items()
    }


def outcome(
    feature: Feature, annotations: Mapping[str, str], refs: Refs | None = None
) -> Config | Bad | None:
    """The configuration, or what refused it. A value replaced by its default or a warning shows
    as `Bad` only when nothing is configured; see `problems`."""
    notes = ObjectNotes(full(annotations))
    try:
        return feature.read(notes, refs or Refs())
    except Invalid as problem:
        return Bad(problem.effect, problem.sentence)


def problems(
    feature: Feature, annotations: Mapping[str, str], refs: Refs | None = None
) -> list[tuple[OnInvalid | None, str]]:
    """Effect and sentence of everything recorded or raised."""
    notes = ObjectNotes(full(annotations))
    raised = []
    try:
        feature.read(notes, refs or Refs())
    except Invalid as problem:
        raised.append((problem.effect, problem.sentence))
    return [(problem.effect, problem.sentence) for problem in notes.problems] + raised


def assert_outcome(found: Config | Bad | None, expected: Config | Bad | None) -> None:
    if isinstance(expected, Bad):
        assert isinstance(found, Bad), found
        assert found.effect is expected.effect
        assert expected.part in found.part
    else:
        assert found == expected


def route(*configs: Config, **values: Any) -> Route:
    defaults: dict[str, Any] = {
        "name": "shop.example/cart",
        "entry_points": ("http",),
        "matchers": (),
        "priority": 10,
        "backend": "shop.example/cart",
    }
    return Route(configs=configs, **{**defaults, **values})


def context(**values: Any) -> BuildContext:
    counted: list[tuple[str, int]] = []

    def counters(kind: str, size: int) -> int:
        counted.append((kind, size))
        return len(counted) - 1

    defaults: dict[str, Any] = {
        "route": route(),
        "backend": Backend("shop.example/cart"),
        "entry_point": "http",
        "entry_points": {},
        "counters": counters,
    }
    return BuildContext(**{**defaults, **values})
