"""Annotations of an object, read by every feature: shared when equal, harmless when bad."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controller.dialects.traefik.names import unknown_annotations
from controller.dialects.traefik.reading import Reader
from controller.kubernetes.objects import Ingress
from fastproxy.feature import OnInvalid, Scope
from fastproxy.features import auth, path_rules, priority, protocol
from tests.support.cases import settings

SETTINGS = settings({})
REFERENCE = Ingress("d", "i").reference


def no_secret(name: str) -> Mapping[str, bytes] | None:
    return None


def reader() -> Reader:
    return Reader(SETTINGS, Scope.INGRESS)


def test_equal_annotations_share_one_reading() -> None:
    shared = reader()
    first = shared.read({"ingress.kubernetes.io/priority": "5", "own": "a"}, no_secret, "/x")
    second = shared.read({"own": "b", "ingress.kubernetes.io/priority": "5"}, no_secret, "/x")
    assert first is second
    assert first.config(priority.FEATURE).value == 5
    # The path is part of what is read.
    other = shared.read({"ingress.kubernetes.io/priority": "5"}, no_secret, "/y")
    assert other.config(path_rules.FEATURE).path == "/y"


def test_a_reading_with_secrets_is_not_shared() -> None:
    annotations = {
        "ingress.kubernetes.io/auth-type": "basic",
        "ingress.kubernetes.io/auth-secret": "users",
    }
    shared = reader()
    refused = shared.read(annotations, no_secret)
    assert refused.refused(auth.FEATURE)
    assert refused.secrets == ("users",)
    allowed = shared.read(annotations, lambda name: {"auth": b"u:$apr1$a$b"})
    assert not allowed.refused(auth.FEATURE)
    assert allowed.config(auth.FEATURE) is not None


def test_a_reader_under_pressure_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.dialects.traefik.reading.CACHE_LIMIT", 2)
    shared = reader()
    for _ in range(2):
        for value in range(1, 6):
            found = shared.read({"ingress.kubernetes.io/priority": f"{value}"}, no_secret)
            assert found.config(priority.FEATURE).value == value


# annotation, value, effect of the refusal (None: none), code of the remark
REFUSALS = [
    ("protocol", "gopher", OnInvalid.ENDPOINTS, "FP166"),
    ("rule-type", "Regex", OnInvalid.PATH, "FP163"),
    ("service-weights", "- a", OnInvalid.INGRESS, "FP165"),
    ("rate-limit", "{", OnInvalid.OFF, "FP162"),
    ("priority", "high", None, "FP161"),
    ("frontend-entry-points", "http,nowhere", None, "FP167"),
]


@pytest.mark.parametrize(("name", "value", "effect", "code"), REFUSALS)
def test_refusals(name: str, value: str, effect: OnInvalid | None, code: str) -> None:
    key = f"traefik.ingress.kubernetes.io/{name}"
    found = reader().read({key: value}, no_secret, "/x")
    assert [refusal.effect for refusal in found.refusals] == ([effect] if effect else [])
    (remark,) = found.remarks
    finding = remark.about(REFERENCE)
    # The finding names the spelling which the user wrote.
    assert (finding.code, finding.field) == (code, f"metadata.annotations[{key}]")


def test_one_refusal_leaves_the_other_features_alone() -> None:
    found = reader().read(
        {"ingress.kubernetes.io/protocol": "gopher", "ingress.kubernetes.io/priority": "7"},
        no_secret,
    )
    assert found.refused(protocol.FEATURE)
    assert found.config(priority.FEATURE).value == 7


# keys of an Ingress -> codes and what the sentences must name
UNKNOWN = [
    ({"nginx.ingress.kubernetes.io/rewrite-target": "/"}, []),
    ({"example.com/note": "x", "kubernetes.io/ingress.class": "traefik"}, []),
    ({"ingress.kubernetes.io/rewrite-targets": "/"}, [("FP168", "rewrite-target does")]),
    ({"traefik.ingress.kubernetes.io/xyzzy-plugh": "/"}, [("FP168", "No such annotation")]),
    ({"traefik.frontend.priorty": "5"}, [("FP168", "traefik.frontend.priority")]),
    ({"ingress.kubernetes.io/affinity": "true"}, [("FP169", "Service")]),
    ({"traefik.backend.circuitbreaker": "x"}, [("FP169", "Service")]),
]


@pytest.mark.parametrize(("annotations", "expected"), UNKNOWN)
def test_annotations_nobody_reads(
    annotations: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    found = unknown_annotations(annotations, Scope.INGRESS, REFERENCE)
    assert [finding.code for finding in found] == [code for code, _ in expected]
    for finding, (_, part) in zip(found, expected, strict=True):
        assert part in finding.sentence
