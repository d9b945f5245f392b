"""Print docs/annotations.md: `python -m fastproxy.features > docs/annotations.md`."""

from __future__ import annotations

import re
import sys
from typing import Any

from fastproxy.feature import Annotation, Feature, Scope
from fastproxy.features import FEATURES, INGRESS_CLASS

HEAD = """# Annotations

Made by `python -m fastproxy.features > docs/annotations.md`; do not edit.

Every name exists in two spellings, `ingress.kubernetes.io/NAME` and
`traefik.ingress.kubernetes.io/NAME`; the first wins when both are present. A legacy key counts when
neither is there. Values are strings: quote numbers and booleans. What a bad value does is told as a
finding (log, Event, `fastproxy lint`) in every case.
"""


def code(text: str) -> str:
    return f"`{text}`"


def default_of(annotation: Annotation[Any]) -> str:
    default = annotation.default
    if default is True or default is False:
        return code(str(default).lower())
    if isinstance(default, int) or (isinstance(default, str) and default):
        return code(str(default))
    return "none"


def one(annotation: Annotation[Any]) -> list[str]:
    name = code(annotation.name if annotation.prefixed else annotation.aliases[0])
    lines = [f"### {name}", "", SOURCE.sub("", annotation.doc), ""]
    rows = [f"* Default: {default_of(annotation)}"]
    effect = annotation.on_invalid
    rows.append(f"* Bad value: {effect.value}")
    if annotation.unusable is not None:
        rows[-1] += f"; one that can be read and not used: {annotation.unusable.value}"
    if annotation.prefixed and annotation.aliases:
        rows.append(f"* Legacy: {', '.join(map(code, annotation.aliases))}")
    if annotation.quoted:
        rows.append("* Backslashes are written twice; a bare double quote is a bad value")
    key = annotation.keys[0]
    if "\n" in annotation.example:
        body = "\n".join(f"  {line}" for line in annotation.example.rstrip().splitlines())
        example = f"{key}: |\n{body}"
    else:
        quoted = annotation.example.replace("\\", "\\\\").replace('"', '\\"')
        example = f'{key}: "{quoted}"'
    return [*lines, *rows, "", "```yaml", example, "```", ""]


# Docstrings name sections of the specification; a user has no use for them.
SOURCE = re.compile(r"\s*\(`(?:features|provider)\.md`[^)]*\)")


def of_feature(feature: Feature) -> list[str]:
    text = SOURCE.sub("", feature.doc.strip())
    lines = [f"## {feature.name}", "", text, "", f"On: {feature.scope.value}", ""]
    for annotation in feature.annotations:
        lines += one(annotation)
    return lines


def document() -> str:
    lines = [HEAD]
    features = [feature for feature in FEATURES if feature.annotations]
    for scope in Scope:
        names = [feature.name for feature in features if feature.scope is scope]
        links = ", ".join(f"[{name}](#{name.lower().replace(' ', '-')})" for name in names)
        lines += [f"On the {scope.value}: {links}.", ""]
    lines += ["## Ingress class", "", *one(INGRESS_CLASS)]
    for feature in sorted(features, key=lambda feature: feature.name):
        lines += of_feature(feature)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(document())
