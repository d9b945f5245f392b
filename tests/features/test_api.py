"""The API's own routes: which there are, and what they answer."""

from __future__ import annotations

import pytest

from fastproxy._core import build_matcher, match
from fastproxy.features.api import FIRST, Document, Shown, routes
from fastproxy.model.matchers import Host, Method, PathExact
from fastproxy.settings.options import Api, Settings
from fastproxy.system import documents


def test_without_api_there_are_no_routes() -> None:
    assert routes(Settings()) == ()


def test_with_api_its_paths_shadow_all_others() -> None:
    made = routes(Settings(api=Api(entry_point="inside")))
    for route, path in zip(made, ("/api/findings", "/api/source"), strict=True):
        assert route.entry_points == ("inside",)
        assert route.matchers == (PathExact((path,)), Method(("GET", "HEAD")))
        assert route.priority == FIRST


def test_its_paths_come_first_whatever_decides_between_other_routes() -> None:
    """`kubernetes.routeOrder = "specificity"` is a matter of Ingresses."""
    made = routes(Settings(api=Api(entry_point="http")))
    user = (Host(("a.example",)), PathExact(("/api/findings",)))
    section = build_matcher(
        [(1, 0, user, (0, 900), "user")]
        + [(2, 0, r.matchers, (r.priority, r.tie_break), r.name) for r in made]
    )
    assert match(section, 0, "a.example", "/api/findings") == (2, 0)
    assert match(section, 0, "a.example", "/api/findings", method="POST") == (1, 0)


@pytest.mark.parametrize(
    ("content", "status", "body"),
    [(None, 503, b"Service Unavailable"), (b"[]", 200, b"[]")],
)
def test_the_newest_document_is_shown(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, status: int, body: bytes
) -> None:
    monkeypatch.setattr(documents, "_documents", {} if content is None else {"/x": content})
    reply = Shown(Document("/x")).on_request(None)  # type: ignore[arg-type]
    assert (reply.status, reply.body) == (status, body)
