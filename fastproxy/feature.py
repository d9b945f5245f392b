"""What a feature is: its annotations, how they are read, and what they do to traffic.

A feature is one file in `fastproxy/features/`. It declares its annotations, a frozen `Config`, and

* `read(notes, refs) -> Config | None`: pure; turns the annotations of one object into the
  configuration, `None` when the feature is not asked for; raises `Invalid` with a sentence.
* `build(config, context) -> operations`: what the data plane does. Each operation belongs to one
  phase. Native operations (`fastproxy.engine.operations.writer`) are data which the engine executes
  without Python; a `Scripted` operation names a Python `Filter` instead.
* or `shape(route, config)` / `tune(backend, config)`, for features that only change the route's or
  the backend's own values.

`features/__init__.py` lists all features in the order in which a request meets them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fastproxy.engine.operations.writer import Operation
from fastproxy.model.configuration import Backend, Config, Endpoint, Route
from fastproxy.model.findings import ANNOTATION_WARNING, Kind

if TYPE_CHECKING:
    from fastproxy.engine.operations.re2 import Regex
    from fastproxy.engine.python.exchange import Exchange, Reply, ResponseHead
    from fastproxy.model.reply import Response
    from fastproxy.settings.options import ClientTls

T = TypeVar("T")

# Keys of a mapping and what stands below them; None: no mapping. `*` is any key.
Shape = Mapping[str, Any]

PREFIXES = ("ingress.kubernetes.io/", "traefik.ingress.kubernetes.io/")


class Scope(Enum):
    INGRESS = "Ingress"
    SERVICE = "Service"


class OnInvalid(Enum):
    """What Traefik 1.7 does with a value that `read` refuses (`features.md` 2.1)."""

    DEFAULT = "the default is used"
    OFF = "the feature is off"
    PATH = "the path is skipped"
    DROP = "the route is not created"
    INGRESS = "the whole Ingress is skipped"
    ENDPOINTS = "the backend gets no endpoints (503)"


class Invalid(ValueError):
    """An annotation whose value cannot be used.

    `annotation` is its name without prefix, `sentence` tells the user what is wrong and what to do,
    `effect` is what happens to the object (never `OnInvalid.DEFAULT`, see `Notes.get`).
    """

    def __init__(self, annotation: str, sentence: str, effect: OnInvalid = OnInvalid.DROP) -> None:
        super().__init__(sentence)
        self.annotation = annotation
        self.sentence = sentence
        self.effect = effect


@dataclass(frozen=True, slots=True)
class Annotation(Generic[T]):
    """One annotation: `parse` raises ValueError with a sentence."""

    name: str  # without prefix
    parse: Callable[[str], T]
    default: T
    doc: str
    example: str
    aliases: tuple[str, ...] = ()  # full legacy keys
    on_invalid: OnInvalid = OnInvalid.DEFAULT
    unusable: OnInvalid | None = None  # what a value does that can be read but not used, if else
    public: bool = False  # findings may repeat the value, or parts of it; no secret can be in it
    prefixed: bool = True  # False: only `aliases` exist
    quoted: bool = False  # the raw value must be a legal quoted-string body (`provider.md` 8)
    # Of a YAML value: every key that somebody reads.
    keys_inside: Shape | None = field(default=None, hash=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Full keys, first existing one wins (`provider.md` 5.1)."""
        own = tuple(prefix + self.name for prefix in PREFIXES) if self.prefixed else ()
        return own + self.aliases


class Notes(Protocol):
    """The annotations of one object, looked up as in `provider.md` 5.1; records what was asked.

    `fastproxy.notes.ObjectNotes` is the implementation.
    """

    def get(self, annotation: Annotation[T]) -> T:
        """The parsed value, `annotation.default` when absent or empty.

        A value `parse` refuses: with `OnInvalid.DEFAULT` the refusal is recorded and the default
        returned, otherwise `Invalid` is raised with the annotation's effect.
        """

    def has(self, annotation: Annotation[Any]) -> bool:
        """Whether one of its keys is present, even with an empty value."""

    def warn(
        self,
        annotation: Annotation[Any],
        sentence: str,
        effect: str = "",
        kind: Kind = ANNOTATION_WARNING,
    ) -> None:
        """Record a problem which leaves the feature in force; `effect` says what follows from it,
        if not what the catalogue says of `kind`."""


class Refs(Protocol):
    """What a feature may look up: Secrets of the same namespace, the entry points, and the item of
    the Ingress that is being translated."""

    @property
    def path(self) -> str:
        """Path of the item as written; empty without one and for the default backend."""

    @property
    def whitelist_invalid(self) -> str:
        """The setting `kubernetes.whitelistInvalid`, "allow" or "drop"."""

    @property
    def enable_pass_tls_cert(self) -> bool:
        """The setting `kubernetes.enablePassTLSCert`."""

    def secret(self, name: str) -> Mapping[str, bytes] | None: ...
    @property
    def entry_points(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What `build` may know besides its configuration: where the route is being wired."""

    route: Route
    backend: Backend
    entry_point: str
    entry_points: Mapping[str, Any]  # name -> settings.EntryPoint
    counters: Callable[[str, int], int]  # (kind, size) -> slot in shared memory, stable by route
    warn: Callable[[str, str], None] = lambda annotation, sentence: None  # a finding


class Filter:
    """A Python filter: subclasses override the phases they need (others cost nothing)."""

    # Whom an `AskServer` operation in front of the filter asks, and its TLS side (as for `fetch`).
    asks: tuple[Endpoint, ClientTls | None] | None = None

    def on_request(self, exchange: Exchange) -> Reply | Awaitable[Reply | None] | None:
        return None

    def on_response(self, exchange: Exchange, head: ResponseHead) -> None:
        return None

    def backends_for(self, status: int) -> Sequence[str]:
        """The backends that have a page for a status; the first that some route uses is asked,
        without one nothing is replaced."""
        return ()

    async def on_intercept(self, exchange: Exchange, status: int, backend: str) -> Reply | None:
        """Replace a response whose status an `ErrorPages` operation names, by a page of one of
        `backends_for`; None keeps it."""
        return None

    def on_refusal(self, answer: Response) -> Reply:
        """The reply to a client whom the server of `asks` has not admitted."""
        raise NotImplementedError

    def on_end(self, exchange: Exchange) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    scope: Scope
    annotations: tuple[Annotation[Any], ...]
    read: Callable[[Notes, Refs], Config | None]
    on_invalid: OnInvalid
    config: type[Config]
    build: Callable[[Any, BuildContext], Sequence[Operation]] | None = None
    # for Scripted operations; a Regex for those that run an expression
    filter: Callable[[Any], Filter | Regex] | None = None
    shape: Callable[[Route, Any], Route] | None = None
    tune: Callable[[Backend, Any], Backend] | None = None
    # Names of other routes' backends; one that is not there, or the route's own, is a finding.
    backends: Callable[[Any], Sequence[str]] | None = None
    doc: str = ""
