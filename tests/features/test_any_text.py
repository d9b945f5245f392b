"""Whatever stands in an annotation: it is read or refused with a sentence, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.feature import Invalid, OnInvalid
from fastproxy.features import FEATURES
from fastproxy.model.configuration import Backend
from fastproxy.notes import ObjectNotes
from fastproxy.settings.options import ClientCa, EntryPoint, EntryPointTls
from tests.support.features import Refs, context, route
from tests.support.sanitized import fuzz

ANNOTATIONS = [(feature, a) for feature in FEATURES for a in feature.annotations]
EXAMPLES = sorted({a.example for _, a in ANNOTATIONS})
POINTS = {
    "http": EntryPoint(":80"),
    "https": EntryPoint(":443", tls=EntryPointTls(client_ca=ClientCa(("ca.pem",)))),
}
SECRETS = {
    "a": {"x": b"ann:{SHA}x"},
    "b": {"x": b"ann:traefik:0"},
    "c": {"tls.crt": b"", "tls.key": b""},
}


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """An example with a piece replaced."""
    text = draw(st.sampled_from(EXAMPLES))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 6)))
    return (
        text[:start]
        + draw(st.text("{}[]():,;|&%$\\\"'#-0189 .\n\t\0aé\ud800", max_size=6))
        + text[end:]
    )


texts = damaged() | st.sampled_from([*EXAMPLES, *SECRETS]) | st.text(max_size=40)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@fuzz(60)
@given(data=st.data())
def test_reading_and_building_refuse_only_with_sentences(feature, data):
    values = {
        annotation.keys[0]: data.draw(texts, annotation.name)
        for annotation in feature.annotations
        if data.draw(st.booleans())
    }
    notes = ObjectNotes(values)
    refs = Refs(path=data.draw(st.sampled_from(["", "/", "/a", "/{x:[a"])), secrets=SECRETS,
                entry_points=POINTS)  # fmt: skip
    try:
        config = feature.read(notes, refs)
    except Invalid as refusal:
        assert refusal.effect is not OnInvalid.DEFAULT
        assert refusal.sentence
        assert len(refusal.sentence) < 400
        return
    assert all(problem.sentence and len(problem.sentence) < 400 for problem in notes.problems)
    if config is None:
        return
    assert hash(config) == hash(config)
    for name in POINTS:
        where = context(route=route(), backend=Backend("b"), entry_point=name, entry_points=POINTS)
        try:
            operations = feature.build(config, where) if feature.build else ()
        except ValueError:
            continue
        for operation in operations:
            assert len(operation.encode()) % 8 == 0
            live = getattr(operation, "config", None)
            if live is not None:
                feature.filter(live)
