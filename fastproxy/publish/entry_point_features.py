"""What an entry point does to every request, whatever its route: also to those without one.

The features are those of routes, with the values of the static configuration (`provider.md` 2.2).
Their order is redirect, auth, compress, white list (`features.md` 1.1, steps 5 to 8); they stand in
front of a route's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastproxy.engine.operations.writer import Compress, Operation
from fastproxy.feature import BuildContext
from fastproxy.features import FEATURE_OF
from fastproxy.features.auth.config import (
    Auth,
    Basic,
    Digest,
    Forward,
    basic_users,
    digest_users,
    lines_of,
)
from fastproxy.features.redirect import Redirect
from fastproxy.features.redirect import checked as redirect_checked
from fastproxy.features.whitelist import Whitelist, network
from fastproxy.model.configuration import Backend, Config, Route
from fastproxy.settings.options import EntryPoint, EntryPointAuth, EntryPointRedirect, Users


def entry_point_operations(
    name: str, entry_points: Mapping[str, EntryPoint]
) -> Sequence[Operation]:
    """The operations of an entry point in their order; they depend on the settings alone.

    Raises ValueError with a sentence for what makes the settings impossible (fatal at start), and
    OSError for an unreadable users file.
    """
    entry_point = entry_points[name]
    operations: list[Operation] = []
    for config in (_redirect(entry_point.redirect, entry_points), _auth(entry_point.auth)):
        operations += _built(config, name, entry_points)
    if entry_point.compress:
        operations.append(Compress())
    return operations + _built(_whitelist(entry_point), name, entry_points)


def internal_operations(name: str, entry_points: Mapping[str, EntryPoint]) -> Sequence[Operation]:
    """What stands in front of our own paths: white list, then auth (`provider.md` 2.5)."""
    entry_point = entry_points[name]
    operations: list[Operation] = []
    for config in (_whitelist(entry_point), _auth(entry_point.auth)):
        operations += _built(config, name, entry_points)
    return operations


def _built(
    config: Config | None, name: str, entry_points: Mapping[str, EntryPoint]
) -> list[Operation]:
    build = None if config is None else FEATURE_OF[type(config)].build
    if build is None:
        return []
    route = Route(f"entry point {name}", (name,), (), 0, "")
    return list(build(config, BuildContext(route, Backend(""), name, entry_points, _no_counters)))


def _no_counters(kind: str, size: int) -> int:
    raise AssertionError("no feature of an entry point counts")


def _redirect(
    redirect: EntryPointRedirect | None, entry_points: Mapping[str, EntryPoint]
) -> Redirect | None:
    if redirect is None:
        return None
    if redirect.entry_point:
        if redirect.entry_point not in entry_points:
            raise ValueError(f"redirect: no entry point is called {redirect.entry_point!r}")
        return Redirect(entry_point=redirect.entry_point, permanent=redirect.permanent)
    if not redirect.regex or not redirect.replacement:
        return None
    redirect_checked(redirect.regex, redirect.replacement)
    return Redirect(
        regex=redirect.regex, replacement=redirect.replacement, permanent=redirect.permanent
    )


def _auth(auth: EntryPointAuth | None) -> Auth | None:
    if auth is None:
        return None
    if auth.basic is not None:
        basic = Basic(basic_users(_lines(auth.basic)))
        return Auth(basic, auth.header_field, auth.basic.remove_header)
    if auth.digest is not None:
        digest = Digest(digest_users(_lines(auth.digest)))
        return Auth(digest, auth.header_field, auth.digest.remove_header)
    forward = auth.forward
    if forward is None:
        return None
    return Auth(
        Forward(
            forward.address,
            forward.trust_forward_header,
            forward.auth_response_headers,
            forward.tls,
        )
    )


def _lines(users: Users) -> list[bytes]:
    """The file's users come last, because the last of equal users counts."""
    lines = [user.encode() for user in users.users]
    if users.users_file:
        read = lines_of(Path(users.users_file).read_bytes())
        lines += [line for line in map(bytes.strip, read) if line and not line.startswith(b"#")]
    return lines


def _whitelist(entry_point: EntryPoint) -> Whitelist | None:
    listed = entry_point.white_list
    ranges = listed.source_range if listed is not None else entry_point.whitelist_source_range
    if listed is None and not ranges:
        return None
    if not ranges:
        raise ValueError("whiteList.sourceRange is empty; list the addresses that may enter")
    forwarded = listed is not None and listed.use_x_forwarded_for
    return Whitelist(tuple(network(text) for text in ranges), forwarded)
