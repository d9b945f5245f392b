"""The API's own routes: which there are, and what they answer."""

from __future__ import annotations

import pytest

from fastproxy import documents
from fastproxy.features.api import FIRST, Document, Shown, routes
from fastproxy.rules import Method, PathExact
from fastproxy.settings import Api, Settings


def test_without_api_there_are_no_routes() -> None:
    assert routes(Settings()) == ()


def test_with_api_its_paths_shadow_all_others() -> None:
    made = routes(Settings(api=Api(entry_point="inside")))
    for route, path in zip(made, ("/api/findings", "/api/source"), strict=True):
        assert route.entry_points == ("inside",)
        assert route.matchers == (PathExact((path,)), Method(("GET", "HEAD")))
        assert route.priority == FIRST


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
