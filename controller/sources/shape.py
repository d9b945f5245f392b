"""Fields of a document that nobody reads: misspelt ones, annotations at the wrong place, and names
of another version of the API.

kubectl refuses most of them, files have them all the same, and what they were to do is not done.
The API server drops unknown fields before anybody sees them, so this is for files only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from controller.dialects.traefik.names import OUR_PREFIXES
from controller.kubernetes.objects import reference_of
from controller.sources.provenance import Place
from fastproxy.features import KNOWN_ANNOTATIONS
from fastproxy.model import findings
from fastproxy.model.findings import Finding, Kind

Shape = Mapping[str, Any]  # what stands below a key; None: not looked at; a list: items of it

PORT = dict.fromkeys(("name", "number"))
BACKEND = {
    "service": {"name": None, "port": PORT},
    "resource": None,
    "serviceName": None,
    "servicePort": None,
}
METADATA = dict.fromkeys(
    (
        "name",
        "namespace",
        "labels",
        "annotations",
        "generateName",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "selfLink",
        "clusterName",
    )
)
ROOT = {"apiVersion": None, "kind": None, "metadata": METADATA, "status": None}
PATH = {"path": None, "pathType": None, "backend": BACKEND}
INGRESS = {
    "ingressClassName": None,
    "defaultBackend": BACKEND,
    "backend": BACKEND,
    "tls": [dict.fromkeys(("hosts", "secretName"))],
    "rules": [{"host": None, "http": {"paths": [PATH]}}],
}
SHAPES: Mapping[str, Shape] = {
    "Ingress": {**ROOT, "spec": INGRESS},
    "Service": {**ROOT, "spec": None},
}
NEW = "networking.k8s.io/v1"
# Fields that only one side knows, and what the other calls them.
OLD_FIELDS = {
    "serviceName": "service.name",
    "servicePort": "service.port.number or service.port.name",
    "backend": "defaultBackend",
}
NEW_FIELDS = {"service": "serviceName and servicePort", "defaultBackend": "backend"}


class _Fault(NamedTuple):
    kind: Kind
    field: str
    values: Mapping[str, str]


def shape_findings(item: Any, place: Place) -> list[Finding]:
    """What stands in an Ingress or a Service and is read by nobody."""
    kind = item.get("kind") if isinstance(item, dict) else None
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or shape is None:
        return []
    faults = [*_unread(item, shape, ""), *_labels(item, kind)]
    if kind == "Ingress":
        faults += _of_another_version(item)
    return [
        fault.kind(
            reference_of(item),
            fault.field,
            file=place.file,
            line=place.line_of(fault.field),
            **fault.values,
        )
        for fault in faults
    ]


def _unread(node: Any, shape: Any, at: str) -> Iterator[_Fault]:
    if isinstance(shape, list):
        for number, item in enumerate(node if isinstance(node, list) else ()):
            yield from _unread(item, shape[0], f"{at}[{number}]")
    elif isinstance(shape, dict) and isinstance(node, dict):
        for key, value in node.items():
            name = str(key)
            here = f"{at}.{name}" if at else name
            if name in shape:
                yield from _unread(value, shape[name], here)
            elif names := annotation_names(name, value):
                shown = "" if names == name else f" ({names})"
                yield _Fault(findings.ANNOTATIONS_MISPLACED, here, {"names": shown})
            else:
                yield _Fault(findings.UNKNOWN_FIELD, here, {"hint": _hint(name, at)})


def annotation_names(name: str, value: Any) -> str:
    """The annotations that stand at a place which is not theirs; empty for none."""
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    if name.lower() in ("annotation", "annotations") and keys:
        return ", ".join(keys)
    if name in KNOWN_ANNOTATIONS:
        return name
    return ", ".join(k for k in keys if k in KNOWN_ANNOTATIONS or k.startswith(OUR_PREFIXES))


def _labels(item: Mapping[str, Any], kind: str) -> Iterator[_Fault]:
    metadata = item.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    # Those of an Ingress are told by the translation, which sees them from an API server too.
    for key in labels if isinstance(labels, dict) and kind != "Ingress" else ():
        if key in KNOWN_ANNOTATIONS:
            yield _Fault(findings.ANNOTATIONS_MISPLACED, f"metadata.labels[{key}]", {"names": ""})


def _hint(name: str, at: str) -> str:
    shape: Any = {"": SHAPES["Ingress"], "metadata": METADATA, "spec": INGRESS}.get(at)
    if shape is None:
        shape = PATH | BACKEND | {"host": None, "http": None, "paths": None, "secretName": None}
    same = [known for known in shape if known.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, list(shape), n=1, cutoff=0.7)
    return f"; write {close[0]}" if close else ""


def _of_another_version(item: Mapping[str, Any]) -> list[_Fault]:
    """The first field that the version of the object does not have."""
    version = item.get("apiVersion")
    names = OLD_FIELDS if version == NEW else NEW_FIELDS
    spec = item.get("spec")
    for field, key in _keys(spec if isinstance(spec, dict) else {}, "spec"):
        if key in names and (key != "backend" or field == "spec.backend"):
            values = {"version": str(version), "instead": names[key]}
            return [_Fault(findings.FIELD_OF_ANOTHER_VERSION, field, values)]
    return []


def _keys(spec: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    """The fields in which versions differ: those of the backends, and the default backend."""
    for name in ("backend", "defaultBackend"):
        if isinstance(spec.get(name), dict):
            yield f"{at}.{name}", name
            yield from ((f"{at}.{name}.{key}", str(key)) for key in spec[name])
    rules = spec.get("rules")
    for number, rule in enumerate(rules if isinstance(rules, list) else ()):
        http = rule.get("http") if isinstance(rule, dict) else None
        paths = http.get("paths") if isinstance(http, dict) else None
        for position, path in enumerate(paths if isinstance(paths, list) else ()):
            backend = path.get("backend") if isinstance(path, dict) else None
            for key in backend if isinstance(backend, dict) else ():
                yield f"{at}.rules[{number}].http.paths[{position}].backend.{key}", str(key)
