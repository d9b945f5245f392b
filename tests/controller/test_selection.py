"""Label selectors of the Kubernetes API, and the class table of Traefik 1.7."""

from __future__ import annotations

import pytest

from controller.kubernetes.objects import Ingress, IngressClass
from controller.translate.selection import Selection, parse_selector
from fastproxy.settings.options import Kubernetes

# selector, labels that match, labels that do not
SELECTORS: list[tuple[str, list[dict[str, str]], list[dict[str, str]]]] = [
    ("", [{}, {"a": "b"}], []),
    ("a=b", [{"a": "b"}], [{}, {"a": "c"}]),
    ("a==b", [{"a": "b"}], [{"a": "c"}]),
    (" a = b , c ", [{"a": "b", "c": ""}], [{"a": "b"}]),
    ("a!=b", [{}, {"a": "c"}], [{"a": "b"}]),
    ("a in (b,c)", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
    ("a in ( b , c )", [{"a": "b"}], [{"a": "d"}]),
    ("a notin (b,c)", [{}, {"a": "d"}], [{"a": "b"}]),
    ("a in (,b)", [{"a": ""}, {"a": "b"}], [{}]),
    ("a", [{"a": ""}, {"a": "x"}], [{}]),
    ("!a", [{}], [{"a": ""}]),
    ("! a,b", [{"b": "1"}], [{"a": "", "b": "1"}, {}]),
    ("a=", [{"a": ""}], [{}, {"a": "b"}]),
    ("a>5", [{"a": "6"}], [{}, {"a": "5"}, {"a": "x"}]),
    ("a<5", [{"a": "-1"}], [{"a": "5"}, {"a": "6"}]),
    ("example.com/tier=front", [{"example.com/tier": "front"}], [{"tier": "front"}]),
    ("in in (in)", [{"in": "in"}], [{}]),
    ("notin", [{"notin": ""}], [{}]),
    ("a in (b),a notin (c),!d", [{"a": "b"}], [{"a": "b", "d": ""}]),
]


@pytest.mark.parametrize(("text", "matching", "others"), SELECTORS)
def test_selectors(text: str, matching: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    selection = Selection(Kubernetes(label_selector=text))
    for labels in matching:
        assert selection.in_scope(Ingress("d", "i", labels=labels))
    for labels in others:
        assert not selection.in_scope(Ingress("d", "i", labels=labels))


@pytest.mark.parametrize(
    "text",
    [
        "A and not B",
        "a=b,",
        ",a",
        "a in ()",
        "a in (b",
        "a in b",
        "a b",
        "a=b=c",
        "=b",
        "!a=b",
        "a>x",
        "a>",
        "-a",
        "a in (b c)",
        "a=b;c",
        "a!b",
        "a notin",
        "a/b/c",
    ],
)
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        parse_selector(text)


CLASSES = {
    ("", "ours"): IngressClass("", "ours", "fastproxy.io/ingress-controller"),
    ("", "theirs"): IngressClass("", "theirs", "k8s.io/ingress-nginx"),
}
FIRST, SECOND = "kubernetes.io/ingress.class", "traefik.kubernetes.io/ingress.class"
# option, annotations, ingressClassName, ours?
CLASS_TABLE: list[tuple[str, dict[str, str], str | None, bool]] = [
    ("", {}, None, True),
    ("", {FIRST: ""}, None, True),
    ("", {FIRST: "traefik"}, None, True),
    ("", {FIRST: "Traefik"}, None, False),
    ("", {FIRST: "nginx"}, None, False),
    ("", {SECOND: "traefik"}, None, True),
    ("", {FIRST: "nginx", SECOND: "traefik"}, None, False),
    ("", {FIRST: "", SECOND: "nginx"}, None, True),
    ("x", {}, None, False),
    ("x", {FIRST: ""}, None, False),
    ("x", {FIRST: "traefik"}, None, False),
    ("x", {FIRST: "x"}, None, True),
    ("x", {FIRST: "X"}, None, False),
    ("x", {SECOND: "x"}, None, True),
    ("", {}, "ours", True),
    ("x", {}, "ours", True),
    ("", {}, "theirs", False),
    ("theirs", {}, "theirs", True),
    ("", {}, "unknown", False),
    ("unknown", {}, "unknown", True),
    ("", {FIRST: "nginx"}, "ours", False),
    ("", {}, "", False),
]


@pytest.mark.parametrize(("option", "annotations", "name", "ours"), CLASS_TABLE)
def test_classes(option: str, annotations: dict[str, str], name: str | None, ours: bool) -> None:
    selection = Selection(Kubernetes(ingress_class=option))
    ingress = Ingress("d", "i", annotations=annotations, class_name=name)
    assert selection.is_ours(ingress, CLASSES) is ours


def test_namespaces() -> None:
    selection = Selection(Kubernetes(namespaces=("a", "b")))
    assert [selection.in_scope(Ingress(n, "i")) for n in ("a", "b", "c")] == [True, True, False]
