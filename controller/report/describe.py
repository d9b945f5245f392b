"""A configuration as JSON for the debug log: no credentials, no keys."""

from __future__ import annotations

from typing import Any

import orjson

from fastproxy.model.configuration import Desired


def describe(desired: Desired) -> str:
    """Give routes, backends and names of certificates (`debugLogGeneratedTemplate`)."""
    document: dict[str, Any] = {
        "backends": {
            backend.name: {
                "servers": {
                    endpoint.name or endpoint.url: {"url": endpoint.url, "weight": endpoint.weight}
                    for endpoint in backend.endpoints
                },
                "features": [type(config).__name__ for config in backend.configs],
            }
            for backend in desired.backends
        },
        "frontends": {
            route.name: {
                "entryPoints": route.entry_points,
                "backend": route.backend,
                "routes": [str(matcher) for matcher in route.matchers],
                "priority": route.priority,
                "passHostHeader": route.preserve_host,
                "features": [type(config).__name__ for config in route.configs],
            }
            for route in desired.routes
        },
        "tls": [
            {"name": certificate.name, "entryPoints": certificate.entry_points}
            for certificate in desired.certificates
        ],
    }
    return orjson.dumps(document).decode()
