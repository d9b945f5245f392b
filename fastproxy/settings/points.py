"""Impossible values of one entry point: trust, authentication, redirects, TLS, and its files.

Every check yields `(key, sentence)` as in `settings_check.py`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import re2  # type: ignore[import-untyped]

from fastproxy.settings.options import EntryPoint, EntryPointAuth, EntryPointTls, Settings, Users
from fastproxy.settings.tls_options import CIPHER_SUITES, read_pem

Found = Iterator[tuple[str, str]]

PATTERN_SIZE = 1024  # bytes of a regular expression


def problems(settings: Settings) -> Found:
    """Yield what is impossible about any entry point; touches no file."""
    for name, point in sorted(settings.entry_points.items()):
        path = f"entryPoints.{name}"
        yield from _white_list(path, point)
        yield from _redirect(path, point, settings)
        yield from _auth(f"{path}.auth", point.auth)
        yield from _trust(path, point)
        yield from _tls(f"{path}.tls", point.tls)


def unreadable(settings: Settings) -> Found:
    """Yield the files the settings name and this process cannot read.

    Certificates of entry points are not among them: 1.7 logs and skips a pair it cannot load.
    """
    named = [(f"rootCAs[{i}]", source) for i, source in enumerate(settings.root_cas)]
    for name, point in sorted(settings.entry_points.items()):
        path = f"entryPoints.{name}"
        authority = point.tls.client_ca if point.tls is not None else None
        files = authority.files if authority is not None else ()
        named += [(f"{path}.tls.clientCA.files[{i}]", file) for i, file in enumerate(files)]
        named += _auth_files(f"{path}.auth", point.auth)
    for key, source in named:
        try:
            read_pem(source)
        except OSError as error:
            reason = error.strerror or str(error)
            yield key, f"{source!r} cannot be read ({reason}); correct the path or its permissions"


def _auth_files(path: str, auth: EntryPointAuth | None) -> list[tuple[str, str]]:
    if auth is None:
        return []
    files = [
        (f"{path}.{name}.usersFile", users.users_file)
        for name, users in (("basic", auth.basic), ("digest", auth.digest))
        if users is not None
    ]
    tls = auth.forward.tls if auth.forward is not None else None
    if tls is not None:
        parts = (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key))
        files += [(f"{path}.forward.tls.{name}", source) for name, source in parts]
    return [(key, source) for key, source in files if source]


def known_entry_points(settings: Settings) -> str:
    """Return the remedy for the name of an entry point that does not exist."""
    return f"define it or write one of {', '.join(sorted(settings.entry_points))}"


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network of an address or CIDR range as Go reads it: host bits may be set."""
    return ipaddress.ip_network(text.strip(), strict=False)


def _ranges(key: str, texts: tuple[str, ...]) -> Found:
    for text in texts:
        try:
            network(text)
        except ValueError:
            yield key, f'{text!r} is not an address or a range; write for example "10.0.0.0/8"'


def _white_list(path: str, point: EntryPoint) -> Found:
    if point.white_list is None:
        return
    key = f"{path}.whiteList.sourceRange"
    if not point.white_list.source_range:
        yield key, "is empty; list the ranges that may connect, or remove the table"
    yield from _ranges(key, point.white_list.source_range)


def pattern_problem(pattern: str) -> str | None:
    """Return why RE2 refuses a pattern, or None; patterns of settings run on RE2 only."""
    if len(pattern.encode()) > PATTERN_SIZE:
        return f"is longer than {PATTERN_SIZE} bytes; shorten it"
    if re.search(r"(?<!\\)(?:\\\\)*\\C", pattern):
        return r"contains \C, which is refused; write . instead"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        return f"is not a regular expression ({error}); correct it (RE2 syntax)"
    return None


def _redirect(path: str, point: EntryPoint, settings: Settings) -> Found:
    redirect = point.redirect
    if redirect is None:
        return
    path = f"{path}.redirect"
    if redirect.entry_point:
        target = settings.entry_points.get(redirect.entry_point)
        if target is None:
            known = known_entry_points(settings)
            yield (
                f"{path}.entryPoint",
                f"names the unknown entry point {redirect.entry_point!r}; {known}",
            )
        return
    if not redirect.regex or not redirect.replacement:
        yield path, "needs either entryPoint, or both regex and replacement; add what is missing"
    refusal = pattern_problem(redirect.regex)
    if refusal is not None:
        yield f"{path}.regex", refusal


def _auth(path: str, auth: EntryPointAuth | None) -> Found:
    if auth is None:
        return
    if auth.basic is None and auth.digest is None and auth.forward is None:
        yield path, "names no method; add a table basic, digest or forward"
    for name, users, colons in (("basic", auth.basic, 1), ("digest", auth.digest, 2)):
        if users is not None:
            yield from _users(f"{path}.{name}", users, colons)
    if auth.forward is not None:
        address = auth.forward.address
        without_user = re.sub(".*@", "***@", address)
        if not re.fullmatch(r"https?://[^/\s]+\S*", address):
            yield (
                f"{path}.forward.address",
                f'{without_user!r} is not a URL; write for example "https://auth.example/check"',
            )


def _users(path: str, users: Users, colons: int) -> Found:
    if not users.users and not users.users_file:
        yield path, "has no users; add users or usersFile"
    form = "name:hash" if colons == 1 else "name:realm:hash"
    for index, line in enumerate(users.users):
        if line.count(":") != colons:  # the line itself is a secret and is not shown
            yield f"{path}.users[{index}]", f"is not of the form {form}; correct it"


def _trust(path: str, point: EntryPoint) -> Found:
    proxy, forwarded = point.proxy_protocol, point.forwarded_headers
    if proxy is not None:
        if not proxy.trusted_ips and not proxy.insecure:
            yield f"{path}.proxyProtocol", "trusts nobody; add trustedIPs or insecure = true"
        yield from _ranges(f"{path}.proxyProtocol.trustedIPs", proxy.trusted_ips)
    if not forwarded.trusted_ips and not forwarded.insecure:
        # Traefik 1.7 starts, and then drops every route of this entry point.
        yield f"{path}.forwardedHeaders", "trusts nobody; add trustedIPs or insecure = true"
    yield from _ranges(f"{path}.forwardedHeaders.trustedIPs", forwarded.trusted_ips)


def _tls(path: str, tls: EntryPointTls | None) -> Found:
    if tls is None:
        return
    pairs = [(f"{path}.certificates[{i}]", pair) for i, pair in enumerate(tls.certificates)]
    if tls.default_certificate is not None:
        pairs.append((f"{path}.defaultCertificate", tls.default_certificate))
    for key, pair in pairs:
        if not pair.cert_file or not pair.key_file:
            yield key, "needs both certFile and keyFile; add what is missing"
    for name in tls.cipher_suites:
        if name not in CIPHER_SUITES:
            yield f"{path}.cipherSuites", f"{name!r} is not one of Go's names of suites; correct it"
    if tls.client_ca is not None and not tls.client_ca.files:
        yield f"{path}.clientCA.files", "is empty; list the CA files, or remove the table"
