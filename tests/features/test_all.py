"""What holds for every feature: the documentation, the examples, the names."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fastproxy.feature import OnInvalid
from fastproxy.features import FEATURE_OF, FEATURES, KNOWN_ANNOTATIONS
from fastproxy.features.__main__ import document
from fastproxy.model.configuration import Config
from fastproxy.notes import ObjectNotes, clean, misspelt, string_body
from tests.support.features import Refs

ANNOTATIONS = [(feature, a) for feature in FEATURES for a in feature.annotations]
NAMES = [annotation.name for _, annotation in ANNOTATIONS]
REFS = Refs(secrets={"htpasswd-shop": {"u": b"ann:x"}, "auth-client-cert": {}})

# The index of features.md 2.2 to 2.5, with its "bad value" column: what `read` raises, or DEFAULT.
INDEX = {
    "app-root": OnInvalid.DEFAULT,
    "error-pages": OnInvalid.OFF,
    "frontend-entry-points": OnInvalid.DROP,
    "pass-client-tls-cert": OnInvalid.OFF,
    "pass-tls-cert": OnInvalid.DEFAULT,
    "preserve-host": OnInvalid.DEFAULT,
    "priority": OnInvalid.DEFAULT,
    "protocol": OnInvalid.ENDPOINTS,
    "rate-limit": OnInvalid.OFF,
    "redirect-entry-point": OnInvalid.DROP,
    "redirect-permanent": OnInvalid.DEFAULT,
    "redirect-regex": OnInvalid.OFF,
    "redirect-replacement": OnInvalid.OFF,
    "request-modifier": OnInvalid.PATH,
    "rewrite-target": OnInvalid.PATH,
    "rule-type": OnInvalid.PATH,
    "service-weights": OnInvalid.INGRESS,
    "whitelist-source-range": OnInvalid.DROP,
    "whitelist-x-forwarded-for": OnInvalid.DEFAULT,
    "affinity": OnInvalid.DEFAULT,
    "session-cookie-name": OnInvalid.DEFAULT,
    "session-secure": OnInvalid.DEFAULT,
    "session-http-only": OnInvalid.DEFAULT,
    "session-same-site": OnInvalid.DEFAULT,
    "sticky": OnInvalid.DEFAULT,
    "load-balancer-method": OnInvalid.DEFAULT,
    "circuit-breaker-expression": OnInvalid.DROP,
    "buffering": OnInvalid.OFF,
    "max-conn-amount": OnInvalid.DEFAULT,
    "max-conn-extractor-func": OnInvalid.DROP,
    "responseforwarding-flushinterval": OnInvalid.DROP,
    "custom-request-headers": OnInvalid.DEFAULT,
    "custom-response-headers": OnInvalid.DEFAULT,
    "allowed-hosts": OnInvalid.DEFAULT,
    "proxy-headers": OnInvalid.DEFAULT,
    "ssl-redirect": OnInvalid.DEFAULT,
    "ssl-temporary-redirect": OnInvalid.DEFAULT,
    "ssl-host": OnInvalid.DEFAULT,
    "ssl-force-host": OnInvalid.DEFAULT,
    "ssl-proxy-headers": OnInvalid.DEFAULT,
    "hsts-max-age": OnInvalid.DEFAULT,
    "hsts-include-subdomains": OnInvalid.DEFAULT,
    "hsts-preload": OnInvalid.DEFAULT,
    "force-hsts": OnInvalid.DEFAULT,
    "frame-deny": OnInvalid.DEFAULT,
    "custom-frame-options-value": OnInvalid.DEFAULT,
    "content-type-nosniff": OnInvalid.DEFAULT,
    "browser-xss-filter": OnInvalid.DEFAULT,
    "custom-browser-xss-value": OnInvalid.DEFAULT,
    "content-security-policy": OnInvalid.DEFAULT,
    "public-key": OnInvalid.DEFAULT,
    "referrer-policy": OnInvalid.DEFAULT,
    "is-development": OnInvalid.DEFAULT,
    "auth-type": OnInvalid.PATH,
    "auth-secret": OnInvalid.PATH,
    "auth-remove-header": OnInvalid.DEFAULT,
    "auth-header-field": OnInvalid.PATH,
    "auth-realm": OnInvalid.PATH,
    "auth-url": OnInvalid.PATH,
    "auth-trust-headers": OnInvalid.DEFAULT,
    "auth-response-headers": OnInvalid.DEFAULT,
    "auth-tls-secret": OnInvalid.PATH,
    "auth-tls-insecure": OnInvalid.DEFAULT,
}


def test_every_annotation_of_the_index_exists_once_with_its_effect():
    assert len(NAMES) == len(set(NAMES))
    assert {annotation.name: annotation.on_invalid for _, annotation in ANNOTATIONS} == INDEX


def test_the_documentation_is_fresh():
    written = (Path(__file__).parents[2] / "docs" / "annotations.md").read_text()
    assert written == document(), "run: python -m fastproxy.features > docs/annotations.md"


@pytest.mark.parametrize("annotation", [a for _, a in ANNOTATIONS], ids=NAMES)
def test_every_example_is_accepted_under_every_name(annotation):
    for key in annotation.keys:
        notes = ObjectNotes({key: annotation.example})
        assert notes.get(annotation) == annotation.parse(clean(annotation.example))
        assert notes.problems == {}
    assert annotation.doc.endswith(".")


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_features_are_whole(feature):
    used_by_translation = feature.name == "Service weights"
    assert used_by_translation or feature.build or feature.shape or feature.tune
    assert issubclass(feature.config, Config)
    assert FEATURE_OF[feature.config] is feature
    assert feature.read(ObjectNotes({}), Refs(path="")) is None
    assert feature.doc


@pytest.mark.parametrize(
    "feature", [f for f in FEATURES if f.annotations], ids=lambda feature: feature.name
)
def test_configurations_cross_process_borders(feature):
    notes = ObjectNotes({a.keys[0]: a.example for a in feature.annotations})
    if feature.name == "Authentication":
        notes = ObjectNotes(
            {
                "ingress.kubernetes.io/auth-type": "basic",
                "ingress.kubernetes.io/auth-secret": "htpasswd-shop",
            }
        )
    if feature.name == "Path rules":
        notes = ObjectNotes({})
    config = feature.read(notes, REFS)
    assert config is not None
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(pickle.loads(pickle.dumps(config)))


KEYS = [  # annotations, what is found
    ({}, ()),
    ({"ingress.kubernetes.io/priority": "1"}, ()),
    ({"traefik.ingress.kubernetes.io/priority": "1"}, ()),
    ({"traefik.frontend.priority": "1"}, ()),
    ({"kubernetes.io/ingress.class": "x", "traefik.kubernetes.io/ingress.class": "x"}, ()),
    ({"nginx.ingress.kubernetes.io/rewrite-target": "/"}, ()),
    ({"example.com/priority": "1"}, ()),
    (
        {"ingress.kubernetes.io/prioriti": "1"},
        (("ingress.kubernetes.io/prioriti", "ingress.kubernetes.io/priority"),),
    ),
    (
        {"traefik.ingress.kubernetes.io/rate_limit": "1"},
        (("traefik.ingress.kubernetes.io/rate_limit", "traefik.ingress.kubernetes.io/rate-limit"),),
    ),
    (
        {"traefik.frontend.passHostHeaders": "1"},
        (("traefik.frontend.passHostHeaders", "traefik.frontend.passHostHeader"),),
    ),
    (
        {"ingress.kubernetes.io/quite-another-thing": "1"},
        (("ingress.kubernetes.io/quite-another-thing", None),),
    ),
    ({"ingress.kubernetes.io/sticky": "true"}, (("ingress.kubernetes.io/sticky", None),)),
]


@pytest.mark.parametrize(("annotations", "found"), KEYS)
def test_misspelt_annotations_are_found(annotations, found):
    assert misspelt(annotations, KNOWN_ANNOTATIONS) == found


PRECEDENCE = [
    ({"ingress.kubernetes.io/x": "1", "traefik.ingress.kubernetes.io/x": "2", "l.x": "3"}, "1"),
    ({"traefik.ingress.kubernetes.io/x": "2", "l.x": "3"}, "2"),
    ({"l.x": "3"}, "3"),
    ({"ingress.kubernetes.io/x": "", "l.x": "3"}, ""),
    ({"nginx.ingress.kubernetes.io/x": "9"}, "default"),
]


@pytest.mark.parametrize(("annotations", "expected"), PRECEDENCE)
def test_the_first_existing_key_wins(annotations, expected):
    from fastproxy.feature import Annotation

    annotation = Annotation("x", str, "default", "", "", aliases=("l.x",))
    assert ObjectNotes(annotations).get(annotation) == expected


BODIES = [  # text, as a quoted-string body, what a feature sees
    ("plain", "plain", "plain"),
    (r"a\\.b", r"a\.b", r"a\.b"),
    (r"\d", None, r"\d"),
    ('say "x"', None, 'say "x"'),
    (r"say \"x\"", 'say "x"', 'say "x"'),
    ("two\nlines\n", None, "two\nlines"),
    ("line\n", None, "line"),
    (r"tab\there", "tab\there", "tab\there"),
    (r"\u00e9\U0001F600", "\u00e9\U0001f600", "\u00e9\U0001f600"),
    (r"\ud800", None, r"\ud800"),
    (r"\UFFFFFFFF", None, r"\UFFFFFFFF"),
    ("end\\", None, "end\\"),
    (r"\x41", None, r"\x41"),
    (r"a\\", "a\\", "a\\"),
]


@pytest.mark.parametrize(("text", "body", "seen"), BODIES)
def test_values_are_unescaped_once_when_they_are_legal_strings(text, body, seen):
    assert string_body(text) == body
    assert clean(text) == seen


def test_custom_response_headers_win_over_security_headers():
    """`compile.py` joins the operations of every phase in the order of FEATURES."""
    names = [feature.name for feature in FEATURES]
    assert names.index("Security headers") < names.index("Custom response headers")


LEGACY = {
    "frontend-entry-points": "traefik.frontend.entryPoints",
    "pass-tls-cert": "traefik.frontend.passTLSCert",
    "preserve-host": "traefik.frontend.passHostHeader",
    "priority": "traefik.frontend.priority",
    "redirect-entry-point": "traefik.frontend.redirect.entrypoint",
    "redirect-regex": "traefik.frontend.redirect.regex",
    "redirect-replacement": "traefik.frontend.redirect.replacement",
    "rule-type": "traefik.frontend.rule.type",
    "affinity": "traefik.backend.loadbalancer.stickiness",
    "session-cookie-name": "traefik.backend.loadbalancer.stickiness.cookieName",
    "sticky": "traefik.backend.loadbalancer.sticky",
    "load-balancer-method": "traefik.backend.loadbalancer.method",
    "circuit-breaker-expression": "traefik.backend.circuitbreaker",
}


def test_the_legacy_names_are_those_of_the_index():
    assert {a.name: a.aliases[0] for _, a in ANNOTATIONS if a.aliases} == LEGACY
