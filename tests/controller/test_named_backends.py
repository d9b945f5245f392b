"""Which routes name which backends, and what is told about those that are not there."""

from __future__ import annotations

from controller.translate.named_backends import NamedBackends, unusable
from fastproxy.features.error_pages import ErrorPages, Page
from fastproxy.model import ObjectReference, Route
from fastproxy.notes import ObjectNotes

ORIGIN = ObjectReference("Ingress", "default", "shop")


def route(*backends: str) -> Route:
    pages = tuple(Page(((404, 404),), backend, "/") for backend in backends)
    configs = (ErrorPages(pages),) if pages else ()
    return Route("shop", ("http",), (), 1, "shop", configs)


STEPS = [  # what the route names now, whether that is worth a look, who names "a" then
    (route(), False, []),
    (route("a", "b"), True, ["shop"]),
    (route("b"), True, []),
    (route("a"), True, ["shop"]),
    (None, True, []),
    (None, False, []),
]


def test_routes_are_found_by_the_backends_they_name() -> None:
    named = NamedBackends()
    for now, worth, naming in STEPS:
        assert named.put("shop", now) is worth
        assert sorted(named.routes("a")) == naming


def test_what_is_not_there_is_told() -> None:
    key = "traefik.ingress.kubernetes.io/error-pages"
    notes = ObjectNotes({key: "..."})
    found = unusable(route("a", "gone", "shop"), ORIGIN, notes, {"a", "shop"}.__contains__)
    assert [(f.code, f.object, f.field) for f in found] == [
        ("FP171", ORIGIN, f"metadata.annotations[{key}]")
    ] * 2
    assert [f.sentence.split()[7] for f in found] == ["gone;", "shop;"]
