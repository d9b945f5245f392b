"""Where an object stands in the YAML files, and each of its fields, so that a finding can say so.

Objects remember nothing of their files: two that say the same are equal wherever they stand. The
places are kept beside them, and the line of a field is looked up only when there is a finding
about it, by reading the file once more.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import yaml

from controller.sources import folder, yaml_text
from fastproxy.feature import PREFIXES
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding

STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")
# Fields that are called by their name in networking.k8s.io/v1, and what they are called elsewhere.
OTHER_NAMES = {"defaultBackend": "backend", "service": "serviceName", "port": "servicePort"}
LONGEST = 4 << 20  # characters of a file in which lines of fields are looked for


@dataclass(eq=False, slots=True)
class Place:
    """A document of a file, or one item of the List which it is."""

    path: Path
    file: str  # the path as it is shown
    line: int  # of the document's beginning
    end: int  # the line behind its last one
    item: int | None = None  # which item of a List
    _lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, name: str) -> int:
        """Return the line of a field such as `spec.rules[0].host`, or of the part of it that is
        there; the beginning of the document when the file cannot be read any more."""
        if name not in self._lines:
            self._lines[name] = self._found(name)
        return self._lines[name]

    def _found(self, name: str) -> int:
        node = _composed(self.path, self.line, self.end)
        if node is None:
            return self.line
        begin = node.start_mark.line
        steps = [plain or quoted for plain, quoted in STEP.findall(name)]
        if self.item is not None:
            steps = ["items", str(self.item), *steps]
        for step in steps:
            line, below = _below(node, step)
            if below is None:
                break
            node, begin = below, line
        return int(self.line + begin)


NOWHERE: Mapping[ObjectReference, Place] = MappingProxyType({})


def _below(node: yaml.Node, step: str) -> tuple[int, yaml.Node | None]:
    """The line of a child, and the child."""
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        item = node.value[int(step)]
        return item.start_mark.line, item
    if isinstance(node, yaml.MappingNode):
        for name in (step, OTHER_NAMES.get(step), _other_spelling(step)):
            for key, value in reversed(node.value):  # of a key given twice the last one counts
                if key.value == name:
                    return key.start_mark.line, value
    return 0, None


def _other_spelling(step: str) -> str | None:
    prefix, slash, name = step.partition("/")
    return PREFIXES[1] + name if prefix + slash == PREFIXES[0] else None


@functools.lru_cache(maxsize=16)
def _composed(path: Path, line: int, end: int) -> yaml.Node | None:
    try:
        text = folder.read(path)  # it may be anything by now
        if len(text) > LONGEST:
            return None
        text = "\n".join(text.split("\n")[line - 1 : end - 1])
        yaml_text.parse(text, yaml_text.latest_end(text))  # which composing has no limits for
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except (folder.Unreadable, yaml_text.Broken, yaml.YAMLError):
        return None


def located(
    findings: Iterable[Finding], places: Mapping[ObjectReference, Place]
) -> tuple[Finding, ...]:
    """The findings with file and line, as far as they are known; what several paths of an Ingress
    have in common is told once."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        own = "" if finding.field.startswith("spec.rules[") else finding.field
        key = (finding.code, finding.object, own, finding.sentence, finding.effect, finding.file)
        groups.setdefault(key, []).append(finding)
    try:
        return tuple(_located(group, places.get(group[0].object)) for group in groups.values())
    finally:
        _composed.cache_clear()  # the trees are large, the lines are remembered


def _located(group: list[Finding], place: Place | None) -> Finding:
    finding = group[0]
    fields = tuple(dict.fromkeys(f.field for f in group))
    if len(fields) > 1:
        effect = finding.effect.replace("This path answers", f"{len(fields)} paths answer")
        finding = replace(finding, effect=effect, also=fields[1:])
    if place is None or finding.file:
        return finding
    return replace(finding, file=place.file, line=place.line_of(finding.field))
