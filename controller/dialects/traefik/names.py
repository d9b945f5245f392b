"""Annotations of an object that nobody reads, and what they were probably meant to be.

Traefik 1.7 ignores them in silence. Most of the unknown ones are those of Traefik 2 or of another
controller, the rest is misspelt. What was to protect or to limit is an error: somebody relies on
it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller.dialects.traefik.reading import annotation_field
from fastproxy.feature import PREFIXES, Annotation, Scope
from fastproxy.features import FEATURES, KNOWN_ANNOTATIONS
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.notes import misspelt

OUR_PREFIXES = ("ingress.kubernetes.io/", "traefik.")
SCOPE_OF = {id(a): feature.scope for feature in FEATURES for a in feature.annotations}
KNOWN_NAMES = {a.name: a for feature in FEATURES for a in feature.annotations if a.prefixed}
PROTECTING = re.compile(
    r"auth(?!or)|white-?list|allow-?list|black-?list|deny-?list|source-?range|limit|max-?conn"
    r"|allowed-?hosts|middlewares|buffering",
    re.I,
)
SURELY = 0.95  # likeness of two full keys, of which one is the other misspelt
TRAEFIK_2 = re.compile(
    r"traefik\.ingress\.kubernetes\.io/(?:router|service)\.|traefik\.(?:http|tcp|udp)\."
)
# Names that other controllers know, and ours for the same purpose.
ELSEWHERE = {
    "secure-backends": 'protocol: "https"',
    "backend-protocol": "protocol",
    "force-ssl-redirect": "ssl-redirect",
    "proxy-body-size": "buffering (maxrequestbodybytes) on the Service",
    "limit-rps": "rate-limit",
    "limit-rpm": "rate-limit",
    "limit-connections": "max-conn-amount with max-conn-extractor-func on the Service",
    "limit-whitelist": "rate-limit",
    "permanent-redirect": "redirect-regex with redirect-replacement",
    "temporal-redirect": "redirect-regex with redirect-replacement",
    "auth-signin": "auth-url",
    "upstream-vhost": "custom-request-headers",
    "configuration-snippet": "custom-response-headers",
    "custom-http-errors": "error-pages",
    "session-cookie-hash": "session-cookie-name",
    "add-base-url": "request-modifier",
    "use-regex": "rule-type",
}


def unknown_annotations(
    annotations: Mapping[str, str], scope: Scope, reference: ObjectReference
) -> list[Finding]:
    """Annotations that nothing reads here, with the name probably meant."""
    found: list[Finding] = []
    for key in sorted(annotations):
        annotation = KNOWN_ANNOTATIONS.get(key)
        if annotation is not None:
            found += _misplaced(annotation, key, scope, reference)
        elif key.startswith(OUR_PREFIXES):
            found.append(_unknown(key, reference))
        else:
            found += _almost_ours(key, reference)
    return found


def _misplaced(
    annotation: Annotation[Any], key: str, scope: Scope, reference: ObjectReference
) -> Iterable[Finding]:
    right = SCOPE_OF.get(id(annotation), scope)
    if right is scope:
        return ()
    protects = PROTECTING.search(annotation.name)
    kind = findings.PROTECTION_MISPLACED if protects else findings.ANNOTATION_MISPLACED
    right_one, wrong = f"the {right.value}", f"the {scope.value}"
    return (kind(reference, annotation_field(key), right=right_one, wrong=wrong),)


def _unknown(key: str, reference: ObjectReference) -> Finding:
    name = key.rpartition("/")[2]
    if TRAEFIK_2.match(key):
        name = key.partition(".io/")[2] or key
        hint = "; it is a name of Traefik 2, whose annotations are not those of Traefik 1.7"
    elif name in ELSEWHERE:
        hint = f"; use {ELSEWHERE[name]}"
    else:
        ((_, near),) = misspelt([key], KNOWN_ANNOTATIONS)
        hint = f"; {near} does" if near else "; docs/annotations.md lists those that do"
        if near and difflib.SequenceMatcher(None, key, near).ratio() > SURELY:
            return _told(key, hint, reference, PROTECTING.search(near))
    return _told(key, hint, reference, PROTECTING.search(name))


def _told(key: str, hint: str, reference: ObjectReference, protects: object) -> Finding:
    kind = findings.PROTECTION_UNKNOWN if protects else findings.ANNOTATION_UNKNOWN
    return kind(reference, annotation_field(key), hint=hint)


def _almost_ours(key: str, reference: ObjectReference) -> Iterable[Finding]:
    """A known name under a prefix that is not ours: misspelt, none, or that of nginx."""
    prefix, slash, name = key.rpartition("/")
    close = difflib.get_close_matches(prefix + slash, PREFIXES, n=1, cutoff=0.8)
    nginx = prefix == "nginx.ingress.kubernetes.io"
    protects = PROTECTING.search(name)
    if nginx:
        if not protects or (name not in KNOWN_NAMES and name not in ELSEWHERE):
            return ()
        instead = ELSEWHERE.get(name, PREFIXES[0] + name)
        hint = f" for fastproxy, it is a name of ingress-nginx; use {instead}"
    elif (not prefix or close) and name in KNOWN_NAMES:
        hint = f"; {(close[0] if close else PREFIXES[0]) + name} does"
    else:
        return ()
    return (_told(key, hint, reference, protects),)
