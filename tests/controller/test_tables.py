"""The worked tables of `provider.md` 5.4 to 5.8, as data in tests/cases/tables."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controller.kubernetes.objects import KubernetesObject, parse_kind
from controller.snapshot.snapshot import Snapshot
from controller.translate.contributors import translate
from controller.translate.translator import Translation
from tests.support.cases import FOLDER, settings

SETTINGS = settings({})
NOTES = ("rule-type", "rewrite-target", "request-modifier", "priority", "frontend-entry-points")


def table(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = yaml.safe_load((FOLDER / f"tables/{name}.yaml").read_text())
    return rows


def named(kind: str, name: str, annotations: dict[str, str] | None = None, **body: Any) -> Any:
    return parse_kind(kind, {"metadata": {"name": name, "annotations": annotations}, **body})


def ingress(
    host: str, items: list[dict[str, Any]], annotations: dict[str, str]
) -> KubernetesObject:
    full = {f"ingress.kubernetes.io/{name}": value for name, value in annotations.items()}
    rules = [{"host": host, "http": {"paths": items}}]
    found: KubernetesObject = named("Ingress", "a", full, spec={"rules": rules})
    return found


def item(path: str, service: str, port: object = 80, kind: str | None = None) -> dict[str, Any]:
    reference = {"number": port} if isinstance(port, int) else {"name": port}
    backend = {"service": {"name": service, "port": reference}}
    return {"path": path, "pathType": kind, "backend": backend}


def one_item(row: dict[str, Any], service: str = "s") -> Translation:
    notes = {name: row[name] for name in NOTES if name in row}
    path = item(row.get("path", ""), service, kind=row.get("type"))
    return translate(
        Snapshot.of(
            [
                ingress(row.get("host", ""), [path], notes),
                named("Service", service, spec={"ports": [{"port": 80}]}),
                named("Endpoints", service, subsets=[{"addresses": [{"ip": "10.0.0.1"}]}]),
            ]
        ),
        SETTINGS,
    )


@pytest.mark.parametrize("row", table("rules"), ids=str)
def test_rules(row: dict[str, Any]) -> None:
    # The texts are written down so that the sum of their lengths can be checked by eye.
    assert sum(len(text.encode()) for text in row["texts"]) == row["length"]
    (route,) = one_item(row).desired.routes
    assert route.priority == row["length"]


@pytest.mark.parametrize("row", table("names"), ids=str)
def test_names(row: dict[str, Any]) -> None:
    desired = one_item(row, row["service"]).desired
    assert [route.name for route in desired.routes] == [row["name"]]
    assert [backend.name for backend in desired.backends] == [row["name"]]


@pytest.mark.parametrize("row", table("weights"), ids=str)
def test_weights(row: dict[str, Any]) -> None:
    items = [item(path, name) for path, names in row["paths"].items() for name in names]
    objects = [ingress("h", items, {"service-weights": row["given"]})]
    hosts: dict[str, str] = {}
    for number, (name, pods) in enumerate(row["pods"].items()):
        external = {"type": "ExternalName", "externalName": f"{name}.example"}
        spec = {"ports": [{"port": 80}], **(external if pods == "external" else {})}
        objects.append(named("Service", name, spec=spec))
        ips = [f"10.0.{number}.{pod}" for pod in range(0 if pods == "external" else pods)]
        objects.append(
            named("Endpoints", name, subsets=[{"addresses": [{"ip": ip} for ip in ips]}])
        )
        hosts |= dict.fromkeys([*ips, f"{name}.example"], name)
    found = translate(Snapshot.of(objects), SETTINGS)
    if "code" in row:
        assert row["code"] in [finding.code for finding in found.findings]
        assert not found.desired.routes
        return
    weights = {
        backend.name.removeprefix("h"): {hosts[e.host]: e.weight for e in backend.endpoints}
        for backend in found.desired.backends
    }
    assert weights == row["weights"]


@pytest.mark.parametrize("row", table("ports"), ids=str)
def test_ports(row: dict[str, Any]) -> None:
    notes = {"protocol": row["protocol"]} if "protocol" in row else {}
    backend = {"serviceName": "s", "servicePort": row["port"]}
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": row["endpoints"]}
    found = translate(
        Snapshot.of(
            [
                ingress("h", [{"path": "/", "backend": backend}], notes),
                named("Service", "s", spec={"ports": row["service"]}),
                named("Endpoints", "s", subsets=[subset]),
            ]
        ),
        SETTINGS,
    )
    (backend_found,) = found.desired.backends
    assert [endpoint.url for endpoint in backend_found.endpoints] == row["urls"]
    if "code" in row:
        assert row["code"] in [finding.code for finding in found.findings]
