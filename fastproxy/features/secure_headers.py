"""Check hosts, force TLS, and set the security headers of backends' responses.

The request part (allowed hosts, SSL redirect, forced host) answers by itself; the response part
replaces headers of responses which come from a backend (`features.md` 3.11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import (
    HeaderMap,
    as_written,
    comma_list,
    flag,
    header_map,
    integer,
)
from fastproxy.engine.operations.writer import (
    EditResponseHeaders,
    FixLocation,
    Operation,
    SecureRequest,
)
from fastproxy.feature import Annotation, BuildContext, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model import findings
from fastproxy.model.configuration import Config

NONCE = b"\x01"  # what EditResponseHeaders replaces by the nonce of the request


def header_value(value: str) -> str:
    if any((ord(char) < 32 and char != "\t") or char == "\x7f" for char in value):
        raise ValueError("the value has a control character; write the header in one line")
    return value.strip()


def value(name: str, doc: str, example: str) -> Annotation[str]:
    return as_written(name, doc, example, parse=header_value)


ALLOWED_HOSTS: Annotation[tuple[str, ...]] = Annotation(
    name="allowed-hosts",
    parse=comma_list,
    default=(),
    doc="Only these Host headers (with the port as sent, case ignored) are served; others get 500 "
    "`Bad Host`.",
    example="shop.example, www.shop.example",
)
PROXY_HEADERS: Annotation[tuple[str, ...]] = Annotation(
    name="proxy-headers",
    parse=comma_list,
    default=(),
    doc="Request headers that may carry the host instead of Host; the first non-empty one counts.",
    example="X-Forwarded-Host",
)
SSL_REDIRECT = flag("ssl-redirect", "Redirect plain requests to https.")
SSL_TEMPORARY = flag("ssl-temporary-redirect", "Use 307 instead of 301 for ssl-redirect.")
SSL_HOST = value("ssl-host", "Host to redirect to; default: that of the request.", "shop.example")
SSL_FORCE_HOST = flag("ssl-force-host", "Redirect requests for any other host to ssl-host.")
SSL_PROXY_HEADERS = Annotation(
    name="ssl-proxy-headers",
    parse=header_map,
    default=HeaderMap(),
    doc="A request with one of these header values counts as TLS.",
    example="X-Forwarded-Proto: https",
)
HSTS_MAX_AGE = Annotation(
    name="hsts-max-age",
    parse=integer,
    default=0,
    doc="Seconds for Strict-Transport-Security; 0 = header not set.",
    example="31536000",
    public=True,
)
HSTS_SUBDOMAINS = flag("hsts-include-subdomains", "Add `includeSubDomains`.")
HSTS_PRELOAD = flag("hsts-preload", "Add `preload`.")
FORCE_HSTS = flag("force-hsts", "Set Strict-Transport-Security on plain responses too.")
FRAME_DENY = flag("frame-deny", "Set `X-Frame-Options: DENY`.")
FRAME_OPTIONS = value("custom-frame-options-value", "Value of X-Frame-Options.", "SAMEORIGIN")
NOSNIFF = flag("content-type-nosniff", "Set `X-Content-Type-Options: nosniff`.")
XSS_FILTER = flag("browser-xss-filter", "Set `X-XSS-Protection: 1; mode=block`.")
XSS_VALUE = value(
    "custom-browser-xss-value", "Value of X-XSS-Protection.", "1; report=https://r.example/x"
)
CSP = value(
    "content-security-policy",
    "Content-Security-Policy; `$NONCE` becomes `'nonce-...'`, new for every request.",
    "default-src 'self'",
)
PUBLIC_KEY = value("public-key", "Public-Key-Pins, on TLS only.", "pin-sha256=abc; max-age=60")
REFERRER_POLICY = value("referrer-policy", "Referrer-Policy.", "same-origin")
DEVELOPMENT = flag(
    "is-development", "Switch off allowed-hosts, ssl-redirect, HSTS and Public-Key-Pins."
)

ANNOTATIONS = (
    ALLOWED_HOSTS,
    PROXY_HEADERS,
    SSL_REDIRECT,
    SSL_TEMPORARY,
    SSL_HOST,
    SSL_FORCE_HOST,
    SSL_PROXY_HEADERS,
    HSTS_MAX_AGE,
    HSTS_SUBDOMAINS,
    HSTS_PRELOAD,
    FORCE_HSTS,
    FRAME_DENY,
    FRAME_OPTIONS,
    NOSNIFF,
    XSS_FILTER,
    XSS_VALUE,
    CSP,
    PUBLIC_KEY,
    REFERRER_POLICY,
    DEVELOPMENT,
)


@dataclass(frozen=True, slots=True)
class SecureHeaders(Config):
    allowed_hosts: tuple[str, ...] = ()
    proxy_headers: tuple[str, ...] = ()
    ssl_redirect: bool = False
    ssl_temporary: bool = False
    ssl_host: str = ""
    ssl_force_host: bool = False
    ssl_proxy_headers: tuple[tuple[str, str], ...] = ()
    hsts_max_age: int = 0
    hsts_subdomains: bool = False
    hsts_preload: bool = False
    force_hsts: bool = False
    frame_deny: bool = False
    frame_options: str = ""
    nosniff: bool = False
    xss_filter: bool = False
    xss_value: str = ""
    csp: str = ""
    public_key: str = ""
    referrer_policy: str = ""
    development: bool = False


def read(notes: Notes, refs: Refs) -> SecureHeaders | None:
    ssl_proxy_headers = notes.get(SSL_PROXY_HEADERS)
    for item in ssl_proxy_headers.ignored:
        notes.warn(
            SSL_PROXY_HEADERS, f"item {item} is no header and is left out; write `Name: value`"
        )
    config = SecureHeaders(
        allowed_hosts=notes.get(ALLOWED_HOSTS),
        proxy_headers=notes.get(PROXY_HEADERS),
        ssl_redirect=notes.get(SSL_REDIRECT),
        ssl_temporary=notes.get(SSL_TEMPORARY),
        ssl_host=notes.get(SSL_HOST),
        ssl_force_host=notes.get(SSL_FORCE_HOST),
        ssl_proxy_headers=ssl_proxy_headers.pairs,
        hsts_max_age=notes.get(HSTS_MAX_AGE),
        hsts_subdomains=notes.get(HSTS_SUBDOMAINS),
        hsts_preload=notes.get(HSTS_PRELOAD),
        force_hsts=notes.get(FORCE_HSTS),
        frame_deny=notes.get(FRAME_DENY),
        frame_options=notes.get(FRAME_OPTIONS),
        nosniff=notes.get(NOSNIFF),
        xss_filter=notes.get(XSS_FILTER),
        xss_value=notes.get(XSS_VALUE),
        csp=notes.get(CSP),
        public_key=notes.get(PUBLIC_KEY),
        referrer_policy=notes.get(REFERRER_POLICY),
        development=notes.get(DEVELOPMENT),
    )
    without_effect(notes, config)
    return None if config == SecureHeaders() else config


def without_effect(notes: Notes, config: SecureHeaders) -> None:
    """Tell halves of pairs, and what is-development or an empty list switches off."""
    if notes.has(ALLOWED_HOSTS) and (not config.allowed_hosts or config.development):
        reason = (
            "it names no host" if not config.allowed_hosts else "is-development switches it off"
        )
        notes.warn(
            ALLOWED_HOSTS,
            reason,
            "Requests with any Host are served.",
            findings.ANNOTATION_UNPROTECTED,
        )
    needs_age = (config.hsts_subdomains, config.hsts_preload, config.force_hsts)
    for wanted, annotation in zip(
        needs_age, (HSTS_SUBDOMAINS, HSTS_PRELOAD, FORCE_HSTS), strict=True
    ):
        if wanted and not notes.has(HSTS_MAX_AGE):
            notes.warn(
                annotation,
                "it needs hsts-max-age beside it",
                kind=findings.ANNOTATION_ALONE,
            )
    if config.ssl_temporary and not (config.ssl_redirect or config.ssl_force_host):
        notes.warn(
            SSL_TEMPORARY, 'it needs ssl-redirect: "true" beside it', kind=findings.ANNOTATION_ALONE
        )
    if config.ssl_force_host and not config.ssl_host:
        notes.warn(SSL_FORCE_HOST, "it needs ssl-host beside it", kind=findings.ANNOTATION_ALONE)


def always(config: SecureHeaders) -> list[tuple[bytes, bytes]]:
    """Response headers whatever the client's connection is."""
    hsts = config.force_hsts and not config.development
    candidates = (
        (b"Strict-Transport-Security", hsts_value(config) if hsts else ""),
        (b"X-Frame-Options", config.frame_options or ("DENY" if config.frame_deny else "")),
        (b"X-Content-Type-Options", "nosniff" if config.nosniff else ""),
        (b"X-XSS-Protection", config.xss_value or ("1; mode=block" if config.xss_filter else "")),
        (b"Referrer-Policy", config.referrer_policy),
    )
    headers = [(name, text.encode()) for name, text in candidates if text]
    if config.csp:
        policy = config.csp.encode().replace(b"$NONCE", b"'nonce-" + NONCE + b"'")
        headers.append((b"Content-Security-Policy", policy))
    return headers


