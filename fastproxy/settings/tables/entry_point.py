"""The options of `[entryPoints.NAME]`."""

from __future__ import annotations

from dataclasses import dataclass

from fastproxy.settings.address import split_address
from fastproxy.settings.declare import hidden, option


@dataclass(frozen=True, slots=True)
class WhiteList:
    source_range: tuple[str, ...] = option((), "addresses or ranges; must not be empty")
    use_x_forwarded_for: bool = option(
        False,
        "look at `X-Forwarded-For` instead of the connection",
        key="useXForwardedFor",
    )


@dataclass(frozen=True, slots=True)
class EntryPointRedirect:
    """`entry_point` excludes `regex` and `replacement`."""

    entry_point: str = option("", "redirect to this entry point; excludes `regex`")
    regex: str = option("", "RE2 pattern for the whole URL")
    replacement: str = option("", "what it becomes, with `$1` or `${1}`")
    permanent: bool = option(False, "301 instead of 302")


@dataclass(frozen=True, slots=True)
class Users:
    """Basic or digest credentials; the file's lines are merged over `users`."""

    users: tuple[str, ...] = option((), "`name:hash`, for digest `name:realm:hash`", secret=True)
    users_file: str = option(
        "",
        "file with one user on each line, read at start; its users come on top of `users`",
    )
    remove_header: bool = option(False, "do not pass `Authorization` on")
    realm: str = option("", "accepted, without effect: the realm is `traefik`")


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How fastproxy speaks TLS to a forward authentication server."""

    ca: str = option("", "PEM file or text that replaces the system's roots")
    ca_optional: bool = option(False, "accepted, without effect on a client")
    cert: str = option("", "PEM file or text of the client certificate")
    key: str = option("", "PEM file or text of its key", secret=True)
    insecure_skip_verify: bool = option(False, "do not verify its certificate")


@dataclass(frozen=True, slots=True)
class Forward:
    address: str = option("", "URL to ask")
    trust_forward_header: bool = option(False, "pass the client's `X-Forwarded-*` on to it")
    auth_response_headers: tuple[str, ...] = option(
        (),
        "headers copied from its answer into the request",
    )
    tls: ClientTls | None = option(None, "how to speak TLS to it")


@dataclass(frozen=True, slots=True)
class EntryPointAuth:
    """Precedence: basic, digest, forward."""

    header_field: str = option("", "header that tells endpoints the user's name")
    basic: Users | None = option(None, "basic authentication")
    digest: Users | None = option(None, "digest authentication")
    forward: Forward | None = option(None, "ask another server")


@dataclass(frozen=True, slots=True)
class ProxyProtocol:
    trusted_ips: tuple[str, ...] = option(
        (),
        "addresses or ranges that are believed",
        key="trustedIPs",
    )
    insecure: bool = option(False, "believe everybody")


@dataclass(frozen=True, slots=True)
class ForwardedHeaders:
    """Who may supply `X-Forwarded-*`. Without this table everybody may (1.7)."""

    trusted_ips: tuple[str, ...] = option(
        (),
        "addresses or ranges that are believed",
        key="trustedIPs",
    )
    insecure: bool = option(False, "believe everybody")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Each is a path or the PEM text itself."""

    cert_file: str = option("", "PEM file or text")
    key_file: str = option("", "PEM file or text", secret=True)


@dataclass(frozen=True, slots=True)
class ClientCa:
    files: tuple[str, ...] = option((), "PEM files of the CAs that sign client certificates")
    optional: bool = option(
        False,
        "a client may come without a certificate; one that is sent must be valid",
    )


@dataclass(frozen=True, slots=True)
class EntryPointTls:
    certificates: tuple[CertificateFiles, ...] = option(
        (),
        "`[[entryPoints.NAME.tls.certificates]]`; a pair that cannot be loaded is logged and "
        "skipped",
    )
    default_certificate: CertificateFiles | None = option(
        None,
        "served when no name matches; without it the first of `certificates`, else a "
        "self-signed one",
    )
    sni_strict: bool = option(
        False,
        "refuse the handshake when no certificate matches; a request whose host none matches "
        "is answered 421",
    )
    min_version: str = option("", "`VersionTLS10` to `VersionTLS13`")
    cipher_suites: tuple[str, ...] = option((), "Go's names of suites")
    client_ca: ClientCa | None = option(None, "ask clients for certificates", key="clientCA")
    client_ca_files: tuple[str, ...] = option(
        (),
        "deprecated form of `clientCA.files`, mandatory",
        key="clientCAFiles",
    )
    fetched: tuple[CertificateFiles, ...] = hidden(())  # of [acme]; behind those of Secrets


@dataclass(frozen=True, slots=True)
class EntryPointHttp2:
    """Own table."""

    enabled: bool = option(
        True, "HTTP/2: offered by ALPN with TLS, by prior knowledge (h2c) without"
    )


@dataclass(frozen=True, slots=True)
class EntryPoint:
    address: str = option(
        "",
        "`:80`, `10.0.0.1:80` or `[::1]:80`; the port may be a name (`:http`); mandatory",
    )
    compress: bool = option(False, "gzip responses")
    white_list: WhiteList | None = option(None, "who may connect")
    whitelist_source_range: tuple[str, ...] = option(
        (),
        "deprecated form of `whiteList.sourceRange`",
    )
    redirect: EntryPointRedirect | None = option(None, "redirect every request")
    auth: EntryPointAuth | None = option(
        None,
        "authenticate every request; basic before digest before forward",
    )
    proxy_protocol: ProxyProtocol | None = option(None, "read the PROXY protocol, version 1")
    forwarded_headers: ForwardedHeaders = option(
        ForwardedHeaders(insecure=True),
        "who may supply `X-Forwarded-*`; without the table: everybody",
    )
    tls: EntryPointTls | None = option(None, "terminate TLS")
    http2: EntryPointHttp2 = option(EntryPointHttp2(), "own table: HTTP/2 from clients")
    # Own option: the kernel hands over a connection only once it has sent something.
    defer_accept: bool = option(
        False,
        "own option: the kernel hands a connection over once it has sent something "
        "(TCP_DEFER_ACCEPT)",
    )
    # Nobody has written it down: `traefik` on :8080. Where that port is taken it is left out.
    implicit: bool = hidden(False)

    @property
    def host(self) -> str:
        """The address to listen on without brackets; "" means every address, IPv4 and IPv6."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        return split_address(self.address)[1]
