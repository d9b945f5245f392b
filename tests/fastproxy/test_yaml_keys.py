"""Keys in YAML values that nobody reads are named, with the one that was meant."""

from __future__ import annotations

import pytest

from fastproxy.features.buffering import BUFFERING
from fastproxy.features.client_cert import PASS_CLIENT_CERT
from fastproxy.features.error_pages import ERROR_PAGES
from fastproxy.features.rate_limit import RATE_LIMIT
from fastproxy.features.weights import SERVICE_WEIGHTS
from fastproxy.yaml_keys import unread_keys

RATE = {"period": None, "average": None, "burst": None}
SHAPE = {"extractorfunc": None, "rateset": {"*": RATE}}

# text, parts of each sentence
TEXTS = [
    ("extractorfunc: client.ip\nrateset: {a: {period: 1s, average: 1, burst: 1}}", []),
    ("rateSet: {}", [("`rateSet`", "write `rateset`")]),
    ("rate-set: {}", [("`rate-set`", "write `rateset`")]),
    ("extractorFunc: x\nrateSet: {}", [("extractorFunc",), ("rateSet",)]),
    ("average: 1\nburst: 2", [("`average`", "rateset.NAME.average"), ("`burst`",)]),
    ("rateset: {a: {averag: 1}}", [("`averag`", "write `average`")]),
    ("rateset: {a: {bursts: 1}}", [("`bursts`", "write `burst`")]),
    ("rateset: {a: {colour: 1}}", [("`colour`", "rateset.a", "period, average, burst")]),
    ("colour: 1", [("`colour`", "the keys are extractorfunc, rateset")]),
    ("rateset: {a: {}, a: {}}", [("`a` stands there twice", "last one counts")]),
    ("rateset: {a: {burst: 1, burst: 2}}", [("`burst` stands there twice",)]),
    ("rateset: []", []),  # of the wrong type: its reader says so
    ("just text", []),
    ("", []),
    ("a: [", []),
    ("&a [*a]", []),
    ("? [x]\n: 1", []),
    ("x" * 100 + ": 1", [("xxx...`",)]),
]


@pytest.mark.parametrize(("text", "parts"), TEXTS)
def test_unread_keys(text: str, parts: list[tuple[str, ...]]) -> None:
    found = unread_keys(text, SHAPE)
    assert len(found) == len(parts)
    for sentence, wanted in zip(found, parts, strict=True):
        assert all(part in sentence for part in wanted), sentence


@pytest.mark.parametrize(
    "annotation",
    [RATE_LIMIT, BUFFERING, ERROR_PAGES, PASS_CLIENT_CERT, SERVICE_WEIGHTS],
    ids=lambda a: a.name,
)
def test_the_documented_example_is_read_whole(annotation) -> None:  # type: ignore[no-untyped-def]
    assert annotation.keys_inside is not None
    assert unread_keys(annotation.example, annotation.keys_inside) == ()
    upper = "\n".join(
        line.replace(line.strip(), line.strip()[:1].upper() + line.strip()[1:])
        for line in annotation.example.splitlines()
    )
    if "*" not in annotation.keys_inside:
        assert unread_keys(upper, annotation.keys_inside)
