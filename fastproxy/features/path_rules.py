"""Choose how the path of an Ingress matches, and change it on the way to the backend.

The route's path matcher comes from `rule-type`; the modifiers run in the fixed order strip,
AddPrefix, ReplacePathRegex (also rewrite-target), ReplacePath (`features.md` 3.5, `provider.md`
5.5). All three annotations only matter to items which have a path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import as_written, shown
from fastproxy.engine.operations.re2 import Regex
from fastproxy.engine.operations.writer import (
    AddPrefix,
    Operation,
    ReplacePath,
    RewritePrefix,
    RewriteRegex,
    StripPrefixes,
)
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model import findings
from fastproxy.model.configuration import Config
from fastproxy.model.matchers import Matcher, Path, PathPrefix
from fastproxy.model.paths import escape_path, normalise_path
from fastproxy.templates import Pattern, Replacement, replacement

RULE_TYPES = ("Path", "PathPrefix", "PathStrip", "PathPrefixStrip", "ReplacePath")
STRIPPING = ("PathStrip", "PathPrefixStrip")
MODIFIERS = ("AddPrefix", "ReplacePath", "ReplacePathRegex")


def rule_type(value: str) -> str:
    if value and value not in RULE_TYPES:
        raise ValueError(f"{shown(value)} is no rule type; write one of {', '.join(RULE_TYPES)}")
    return value or "PathPrefix"


def request_modifier(value: str) -> tuple[str, str]:
    """`Type: value`; text behind a second colon is lost, as in 1.7."""
    if not value:
        return "", ""
    kind, *rest = (part.strip() for part in value.rstrip(" :").split(":"))
    if kind not in MODIFIERS or not rest or not rest[0]:
        raise ValueError(
            "the value is no request modifier; write `Type: value` with one of the types "
            f"{', '.join(MODIFIERS)}"
        )
    return kind, rest[0]


RULE_TYPE = Annotation(
    name="rule-type",
    parse=rule_type,
    default="PathPrefix",
    doc="How the path matches, and whether it is stripped: `Path`, `PathPrefix`, `PathStrip`, "
    "`PathPrefixStrip`; deprecated `ReplacePath` matches every path of the host.",
    example="PathPrefixStrip",
    aliases=("traefik.frontend.rule.type",),
    on_invalid=OnInvalid.PATH,
    public=True,
)
REWRITE_TARGET = as_written(
    "rewrite-target",
    "The path of the Ingress is replaced by this one at the start of the request's path.",
    "/v2",
    on_invalid=OnInvalid.PATH,
)
REQUEST_MODIFIER = Annotation(
    name="request-modifier",
    parse=request_modifier,
    default=("", ""),
    doc="One change of the path: `AddPrefix: /p`, `ReplacePath: /p` or "
    "`ReplacePathRegex: REGEX REPLACEMENT`.",
    example="AddPrefix: /tenant1",
    on_invalid=OnInvalid.PATH,
)


@dataclass(frozen=True, slots=True)
class PathRules(Config):
    path: str  # as written in the Ingress, never empty
    rule_type: str = "PathPrefix"
    rewrite_target: str = ""
    modifier: tuple[str, str] = ("", "")  # type, value

    @property
    def regex(self) -> tuple[str, str] | None:
        """Pattern and replacement of the one ReplacePathRegex that counts: the modifier's
        replaces that of rewrite-target. A modifier that is not two words makes none."""
        kind, value = self.modifier
        if kind == "ReplacePathRegex":
            words = value.split(" ")
            return (words[0], words[1]) if len(words) == 2 and all(words) else None
        if self.rewrite_target:
            path = "" if self.path == "/" else self.path
            return f"^{path}(.*)", f"{self.rewrite_target.rstrip('/')}$1"
        return None


def read(notes: Notes, refs: Refs) -> PathRules | None:
    if not refs.path:
        return None
    config = PathRules(
        refs.path, notes.get(RULE_TYPE), notes.get(REWRITE_TARGET), notes.get(REQUEST_MODIFIER)
    )
    if config.rule_type == "ReplacePath":
        for annotation, used in (
            (REWRITE_TARGET, config.rewrite_target),
            (REQUEST_MODIFIER, config.modifier[0]),
        ):
            if used:
                raise Invalid(
                    annotation.name,
                    "cannot be combined with rule-type ReplacePath; remove one of the two",
                    OnInvalid.PATH,
                )
    kind = config.modifier[0]
    if config.rewrite_target:
        overruled = ""
        if kind == "ReplacePathRegex":
            overruled = "the ReplacePathRegex of request-modifier counts instead"
        elif config.rule_type in STRIPPING and config.path != "/" and kind != "AddPrefix":
            overruled = (
                f"rule-type {config.rule_type} has removed the path before, so there is nothing to "
                "rewrite; to rewrite the path use rule-type PathPrefix"
            )
        if overruled:
            notes.warn(REWRITE_TARGET, overruled, kind=findings.ANNOTATION_ALONE)
    if kind == "ReplacePathRegex" and config.regex is None:
        notes.warn(
            REQUEST_MODIFIER,
            "the value is not a pattern and a replacement with one blank between them; "
            "the path stays as it is",
        )
    elif config.regex is not None and plain_rewrite(config) is None:
        try:
            Pattern(config.regex[0])
        except ValueError as problem:
            annotation = REQUEST_MODIFIER if kind == "ReplacePathRegex" else REWRITE_TARGET
            notes.warn(annotation, f"{problem}; the path stays as it is")
    return config


def rule_text(config: PathRules) -> str:
    """The 1.7 rule, to the byte: its length is the computed priority (`provider.md` 5.6)."""
    parts = [f"{config.rule_type}:{config.path}"]
    if config.rewrite_target:
        path = "" if config.path == "/" else config.path
        target = config.rewrite_target.rstrip("/")
        parts.append(f"ReplacePathRegex: ^{path}(.*) {target}$1")
    if config.modifier[0]:
        parts.append(":".join(config.modifier))
    return ";".join(parts)


def matcher(config: PathRules, keep_trailing_slash: bool = False) -> Matcher | None:
    """What the path must be; None for ReplacePath, which matches every path."""
    if config.rule_type in ("Path", "PathStrip"):
        return Path((config.path,), keep_trailing_slash)
    if config.rule_type in ("PathPrefix", "PathPrefixStrip"):
        return PathPrefix((config.path,))
    return None


def changes_path(config: PathRules) -> bool:
    return config.rule_type not in ("Path", "PathPrefix") or bool(
        config.modifier[0] or config.rewrite_target
    )


def literal(path: str) -> bytes:
    """A path from an annotation in the normalised form in which the engine compares paths."""
    return normalise_path(path).encode()


PLAIN = re.compile(r"[A-Za-z0-9/_~!@%&',:;=<>` -]*")
PLAIN_OR_DOT = re.compile(r"[A-Za-z0-9/_~!@%&',:;=<>` .-]*")


def plain_rewrite(config: PathRules) -> RewritePrefix | None:
    """`^P(.*)` -> `T$1` as a prefix replacement, where P means the same as literal text.

    A `.` in P may stand for itself when nothing changes the path in between: the route's matcher
    has already demanded the literal path.
    """
    if config.modifier[0] == "ReplacePathRegex" or not config.rewrite_target:
        return None
    # Strip rules and AddPrefix come first and leave a path the matcher has not seen.
    untouched = config.rule_type in ("Path", "PathPrefix") and config.modifier[0] != "AddPrefix"
    if not (PLAIN_OR_DOT if untouched else PLAIN).fullmatch(config.path):
        return None
    target = config.rewrite_target.rstrip("/")
    if "$" in target or "%" in config.path:
        return None
    prefix = "" if config.path == "/" else config.path
    return RewritePrefix(literal(prefix), literal(target))


def build(config: PathRules, context: BuildContext) -> Sequence[Operation]:
    operations: list[Operation] = []
    kind, value = config.modifier
    if config.rule_type in ("PathStrip", "PathPrefixStrip"):
        operations.append(StripPrefixes((literal(config.path),)))
    if kind == "AddPrefix":
        operations.append(AddPrefix(literal(value)))
    plain = plain_rewrite(config)
    if plain is not None:
        operations.append(plain)
    elif config.regex is not None:
        operations += regex_rewrite(config, *config.regex)
    if kind == "ReplacePath":
        operations.append(ReplacePath(literal(value)))
    elif config.rule_type == "ReplacePath":
        operations.append(ReplacePath(literal(config.path)))
    return operations


def regex_rewrite(config: PathRules, regex: str, text: str) -> list[Operation]:
    """Nothing for what 1.7 ignores: a pattern that does not compile, an empty replacement."""
    new = replacement(text)
    try:
        pattern = Pattern(regex)
    except ValueError:
        return []
    return [] if new.empty else [RewriteRegex(pattern.pieces(escaped(new)), config)]


def escaped(text: Replacement) -> Replacement:
    """Literal text in the form in which paths are compared; a `%` of it stays an escape."""
    return Replacement(
        tuple(
            escape_path(part.decode("utf-8", "surrogateescape")).encode()
            if isinstance(part, bytes)
            else part
            for part in text.parts
        )
    )


def expression(config: PathRules) -> Regex:
    assert config.regex is not None
    return Regex(config.regex[0].encode())


FEATURE = Feature(
    name="Path rules",
    scope=Scope.INGRESS,
    annotations=(RULE_TYPE, REWRITE_TARGET, REQUEST_MODIFIER),
    read=read,
    on_invalid=OnInvalid.PATH,
    config=PathRules,
    build=build,
    filter=expression,
    doc=__doc__ or "",
)
