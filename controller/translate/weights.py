"""Weights of endpoints from the annotation service-weights (`provider.md` 5.8).

The arithmetic of one path is `fastproxy.features.weights.shares`; here are the counts it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controller.kubernetes.objects import Ingress, Service, Subset
from controller.translate.endpoints import count_addresses
from fastproxy.feature import Invalid
from fastproxy.features.weights import Weights, shares
from fastproxy.model import findings
from fastproxy.model.findings import Finding

Weighed = Mapping[tuple[str, str, str], int]  # (host, path, service) -> weight of each endpoint
FindService = Callable[[str], Service | None]
FindSubsets = Callable[[str], Sequence[Subset] | None]


def weigh(
    ingress: Ingress, config: Weights, service_of: FindService, subsets_of: FindSubsets, field: str
) -> Weighed | Finding:
    """Weigh all paths of an Ingress; a Finding means that the whole Ingress is skipped."""
    items: dict[tuple[int, str], list[str]] = {}
    for number, rule in enumerate(ingress.rules):
        for item in rule.paths or ():
            if item.backend is not None:
                items.setdefault((number, item.path), []).append(item.backend.service)
    weights: dict[tuple[str, str, str], int] = {}
    for (number, path), services in items.items():
        host = ingress.rules[number].host
        counted = []
        for name in services:
            count = _instances(service_of(name), subsets_of(name))
            if count is None:
                return findings.WEIGHT_COUNT_UNKNOWN(ingress.reference, field, service=name)
            counted.append((name, count))
        try:
            found = shares(config, counted)
        except Invalid as problem:
            kind = findings.WEIGHT_SUM
            return kind(ingress.reference, field, host=host, path=path, sentence=problem.sentence)
        weights.update({(host, path, name): weight for name, weight in found.items()})
    return weights


def _instances(service: Service | None, subsets: Sequence[Subset] | None) -> int | None:
    """1 for ExternalName, else the addresses over all subsets; ports do not matter."""
    if service is None:
        return None
    if service.external_name is not None:
        return 1
    return None if subsets is None else count_addresses(subsets)
