"""All reflectors of the provider, and whether together they are a complete picture.

Kinds and namespaces are `provider.md` 3.1: Ingress, IngressClass, Service, EndpointSlice (or
Endpoints) and Secret, each once for the cluster or once per configured namespace.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from controller.kubernetes.api import Api, Selection
from controller.kubernetes.backoff import Availability
from controller.kubernetes.resources import (
    CLASSES,
    ENDPOINTS,
    INGRESSES,
    SECRETS,
    SERVICES,
    SLICES,
    Resource,
)
from controller.sources.reflector import Deliver, Reflector

log = logging.getLogger(__name__)

SECRETS_PATIENCE = 5.0  # seconds to wait for the first list of Secrets (FIX 1)
# Secrets that can hold neither a certificate nor users; the server leaves them out.
USEFUL_SECRETS = Selection(
    labels="owner!=helm",
    fields=",".join(
        f"type!={type}"
        for type in (
            "helm.sh/release.v1",
            "kubernetes.io/service-account-token",
            "kubernetes.io/dockerconfigjson",
            "kubernetes.io/dockercfg",
            "bootstrap.kubernetes.io/token",
        )
    ),
)


class Reflectors:
    """Start the threads, say when the picture is complete and how old it is."""

    def __init__(
        self,
        api: Api,
        deliver: Deliver,
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        patience: float = SECRETS_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop = threading.Event()
        self._clock = clock
        self._patience = patience
        self._threads: list[threading.Thread] = []
        availability = Availability(api.reachable, self._stop)

        def reflectors(
            choose: Callable[[], Resource | None],
            selection: Selection = Selection(),  # noqa: B008
            where: Sequence[str] = tuple(namespaces) or ("",),
            forbidden_choice: Resource | None = None,
        ) -> list[Reflector]:
            return [
                Reflector(
                    api,
                    choose,
                    namespace,
                    deliver,
                    availability,
                    self._stop,
                    selection=selection,
                    forbidden_choice=forbidden_choice,
                    clock=clock,
                )
                for namespace in where
            ]

        self._ingresses = reflectors(
            partial(api.first_served, INGRESSES), Selection(labels=label_selector)
        )
        self._services = reflectors(lambda: SERVICES)
        # Accounts made for Traefik 1.7 may read Endpoints only.
        self._endpoints = reflectors(
            lambda: api.first_served(SLICES) or ENDPOINTS, forbidden_choice=ENDPOINTS
        )
        self._secrets = reflectors(lambda: SECRETS, USEFUL_SECRETS)
        self._classes = reflectors(partial(api.first_served, CLASSES), where=("",))
        self._patience_since: float | None = None
        self._synced = False

    @property
    def all(self) -> list[Reflector]:
        return [
            *self._ingresses,
            *self._services,
            *self._endpoints,
            *self._secrets,
            *self._classes,
        ]

    def start(self) -> None:
        for reflector in self.all:
            thread = threading.Thread(
                target=reflector.run, name=f"watch {reflector.namespace}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end. They are daemons: one blocked in a read is not waited for."""
        self._stop.set()

    def synced(self) -> bool:
        """Say whether a first complete picture has been delivered; once true, it stays true.

        A namespace that answers 403 is left out, but not every namespace of a kind may be.
        Classes may be forbidden or unknown. Secrets are waited for `patience` seconds at most.
        """
        if self._synced:
            return True
        needed = (self._ingresses, self._services, self._endpoints)
        if not all(
            all(reflector.synced or reflector.refused for reflector in kind)
            and any(f.synced for f in kind)
            for kind in needed
        ):
            return False
        if not all(
            reflector.synced or reflector.refused or reflector.absent for reflector in self._classes
        ):
            return False
        self._synced = self._secrets_settled()
        return self._synced

    def _secrets_settled(self) -> bool:
        if all(reflector.synced or reflector.refused for reflector in self._secrets):
            return True
        if self._patience_since is None:
            self._patience_since = self._clock()
        if self._clock() - self._patience_since < self._patience:
            return False
        log.warning("no list of Secrets yet; starting without, routes that need them fail closed")
        return True

    def problem(self) -> str:
        """What the first reflector that is out of touch has met; empty while all are in touch."""
        return next(
            (
                reflector.problem
                for reflector in self.all
                if reflector.problem and not reflector.absent
            ),
            "",
        )

    def staleness(self) -> float:
        """Seconds since the first reflector lost touch; 403 and unknown kinds do not count."""
        return max(
            (
                reflector.staleness()
                for reflector in self.all
                if not (reflector.refused or reflector.absent)
            ),
            default=0.0,
        )
