"""Share the traffic of one path between several Services in per cent.

Every endpoint gets a weight, in thousandths of a per cent (`provider.md` 5.8). The translation
knows the endpoints; it calls `shares` for each rule and path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from fastproxy.annotation_values import scalar, shown, yaml_mapping
from fastproxy.feature import Annotation, Feature, Invalid, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config

ALL = 100_000  # units of 1/1000 per cent
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def units(value: str) -> int:
    """`2.5%` -> 2500; further digits are cut off."""
    number = value.strip().removesuffix("%").strip()
    if not NUMBER.fullmatch(number) or Decimal(number) < 0 or Decimal(number) > 1000:
        raise ValueError(f"{shown(value)} is not a percentage; write a number from 0 to 100")
    return int((Decimal(number) * 1000).to_integral_value(ROUND_DOWN))


def percentages(value: str) -> tuple[tuple[str, int], ...]:
    found = yaml_mapping(value)
    return tuple(sorted((service, units(scalar(found[service], service))) for service in found))


SERVICE_WEIGHTS: Annotation[tuple[tuple[str, int], ...]] = Annotation(
    name="service-weights",
    parse=percentages,
    default=(),
    doc="Percentages of the traffic of each path for its Services; Services left out share the "
    "rest by their number of endpoints.",
    example="shop-canary: 2.5%\nshop-beta: 10\n",
    on_invalid=OnInvalid.INGRESS,
    keys_inside={"*": None},
    public=True,
)


@dataclass(frozen=True, slots=True)
class Weights(Config):
    units: tuple[tuple[str, int], ...]  # (Service name, thousandths of a per cent)


def read(notes: Notes, refs: Refs) -> Weights | None:
    """Not None as soon as the annotation is present, even when empty: then all Services share."""
    return Weights(notes.get(SERVICE_WEIGHTS)) if notes.has(SERVICE_WEIGHTS) else None


def shares(config: Weights, items: Sequence[tuple[str, int]]) -> Mapping[str, int]:
    """Weight of every endpoint by Service, for the items of one rule and path.

    `items`: (Service, number of its addresses; 1 for ExternalName), in the order of the Ingress;
    a repeated Service adds its count again. Raises `Invalid` when the sum is not 100 %.
    """
    given = dict(config.units)
    counts: dict[str, int] = {}
    for service, count in items:
        counts[service] = counts.get(service, 0) + count
    weights: dict[str, int] = {}
    rest = ALL
    for service, _ in items:
        if service in given:
            weights[service] = given[service] // counts[service] if counts[service] else 0
            rest -= given[service]
    omitted = [service for service in counts if service not in given]
    if rest < 0 or (rest > 0 and not omitted):
        raise Invalid(
            SERVICE_WEIGHTS.name,
            f"the percentages of one path add up to {Decimal(ALL - rest) / 1000:f} % instead of "
            "100 %; correct them or leave one Service out",
            OnInvalid.INGRESS,
        )
    instances = sum(counts[service] for service in omitted)
    for service in omitted:
        weights[service] = rest // instances if instances else 0
    return weights


FEATURE = Feature(
    name="Service weights",
    scope=Scope.INGRESS,
    annotations=(SERVICE_WEIGHTS,),
    read=read,
    on_invalid=OnInvalid.INGRESS,
    config=Weights,
    doc=__doc__ or "",
)
