"""Features which only change the values of a route or a backend."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.feature import Invalid, OnInvalid
from fastproxy.features import entry_points, preserve_host, priority, protocol, weights
from fastproxy.features.entry_points import EntryPoints
from fastproxy.features.preserve_host import PreserveHost
from fastproxy.features.priority import Priority
from fastproxy.features.protocol import Protocol
from fastproxy.features.weights import Weights
from fastproxy.model.configuration import Backend, Endpoint
from tests.support.features import Bad, assert_outcome, outcome, problems, route

READ = [
    (priority, {}, None),
    (priority, {"priority": "30"}, Priority(30)),
    (priority, {"priority": "-1"}, None),
    (priority, {"traefik.frontend.priority": "7"}, Priority(7)),
    (priority, {"priority": "+7", "traefik.frontend.priority": "8"}, Priority(7)),
    (entry_points, {"frontend-entry-points": " ,"}, None),
    (
        entry_points,
        {"frontend-entry-points": "http, https"},
        EntryPoints(("http", "https"), ("http", "https")),
    ),
    (
        entry_points,
        {"traefik.frontend.entryPoints": "http,nope"},
        EntryPoints(("http", "nope"), ("http",)),
    ),
    (entry_points, {"frontend-entry-points": "nope"}, EntryPoints(("nope",), ())),
    (preserve_host, {}, None),
    (preserve_host, {"preserve-host": "false"}, PreserveHost(False)),
    (preserve_host, {"traefik.frontend.passHostHeader": "T"}, PreserveHost(True)),
    (protocol, {"protocol": "h2c"}, Protocol("h2c")),
    (protocol, {"protocol": ""}, None),
    (protocol, {"protocol": "HTTP"}, Bad(OnInvalid.ENDPOINTS, "http or https")),
    (weights, {}, None),
    (weights, {"service-weights": ""}, Weights(())),
    (weights, {"service-weights": "b: 10\na: 2.5%\n"}, Weights((("a", 2500), ("b", 10000)))),
    (weights, {"service-weights": "a: 0.0019%"}, Weights((("a", 1),))),
    (weights, {"service-weights": "a: ten"}, Bad(OnInvalid.INGRESS, "percentage")),
    (weights, {"service-weights": "a:"}, Bad(OnInvalid.INGRESS, "percentage")),
    (weights, {"service-weights": "a: -1"}, Bad(OnInvalid.INGRESS, "percentage")),
    (weights, {"service-weights": "- a"}, Bad(OnInvalid.INGRESS, "mapping")),
    (weights, {"service-weights": "a: [1"}, Bad(OnInvalid.INGRESS, "YAML")),
]


@pytest.mark.parametrize(("module", "annotations", "expected"), READ)
def test_annotations_become_configurations(module, annotations, expected):
    assert_outcome(outcome(module.FEATURE, annotations), expected)


DEFAULTED = [
    (priority, {"priority": "high"}, OnInvalid.DEFAULT, "whole number"),
    (priority, {"priority": ""}, OnInvalid.DEFAULT, "whole number"),
    (priority, {"priority": str(1 << 63)}, OnInvalid.DEFAULT, "whole number"),
    (preserve_host, {"preserve-host": "yes"}, OnInvalid.DEFAULT, "boolean"),
    (preserve_host, {"preserve-host": ""}, OnInvalid.DEFAULT, "boolean"),
    (entry_points, {"frontend-entry-points": "http,nope"}, None, "'nope'"),
]


@pytest.mark.parametrize(("module", "annotations", "effect", "part"), DEFAULTED)
def test_bad_values_are_told(module, annotations, effect, part):
    [(found, sentence)] = problems(module.FEATURE, annotations)
    assert found is effect
    assert part in sentence


def test_shapes_and_tunes():
    assert priority.shape(route(), Priority(40)).priority == 40
    assert entry_points.shape(route(), EntryPoints(("a", "b"), ("b",))).entry_points == ("b",)
    assert preserve_host.shape(route(), PreserveHost(False)).preserve_host is False
    tuned = protocol.tune(Backend("b", (Endpoint("https", "::1", 443),)), Protocol("http"))
    assert tuned.endpoints[0].url == "http://[::1]:443"


def percent(**services):
    return Weights(tuple((name, round(value * 1000)) for name, value in services.items()))


# provider.md 5.8
SHARES = [
    (percent(a=10), [("a", 2), ("b", 1)], {"a": 5000, "b": 90000}),
    (percent(a=60), [("a", 2), ("b", 1)], {"a": 30000, "b": 40000}),
    (percent(a=60), [("a", 2), ("c", 4)], {"a": 30000, "c": 10000}),
    (
        percent(a=12.5, b=12.5),
        [("a", 1), ("b", 2), ("c", 3)],
        {"a": 12500, "b": 6250, "c": 25000},
    ),
    (
        percent(a=33.333, b=33.333, c=33.334),
        [("a", 2), ("b", 3), ("c", 1)],
        {"a": 16666, "b": 11111, "c": 33334},
    ),
    (
        percent(a=20, b=40, c=40),
        [("a", 2), ("b", 1), ("c", 4), ("d", 1)],
        {"a": 10000, "b": 40000, "c": 10000, "d": 0},
    ),
    (percent(a=10, e=20), [("a", 2), ("e", 1), ("b", 2)], {"a": 5000, "e": 20000, "b": 35000}),
    (percent(), [("a", 3)], {"a": 33333}),
    (percent(a=100), [("a", 0)], {"a": 0}),
    (percent(unused=50), [("a", 0)], {"a": 0}),
]


@pytest.mark.parametrize(("config", "items", "expected"), SHARES)
def test_percentages_become_weights(config, items, expected):
    assert weights.shares(config, items) == expected


@pytest.mark.parametrize(
    ("config", "items", "total"),
    [
        (percent(a=70, b=80), [("a", 1), ("b", 1)], "150 %"),
        (percent(a=50), [("a", 1)], "50 %"),
    ],
)
def test_percentages_must_add_up(config, items, total):
    with pytest.raises(Invalid, match=total) as caught:
        weights.shares(config, items)
    assert caught.value.effect is OnInvalid.INGRESS


@given(st.decimals(0, 100, places=6))
def test_units_follow_the_formula_of_the_specification(number):
    twin = int(int(number / 100 * 100000 * Decimal(100)) / Decimal(100))
    assert weights.units(f"{number}%") == weights.units(str(number)) == twin
