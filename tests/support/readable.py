"""A translation in the form in which the files of `tests/cases` write it."""

from __future__ import annotations

import dataclasses
from typing import Any

from controller.translate.translator import Translation
from fastproxy.model.configuration import Config, Endpoint, Route
from fastproxy.model.matchers import Matcher


def readable(translation: Translation) -> dict[str, Any]:
    desired = translation.desired
    sections: dict[str, Any] = {
        "routes": {route.name: _route(route) for route in desired.routes},
        "backends": {
            backend.name: {
                "endpoints": [_endpoint(endpoint) for endpoint in backend.endpoints],
                **({"configs": list(map(_config, backend.configs))} if backend.configs else {}),
                **({"method": backend.method} if backend.method != "wrr" else {}),
            }
            for backend in desired.backends
        },
        "certificates": {c.name: list(c.entry_points) for c in desired.certificates},
        "findings": [f"{f.code} {f.object} {f.field}" for f in translation.findings],
    }
    return {name: section for name, section in sections.items() if section}


def _route(route: Route) -> dict[str, Any]:
    return {
        "entry_points": list(route.entry_points),
        "match": [_matcher(matcher) for matcher in route.matchers],
        "priority": route.priority,
        "backend": route.backend,
        **({} if route.preserve_host else {"preserve_host": False}),
        **({"configs": list(map(_config, route.configs))} if route.configs else {}),
    }


def _matcher(matcher: Matcher) -> str:
    values = []
    for item in dataclasses.fields(matcher):
        value = getattr(matcher, item.name)
        if isinstance(value, tuple):
            values += [str(part) for part in value]
        elif value:
            values.append(item.name)
    return f"{type(matcher).__name__}: {', '.join(values)}"


def _endpoint(endpoint: Endpoint) -> str:
    return endpoint.url + (f" weight {endpoint.weight}" if endpoint.weight != 1 else "")


def _config(config: Config) -> str:
    changed = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value != item.default:
            changed.append(f"{item.name}={value!r}")
    return f"{type(config).__name__}({', '.join(changed)})"