def when_ssl(config: SecureHeaders) -> list[tuple[bytes, bytes]]:
    if config.development:
        return []
    hsts = "" if config.force_hsts else hsts_value(config)
    candidates = ((b"Strict-Transport-Security", hsts), (b"Public-Key-Pins", config.public_key))
    return [(name, text.encode()) for name, text in candidates if text]


def hsts_value(config: SecureHeaders) -> str:
    if not config.hsts_max_age:
        return ""
    return (
        f"max-age={config.hsts_max_age}"
        + ("; includeSubDomains" if config.hsts_subdomains else "")
        + ("; preload" if config.hsts_preload else "")
    )


def build(config: SecureHeaders, context: BuildContext) -> Sequence[Operation]:
    operations: list[Operation] = []
    # Also decides what "SSL" means for the operations on the response, hence ssl-proxy-headers.
    if (
        config.allowed_hosts
        or config.ssl_redirect
        or config.ssl_force_host
        or config.ssl_proxy_headers
    ):
        operations.append(
            SecureRequest(
                allowed_hosts=tuple(host.encode() for host in config.allowed_hosts),
                proxy_headers=tuple(name.encode() for name in config.proxy_headers),
                ssl_proxy_headers=tuple(
                    (name.encode(), text.encode()) for name, text in config.ssl_proxy_headers
                ),
                ssl_host=config.ssl_host.encode(),
                ssl_redirect=config.ssl_redirect,
                temporary=config.ssl_temporary,
                force_host=config.ssl_force_host,
                development=config.development,
            )
        )
    if headers := always(config):
        operations.append(EditResponseHeaders(tuple(headers)))
    if headers := when_ssl(config):
        operations.append(EditResponseHeaders(tuple(headers), only_ssl=True))
    if config.ssl_host:
        operations.append(FixLocation(config.ssl_host.encode()))
    return operations


FEATURE = Feature(
    name="Security headers",
    scope=Scope.INGRESS,
    annotations=ANNOTATIONS,
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=SecureHeaders,
    build=build,
    doc=__doc__ or "",
)
