"""Let only authenticated users through: basic, digest, or by asking another server.

Users of basic and digest stand in a Secret of the Ingress's namespace with exactly one entry, one
user per line. Whatever is wrong with the annotations or the Secret, protected content never
becomes public (`provider.md` 5.10, `features.md` 3.21).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from fastproxy.annotation_values import as_written, comma_list, flag, shown
from fastproxy.engine.operations.writer import Operation, RememberedNonce, RememberedUser, Scripted
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Filter,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.features.auth.basic import BasicAuth
from fastproxy.features.auth.config import (
    HEADER_NAME,
    REALM,
    Auth,
    Basic,
    Digest,
    Forward,
    basic_users,
    digest_users,
    lines_of,
)
from fastproxy.features.auth.digest import LIFETIME, DigestAuth
from fastproxy.features.auth.forward import ForwardAuth, question
from fastproxy.features.auth.passwords import COSTS, kind_of
from fastproxy.model import findings
from fastproxy.settings.options import ClientTls

__all__ = ["FEATURE", "Auth", "Basic", "Digest", "Forward"]

PEM = re.compile(rb"\s*-----BEGIN [A-Z0-9 ]+-----.*-----END [A-Z0-9 ]+-----\s*", re.DOTALL)


def auth_type(value: str) -> str:
    kind = value.lower()
    if kind not in ("", "basic", "digest", "forward"):
        raise ValueError(
            f"{shown(value)} is no kind of authentication; write basic, digest or forward"
        )
    return kind


def realm(value: str) -> str:
    if value not in ("", REALM):
        raise ValueError(f"the realm cannot be {shown(value)}; write {REALM} or remove it")
    return REALM


def auth_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if value and (not usable or any(ord(char) <= 32 or ord(char) == 127 for char in value)):
        raise ValueError("the value is no URL; write for example https://auth.example/check")
    return value


def header_field(value: str) -> str:
    if value and not HEADER_NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} is no header name; write for example X-Auth-User")
    return value


AUTH_TYPE = as_written(
    "auth-type",
    "`basic`, `digest` or `forward`; absent: no authentication.",
    "basic",
    parse=auth_type,
    on_invalid=OnInvalid.PATH,
    public=True,
)
AUTH_SECRET = as_written(
    "auth-secret",
    "Basic, digest: name of the Secret with the users; it has exactly one entry.",
    "htpasswd-shop",
    on_invalid=OnInvalid.PATH,
    public=True,
)
REMOVE_HEADER = flag(
    "auth-remove-header", "Basic, digest: do not forward the Authorization header."
)
HEADER_FIELD = as_written(
    "auth-header-field",
    "Basic, digest: request header that gets the user's name.",
    "X-Auth-User",
    parse=header_field,
    on_invalid=OnInvalid.PATH,
    public=True,
)
AUTH_REALM = Annotation(
    name="auth-realm",
    parse=realm,
    default=REALM,
    doc=f"Only `{REALM}` is accepted.",
    example=REALM,
    on_invalid=OnInvalid.PATH,
    public=True,
)
AUTH_URL = as_written(
    "auth-url",
    "Forward: asked with GET for every request; 2xx lets the request pass, anything else is "
    "the answer.",
    "https://auth.example/check",
    parse=auth_url,
    on_invalid=OnInvalid.PATH,
)
TRUST_HEADERS = flag(
    "auth-trust-headers",
    "Forward: keep the client's X-Forwarded-* in the request to auth-url, when the entry point "
    "trusts the peer.",
    example="false",
)
RESPONSE_HEADERS: Annotation[tuple[str, ...]] = Annotation(
    name="auth-response-headers",
    parse=comma_list,
    default=(),
    doc="Forward: headers copied from the answer of auth-url to the request.",
    example="X-User, X-Groups",
)
TLS_SECRET = as_written(
    "auth-tls-secret",
    "Forward: Secret with the client certificate for auth-url (`tls.crt`, `tls.key`).",
    "auth-client-cert",
    on_invalid=OnInvalid.PATH,
    public=True,
)
TLS_INSECURE = flag("auth-tls-insecure", "Forward: do not verify the certificate of auth-url.")


OTHERS: tuple[Annotation[Any], ...] = (
    REMOVE_HEADER,
    HEADER_FIELD,
    TRUST_HEADERS,
    RESPONSE_HEADERS,
    TLS_SECRET,
    TLS_INSECURE,
)


def read(notes: Notes, refs: Refs) -> Auth | None:
    notes.get(AUTH_REALM)  # checked even without auth-type
    kind = notes.get(AUTH_TYPE)
    if not kind:
        without_type(notes)
        return None
    unused = AUTH_SECRET if kind == "forward" else AUTH_URL
    if notes.has(unused):
        notes.warn(
            unused, f"auth-type {kind} does not use it; remove it", kind=findings.ANNOTATION_ALONE
        )
    if kind == "forward":
        return Auth(forward(notes, refs))
    lines = users(notes, refs)
    try:
        method = Basic(basic_users(lines)) if kind == "basic" else Digest(digest_users(lines))
    except ValueError as problem:
        raise Invalid(AUTH_SECRET.name, str(problem), OnInvalid.DROP) from None
    if kind == "basic" and (lost := hopeless(lines)):
        notes.warn(
            AUTH_SECRET,
            f"no password fits the hash in line {' and '.join(lost)} of the users; "
            f"store bcrypt of a cost from {COSTS[0]} to {COSTS[-1]}, MD5-crypt or {{SHA}}",
        )
    return Auth(method, notes.get(HEADER_FIELD), notes.get(REMOVE_HEADER))


def without_type(notes: Notes) -> None:
    """As in 1.7 nobody is authenticated then; what was meant to be protected is public."""
    there = next((a for a in (AUTH_URL, AUTH_SECRET, AUTH_TYPE, *OTHERS) if notes.has(a)), None)
    if there is not None:
        kind = "forward" if there is AUTH_URL else "basic, digest or forward"
        notes.warn(
            there,
            f"without auth-type nobody is authenticated; add auth-type: {kind}",
            "These routes are open to everybody, without authentication.",
            findings.ANNOTATION_UNPROTECTED,
        )


def hopeless(lines: Sequence[bytes]) -> list[str]:
    """The numbers of the first ten `user:hash` lines whose hash nobody can match."""
    found = [n for n, line in enumerate(lines, 1) if kind_of(line.partition(b":")[2]) is None]
    return [str(number) for number in found[:10]]


def refuse(annotation: Annotation[str], sentence: str) -> Invalid:
    return Invalid(annotation.name, sentence, OnInvalid.PATH)


def users(notes: Notes, refs: Refs) -> list[bytes]:
    name = notes.get(AUTH_SECRET)
    if not name:
        raise refuse(AUTH_SECRET, "is missing; name the Secret that holds the users")
    secret = refs.secret(name)
    if secret is None:
        raise refuse(AUTH_SECRET, f"there is no Secret {shown(name)} in this namespace")
    if len(secret) != 1:
        raise refuse(
            AUTH_SECRET, f"the Secret {shown(name)} has {len(secret)} entries; it needs exactly one"
        )
    lines = lines_of(next(iter(secret.values())))
    if not lines:
        raise refuse(AUTH_SECRET, f"the Secret {shown(name)} holds no users; add `user:hash` lines")
    return lines


def forward(notes: Notes, refs: Refs) -> Forward:
    url = notes.get(AUTH_URL)
    if not url:
        raise refuse(AUTH_URL, "is missing; write the URL which authenticates requests")
    insecure = notes.get(TLS_INSECURE)
    certificate, key = client_certificate(notes, refs)
    tls = None
    if certificate or insecure:  # FIX 13: `auth-tls-insecure: "false"` alone makes no TLS block
        tls = ClientTls(cert=certificate, key=key, insecure_skip_verify=insecure)
    names = tuple(name for name in notes.get(RESPONSE_HEADERS) if HEADER_NAME.fullmatch(name))
    if len(names) < len(notes.get(RESPONSE_HEADERS)):
        notes.warn(RESPONSE_HEADERS, "holds something that is no header name; it is left out")
    return Forward(url, notes.get(TRUST_HEADERS), names, tls)


def client_certificate(notes: Notes, refs: Refs) -> tuple[str, str]:
    name = notes.get(TLS_SECRET)
    if not name:
        return "", ""
    secret = refs.secret(name)
    if secret is None:
        raise refuse(TLS_SECRET, f"there is no Secret {shown(name)} in this namespace")
    if set(secret) != {"tls.crt", "tls.key"}:
        raise refuse(
            TLS_SECRET, f"the Secret {shown(name)} needs exactly the entries tls.crt and tls.key"
        )
    for entry, data in sorted(secret.items()):
        if not PEM.fullmatch(data):
            raise refuse(TLS_SECRET, f"{entry} of the Secret {shown(name)} is not PEM")
    return secret["tls.crt"].decode("latin-1"), secret["tls.key"].decode("latin-1")


def build(config: Auth, context: BuildContext) -> Sequence[Operation]:
    scripted = Scripted(config=config)
    field = config.header_field.encode("latin-1")
    if isinstance(config.method, Basic):
        return [RememberedUser(config, field, config.remove_header), scripted]
    if isinstance(config.method, Digest):
        return [RememberedNonce(config, field, config.remove_header, LIFETIME), scripted]
    return [*question(config), scripted]


def make_filter(config: Auth) -> Filter:
    if isinstance(config.method, Basic):
        return BasicAuth(config)
    return DigestAuth(config) if isinstance(config.method, Digest) else ForwardAuth(config)


FEATURE = Feature(
    name="Authentication",
    scope=Scope.INGRESS,
    annotations=(
        AUTH_TYPE,
        AUTH_SECRET,
        REMOVE_HEADER,
        HEADER_FIELD,
        AUTH_REALM,
        AUTH_URL,
        TRUST_HEADERS,
        RESPONSE_HEADERS,
        TLS_SECRET,
        TLS_INSECURE,
    ),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Auth,
    build=build,
    filter=make_filter,
    doc=__doc__ or "",
)
