"""Replace the body of failing responses by a page of another backend.

The status stays; headers and body are those of the page. Responses made by fastproxy in later steps
(403, 401, 429, 503, ...) are replaced too (`features.md` 3.9). A page that cannot be fetched, or
has more than 1 MiB, becomes the body `Internal Server Error`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastproxy.annotation_values import (
    mapping,
    read_field,
    scalar,
    shown,
    yaml_mapping,
    yaml_texts,
)
from fastproxy.engine.operations.writer import ErrorPages as ErrorPagesOperation
from fastproxy.engine.operations.writer import Operation
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
from fastproxy.model.configuration import Config
from fastproxy.model.errors import BackendError, TooLarge
from fastproxy.model.paths import request_target
from fastproxy.model.reply import CONDITIONS, FRAMING, TEXT, Reply

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
PAGE_LIMIT = 1 << 20  # bytes
STATUS = "{status}"


@dataclass(frozen=True, slots=True)
class Text:
    """One page, types checked but not values."""

    name: str
    statuses: tuple[str, ...]
    backend: str
    query: str


def pages(value: str) -> tuple[Text, ...]:
    fields = yaml_mapping(value)
    found = []
    for name in sorted(fields):
        page = mapping(fields[name], name)
        found.append(
            Text(
                name,
                read_field(page, "status", yaml_texts, ()),
                read_field(page, "backend", scalar, ""),
                read_field(page, "query", scalar, ""),
            )
        )
    return tuple(found)


ERROR_PAGES: Annotation[tuple[Text, ...]] = Annotation(
    name="error-pages",
    parse=pages,
    default=(),
    doc="YAML: per name the `status` codes or ranges, the `backend` (host and path of another "
    "route) and the `query`, i.e. the path of the page, in which `{status}` is replaced.",
    example=(
        "notfound:\n"
        '  status: ["404", "410"]\n'
        "  backend: pages.example/errors\n"
        "  query: /{status}.html\n"
        "broken:\n"
        '  status: ["500-599"]\n'
        "  backend: pages.example/errors\n"
        "  query: /oops\n"
    ),
    on_invalid=OnInvalid.OFF,
    keys_inside={"*": {"status": None, "backend": None, "query": None}},
    public=True,
    unusable=OnInvalid.DROP,
)


@dataclass(frozen=True, slots=True)
class Page:
    ranges: tuple[tuple[int, int], ...]  # inclusive
    backend: str
    query: str  # starts with /


@dataclass(frozen=True, slots=True)
class ErrorPages(Config):
    pages: tuple[Page, ...]  # the first with the status in a range is used


def read(notes: Notes, refs: Refs) -> ErrorPages | None:
    texts = notes.get(ERROR_PAGES)
    found = []
    for text in texts:
        ranges = tuple(status_range(text.name, status) for status in text.statuses)
        query = page_target(text.query)
        if not text.backend:
            notes.warn(ERROR_PAGES, f"page {shown(text.name)} has no backend and is left out")
        elif ranges:
            found.append(Page(ranges, text.backend, query))
        else:
            notes.warn(ERROR_PAGES, f"page {shown(text.name)} has no status and is left out")
    return ErrorPages(tuple(found)) if found else None


def page_target(query: str) -> str:
    """What is asked for, with `{status}` still in it."""
    path = query if query.startswith("/") else f"/{query}"
    return STATUS.join(request_target(part) for part in path.partition("#")[0].split(STATUS))


def status_range(page: str, text: str) -> tuple[int, int]:
    match = RANGE.fullmatch(text.strip())
    if match is None:
        raise Invalid(
            ERROR_PAGES.name,
            f"status {shown(text)} of page {shown(page)} is neither a code nor a range; write "
            'for example "404" or "500-599"',
            OnInvalid.DROP,
        )
    return int(match[1]), int(match[2] or match[1])


def build(config: ErrorPages, context: BuildContext) -> Sequence[Operation]:
    usable = tuple(page for page in config.pages if page.backend != context.backend.name)
    if not usable:
        return []
    ranges = tuple(row for page in usable for row in page.ranges)
    return [ErrorPagesOperation(ranges, ErrorPages(usable))]


def backends(config: ErrorPages) -> Sequence[str]:
    return [page.backend for page in config.pages]


class PageFetcher(Filter):
    __slots__ = ("_pages",)

    def __init__(self, config: ErrorPages) -> None:
        self._pages = config.pages

    def backends_for(self, status: int) -> Sequence[str]:
        return [page.backend for page in self._pages if includes(page, status)]

    async def on_intercept(self, exchange: Exchange, status: int, backend: str) -> Reply | None:
        page = next(p for p in self._pages if p.backend == backend and includes(p, status))
        path = page.query.replace(STATUS, str(status))
        headers = [pair for pair in exchange.items() if about_the_client(pair[0].lower())]
        try:
            # 1.7 asks for the page under the host 0.0.0.0.
            answer = await exchange.fetch(
                f"http://0.0.0.0{path}", headers=headers, backend=page.backend, limit=PAGE_LIMIT
            )
        except (BackendError, TooLarge, ValueError):
            # Also when the backend exists, but not on this entry point (UnknownBackend).
            return Reply(status, b"Internal Server Error", [TEXT])
        kept = [pair for pair in answer.headers if pair[0].lower() not in FRAMING]
        return Reply(status, answer.body, kept)


DROPPED = FRAMING | CONDITIONS | {"host", "expect", "digest", "max-forwards"}
DROPPED |= {"x-http-method", "x-http-method-override", "x-method-override"}


def about_the_client(name: str) -> bool:
    """May a field (its name in lower case) go with the request for a page? Not what speaks of the
    request's own target, method or body: a page is no part of a video."""
    return name not in DROPPED and not name.startswith(("content-", "sec-websocket-"))


def includes(page: Page, status: int) -> bool:
    return any(low <= status <= high for low, high in page.ranges)


FEATURE = Feature(
    name="Error pages",
    scope=Scope.INGRESS,
    annotations=(ERROR_PAGES,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=ErrorPages,
    build=build,
    filter=PageFetcher,
    backends=backends,
    doc=__doc__ or "",
)
