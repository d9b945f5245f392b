"""The addresses written into `status.loadBalancer` of every Ingress we serve (`provider.md` 6)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from controller.kubernetes.api import Api, ApiError, object_path
from controller.kubernetes.objects import Address, Ingress
from controller.kubernetes.resources import Resource
from controller.snapshot.snapshot import Name, Snapshot
from fastproxy.model.configuration import ObjectReference
from fastproxy.settings.options import IngressEndpoint

log = logging.getLogger(__name__)

STATUS = "writing the status of Ingresses"


class Unpublishable(Exception):
    """The option or the published Service gives no address; the text says why."""


def wanted(options: IngressEndpoint, snapshot: Snapshot) -> tuple[Address, ...]:
    """Give what to publish; empty means nothing yet. Raises `Unpublishable`.

    All addresses of a published Service are copied; Traefik 1.7 takes the first only (FIX 14).
    """
    if not options.published_service:
        if not (options.ip or options.hostname):
            raise Unpublishable("ingressEndpoint needs publishedService, ip or hostname")
        return (Address(options.ip, options.hostname),)
    namespace, slash, name = options.published_service.partition("/")
    if not slash or "/" in name:
        raise Unpublishable(
            f"publishedService {options.published_service!r} is not of the form namespace/name"
        )
    service = snapshot.services.get((namespace, name))
    if service is None:
        raise Unpublishable(f"publishedService {options.published_service} does not exist")
    if not service.addresses:
        log.debug("publishedService %s has no address yet", options.published_service)
    return service.addresses or ()


def outdated(
    snapshot: Snapshot, served: Iterable[ObjectReference], addresses: tuple[Address, ...]
) -> dict[Name, tuple[Address, ...]]:
    """Give the Ingresses whose status differs, in order."""
    found: dict[Name, tuple[Address, ...]] = {}
    for reference in served:
        ingress = snapshot.get(reference)
        if isinstance(ingress, Ingress) and ingress.addresses != addresses:
            found[ingress.namespace, ingress.name] = addresses
    return found


def write(api: Api, resource: Resource, name: Name, addresses: tuple[Address, ...]) -> bool:
    """Replace the addresses of one Ingress; a failure is logged and tried again by the caller."""
    entries: list[Mapping[str, str]] = [
        {key: value for key, value in address._asdict().items() if value} for address in addresses
    ]
    patch = {"status": {"loadBalancer": {"ingress": entries}}}
    path = object_path(resource, *name, "status")
    try:
        try:
            api.patch(path, patch)
        except ApiError as error:
            if not error.forbidden:
                raise
            # Accounts made for Traefik 1.7 may update a status, but not patch it.
            current = api.read(resource, *name)
            api.replace(path, {**current, "status": patch["status"]})
    except ApiError as error:
        if error.missing:
            return True  # deleted meanwhile
        api.outages.met(STATUS, error)
        return False
    return True
