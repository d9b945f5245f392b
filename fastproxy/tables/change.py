"""What a generation brings besides its table block, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastproxy.model.configuration import Certificate, Endpoint

if TYPE_CHECKING:
    from fastproxy.feature import Filter


@dataclass(frozen=True, slots=True)
class BackendSpecification:
    """One live backend: a balancer with its endpoints, for one route on one entry point."""

    name: str
    method: str  # "wrr" or "drr"
    endpoints: tuple[Endpoint, ...]
    statistics_slot: int  # in shared memory; drr and breaker
    certificate_of: str = ""  # pass-tls-cert: the entry point whose certificate is shown

    def __reduce__(self) -> tuple[Any, ...]:
        values = (self.name, self.method, self.endpoints, self.statistics_slot)
        return BackendSpecification, (*values, self.certificate_of)


@dataclass(frozen=True, slots=True)
class Change:
    """What a generation changes besides the table block; slots are given out by the publisher and
    stay with a thing for as long as its specification is equal."""

    filters: Mapping[int, Filter] = field(default_factory=dict)
    removed_filters: tuple[int, ...] = ()
    backends: Mapping[int, BackendSpecification] = field(default_factory=dict)
    removed_backends: tuple[int, ...] = ()
    certificates: Mapping[int, Certificate] = field(default_factory=dict)
    removed_certificates: tuple[int, ...] = ()
