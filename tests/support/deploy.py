"""Apply the manifests of `deploy/` to an API server, strictly: an unknown field is a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from controller.kubernetes.api import ApiError, object_path
from tests.support.real_server import RESOURCES, RealServer

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
CLUSTER_WIDE = ("namespace.yaml", "rbac.yaml", "ingressclass.yaml")
STRICT = "?fieldValidation=Strict"


def documents(file: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((DEPLOY / file).read_text()) if item]


def apply(server: RealServer, file: str, namespace: str = "") -> None:
    """Create or replace every object of a file; `namespace` is what `kubectl -n` would say."""
    for item in documents(file):
        if namespace:
            item["metadata"].setdefault("namespace", namespace)
        resource = RESOURCES[item["kind"]]
        where, name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
        try:
            server.api.create(resource.path(where) + STRICT, item)
        except ApiError as error:
            if not error.conflict:
                raise
            path = object_path(resource, where, name)
            version = server.api.get(path)["metadata"]["resourceVersion"]
            metadata = {**item["metadata"], "resourceVersion": version}
            server.api.replace(path + STRICT, {**item, "metadata": metadata})
