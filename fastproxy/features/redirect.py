r"""Send clients elsewhere: to the application's start page, an entry point, or a rewritten URL.

Per item of an Ingress the first of these counts: `app-root` (when the item's path is `/` or
empty), `redirect-entry-point`, `redirect-regex` with `redirect-replacement`. GET is answered 302
(301 when permanent), other methods 307 (308). The regular expression sees the whole URL; the
replacement may hold `{{ .Request.Host }}` and the like (`features.md` 3.7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import as_written, flag, shown
from fastproxy.engine.operations.re2 import Regex
from fastproxy.engine.operations.writer import (
    Operation,
    RedirectEntryPoint,
    RedirectRegex,
    RedirectRoot,
)
from fastproxy.feature import (
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model import findings
from fastproxy.model.configuration import Config
from fastproxy.model.urls import location_bytes
from fastproxy.templates import Pattern, Replacement, replacement

APP_ROOT = as_written(
    "app-root",
    "Requests for exactly `/` are redirected to this path of the same host.",
    "/login.html",
)
ENTRY_POINT = as_written(
    "redirect-entry-point",
    "Redirect to the same URL on this entry point, with its scheme and port.",
    "https",
    on_invalid=OnInvalid.DROP,
    aliases=("traefik.frontend.redirect.entrypoint", "traefik.frontend.redirect.entryPoint"),
    public=True,
)
PERMANENT = flag("redirect-permanent", "Redirect with 301 and 308 instead of 302 and 307.")
REGEX = as_written(
    "redirect-regex",
    "Redirect URLs in which this regular expression (RE2) is found; backslashes twice.",
    "^https?://old.example/(.*)",
    on_invalid=OnInvalid.OFF,
    aliases=("traefik.frontend.redirect.regex",),
    quoted=True,
    unusable=OnInvalid.DROP,
)
REPLACEMENT = as_written(
    "redirect-replacement",
    "What replaces every match of redirect-regex: `$1`, `${name}`, `$$`.",
    "https://new.example/$1",
    on_invalid=OnInvalid.OFF,
    aliases=("traefik.frontend.redirect.replacement",),
    quoted=True,
    unusable=OnInvalid.DROP,
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
        if notes.has(REGEX):
            notes.warn(REGEX, "redirect-entry-point counts instead", kind=findings.ANNOTATION_ALONE)
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
        half(notes, regex, text, bool(root))
        return None
    if never_found(regex):
        notes.warn(
            REGEX,
            "the expression is looked for in whole URLs such as http://host/path, where it never "
            "begins; write for example ^https?://[^/]+/...",
            "Nothing is redirected.",
            findings.ANNOTATION_ALONE,
        )
    for annotation, check, written in ((REGEX, Pattern, regex), (REPLACEMENT, parsed, text)):
        try:
            check(written)
        except ValueError as problem:
            raise Invalid(annotation.name, str(problem), OnInvalid.DROP) from None
    return Redirect(regex=regex, replacement=text, permanent=permanent)


def half(notes: Notes, regex: str, text: str, root: bool) -> None:
    """Tell what makes no redirect without its other half."""
    there, missing = (REGEX, REPLACEMENT) if regex else (REPLACEMENT, REGEX)
    if regex or text:
        notes.warn(there, f"it needs {missing.name} beside it", kind=findings.ANNOTATION_ALONE)
    elif notes.get(PERMANENT) and not root:
        notes.warn(
            PERMANENT,
            "it makes no redirect by itself; add redirect-entry-point, or redirect-regex with "
            "redirect-replacement",
            kind=findings.ANNOTATION_ALONE,
        )


LITERAL = re.compile(r"\^((?:[A-Za-z0-9/:_-]|\\[./:-])+)")


def never_found(regex: str) -> bool:
    """Whether a regular expression demands a URL that begins with something else than http:// or
    https://."""
    match = LITERAL.match(regex)
    if match is None or "|" in regex:
        return False
    text = match[1].replace("\\", "")
    if regex[match.end() : match.end() + 1] in ("?", "*", "{"):
        text = text[:-1]  # the last character need not be there
    return not any(
        scheme.startswith(text.lower()) or text.startswith(scheme)
        for scheme in ("http://", "https://")
    )


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
    pieces = Pattern(config.regex).pieces(parsed(config.replacement))
    return [RedirectRegex(pieces, config.permanent, config)]


def expression(config: Redirect) -> Regex:
    return Regex(config.regex.encode())


FEATURE = Feature(
    name="Redirects",
    scope=Scope.INGRESS,
    annotations=(APP_ROOT, ENTRY_POINT, PERMANENT, REGEX, REPLACEMENT),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Redirect,
    build=build,
    filter=expression,
    doc=__doc__ or "",
)
