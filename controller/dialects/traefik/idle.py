"""What an Ingress as a whole asks for and cannot get, whichever feature is meant."""

from __future__ import annotations

from collections.abc import Iterator

from controller.dialects.traefik.reading import annotation_field
from controller.kubernetes.objects import Ingress
from fastproxy.features import KNOWN_ANNOTATIONS
from fastproxy.model import findings
from fastproxy.model.findings import Finding
from fastproxy.notes import ObjectNotes

# Annotations that only matter to some items: what their path has to be.
NEEDS_A_PATH = ("rule-type", "rewrite-target", "request-modifier")
NEEDS_THE_ROOT = "app-root"
ANNOTATIONS = tuple(
    annotation
    for annotation in dict.fromkeys(KNOWN_ANNOTATIONS.values())
    if annotation.name in (*NEEDS_A_PATH, NEEDS_THE_ROOT)
)


def idle(ingress: Ingress) -> list[Finding]:
    """Annotations without an item they could work on, and annotations among the labels."""
    return [*_without_items(ingress), *_among_labels(ingress)]


def _without_items(ingress: Ingress) -> Iterator[Finding]:
    paths = [item.path for rule in ingress.rules for item in rule.paths or ()]
    if not paths:
        return
    notes = ObjectNotes(ingress.annotations)
    for annotation in ANNOTATIONS:
        key = notes.key(annotation)
        sentence = ""
        if annotation.name in NEEDS_A_PATH and not any(paths):
            sentence = "it needs a path, and no rule has one; write path: /"
        elif annotation.name == NEEDS_THE_ROOT and not {"", "/"} & set(paths):
            sentence = "it works on the path /, which no rule has"
        if key is not None and sentence:
            field = annotation_field(key)
            yield findings.ANNOTATION_ALONE(ingress.reference, field, sentence=sentence)


def _among_labels(ingress: Ingress) -> Iterator[Finding]:
    for key in ingress.labels:
        if key in KNOWN_ANNOTATIONS:
            yield findings.ANNOTATIONS_MISPLACED(
                ingress.reference, f"metadata.labels[{key}]", names=""
            )
