"""All reflectors of the provider, and whether together they are a complete picture.

Kinds and namespaces are `provider.md` 3.1: Ingress, IngressClass, Service, EndpointSlice (or
Endpoints) and Secret, each once for the cluster or once per configured namespace.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from controller.kubernetes.api import EVERYTHING, Api, Selection
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


class Need(Enum):
    """What a kind must have delivered before the picture is complete."""

    REQUIRED = "a list: of each namespace that is not refused, and of one at least"
    OPTIONAL = "a list, unless it is refused or the server does not know the kind"
    AWAITED = "a list; but nobody waits for it longer than `patience`"


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind, and how the API server is asked for it."""

    versions: tuple[Resource, ...]  # the first that is served; of a single one this is not asked
    need: Need = Need.REQUIRED
    selection: Selection = EVERYTHING
    labelled: bool = False  # the label selector of the settings applies
    everywhere: bool = False  # not by namespace
    otherwise: Resource | None = None  # where no version is served, or its list is forbidden

    def choice(self, api: Api) -> Callable[[], Resource | None]:
        (first, *more) = self.versions
        if not more and self.otherwise is None:
            return lambda: first
        return lambda: api.first_served(self.versions) or self.otherwise


WATCHED = (
    Watched(INGRESSES, labelled=True),
    Watched((SERVICES,)),
    # Accounts made for Traefik 1.7 may read Endpoints only.
    Watched(SLICES, otherwise=ENDPOINTS),
    Watched((SECRETS,), Need.AWAITED, USEFUL_SECRETS),
    Watched(CLASSES, Need.OPTIONAL, everywhere=True),
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
        watched: Sequence[Watched] = WATCHED,
    ) -> None:
        self._stop = threading.Event()
        self._clock = clock
        self._patience = patience
        self._threads: list[threading.Thread] = []
        availability = Availability(api.reachable, self._stop)
        by_labels = Selection(labels=label_selector)
        self._kinds = [
            (
                kind.need,
                [
                    Reflector(
                        api,
                        kind.choice(api),
                        namespace,
                        deliver,
                        availability,
                        self._stop,
                        selection=by_labels if kind.labelled else kind.selection,
                        forbidden_choice=kind.otherwise,
                        clock=clock,
                    )
                    for namespace in (("",) if kind.everywhere else tuple(namespaces) or ("",))
                ],
            )
            for kind in watched
        ]
        self._patience_since: float | None = None
        self._synced = False

    @property
    def all(self) -> list[Reflector]:
        return [reflector for _, reflectors in self._kinds for reflector in reflectors]

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
        """
        if not self._synced:
            # Patience begins when all the rest is there.
            self._synced = self._settled(Need.REQUIRED, Need.OPTIONAL) and (
                self._settled(Need.AWAITED) or self._patience_is_over()
            )
        return self._synced

    def _settled(self, *needs: Need) -> bool:
        return all(_delivered(need, kind) for need, kind in self._kinds if need in needs)

    def _patience_is_over(self) -> bool:
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


def _delivered(need: Need, kind: Sequence[Reflector]) -> bool:
    unknown = need is Need.OPTIONAL
    if not all(one.synced or one.refused or (unknown and one.absent) for one in kind):
        return False
    return need is not Need.REQUIRED or any(one.synced for one in kind)
