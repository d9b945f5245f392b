"""Everything that can be wrong with an object: one catalogue with stable codes.

A finding is a value, collected while objects are translated; logs, Events, `/api/findings`,
`fastproxy lint` and metrics all show the same ones. A code is never given to another meaning;
`docs/findings.md` is generated from this catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum

from fastproxy.model.configuration import ObjectReference


class Severity(StrEnum):
    ERROR = "error"  # part of the object is not served, or not as protected as it says
    WARNING = "warning"  # served, but not as written
    NOTE = "note"  # nothing is wrong: what was looked at, and what was assumed


@dataclass(frozen=True, slots=True)
class Finding:
    code: str  # stable, e.g. "FP101"; see CATALOGUE
    severity: Severity
    object: ObjectReference
    field: str  # e.g. "spec.rules[0].http.paths[1].backend" or an annotation name
    sentence: str  # what is wrong and what to do about it
    effect: str = ""  # what happens to traffic, a sentence
    file: str = ""  # where the object comes from, if not from an API server
    # Of the field; moves with what stands above.
    line: int = dataclass_field(default=0, compare=False)
    also: tuple[str, ...] = ()  # more fields of the object with the same cause

    @property
    def subject(self) -> tuple[str, ObjectReference, str, str]:
        """What stays the same while only the words of a finding change."""
        return self.code, self.object, self.field, self.file

    @property
    def place(self) -> str:
        """`file:line`, as compilers write it; empty for what comes from an API server."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    def as_fields(self) -> dict[str, str | int | list[str]]:
        """Every fact by its name: for JSON, in `/api/findings`, lint and the log."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "kind": self.object.kind,
            "namespace": self.object.namespace,
            "name": self.object.name,
            "field": self.field,
            "also": list(self.also),
            "sentence": self.sentence,
            "effect": self.effect,
            "file": self.file,
            "line": self.line,
        }

    def as_line(self, place: bool = True) -> str:
        """One line for people: code, object, field, where it stands, what is wrong, its effect."""
        about = str(self.object) if self.object.kind else self.object.name
        where = f"({self.place})" if place and self.file else ""
        more = f"and {len(self.also)} more" if self.also else ""
        head = " ".join(filter(None, (self.code, about, self.field, more, where)))
        sentence = self.sentence if self.sentence.endswith(".") else f"{self.sentence}."
        return " ".join(filter(None, (f"{head}:", sentence, self.effect)))


def resolved(before: Iterable[Finding], after: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of `before` that are gone, and not only said in other words."""
    there = {finding.subject for finding in after}
    gone = {f.subject: f for f in before if f.subject not in there}
    return tuple(sorted(gone.values(), key=order))


