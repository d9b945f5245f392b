"""All features, in the order in which a request meets them.

The order is that of Traefik 1.7 (`features.md` 1.1): path modifiers, error pages, white list,
redirects, custom request headers, security headers, client certificate, auth, circuit breaker,
buffering, connection limit, rate limit, balancing. Operations on the response stand in it too:
custom response headers come behind the security headers and win over them.
"""

from __future__ import annotations

from typing import Any

from fastproxy.feature import Annotation, Feature, OnInvalid
from fastproxy.features import (
    affinity,
    api,
    auth,
    balancing,
    buffering,
    circuit_breaker,
    client_cert,
    entry_points,
    error_pages,
    flush_interval,
    headers,
    max_conn,
    metrics,
    pass_tls_cert,
    path_rules,
    preserve_host,
    priority,
    protocol,
    rate_limit,
    redirect,
    secure_headers,
    weights,
    whitelist,
)
from fastproxy.model.configuration import Config

FEATURES: tuple[Feature, ...] = (
    # What only changes the values of route and backend.
    priority.FEATURE,
    entry_points.FEATURE,
    preserve_host.FEATURE,
    protocol.FEATURE,
    weights.FEATURE,
    balancing.FEATURE,
    flush_interval.FEATURE,
    # The pipeline.
    path_rules.FEATURE,
    error_pages.FEATURE,
    whitelist.FEATURE,
    redirect.FEATURE,
    headers.REQUEST,
    secure_headers.FEATURE,
    headers.RESPONSE,
    client_cert.FEATURE,
    auth.FEATURE,
    circuit_breaker.FEATURE,
    buffering.FEATURE,
    max_conn.FEATURE,
    rate_limit.FEATURE,
    affinity.FEATURE,
    pass_tls_cert.FEATURE,
    # Answers of our own.
    api.FEATURE,
    metrics.FEATURE,
)

FEATURE_OF: dict[type[Config], Feature] = {feature.config: feature for feature in FEATURES}

# Read by the controller itself; listed so that they are known.
INGRESS_CLASS: Annotation[str] = Annotation(
    name="kubernetes.io/ingress.class",
    parse=str,
    default="",
    doc="Only Ingresses of the configured class are served (`provider.md` 4.2).",
    example="traefik",
    aliases=("kubernetes.io/ingress.class", "traefik.kubernetes.io/ingress.class"),
    on_invalid=OnInvalid.INGRESS,
    prefixed=False,
    quoted=True,
)


def known_annotations() -> dict[str, Annotation[Any]]:
    annotations = [INGRESS_CLASS, *(a for feature in FEATURES for a in feature.annotations)]
    return {key: annotation for annotation in annotations for key in annotation.keys}


# Every full key some feature reads; what stands under our prefixes and is not here is misspelt.
KNOWN_ANNOTATIONS: dict[str, Annotation[Any]] = known_annotations()
