"""What one item of an object brings to a route and its backend.

Fragments of one name, whatever object and kind they come from, become one route and one backend
(`merge.py`). They are complete: everything an object says has been read and looked up, so merging
knows no annotations and no Kubernetes. Only endpoints are not looked up, but where they come from
(`Target`), so that a change of endpoints touches one backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from controller.translate.endpoints import Target
from controller.translate.rules_text import Rule
from fastproxy.model.configuration import Backend, Config, ObjectReference
from fastproxy.model.findings import Finding

NO_MENTIONS: Mapping[str, str] = {}
NO_BACKEND = Backend("")


class Role(Enum):
    """How far a fragment takes part in the route of its name."""

    NAMES = "its backend exists, and gets nothing from here"
    JOINS = "gives rule and endpoints to a route which another one has begun"
    BEGINS = "begins the route, if nobody has"


@dataclass(frozen=True, slots=True)
class RouteValues:
    """What the fragment that begins a route makes of it."""

    entry_points: tuple[str, ...]
    # See `model.Route`; None: the length of the route's rules, known when all have joined.
    priority: int | None = None
    tie_break: int | None = 0
    configs: tuple[Config, ...] = ()
    preserve_host: bool = True
    rewrites: bool = False  # what the last of the rules changes comes in front of `configs`
    dropped: bool = False  # there must be no route: something it was to do cannot be done
    nowhere: Finding | None = None  # told when there is no entry point
    # Backends of other routes that features use -> the field that names them.
    mentions: Mapping[str, str] = field(default_factory=lambda: NO_MENTIONS)


@dataclass(frozen=True, slots=True)
class RouteFragment:
    """What one item brings to the route and backend called `name`."""

    name: str
    origin: ObjectReference
    field: str  # of the origin
    values: RouteValues
    host: str = ""
    path: str = ""
    rule: Rule | None = None  # for the path; None without path
    role: Role = Role.BEGINS
    backend: Backend = NO_BACKEND  # its features; name and endpoints come with the merge
    targets: tuple[Target, ...] = ()
    closes_route: bool = False  # what the backend was to do cannot be done: there must be no route
    backend_name: str = ""  # if it is not `name`
    target_field: str = ""  # where the origin names the targets; "": `field`
    scheme_field: str = ""  # where it chooses their scheme, if it does
    read: tuple[Config, ...] = ()  # all that the origin says; where fragments differ is a finding
