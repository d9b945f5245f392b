"""Show the metrics on the entry point of `[metrics.prometheus]` (`operations.md` 2.1).

`GET /metrics` comes before all routes of its entry point; its white list and then its
authentication apply to it, its redirect and compression do not. The observer makes the text; a
worker asks it.
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
from fastproxy.system import observed

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

FIRST = 2**31 - 1  # the highest priority, as that of the API
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metrics(Config):
    path: str = observed.METRICS


def routes(settings: Settings) -> tuple[Route, ...]:
    """The route of the metrics; none without `[metrics.prometheus]`."""
    prometheus = settings.metrics.prometheus if settings.metrics is not None else None
    if prometheus is None:
        return ()
    return (
        Route(
            name=f"{observed.METRICS}@metrics",
            entry_points=(prometheus.entry_point,),
            matchers=(PathExact((observed.METRICS,)), Method(("GET", "HEAD"))),
            priority=FIRST,
            backend="metrics",
            configs=(Metrics(),),
            internal=True,
        ),
    )


def read(notes: Notes, refs: Refs) -> None:
    return None


def build(config: Metrics, context: BuildContext) -> Sequence[Operation]:
    return [Scripted(config=config)]


class Shown(Filter):
    __slots__ = ("_path",)

    def __init__(self, config: Metrics) -> None:
        self._path = config.path

    async def on_request(self, exchange: Exchange) -> Reply:
        content = await observed.ask(self._path)
        if content is None:
            return plain(503)
        return Reply(200, content, [("Content-Type", CONTENT_TYPE)])


FEATURE = Feature(
    name="Metrics",
    scope=Scope.INGRESS,
    annotations=(),
    read=read,
    on_invalid=OnInvalid.OFF,
    config=Metrics,
    build=build,
    filter=Shown,
    doc=__doc__ or "",
)
