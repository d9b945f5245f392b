"""Which routes name which backends, and what is told about those that are not there."""

from __future__ import annotations

from controller.dialects.traefik.reading import Reader
from controller.translate.ingress_values import route_values
from controller.translate.named_backends import NamedBackends, unusable
from fastproxy.feature import Scope
from fastproxy.model.configuration import ObjectReference, Route
from tests.support.cases import settings

SETTINGS = settings({})
ORIGIN = ObjectReference("Ingress", "default", "shop")


STEPS = [  # what the route names now, whether that is worth a look, who names "a" then
    ((), False, []),
    (("a", "b"), True, ["shop"]),
    (("b",), True, []),
    (("a",), True, ["shop"]),
    ((), True, []),
    ((), False, []),
]


def test_routes_are_found_by_the_backends_they_name() -> None:
    named = NamedBackends()
    for now, worth, naming in STEPS:
        assert named.put("shop", now) is worth
        assert sorted(named.routes("a")) == naming


def test_what_is_not_there_is_told() -> None:
    key = "traefik.ingress.kubernetes.io/error-pages"
    annotations = {key: "p: {status: ['404'], backend: a}\nq: {status: ['404'], backend: gone}\n"
                   "r: {status: ['404'], backend: shop}"}  # fmt: skip
    reading = Reader(SETTINGS, Scope.INGRESS).read(annotations, lambda name: None)
    mentions = route_values(reading, ORIGIN, annotations, SETTINGS).mentions
    assert list(mentions) == ["a", "gone", "shop"]
    route = Route("shop", ("http",), (), 1, "shop")
    found = unusable(route, ORIGIN, mentions, {"a", "shop"}.__contains__)
    assert [(f.code, f.object, f.field) for f in found] == [
        ("FP171", ORIGIN, f"metadata.annotations[{key}]")
    ] * 2
    assert [f.sentence.split()[7] for f in found] == ["gone;", "shop;"]
