"""No value of an annotation is repeated in a finding, unless the annotation is `public`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from fastproxy.feature import Annotation, BuildContext, Feature, Invalid, Scope
from fastproxy.features import FEATURES
from fastproxy.notes import ObjectNotes
from fastproxy.settings.options import EntryPoint
from tests.support.features import Refs, context, full, route

MARK = "hunter2"
# Values as people write them, right or wrong, each with something in it that nobody may see.
FORMS = [
    MARK,
    f"http://user:{MARK}@bad host/",
    f"http://user:{MARK}@127.0.0.1:99999/x",
    f"http://user:{MARK}@[::1/",
    f"https://user:{MARK}@auth.test/",
    f"ftp://user:{MARK}@auth.test/",
    f"Authorization: Bearer {MARK}",
    f"Authorization: Bearer {MARK} || {MARK}",
    f"Authorization Bearer {MARK}",
    f"X-Key: a\n{MARK}",
    f"({MARK}",
    f"^/{MARK}",
    f"^/{MARK}(",
    rf"\C{MARK}",
    f"{MARK} [{MARK}",
    f"[[:{MARK}:]]",
    f"(?P<{MARK}",
    f"a{{{MARK}",
    rf"\p{{{MARK}}}",
    f"{{{{ {MARK} }}}}",
    f"{{{{ .Request.Header.Get {MARK}",
    f"ReplacePathRegex: ({MARK} /x",
    f"ReplacePathRegex: ({MARK}",
    f"{MARK}: {MARK}",
    f'"{MARK}',
    f"{MARK}\\",
    f"a: [{MARK}",
    f"- {MARK}",
    f"a: {{b: {MARK}}}",
    f"{MARK}\x01",
    f"/{MARK}",
    f"1{MARK}",
    f"a, {MARK} b",
]
ANNOTATIONS = [
    (feature, annotation)
    for feature in FEATURES
    for annotation in feature.annotations
    if not annotation.public
]
# What makes a feature look at its annotations, and what stands beside them.
BESIDE: list[Mapping[str, str]] = [
    {},
    {"auth-type": "forward", "auth-url": "http://auth.test/"},
    {"redirect-regex": "^http://a/(.*)", "redirect-replacement": "http://b/$1"},
    {"rule-type": "ReplacePath"},
    {"rule-type": "PathPrefixStrip"},
    {"affinity": "true", "ssl-redirect": "true", "ssl-force-host": "true"},
]
POINTS = {"http": EntryPoint(":80")}


def told(feature: Feature, annotations: Mapping[str, str]) -> str:
    """Everything that is said about annotations, until the route is built."""
    notes = ObjectNotes(full(annotations))
    said = []
    try:
        config = feature.read(notes, Refs(path="/a", entry_points=POINTS))
        if config is not None and feature.build is not None:
            where: BuildContext = context(route=route(), entry_points=POINTS)
            feature.build(config, where)
    except Invalid as problem:
        said.append(problem.sentence)
    except ValueError as problem:  # becomes the reason in FP170
        said.append(str(problem))
    return "\n".join([*said, *(f"{p.sentence} {p.outcome}" for p in notes.problems)])


@pytest.mark.parametrize(
    ("feature", "annotation"), ANNOTATIONS, ids=[annotation.name for _, annotation in ANNOTATIONS]
)
def test_values_are_not_repeated(feature: Feature, annotation: Annotation[object]) -> None:
    for beside in BESIDE:
        for form in FORMS:
            assert MARK not in told(feature, {**beside, annotation.name: form}), (beside, form)


def test_these_are_not_public() -> None:
    """What may hold passwords, tokens, or URLs with either."""
    names = {annotation.name for _, annotation in ANNOTATIONS}
    assert names >= {
        "auth-url", "custom-request-headers", "custom-response-headers", "ssl-proxy-headers",
        "redirect-regex", "redirect-replacement", "app-root", "rewrite-target", "request-modifier",
        "content-security-policy", "public-key",
    }  # fmt: skip


@pytest.mark.parametrize("scope", Scope)
def test_what_is_refused_is_told_all_the_same(scope: Scope) -> None:
    """The forms above reach what is said: without that, nothing would be shown by their absence."""
    said = [
        told(feature, {**beside, annotation.name: form})
        for feature, annotation in ANNOTATIONS
        if feature.scope is scope
        for beside in BESIDE
        for form in FORMS
    ]
    sentences = {re.sub(r"\d+", "N", line) for text in said for line in text.splitlines() if line}
    assert len(sentences) > (10 if scope is Scope.INGRESS else 0)
