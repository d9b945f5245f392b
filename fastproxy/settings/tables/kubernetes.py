"""The options of `[kubernetes]`."""

from __future__ import annotations

from dataclasses import dataclass

from fastproxy.settings.declare import ignored, option


@dataclass(frozen=True, slots=True)
class IngressEndpoint:
    """What is written into the status of an Ingress; `published_service` wins."""

    hostname: str = option("", "host name to publish")
    ip: str = option("", "address to publish")
    published_service: str = option(
        "",
        "`namespace/name` of a Service whose addresses are published; wins",
    )


@dataclass(frozen=True, slots=True)
class Kubernetes:
    endpoint: str = option(
        "",
        "URL of the API server; in a cluster it only replaces the host part; outside it is "
        "mandatory",
    )
    token: str = option("", "bearer token; ignored in a cluster", secret=True)
    cert_auth_file_path: str = option(
        "",
        "PEM file with the CAs of the API server; ignored in a cluster",
    )
    namespaces: tuple[str, ...] = option((), "namespaces to watch; empty = all")
    label_selector: str = option(
        "",
        "label selector for Ingresses, e.g. `app=web,tier in (a,b),!legacy`",
        key="labelselector",
    )
    ingress_class: str = option("", "serve Ingresses of this class only")
    disable_pass_host_headers: bool = option(
        False,
        "send the endpoint's host instead of the client's, unless `preserve-host` says otherwise",
    )
    enable_pass_tls_cert: bool = option(
        False,
        "default of the deprecated annotation `pass-tls-cert`",
        key="enablePassTLSCert",
    )
    throttle_duration: float = option(0.0, "least time between two translations")
    filename: str = option("", "a Go template: accepted and reported, not rendered")
    debug_log_generated_template: bool = option(
        False,
        "log the generated configuration at level DEBUG",
    )
    watch: bool = option(True, "accepted; fastproxy always watches")
    constraints: object = ignored()
    trace: object = ignored()
    template_version: object = ignored()
    ingress_endpoint: IngressEndpoint | None = option(None, "write the status of Ingresses")
    # Own options. `allow`: a white list with a bad range permits all, as 1.7 documents; `drop`: the
    # route is not created, as 1.7 does.
    whitelist_invalid: str = option(
        "allow",
        "own option: what a white list with a bad range means. `allow`: it permits everybody, "
        "as 1.7 documents; `drop`: the route is not served, as 1.7 does",
        choices=("allow", "drop"),
    )
    route_order: str = option(
        "length",
        "own option: `length` of the rule first (1.7), or `specificity` (Gateway API)",
        choices=("length", "specificity"),
    )
