"""Which Ingresses are ours: namespace, label selector, class.

The class follows the table of Traefik 1.7 for the annotation and the Ingress API for
`spec.ingressClassName`; without the right to read IngressClasses names are compared with the option
only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controller.kubernetes.objects import Ingress, IngressClass
from controller.snapshot.snapshot import Name
from fastproxy.features import INGRESS_CLASS
from fastproxy.notes import string_body
from fastproxy.settings.options import Kubernetes

DEFAULT_CLASS = "traefik"
CONTROLLERS = frozenset(("fastproxy.io/ingress-controller", "traefik.io/ingress-controller"))

KEY = r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
TERM = re.compile(
    rf"""\s*(?: (?P<absent>!)\s*(?P<absent_key>{KEY})
        | (?P<key>{KEY})
          (?: \s*(?P<operator>==|=|!=|<|>)\s*(?P<value>{VALUE})
            | \s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
          )?
    )\s*""",
    re.X,
)


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: str  # "in", "notin", "exists", "absent", "<" or ">"
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        if self.operator in ("exists", "absent"):
            return (value is not None) == (self.operator == "exists")
        if value is None or not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            return False
        (bound,) = self.values
        return int(value) < int(bound) if self.operator == "<" else int(value) > int(bound)


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Read a label selector of the Kubernetes API; all requirements must hold.

    Raises ValueError with a sentence.
    """
    if not text.strip():
        return ()
    requirements = []
    position = 0
    while True:
        term = TERM.match(text, position)
        if term is None or (term.end() < len(text) and text[term.end()] != ","):
            raise ValueError(
                f"label selector {text!r}: {text[position:].strip()!r} is no requirement; write "
                "`app=web,tier in (a,b),!legacy`"
            )
        requirements.append(_requirement(term))
        position = term.end() + 1
        if term.end() == len(text):
            return tuple(requirements)


def _requirement(term: re.Match[str]) -> Requirement:
    if term["absent"]:
        return Requirement(term["absent_key"], "absent")
    key = term["key"]
    if term["set"]:
        values = [value.strip() for value in term["values"].split(",")]
        if not term["values"].strip() or not all(re.fullmatch(VALUE, v) for v in values):
            raise ValueError(f"label selector: {term[0].strip()!r} needs label values in brackets")
        return Requirement(key, term["set"], frozenset(values))
    operator, value = term["operator"], term["value"]
    if operator is None:
        return Requirement(key, "exists")
    if operator in ("<", ">"):
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise ValueError(f"label selector: {term[0].strip()!r} needs a whole number")
        return Requirement(key, operator, frozenset((value,)))
    return Requirement(key, "notin" if operator == "!=" else "in", frozenset((value,)))


class Selection:
    """The filter of one configuration. Raises ValueError when the label selector is no selector."""

    def __init__(self, options: Kubernetes) -> None:
        self._class = options.ingress_class
        self._namespaces: Collection[str] = frozenset(options.namespaces)
        self._selector = parse_selector(options.label_selector)

    def in_scope(self, ingress: Ingress) -> bool:
        """Whether namespace and labels select it."""
        if self._namespaces and ingress.namespace not in self._namespaces:
            return False
        return all(requirement.matches(ingress.labels) for requirement in self._selector)

    def is_ours(self, ingress: Ingress, classes: Mapping[Name, IngressClass]) -> bool:
        """Whether its class selects it (`provider.md` 4.2, `kubernetes.md` 2)."""
        annotation = class_annotation(ingress)
        if annotation is not None:
            value = string_body(annotation)
            return value == self._class if self._class else value in ("", "traefik")
        if ingress.class_name is not None:
            known = classes.get(("", ingress.class_name))
            if known is not None and known.controller in CONTROLLERS:
                return True
            # 1.7 knew no such field, and files name it without an IngressClass: it is read as the
            # annotation then. An IngressClass of another controller is another matter.
            return ingress.class_name == (self._class or (DEFAULT_CLASS if known is None else None))
        return not self._class

    def by_name_only(self, ingress: Ingress, classes: Mapping[Name, IngressClass]) -> bool:
        """Whether it names a class by a field whose IngressClass does not exist."""
        name = ingress.class_name
        by_field = name is not None and class_annotation(ingress) is None
        return by_field and ("", name) not in classes

    @property
    def wanted(self) -> str:
        """The class that is served."""
        return self._class or DEFAULT_CLASS


def class_of(ingress: Ingress) -> str:
    """The class an Ingress names, by whatever means; empty for none."""
    annotation = class_annotation(ingress)
    return (ingress.class_name or "") if annotation is None else annotation


def class_field(ingress: Ingress) -> str:
    """Where it names it."""
    keys = [key for key in INGRESS_CLASS.keys if key in ingress.annotations]
    return f"metadata.annotations[{keys[0]}]" if keys else "spec.ingressClassName"


def class_annotation(ingress: Ingress) -> str | None:
    for key in INGRESS_CLASS.keys:
        if key in ingress.annotations:
            return ingress.annotations[key]
    return None