def order(finding: Finding) -> tuple[ObjectReference, str, str, str, str]:
    """The order in which findings are shown."""
    return finding.object, finding.field, finding.code, finding.sentence, finding.file


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the catalogue; calling it makes the finding."""

    code: str
    severity: Severity
    title: str
    template: str
    effect: str  # what happens to traffic, for the documentation

    def __call__(
        self,
        object: ObjectReference,
        field: str,
        effect: str = "",
        file: str = "",
        line: int = 0,
        **values: object,
    ) -> Finding:
        """`effect` says it more exactly than the catalogue, `file` and `line` where it is known."""
        sentence = self.template.format_map(_shown(values))
        effect = effect or self.effect
        return Finding(self.code, self.severity, object, field, sentence, effect, file, line)


LONGEST = 400  # characters of what is put into a sentence; of more the middle is left out
CUT = " ... "
HEAD = 150


def _shown(values: dict[str, object]) -> dict[str, str]:
    """Values come from users: one line, of bounded length."""
    shown = {}
    for name, value in values.items():
        text = " ".join(str(value).split())
        # What is wrong stands at the beginning of a sentence, what to do about it at its end.
        middle = len(text) - LONGEST + len(CUT)
        shown[name] = text if middle <= len(CUT) else f"{text[:HEAD]}{CUT}{text[HEAD + middle :]}"
    return shown


CATALOGUE: dict[str, Kind] = {}


def _error(code: str, title: str, template: str, effect: str) -> Kind:
    return _entry(Kind(code, Severity.ERROR, title, template, effect))


def _warning(code: str, title: str, template: str, effect: str) -> Kind:
    return _entry(Kind(code, Severity.WARNING, title, template, effect))


def _entry(kind: Kind) -> Kind:
    assert kind.code not in CATALOGUE, kind.code
    CATALOGUE[kind.code] = kind
    return kind


# -- services and endpoints --

UNKNOWN_PORT = _error(
    "FP101",
    "unknown service port",
    "Service {service} has no port {port}; name one of its ports ({ports}).",
    "This path answers 503.",
)
UNKNOWN_SERVICE = _error(
    "FP102",
    "unknown service",
    "Service {service} does not exist in namespace {namespace}; create it or correct the name.",
    "This path answers 404.",
)
NO_ENDPOINTS = _warning(
    "FP103",
    "no endpoints",
    "Service {service} has no usable endpoint for port {port}; check its selector and its pods.",
    "This path answers 503 until an endpoint is ready.",
)
RESOURCE_BACKEND = _error(
    "FP104",
    "not a service backend",
    "The backend names no service (resource backends are not supported); name one.",
    "This path answers 404.",
)
EMPTY_EXTERNAL_NAME = _error(
    "FP105",
    "empty externalName",
    "Service {service} is of type ExternalName and has no externalName; set it.",
    "This path answers 503.",
)
UNUSABLE_PORT = _error(
    "FP106",
    "endpoint without port",
    "An endpoint of Service {service} has port 0; give it a port between 1 and 65535.",
    "The endpoint is left out.",
)

H2C_REFUSED = _error(
    "FP236",
    "endpoints that speak h2c",
    "Service {service} speaks HTTP/2 without TLS (h2c), which is not supported; offer HTTP/1.1 and "
    "remove h2c from the annotation protocol or from appProtocol.",
    "This path answers 503.",
)

# -- rules, hosts and paths --

RULE_WITHOUT_HTTP = _warning(
    "FP111",
    "rule without http",
    "The rule has no http part; add http.paths.",
    "The rule is skipped.",
)
UNSAFE_HOST = _error(
    "FP112",
    "host cannot be used",
    "The host {host} holds a character that cannot stand in a host (quote, line break or lone "
    "backslash); correct it.",
    "This path answers 404.",
)
UNSAFE_PATH = _error(
    "FP113",
    "path cannot be used",
    "The path {path} holds a double quote, a line break or a lone backslash; percent-encode it.",
    "This path answers 404.",
)
HOST_WITH_PORT = _error(
    "FP114",
    "host with port",
    "The host {host} has a port and would never match; write the host alone and choose the port by "
    "the annotation frontend-entry-points.",
    "This path answers 404.",
)
HOST_IS_ADDRESS = _warning(
    "FP115",
    "host is an IP address",
    "The host {host} is an IP address, which Ingress does not allow; use a DNS name.",
    "Requests with this address as Host are served.",
)
RELATIVE_PATH = _error(
    "FP116",
    "path without leading slash",
    "The path {path} does not begin with a slash and never matches; write /{path}.",
    "No request matches; this path answers 404.",
)
LONG_PATH = _error(
    "FP117",
    "path too long",
    "The path has {length} bytes, more than any request may have ({limit}); shorten it.",
    "This path answers 404.",
)
RULE_TYPE_AGAINST_PATH_TYPE = _warning(
    "FP118",
    "rule-type against pathType",
    "The annotation rule-type {rule_type} does not fit pathType {path_type}, which decides how the "
    "path is matched; remove one of them.",
    "The path is matched as pathType says.",
)
REPLACE_PATH_DEPRECATED = _warning(
    "FP119",
    "rule-type ReplacePath",
    "rule-type ReplacePath is deprecated: every request of the host matches and its path becomes "
    "{path}; use the annotation request-modifier.",
    "Served as written.",
)
RESERVED_NAME = _error(
    "FP120",
    "reserved name",
    "The name {name} is kept for the global default backend; use another host.",
    "This path answers 404.",
)
MERGED_ANNOTATIONS = _warning(
    "FP121",
    "route shared with another Ingress",
    "{other} has the same host and path; its annotations apply to this route, those of this "
    "Ingress do not; write them there, or choose another host or path.",
    "Both Ingresses share one route and their endpoints are united.",
)

UNREACHABLE_HOST = _error(
    "FP233",
    "host of no request",
    "No request has the host {host}: {reason}.",
    "This path answers 404.",
)
PATH_IS_TEXT = _error(
    "FP234",
    "path of no request",
    "The path {path} is compared as text: {reason}.",
    "Requests that do not have this very text in their path answer 404.",
)

# -- default backend --

DUPLICATE_DEFAULT_BACKEND = _error(
    "FP125",
    "second global default backend",
    "{other} already has the global default backend of the cluster; remove one of them.",
    "All paths of this Ingress answer 404.",
)
DEFAULT_BACKEND_UNUSABLE = _error(
    "FP126",
    "default backend unusable",
    "The default backend cannot be used: {reason}",
    "All paths of this Ingress answer 404.",
)

# -- selection --

INVALID_CLASS = _error(
    "FP131",
    "class cannot be used",
    "The Ingress class {value} holds a double quote, a line break or a lone backslash; correct it.",
    "All paths of this Ingress answer 404.",
)

CLASS_SPELLING = _error(
    "FP235",
    "class spelt differently",
    "The class {value} is not {wanted}; classes are compared letter by letter.",
    "All paths of this Ingress answer 404.",
)

# -- entry points --

NO_ENTRY_POINT = _error(
    "FP135",
    "no entry point",
    "No entry point is called {names}; the entry points are {known}.",
    "All paths of this Ingress answer 404.",
)

# -- certificates --

TLS_SECRET_MISSING = _error(
    "FP141",
    "TLS secret missing",
    "Secret {secret} does not exist; create it, or remove it from spec.tls.",
    "All paths of this Ingress answer 404.",
)
TLS_SECRET_INCOMPLETE = _error(
    "FP142",
    "TLS secret incomplete",
    "Secret {secret} has no {entry}; a TLS secret needs tls.crt and tls.key.",
    "All paths of this Ingress answer 404.",
)
TLS_SECRET_NOT_PEM = _error(
    "FP143",
    "TLS secret is not PEM",
    "The entry {entry} of Secret {secret} is not PEM; store a PEM certificate and its key.",
    "All paths of this Ingress answer 404.",
)
CERTIFICATE_UNUSABLE = _error(
    "FP144",
    "certificate unusable",
    "The certificate of Secret {secret} cannot be used: {reason}",
    "The routes work; this certificate is not offered.",
)
CERTIFICATE_DUPLICATE = _warning(
    "FP145",
    "certificate for the same names",
    "Secret {secret} holds a certificate for the same names as {other}, used on {entry_points}.",
    "The first certificate in the order of namespace/name is used.",
)
CERTIFICATE_KEPT = _error(
    "FP146",
    "former certificate kept",
    "Secret {secret} cannot be used any more: {reason} Store a PEM certificate and its key.",
    "The certificate it held before is served, until the controller restarts.",
)

# -- service weights --

WEIGHT_SUM = _error(
    "FP151",
    "weights are not 100 %",
    "Path {path} of host {host}: {sentence}.",
    "All paths of this Ingress answer 404.",
)
WEIGHT_COUNT_UNKNOWN = _error(
    "FP152",
    "weights without endpoints",
    "Service {service} has no endpoints to share requests by; create them, or leave it out.",
    "All paths of this Ingress answer 404.",
)

# -- annotations --

ANNOTATION_DEFAULT = _error(
    "FP161",
    "annotation refused, default used",
    "{sentence}",
    "The default of the annotation is used.",
)
ANNOTATION_OFF = _error(
    "FP162", "annotation refused, feature off", "{sentence}", "The feature is off."
)
ANNOTATION_PATH = _error(
    "FP163", "annotation refused, path skipped", "{sentence}", "This path answers 404."
)
ANNOTATION_DROP = _error(
    "FP164", "annotation refused, no route", "{sentence}", "This route answers 404."
)
ANNOTATION_INGRESS = _error(
    "FP165",
    "annotation refused, Ingress skipped",
    "{sentence}",
    "All paths of this Ingress answer 404.",
)
ANNOTATION_ENDPOINTS = _error(
    "FP166", "annotation refused, no endpoints", "{sentence}", "This path answers 503."
)
ANNOTATION_WARNING = _warning(
    "FP167", "annotation needs attention", "{sentence}", "The rest of the annotation is in force."
)
ANNOTATION_UNKNOWN = _warning(
    "FP168", "unknown annotation", "No such annotation exists{hint}.", "It is ignored."
)
ANNOTATION_MISPLACED = _warning(
    "FP169",
    "annotation on the wrong object",
    "This annotation belongs on {right}, not on {wrong}; move it.",
    "It is ignored.",
)

ANNOTATION_UNREAD = _error(
    "FP221",
    "unknown key in the value of an annotation",
    "{sentence}",
    "What nobody reads is ignored, the rest is in force.",
)
ANNOTATION_UNPROTECTED = _error(
    "FP222", "protection without effect", "{sentence}", "These routes are open to everybody."
)
ANNOTATION_ALONE = _warning("FP223", "annotation without effect", "{sentence}", "It is ignored.")
ANNOTATION_TWICE = _warning(
    "FP224",
    "annotation in both spellings",
    "{sentence}",
    "This spelling is ignored.",
)
PROTECTION_UNKNOWN = _error(
    "FP225",
    "unknown annotation that was to protect",
    "No such annotation exists{hint}.",
    "It is ignored; what it was to protect or limit is open.",
)
PROTECTION_MISPLACED = _error(
    "FP226",
    "protection on the wrong object",
    "This annotation belongs on {right}, not on {wrong}; move it.",
    "It is ignored; what it was to protect or limit is open.",
)

ANNOTATIONS_MISPLACED = _error(
    "FP227",
    "annotations at the wrong place",
    "Nobody reads annotations here{names}; move them to metadata.annotations.",
    "They are ignored; what they were to protect or limit is open.",
)
NEVER_FIRES = _warning("FP228", "annotation that cannot work", "{sentence}", "It has no effect.")

ROUTE_NOT_BUILT = _error(
    "FP170",
    "route cannot be built",
    "The route {name} cannot be built: {reason}",
    "This route answers 404.",
)

OTHER_BACKEND_UNKNOWN = _error(
    "FP171",
    "named backend does not exist",
    "The route {name} cannot use the backend {backend}; name that of another route (host + path).",
    "What asks for this backend is left out, the rest is in force.",
)

# -- objects and files --

MALFORMED = _error("FP181", "malformed object", "It {sentence}.", "The object counts as absent.")
BROKEN_DOCUMENT = _error(
    "FP182",
    "broken document",
    "It is not YAML: {reason}.",
    "The objects of this document count as absent; the others of the file are used.",
)
DEFINED_TWICE = _warning(
    "FP183",
    "object defined twice",
    "It is defined in {first} and again in {second}.",
    "The last definition is used.",
)
UNREADABLE_FILE = _error(
    "FP184",
    "unreadable file",
    "The file cannot be read: {reason}.",
    "The objects of this file count as absent.",
)

UNKNOWN_FIELD = _warning(
    "FP231", "unknown field", "No such field exists here{hint}.", "It is ignored."
)
FIELD_OF_ANOTHER_VERSION = _warning(
    "FP232",
    "field of another API version",
    "{version} has no such field; write {instead}.",
    "It is read as it is meant; an API server refuses the object.",
)

UNKNOWN_VERSION = _error(
    "FP185",
    "unknown version of a kind",
    "{kind} in version {version} is not known; write one of {known}.",
    "The object counts as absent.",
)
KEY_TWICE = _error(
    "FP201",
    "key given twice",
    "It is given twice, first in line {first}; keep one of them.",
    "The last one is used.",
)
UNREADABLE_DIRECTORY = _error(
    "FP202",
    "unreadable directory",
    "The directory cannot be read: {reason}.",
    "What it held before stays in force.",
)
DIRECTORY_AGAIN = _warning(
    "FP203",
    "directory reached twice",
    "It leads to the directory {other}, which is looked at already; remove the link.",
    "The directory is looked at once.",
)
DIRECTORY_REPLACED = _error(
    "FP204",
    "directory replaced by an empty one",
    "It is another directory than before, and empty, as when a volume is not mounted; mount it, or "
    "restart if nothing is to be served from it.",
    "What it held before stays in force.",
)

# -- settings --

ACME_CERTIFICATE = _warning(
    "FP261",
    "certificate of an acme.json",
    "This certificate {ended} {until}; nothing renews it here: let cert-manager (or who else makes"
    " them) put its successor into a Secret that an Ingress names in spec.tls.",
    "It is served until a Secret holds one for the same names.",
)


# -- what lint looked at --


def _note(code: str, title: str, template: str, effect: str) -> Kind:
    return _entry(Kind(code, Severity.NOTE, title, template, effect))


KIND_SKIPPED = _note(
    "FP241",
    "kind that is not looked at",
    "{what}{many}",
    "fastproxy does nothing with it.",
)
CLASS_SKIPPED = _note(
    "FP242",
    "Ingress of another class",
    "Its class is {value}; served is {wanted}.",
    "Nothing of it is served here.",
)
SCOPE_SKIPPED = _note(
    "FP243",
    "Ingress out of scope",
    "[kubernetes] namespaces or labelselector of the settings leave it out.",
    "Nothing of it is served here.",
)
CLASS_WITHOUT_OBJECT = _note(
    "FP246",
    "class without IngressClass",
    "No IngressClass is called {value}; the name is read as that of the annotation "
    "kubernetes.io/ingress.class would be.",
    "It is served.",
)
NOTHING_SERVED = _note(
    "FP245", "no Ingress", "There is no Ingress here.", "Nothing of this is served."
)
ASSUMED = _note(
    "FP244",
    "settings assumed",
    "No settings file was found; assumed are {assumed}. Name yours by --configfile.",
    "With other settings other findings are possible.",
)


def as_json(findings: Iterable[Finding]) -> str:
    """What `/api/findings` and `fastproxy lint --format json` show, in a stable order."""
    return json.dumps([f.as_fields() for f in sorted(findings, key=order)], indent=2)


INTRODUCTION = """# Findings

Everything that can be wrong with an object has a code that never changes its meaning. Findings go
to the log, to Events of the Ingress, to `/api/findings` (with `[api]`), and to `fastproxy lint`.
An *error* means that part of the object is not served, or not as protected as it says; a *warning*
that it is served, but not as written. A *note* says what lint has not looked at, or assumed.
A file with an error, and a directory that cannot be read, keeps all it held before; then the effect
says so instead of what is written here, which holds at the start.

This file is generated from `fastproxy/model/findings.py`.

| Code | Severity | What | Message | Effect |
|---|---|---|---|---|
"""


def as_markdown() -> str:
    """The text of `docs/findings.md`."""
    rows = []
    for code in sorted(CATALOGUE):
        kind = CATALOGUE[code]
        message = kind.template.replace("|", "\\|")
        rows.append(
            f"| {code} | {kind.severity.value} | {kind.title} | {message} | {kind.effect} |\n"
        )
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    print(as_markdown(), end="")
