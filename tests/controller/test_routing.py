"""Ingresses through translation and the compiled matcher: which Service does a request reach?"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controller.kubernetes.objects import parse_kind
from controller.snapshot.snapshot import Snapshot
from controller.translate.contributors import translate
from fastproxy._core import build_matcher, match
from tests.support.cases import FOLDER, settings

ROWS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "tables/routing.yaml").read_text())


def ingress(name: str, items: list[list[str]], row: dict[str, Any], **spec: Any) -> Any:
    rules = [
        {"host": host, "http": {"paths": [{"path": path, "pathType": kind, **backend(service)}]}}
        for host, path, kind, service in items
    ]
    metadata = {"name": name, "annotations": row.get("annotations") if name == "a" else None}
    return parse_kind("Ingress", {"metadata": metadata, "spec": {"rules": rules, **spec}})


def backend(service: str) -> dict[str, Any]:
    return {"backend": {"service": {"name": service, "port": {"number": 80}}}}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_routing(row: dict[str, Any]) -> None:
    spec = {"defaultBackend": backend(row["default"])["backend"]} if "default" in row else {}
    objects = [ingress("a", row["items"], row, **spec), ingress("b", row.get("more", []), row)]
    services = {item[3] for item in row["items"] + row.get("more", [])} | {row.get("default", "-")}
    for name in services:
        body = {"metadata": {"name": name}}
        objects.append(parse_kind("Service", {**body, "spec": {"ports": [{"port": 80}]}}))
        # The address tells which Service was reached.
        objects.append(
            parse_kind("Endpoints", {**body, "subsets": [{"addresses": [{"ip": name}]}]})
        )
    chosen = settings(row.get("settings", {}))
    desired = translate(Snapshot.of(objects), chosen).desired
    backends = {found.name: found for found in desired.backends}
    section = build_matcher(
        [
            (n, 0, route.matchers, (route.priority, route.tie_break), route.name)
            for n, route in enumerate(desired.routes)
        ]
    )
    for host, path, expected in row["requests"]:
        found = match(section, 0, host, path)
        reached = None
        if found is not None:
            (endpoint,) = backends[desired.routes[found[0]].backend].endpoints
            reached = endpoint.host
        assert (host, path, reached) == (host, path, expected)
