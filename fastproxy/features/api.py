"""Show what the controller knows on the entry point of `[api]`.

`GET /api/findings` lists everything that is wrong with the objects, as JSON: code, severity,
object, field, sentence. `GET /api/source` says whether the API server is there, and if not since
when the configuration may be out of date. These routes come before all others of their entry point;
its white list and then its authentication apply to them, its redirect and compression do not
(Traefik 1.7, `provider.md` 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastproxy.engine.operations.writer import Operation, Scripted
from fastproxy.feature import BuildContext, Feature, Filter, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config, Route
from fastproxy.model.matchers import Method, PathExact
from fastproxy.model.reply import Reply, plain
from fastproxy.settings.options import Settings
from fastproxy.system import documents

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

FIRST = 2**31 - 1  # the highest priority: API paths shadow user routes


@dataclass(frozen=True, slots=True)
class Document(Config):
    path: str


def routes(settings: Settings) -> tuple[Route, ...]:
    """The API's own routes; none without `[api]`."""
    if settings.api is None:
        return ()
    return tuple(
        Route(
            name=f"{path}@api",
            entry_points=(settings.api.entry_point,),
            matchers=(PathExact((settings.api.prefix + path,)), Method(("GET", "HEAD"))),
            priority=FIRST,
            backend="api",
            configs=(Document(path),),
            internal=True,
        )
        for path in documents.PATHS
    )


def read(notes: Notes, refs: Refs) -> None:
    return None


def build(config: Document, context: BuildContext) -> Sequence[Operation]:
    return [Scripted(config=config)]


class Shown(Filter):
    __slots__ = ("_path",)

    def __init__(self, config: Document) -> None:
        self._path = config.path

    def on_request(self, exchange: Exchange) -> Reply:
        content = documents.get(self._path)
        if content is None:  # the controller has not translated anything yet
            return plain(503)
        return Reply(200, content, [("Content-Type", "application/json")])


FEATURE = Feature(
    name="API",
    scope=Scope.INGRESS,
    annotations=(),
    read=read,
    on_invalid=OnInvalid.OFF,
    config=Document,
    build=build,
    filter=Shown,
    doc=__doc__ or "",
)
