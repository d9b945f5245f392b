"""What is told of a text that is no YAML: what has happened, and what to do."""

from __future__ import annotations

import pytest

from controller.sources.yaml_text import Broken, parse

TEXTS = [
    # text, words of the sentence
    ("a:\n\tb: 1\n", "begins with a tab"),
    ("a: @x\n", "between quotes"),
    ("a: %x\n", "between quotes"),
    ("a: >\n\tx\n", "indented by a tab"),
    ("a: b: c\n", "a colon stands where no key can be"),
    ("a: 1\n b: 2\n", "a colon stands where no key can be"),
    ("a: ? b\n", "a `? ` stands"),
    ("a: -\n - b\n", "a `- ` stands"),
    ("a: [1\nb: 2\n", "a list in [ ] is not closed"),
    ("a: {b: 1\n", "a mapping in { } is not closed"),
    ("key: [a, b}\n", "a list in [ ] is not closed"),
    ("a: 'x\n", "a quote is not closed"),
    ('a: "x\n', "a quote is not closed"),
    ("a: 'x\n---\nb: 1\n", "a quote is not closed before the next document"),
    ("- a\nb: c\n", "without `- `"),
    ("a: 1\n- b\n", "does not belong to the mapping above"),
    (" a: 1\nb: 2\n", "to the left of the first one"),
    ("a: 1\na\n", "has no colon"),
    ("a: *\n", "begins with * or &"),
    ("a: *x\n", "the alias *x is not defined"),
    ('a: "\\q"\n', "starts no escape"),
]


@pytest.mark.parametrize(("text", "words"), TEXTS)
def test_reasons(text: str, words: str) -> None:
    with pytest.raises(Broken) as found:
        parse(text)
    assert words in found.value.reason
    assert ";" in found.value.reason  # what to do
    for jargon in ("token", "scanner", "did not find", "expected", "context", "scalar"):
        assert jargon not in found.value.reason


def test_what_is_not_known_is_shown_as_it_is() -> None:
    with pytest.raises(Broken, match="did not find expected digit"):
        parse("%YAML 3\n---\na\n")
