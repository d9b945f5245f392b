"""Error pages: annotations -> configuration, operations, the page request and the answer."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import ErrorPages as ErrorPagesOperation
from fastproxy.feature import OnInvalid
from fastproxy.features.error_pages import FEATURE, ErrorPages, Page
from fastproxy.model.configuration import Backend
from fastproxy.model.errors import BackendTimeout, TooLarge, UnknownBackend
from fastproxy.model.reply import Reply, Response
from tests.support.exchange import MemoryExchange, run
from tests.support.features import Bad, assert_outcome, context, outcome, problems


def one(text):
    return {"error-pages": "p: {" + text + "}"}


READ = [
    ({}, None),
    ({"error-pages": ""}, None),
    (
        {"error-pages": FEATURE.annotations[0].example},
        ErrorPages(
            (
                Page(((500, 599),), "pages.example/errors", "/oops"),
                Page(((404, 404), (410, 410)), "pages.example/errors", "/{status}.html"),
            )
        ),
    ),
    (one("status: [404], backend: b, query: x"), ErrorPages((Page(((404, 404),), "b", "/x"),))),
    (
        one("status: [404], backend: b, query: '/f\u00fcr/{status} a?b c={status}#d{status}'"),
        ErrorPages((Page(((404, 404),), "b", "/f%C3%BCr/{status}%20a?b%20c={status}"),)),
    ),
    (
        one("status: [404], backend: b, query: '/%41%zz{x}'"),
        ErrorPages((Page(((404, 404),), "b", "/A%25zz%7Bx%7D"),)),
    ),
    (one('status: ["5-9"], backend: b'), ErrorPages((Page(((5, 9),), "b", "/"),))),
    (one("backend: b"), None),
    (one("status: [404]"), None),
    (one("status: 404, backend: b"), Bad(OnInvalid.OFF, "list")),
    ({"error-pages": "p: 1"}, Bad(OnInvalid.OFF, "mapping")),
    ({"error-pages": "p: ["}, Bad(OnInvalid.OFF, "YAML")),
    (one("status: [4xx], backend: b"), Bad(OnInvalid.DROP, "'4xx'")),
    (one('status: ["400-"], backend: b'), Bad(OnInvalid.DROP, "'400-'")),
    (one('status: ["-400"], backend: b'), Bad(OnInvalid.DROP, "'-400'")),
]


@pytest.mark.parametrize(("annotations", "expected"), READ)
def test_annotations_become_pages(annotations, expected):
    assert_outcome(outcome(FEATURE, annotations), expected)


def test_a_page_without_backend_is_told():
    assert problems(FEATURE, one("status: [404]")) == [
        (None, "page 'p' has no backend and is left out")
    ]


OWN = Page(((404, 404),), "own", "/")
OTHER = Page(((500, 599), (410, 410)), "other", "/{status}")


def test_pages_of_the_own_backend_are_left_out():
    where = context(backend=Backend("own"))
    assert FEATURE.build(ErrorPages((OWN,)), where) == []
    assert FEATURE.build(ErrorPages((OWN, OTHER)), where) == [
        ErrorPagesOperation(OTHER.ranges, ErrorPages((OTHER,)))
    ]


def page(url, **request):
    assert url == "http://0.0.0.0/503"
    assert request["backend"] == "other"
    assert request["headers"] == [("Cookie", "a=b"), ("X-A", "1")]
    return Response(200, [("Content-Type", "text/html"), ("Content-Length", "4")], b"oops")


def failing(error):
    def remote(url, **request):
        raise error

    return remote


TEXT = ("Content-Type", "text/plain; charset=utf-8")
ANSWERS = [
    (503, page, Reply(503, b"oops", [("Content-Type", "text/html")])),
    (503, failing(BackendTimeout()), Reply(503, b"Internal Server Error", [TEXT])),
    (503, failing(TooLarge()), Reply(503, b"Internal Server Error", [TEXT])),
    (503, failing(UnknownBackend()), Reply(503, b"Internal Server Error", [TEXT])),
]


@pytest.mark.parametrize(("status", "remote", "answer"), ANSWERS)
def test_the_page_replaces_everything_but_the_status(status, remote, answer):
    headers = [
        ("Host", "h"),
        ("Cookie", "a=b"),
        ("Content-Length", "3"),
        ("X-A", "1"),
        ("Connection", "close"),
    ]
    exchange = MemoryExchange("/", method="POST", headers=headers, remote=remote)
    assert (
        run(FEATURE.filter(ErrorPages((OTHER,))).on_intercept(exchange, status, "other")) == answer
    )


def test_the_first_page_by_name_wins():
    def remote(url, **request):
        return Response(200, [], url.encode())

    pages = outcome(
        FEATURE,
        {
            "error-pages": "b: {status: [404], backend: x, query: /b}\n"
            "a: {status: [404], backend: x, query: /a}\n"
        },
    )
    live = FEATURE.filter(pages)
    answer = run(live.on_intercept(MemoryExchange(remote=remote), 404, "x"))
    assert answer.body == b"http://0.0.0.0/a"


@pytest.mark.parametrize(("status", "backends"), [(410, ["other"]), (404, ["own"]), (200, [])])
def test_the_engine_can_ask_for_the_backends(status, backends):
    assert FEATURE.filter(ErrorPages((OWN, OTHER))).backends_for(status) == backends
