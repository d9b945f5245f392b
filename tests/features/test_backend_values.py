"""Affinity, balancing, flush interval, pass-tls-cert."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import Affinity as AffinityOperation
from fastproxy.engine.operations.writer import OfferEntryPointCertificate
from fastproxy.feature import Invalid, OnInvalid
from fastproxy.features import affinity, balancing, flush_interval, pass_tls_cert
from fastproxy.features.affinity import Affinity
from fastproxy.features.balancing import Balancing
from fastproxy.features.flush_interval import FlushInterval
from fastproxy.features.pass_tls_cert import PassTlsCert
from fastproxy.model.configuration import Backend
from fastproxy.settings.options import EntryPoint, EntryPointTls
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems

ON = {"affinity": "true"}
READ = [
    (affinity, {}, None),
    (affinity, {"affinity": "false", "session-cookie-name": "a"}, None),
    (affinity, ON, Affinity()),
    (affinity, {"traefik.backend.loadbalancer.stickiness": "true"}, Affinity()),
    (affinity, {**ON, "session-cookie-name": "a b;c"}, Affinity("a_b_c")),
    (
        affinity,
        {
            **ON,
            "traefik.backend.loadbalancer.stickiness.cookieName": "x",
            "session-secure": "true",
            "session-http-only": "1",
            "session-same-site": "lax",
        },
        Affinity("x", True, True, "lax"),
    ),
    (affinity, {**ON, "session-same-site": "Lax"}, Affinity()),
    (affinity, {"traefik.backend.loadbalancer.sticky": " TRUE "}, Affinity("_TRAEFIK_BACKEND")),
    (affinity, {"traefik.backend.loadbalancer.sticky": "1"}, None),
    (affinity, {"ingress.kubernetes.io/sticky": "true"}, None),
    (affinity, {**ON, "traefik.backend.loadbalancer.sticky": "true"}, Affinity()),
    (balancing, {}, None),
    (balancing, {"load-balancer-method": "wrr"}, None),
    (balancing, {"load-balancer-method": "drr"}, Balancing("drr")),
    (balancing, {"traefik.backend.loadbalancer.method": "drr"}, Balancing("drr")),
    (balancing, {"load-balancer-method": "DRR"}, None),
    (flush_interval, {}, None),
    (flush_interval, {"responseforwarding-flushinterval": "0"}, None),
    (flush_interval, {"responseforwarding-flushinterval": "20ms"}, FlushInterval(20_000_000)),
    (flush_interval, {"responseforwarding-flushinterval": "2"}, FlushInterval(2_000_000_000)),
    (flush_interval, {"responseforwarding-flushinterval": "-1ms"}, FlushInterval(-1_000_000)),
    (
        flush_interval,
        {"responseforwarding-flushinterval": "fast"},
        Bad(OnInvalid.DROP, "duration"),
    ),
    (pass_tls_cert, {}, None),
    (pass_tls_cert, {"pass-tls-cert": "true"}, PassTlsCert()),
    (pass_tls_cert, {"traefik.frontend.passTLSCert": "true"}, PassTlsCert()),
    (pass_tls_cert, {"pass-tls-cert": "on"}, None),
]


@pytest.mark.parametrize(("module", "annotations", "expected"), READ)
def test_annotations_become_configurations(module, annotations, expected):
    assert_outcome(outcome(module.FEATURE, annotations), expected)


DEFAULTED = [
    (affinity, {"affinity": "yes"}, "boolean"),
    (affinity, {**ON, "session-secure": "y"}, "boolean"),
    (affinity, {**ON, "session-http-only": "y"}, "boolean"),
    (affinity, {**ON, "session-same-site": "Lax"}, "none, lax or strict"),
    (balancing, {"load-balancer-method": "leastconn"}, "drr"),
    (pass_tls_cert, {"pass-tls-cert": "on"}, "boolean"),
]


@pytest.mark.parametrize(("module", "annotations", "part"), DEFAULTED)
def test_bad_values_are_told_and_the_default_holds(module, annotations, part):
    [(effect, sentence)] = problems(module.FEATURE, annotations)
    assert effect is OnInvalid.DEFAULT
    assert part in sentence


COOKIES = [
    (Affinity(), "backend", b"_76eb3", b"; Path=/"),
    (Affinity(), "shop.example/cart", b"_9403c", b"; Path=/"),
    (Affinity(), "global-default-backend", b"_7c55f", b"; Path=/"),
    (Affinity("x", secure=True), "b", b"x", b"; Path=/; Secure"),
    (
        Affinity("x", True, True, "none"),
        "b",
        b"x",
        b"; Path=/; HttpOnly; Secure; SameSite=None",
    ),
]


@pytest.mark.parametrize(("config", "backend", "cookie", "attributes"), COOKIES)
def test_cookies(config, backend, cookie, attributes):
    where = context(backend=Backend(backend))
    assert affinity.build(config, where) == [AffinityOperation(cookie, attributes)]


def test_tunes():
    assert balancing.tune(Backend("b"), Balancing("drr")).method == "drr"
    assert flush_interval.tune(Backend("b"), FlushInterval(-5)).flush_interval == -5


def test_pass_tls_cert_follows_the_provider_option_and_needs_tls():
    assert outcome(pass_tls_cert.FEATURE, {}, Refs(enable_pass_tls_cert=True)) == PassTlsCert()
    off = {"pass-tls-cert": "false"}
    assert outcome(pass_tls_cert.FEATURE, off, Refs(enable_pass_tls_cert=True)) is None
    entry_points = {"http": EntryPoint(":80"), "https": EntryPoint(":443", tls=EntryPointTls())}
    where = context(entry_points=entry_points, entry_point="https")
    assert pass_tls_cert.build(PassTlsCert(), where) == [OfferEntryPointCertificate()]
    with pytest.raises(Invalid, match="no TLS"):
        pass_tls_cert.build(PassTlsCert(), context(entry_points=entry_points))
