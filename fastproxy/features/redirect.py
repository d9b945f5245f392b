r"""Send clients elsewhere: to the application's start page, an entry point, or a rewritten URL.

Per item of an Ingress the first of these counts: `app-root` (when the item's path is `/` or
empty), `redirect-entry-point`, `redirect-regex` with `redirect-replacement`. GET is answered 302
(301 when permanent), other methods 307 (308). The regular expression sees the whole URL; the
replacement may hold `{{ .Request.Host }}` and the like (`features.md` 3.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastproxy.annotation_values import boolean, shown
from fastproxy.engine.operations import Operation, RedirectEntryPoint, RedirectRoot, Scripted
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Filter,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model import Config
from fastproxy.reply import Reply, plain
from fastproxy.templates import Pattern, Replacement, replacement
from fastproxy.urls import location_bytes, with_path

if TYPE_CHECKING:
    from fastproxy.engine.exchange import Exchange

APP_ROOT = Annotation(
    name="app-root",
    parse=str,
    default="",
    doc="Requests for exactly `/` are redirected to this path of the same host.",
    example="/login.html",
)
ENTRY_POINT = Annotation(
    name="redirect-entry-point",
    parse=str,
    default="",
    doc="Redirect to the same URL on this entry point, with its scheme and port.",
    example="https",
    aliases=("traefik.frontend.redirect.entrypoint", "traefik.frontend.redirect.entryPoint"),
    on_invalid=OnInvalid.DROP,
)
PERMANENT = Annotation(
    name="redirect-permanent",
    parse=boolean,
    default=False,
    doc="Redirect with 301 and 308 instead of 302 and 307.",
    example="true",
)
REGEX = Annotation(
    name="redirect-regex",
    parse=str,
    default="",
    doc="Redirect URLs in which this regular expression (RE2) is found; backslashes twice.",
    example="^https?://old.example/(.*)",
    aliases=("traefik.frontend.redirect.regex",),
    on_invalid=OnInvalid.OFF,
    quoted=True,
)
REPLACEMENT = Annotation(
    name="redirect-replacement",
    parse=str,
    default="",
    doc="What replaces every match of redirect-regex: `$1`, `${name}`, `$$`.",
    example="https://new.example/$1",
    aliases=("traefik.frontend.redirect.replacement",),
    on_invalid=OnInvalid.OFF,
    quoted=True,
)


@dataclass(frozen=True, slots=True)
class Redirect(Config):
    """Exactly one of root, entry_point and regex is set."""

    root: str = ""
    entry_point: str = ""
    regex: str = ""
    replacement: str = ""
    permanent: bool = False


def read(notes: Notes, refs: Refs) -> Redirect | None:
    permanent = notes.get(PERMANENT)
    root = notes.get(APP_ROOT)
    if root and refs.path in ("", "/"):
        return Redirect(root="/" + root.lstrip("/"), permanent=permanent)
    if name := notes.get(ENTRY_POINT):
        if name not in refs.entry_points:
            raise Invalid(
                ENTRY_POINT.name,
                f"no entry point is called {shown(name)}; the entry points are "
                + ", ".join(sorted(refs.entry_points)),
                OnInvalid.DROP,
            )
        return Redirect(entry_point=name, permanent=permanent)
    regex, text = notes.get(REGEX), notes.get(REPLACEMENT)
    if not regex or not text:
        return None
    try:
        checked(regex, text)
    except ValueError as problem:
        raise Invalid(REGEX.name, str(problem), OnInvalid.DROP) from None
    return Redirect(regex=regex, replacement=text, permanent=permanent)


def checked(regex: str, text: str) -> None:
    """Raise ValueError when the expression or the replacement cannot be used."""
    Pattern(regex)
    parsed(text)


def parsed(text: str) -> Replacement:
    return replacement(text, placeholders=True)


def build(config: Redirect, context: BuildContext) -> Sequence[Operation]:
    if config.root:
        return [RedirectRoot(location_bytes(config.root.encode()), config.permanent)]
    if config.entry_point == context.entry_point:
        return []  # not installed on the entry point it leads to
    if config.entry_point:
        target = context.entry_points[config.entry_point]
        scheme = b"https" if target.tls is not None else b"http"
        return [RedirectEntryPoint(scheme, target.port, config.permanent)]
    return [Scripted(config=config)]


class RegexRedirect(Filter):
    __slots__ = ("_pattern", "_permanent", "_replacement")

    def __init__(self, config: Redirect) -> None:
        self._pattern = Pattern(config.regex)
        self._replacement = parsed(config.replacement)
        self._permanent = config.permanent

    def on_request(self, exchange: Exchange) -> Reply | None:
        secure = exchange.scheme == "https" or exchange.header("X-Forwarded-Proto") == "https"
        query = "" if exchange.query is None else f"?{exchange.query}"
        url = f"{'https' if secure else 'http'}://{exchange.host}{exchange.path}{query}"
        old = url.encode("latin-1")
        new = self._pattern.replace_all(old, self._replacement, exchange)
        if new is None:
            return None
        # 1.7 puts the path from before the path modifiers back (`features.md` 3.7, step 5).
        changed = exchange.path != exchange.original_path
        location = with_path(new, exchange.original_path.encode("latin-1") if changed else None)
        if location is None:
            return plain(502)
        if new == old:
            return None
        text = location_bytes(location).decode("ascii")
        return plain(status(exchange.method, self._permanent), [("Location", text)])


def status(method: str, permanent: bool) -> int:
    if method == "GET":
        return 301 if permanent else 302
    return 308 if permanent else 307


FEATURE = Feature(
    name="Redirects",
    scope=Scope.INGRESS,
    annotations=(APP_ROOT, ENTRY_POINT, PERMANENT, REGEX, REPLACEMENT),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Redirect,
    build=build,
    filter=RegexRedirect,
    doc=__doc__ or "",
)
