"""Host and path of an Ingress item as matchers, and as the rule text of Traefik 1.7.

The text matters to the byte: its length is the default priority (`provider.md` 5.6). Two texts
differ from 1.7 on purpose (FIX 32 and path types): a wildcard host counts as `Host:*.example`, and
items with pathType `Exact` or `Prefix` both count as `PathPrefix`, so that of equal paths the
exact one wins by the rank of its matcher and not the other by a longer word.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from controller.kubernetes.objects import EXACT, IMPLEMENTATION_SPECIFIC, PREFIX
from fastproxy.features import path_rules
from fastproxy.features.path_rules import PathRules
from fastproxy.model.matchers import (
    Host,
    HostRegexp,
    HostWildcard,
    Matcher,
    PathElements,
    PathExact,
    PathPrefix,
)
from fastproxy.notes import string_body

# What 1.7 puts for the first `*` of a host: one label fragment.
SUBDOMAIN = "{subdomain:[A-Za-z0-9-_]+}"
WITH_PORT = re.compile(r"(?:\[.*\]|[^:]*):[0-9]*")
STRIPPING = ("PathStrip", "PathPrefixStrip")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a frontend's `routes`: its text, what it demands, what it changes."""

    text: str
    matchers: tuple[Matcher, ...] = ()
    changes: PathRules | None = None

    @property
    def length(self) -> int:
        return len(self.text.encode())


EVERYTHING = Rule("PathPrefix:/", (PathPrefix(("/",)),))


def host_rule(host: str) -> Rule:
    """`host` is not empty."""
    text = f"Host:{host}"
    if "*" not in host:
        return Rule(text, (Host((host.lower(),)),))
    if host.startswith("*.") and "*" not in host[1:] and "{" not in host:
        return Rule(text, (HostWildcard((host[2:].lower(),)),))
    return Rule(text, (HostRegexp((host.replace("*", SUBDOMAIN, 1),)),))


def path_rule(config: PathRules, path_type: str, keep_trailing_slash: bool) -> Rule:
    """The rule of an item which has a path; `config` is what the annotations say about it."""
    if path_type == IMPLEMENTATION_SPECIFIC:
        found = path_rules.matcher(config, keep_trailing_slash)
        matchers = () if found is None else (found,)
        changes = config if path_rules.changes_path(config) else None
        return Rule(path_rules.rule_text(config), matchers, changes)
    strips = config.rule_type in STRIPPING
    ranked = _with_type(config, "PathPrefixStrip" if strips else "PathPrefix")
    text = path_rules.rule_text(ranked)
    matcher: Matcher
    if path_type == EXACT:
        matcher = PathExact((config.path,))
        config = _with_type(config, "PathStrip" if strips else "Path")
    else:
        matcher = PathElements((config.path,))
        # Element-wise, `/a/` also matches `/a`; what is stripped or rewritten must be in both.
        config = ranked
        if config.path.endswith("/"):
            config = replace(ranked, path=config.path.rstrip("/") or "/")
    return Rule(text, (matcher,), config if path_rules.changes_path(config) else None)


def _with_type(config: PathRules, rule_type: str) -> PathRules:
    return config if config.rule_type == rule_type else replace(config, rule_type=rule_type)


def fits(rule_type: str, path_type: str) -> bool:
    """Whether a rule-type written by the user belongs to the family of the path type."""
    if path_type == IMPLEMENTATION_SPECIFIC:
        return True
    prefix = rule_type.startswith("PathPrefix")
    return prefix if path_type == PREFIX else rule_type in ("Path", "PathStrip")


def has_port(host: str) -> bool:
    return WITH_PORT.fullmatch(host) is not None and not is_address(host)


def is_address(host: str) -> bool:
    if not host or (":" not in host and not host[-1].isdigit()):
        return False
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def unescaped(text: str) -> str | None:
    """A host or path as 1.7 read it back from its template; None when it could not stand there."""
    if "\\" not in text and '"' not in text and "\n" not in text:
        return text
    return string_body(text)


PLACEHOLDER = re.compile(r"\$\{|\$\(|\{\{|<[^<>]*>|%\(|%[A-Z_]+%")
NO_HOST = re.compile(r"[^A-Za-z0-9._*-]")
TEMPLATE = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
# What means something in a regular expression and hardly ever stands in a path.
EXPRESSION = re.compile(
    r"\.[*+]|\(\?|\([^()]*[|*+?\\\[][^()]*\)|\([^()]*\([^()]*\)[^()]*\)|\[[^\[\]]*\]"
    r"|\\[a-zA-Z.]|^/?\^|\$$|\)[?*+]"
)


def unreachable(host: str) -> str:
    """Why no request has this host (HTTP answers it 400), and what to do; empty when one can."""
    # With a `*` it is a template, in which `{name:regex}` has a meaning.
    rest = TEMPLATE.sub("", host) if "*" in host and "{{" not in host else host
    if NO_HOST.search(rest) is None:
        return ""
    if PLACEHOLDER.search(rest):
        return "it holds a placeholder which nobody has filled in"
    if "://" in rest:
        bare = rest.partition("://")[2].partition("/")[0]
        return f"it is a URL; write the host alone, {bare}"
    if rest.strip() != rest:
        return "it begins or ends with a blank; remove it"
    if "," in rest or ";" in rest or " " in rest:
        return "it names several; write a rule for each host"
    if "/" in rest:
        bare, _, path = rest.partition("/")
        return f"it holds a path; write host {bare} and path /{path}"
    if not rest.isascii():
        try:
            return f"write it as clients send it, {rest.encode('idna').decode()}"
        except UnicodeError:
            return "it is no name"
    if "{" in rest or "(" in rest or "[" in rest:
        return "it is compared as text, not as an expression; a host may only begin with `*.`"
    found = NO_HOST.search(rest)
    return f"it holds {found[0]!r}, which no host may have" if found else ""


def compared_as_text(path: str) -> str:
    """Why a path does not do what it looks like; empty when it looks like nothing else."""
    rest = path if "{{" in path or "${" in path else TEMPLATE.sub("", path)
    if PLACEHOLDER.search(rest):
        return "it holds a placeholder which nobody has filled in"
    if rest.strip() != rest:
        return "it begins or ends with a blank; remove it"
    if "?" in rest and not EXPRESSION.search(rest):
        return "no path holds a `?`, which begins the query; leave it out"
    if "#" in rest:
        return "no request holds a `#`; leave it out"
    if "://" in rest:
        return "it is a URL; write the path alone"
    if EXPRESSION.search(rest):
        return "it is no regular expression; write the path before the expression, such as /api"
    if "*" in rest:
        return f"`*` is no wildcard; write {path.partition('*')[0]}, all that begins so matches"
    return ""
