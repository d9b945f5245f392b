"""Fields that nobody reads are named: misspelt, at the wrong place, or of another version."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controller.dialects.traefik.idle import idle
from controller.kubernetes.objects import (
    BackendReference,
    Ingress,
    IngressPath,
    IngressRule,
    PortReference,
)
from controller.sources.contents import read_documents

OLD, NEW = "extensions/v1beta1", "networking.k8s.io/v1"
HERE = "reads annotations here; move"
AUTH = {"ingress.kubernetes.io/auth-type": "basic"}
OLD_BACKEND = {"serviceName": "web", "servicePort": 80}
NEW_BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def ingress(version: str = OLD, metadata: Any = None, spec: Any = None, **root: Any) -> Any:
    data = {"apiVersion": version, "kind": "Ingress", "metadata": {"name": "a", **(metadata or {})}}
    return data | {"spec": spec or {}} | root


def rules(backend: Any, **path: Any) -> Any:
    return {"rules": [{"host": "a", "http": {"paths": [{"backend": backend, **path}]}}]}


BACKEND_AT = "spec.rules[0].http.paths[0].backend"

# document, (code, field, part of the sentence)
DOCUMENTS = [
    (ingress(spec=rules(OLD_BACKEND)), []),
    (ingress(NEW, spec=rules(NEW_BACKEND, pathType="Prefix")), []),
    (ingress(metadata={"annotations": AUTH}), []),
    (ingress(metadata={"annotation": AUTH}), [("FP227", "metadata.annotation", "auth-type")]),
    (ingress(metadata={"Annotations": AUTH}), [("FP227", "metadata.Annotations", "auth-type")]),
    (ingress(annotations=AUTH), [("FP227", "annotations", "auth-type")]),
    (ingress(spec={"annotations": AUTH}), [("FP227", "spec.annotations", "auth-type")]),
    (ingress(metadata=AUTH), [("FP227", "metadata.ingress.kubernetes.io/auth-type", HERE)]),
    (ingress(spec={"rule": []}), [("FP231", "spec.rule", "write rules")]),
    (ingress(spec={"rules": [{"hosts": "a"}]}), [("FP231", "spec.rules[0].hosts", "write host")]),
    (ingress(spec={"ingressclassname": "x"}), [("FP231", "spec.ingressclassname", "ClassName")]),
    (ingress(spec=rules({**OLD_BACKEND, "serviceport": 1})),
     [("FP231", f"{BACKEND_AT}.serviceport", "write servicePort")]),
    (ingress(colour=1), [("FP231", "colour", "No such field exists here.")]),
    (ingress(NEW, spec=rules(OLD_BACKEND)), [("FP232", f"{BACKEND_AT}.serviceName", "service.na")]),
    (ingress(OLD, spec=rules(NEW_BACKEND)), [("FP232", f"{BACKEND_AT}.service", "serviceName")]),
    (ingress(NEW, spec={"backend": NEW_BACKEND}), [("FP232", "spec.backend", "defaultBackend")]),
    (ingress(OLD, spec={"defaultBackend": OLD_BACKEND}), [("FP232", "spec.defaultBackend", "")]),
    ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": AUTH}},
     [("FP227", "metadata.labels[ingress.kubernetes.io/auth-type]", HERE)]),
    ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "annotations": AUTH},
     [("FP227", "annotations", "auth-type")]),
    ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
      "spec": {"anything": {"at": "all"}}}, []),
    ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotation": AUTH}}, []),
]  # fmt: skip


@pytest.mark.parametrize(("document", "wanted"), DOCUMENTS)
def test_documents(document: Any, wanted: list[tuple[str, str, str]]) -> None:
    _, found = read_documents(yaml.safe_dump(document), "a.yaml")
    assert [(f.code, f.field) for f in found] == [(code, field) for code, field, _ in wanted]
    for finding, (_, _, part) in zip(found, wanted, strict=True):
        assert part in finding.sentence
        assert finding.object.namespace == "default"


# annotations, labels, paths, (code, field, part of the sentence)
IDLE = [
    (
        {},
        AUTH,
        ["/"],
        [("FP227", "labels[ingress.kubernetes.io/auth-type]", HERE)],
    ),
    ({}, {"app": "a"}, ["/"], []),
    ({"ingress.kubernetes.io/app-root": "/x"}, {}, ["/a"], [("FP223", "app-root", "path /")]),
    ({"ingress.kubernetes.io/app-root": "/x"}, {}, ["/a", "/"], []),
    ({"ingress.kubernetes.io/app-root": "/x"}, {}, [""], []),
    ({"ingress.kubernetes.io/rewrite-target": "/x"}, {}, [""], [("FP223", "rewrite", "a path")]),
    ({"ingress.kubernetes.io/rewrite-target": "/x"}, {}, ["", "/a"], []),
    ({"ingress.kubernetes.io/rewrite-target": "/x"}, {}, [], []),
]


@pytest.mark.parametrize(("annotations", "labels", "paths", "wanted"), IDLE)
def test_what_an_ingress_asks_for_in_vain(
    annotations: dict[str, str],
    labels: dict[str, str],
    paths: list[str],
    wanted: list[tuple[str, str, str]],
) -> None:
    backend = BackendReference("web", PortReference("80", 80))
    items = tuple(IngressPath(path, "Prefix", backend) for path in paths)
    rule = IngressRule("a", items)
    item = Ingress("default", "a", annotations=annotations, labels=labels, rules=(rule,))
    found = idle(item)
    assert [finding.code for finding in found] == [code for code, _, _ in wanted]
    for finding, (_, field, part) in zip(found, wanted, strict=True):
        assert field in finding.field
        assert part in finding.sentence
