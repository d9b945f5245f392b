"""What the proxy should be doing: frozen, comparable, picklable values.

The controller translates Kubernetes objects into one `Desired`; nothing else crosses from the
controller to the data plane. Two equal values mean the same behaviour, which is how live state
(balancer positions, pools, limits) survives a reload: what compares equal is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastproxy.model.matchers import Matcher


class ObjectReference(NamedTuple):
    """The Kubernetes object a value was made from, for findings, logs and `explain`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {name}"


@dataclass(frozen=True)
class Config:
    """Base of every feature's configuration value; each subclass is frozen and comparable."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server of a backend. Identity is the URL; `name` (a pod) is only displayed."""

    scheme: str  # "http", "https" or "h2c"
    host: str  # IP literal without brackets, or a DNS name (ExternalName)
    port: int
    weight: int = 1
    name: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # Five times faster than what dataclasses do for slots; large tables hold many.
        return Endpoint, (self.scheme, self.host, self.port, self.weight, self.name)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def endpoint_of(scheme: str, authority: str) -> Endpoint:
    """The endpoint which a URL's scheme and authority name."""
    authority = authority.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    bare = ":" not in host or host.startswith("[")
    if colon and port.isdecimal() and not host.endswith(":") and bare:
        return Endpoint(scheme, host.strip("[]"), int(port))
    return Endpoint(scheme, authority.strip("[]"), 443 if scheme == "https" else 80)


@dataclass(frozen=True, slots=True)
class Backend:
    """A set of endpoints and the features that work on it (Service annotations)."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    configs: tuple[Config, ...] = ()
    method: str = "wrr"  # or "drr"; set by a feature's `tune`, like the flush interval
    flush_interval: int = 100_000_000  # nanoseconds received bytes may wait; negative: none


@dataclass(frozen=True, slots=True)
class Route:
    """What Traefik 1.7 calls a frontend: matchers, features, and the name of one backend.

    All matchers must hold. Of several routes that match, the one of the highest `priority` is used;
    of those, the most specific one (host, then path); of those, the one of the highest `tie_break`.
    """

    name: str
    entry_points: tuple[str, ...]
    matchers: tuple[Matcher, ...]
    priority: int
    backend: str
    configs: tuple[Config, ...] = ()
    preserve_host: bool = True
    internal: bool = False  # a path of our own, met before what its entry point does
    tie_break: int = 0
    origin: ObjectReference | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, both PEM, from one TLS secret (`namespace/name`). `names`
    are those of the leaf, lower-case: CN, DNS names and IP addresses."""

    name: str
    entry_points: tuple[str, ...]
    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Thousands travel to every worker, which reads them between two requests.
        return Certificate, (self.name, self.entry_points, self.chain, self.key, self.names)


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole configuration of the data plane at one moment; sequences are never written to."""

    routes: Sequence[Route] = ()
    backends: Sequence[Backend] = ()
    certificates: tuple[Certificate, ...] = ()
