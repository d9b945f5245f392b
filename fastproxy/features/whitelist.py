"""Let only some client addresses through.

Answers 403 unless the client's address (or, when asked for, one in `X-Forwarded-For`) lies in one
of the ranges.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import comma_list, flag, shown
from fastproxy.engine.operations.writer import AllowNetworks, Operation
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model import findings
from fastproxy.model.configuration import Config

RANGES: Annotation[tuple[str, ...]] = Annotation(
    name="whitelist-source-range",
    parse=comma_list,
    default=(),
    doc="Comma-separated addresses and ranges (CIDR) that may use the routes; everybody else gets "
    "403. The option `kubernetes.whitelistInvalid` says what an ill-formed range does.",
    example="10.0.0.0/8, 192.0.2.7, fe80::/16",
    on_invalid=OnInvalid.DROP,
    public=True,
)
FORWARDED = flag(
    "whitelist-x-forwarded-for",
    "Look at the addresses in X-Forwarded-For first, when the entry point trusts the peer.",
)


@dataclass(frozen=True, slots=True)
class Whitelist(Config):
    networks: tuple[tuple[bytes, int], ...]  # 16-byte address, prefix bits (see AllowNetworks)
    forwarded: bool = False


def network(text: str) -> tuple[bytes, int]:
    """IPv4 becomes IPv4-mapped IPv6, host bits are masked; ValueError with a sentence."""
    _, slash, bits = text.partition("/")
    try:
        if "%" in text or (slash and not bits.isdecimal()):
            raise ValueError("a zone or a netmask")  # Go's net.ParseCIDR knows neither
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{shown(text)} is neither an address nor a range; write for example 10.0.0.0/8 or "
            "192.0.2.7"
        ) from None
    if isinstance(found, ipaddress.IPv4Network):
        return bytes(10) + b"\xff\xff" + found.network_address.packed, 96 + found.prefixlen
    return found.network_address.packed, found.prefixlen


def read(notes: Notes, refs: Refs) -> Whitelist | None:
    """FIX 15: one ill-formed range permits all sources, as documented for 1.7, or drops the route,
    as the 1.7 binary does."""
    ranges = notes.get(RANGES)
    if not ranges:
        there = RANGES if notes.has(RANGES) else FORWARDED
        if notes.has(RANGES) or notes.get(FORWARDED):
            notes.warn(
                there,
                f"names no address; write for example {RANGES.name}: {RANGES.example}",
                "Everybody may enter.",
                findings.ANNOTATION_UNPROTECTED,
            )
        return None
    try:
        return Whitelist(tuple(network(text) for text in ranges), notes.get(FORWARDED))
    except ValueError as problem:
        if refs.whitelist_invalid == "drop":
            raise Invalid(RANGES.name, str(problem), OnInvalid.DROP) from None
        sentence = f"{problem}; until then the white list is void and everybody may enter"
        raise Invalid(RANGES.name, sentence, OnInvalid.OFF) from None


def build(config: Whitelist, context: BuildContext) -> Sequence[Operation]:
    return [AllowNetworks(config.networks, config.forwarded)]


FEATURE = Feature(
    name="White list",
    scope=Scope.INGRESS,
    annotations=(RANGES, FORWARDED),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Whitelist,
    build=build,
    doc=__doc__ or "",
)
