"""The only module that speaks HTTP to the Kubernetes API server.

It uses the `kubernetes` package for configuration, TLS and connection pooling, never its models
or its `Watch`: answers are bytes for orjson (`kubernetes.md` 4). Everything raised is an
`ApiError`, so callers decide by `status` (0 = no answer at all).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
import urllib3
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from urllib3.exceptions import HTTPError

from controller.kubernetes.answers import (
    ApiError,
    Garbage,
    checked_object,
    names_served,
    page_of,
    parsed,
    reason_of,
)
from controller.kubernetes.outages import Outages
from controller.kubernetes.resources import Resource

__all__ = ["Api", "ApiError"]

log = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE = 500  # objects per list request
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0  # seconds of silence in an ordinary answer
WHOLE_TIMEOUT = 120.0  # seconds for all of it
MOST_BYTES = 1 << 28  # of an ordinary answer
MOST_PAGES = 4000  # of a list
SMALLEST_PAGE = 20  # objects; a page of fewer is not asked for
TOKEN_PERIOD = 60.0  # seconds; bound tokens are rotated by the kubelet well before they expire
USER_AGENT = "fastproxy"
STREAM_BROKEN = "StreamBroken"  # reason of an error in the middle of a watch
# A peer that vanished is noticed after 4 + 8 x 4 s, long before a watch ends; one that came back
# and knows nothing of the connection answers the next probe with a reset, so within 4 s.
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 8),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]


class ConfigurationError(Exception):
    """The options name no usable API server; the provider cannot start (`provider.md` 1.3)."""


class Token:
    """A bearer token: fixed text, or a file that is read again as it rotates."""

    def __init__(
        self,
        text: str = "",
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._text = text
        self._file = file
        self._clock = clock
        self._read_at = float("-inf")

    def current(self) -> str:
        """Give the token; a file that cannot be read keeps the last one."""
        if self._file is not None and self._clock() - self._read_at >= TOKEN_PERIOD:
            try:
                self._text = self._file.read_text().strip()
                self._read_at = self._clock()
            except OSError as exception:
                log.error("service account token not readable, keeping the last: %s", exception)
        return self._text

    def refused(self) -> bool:
        """After a 401, look at the file again; true if there is another token to try."""
        if self._file is None:
            return False
        before, self._read_at = self._text, float("-inf")
        return self.current() != before


@dataclass(frozen=True)
class Selection:
    """Label and field selectors, evaluated by the server."""

    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        named = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in named.items() if value}


EVERYTHING = Selection()


@dataclass(frozen=True)
class Listing:
    """All objects of a list and the opaque version from which a watch continues."""

    items: list[Any]  # some may be no objects
    version: str


class Api:
    """One API server. Safe to use from several threads."""

    def __init__(self, url: str, token: Token, ca_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        configuration = Configuration()
        configuration.host = self.url
        configuration.ssl_ca_cert = ca_file
        configuration.connection_pool_maxsize = 32
        configuration.socket_options = KEEPALIVE
        self._rest = RESTClientObject(configuration)
        self.outages = Outages()

    def address(self) -> tuple[str, int]:
        """Give host and port of the server."""
        parts = urlsplit(self.url)
        return parts.hostname or "localhost", parts.port or (443 if parts.scheme == "https" else 80)

    def reachable(self) -> bool:
        """Say whether the server's port accepts connections; cheap, sends nothing."""
        try:
            with socket.create_connection(self.address(), timeout=2.0):
                return True
        except OSError:
            return False

    def close(self) -> None:
        self._rest.close()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read one JSON document."""
        return self._call("GET", path, query)

    def read(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Read one object; an answer that is another one is an `ApiError`."""
        document = self.get(object_path(resource, namespace, name))
        return checked_object(document, resource, namespace, name)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, body=body)

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT an object; its resourceVersion makes a lost race a 409."""
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON merge patch (RFC 7386)."""
        return self._call("PATCH", path, body=body, content_type="application/merge-patch+json")

    def serves(self, resource: Resource) -> bool:
        """Ask discovery for one resource; without permission to ask, assume it is served."""
        try:
            group = self.get(resource.group_path())
        except ApiError as error:
            if error.missing:
                return False
            if error.forbidden:
                return True
            raise
        return resource.plural in names_served(group)

    def first_served(self, resources: tuple[Resource, ...]) -> Resource | None:
        """Give the first of several versions that the server knows."""
        return next((r for r in resources if self.serves(r)), None)

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        selection: Selection = EVERYTHING,
        page: int = PAGE,
    ) -> Listing:
        """List in pages; an expired continue token is a 410 and means: start again."""
        items: list[Any] = []
        query = {"limit": str(page), **selection.query()}
        for _ in range(MOST_PAGES):
            try:
                document = self.get(resource.path(namespace), query)
            except TooLarge:
                if page // 5 < SMALLEST_PAGE:
                    raise
                return self.list(resource, namespace, selection, page // 5)
            found = page_of(document, resource)
            items.extend(resource.named(item) for item in found.items)
            if not found.next:
                return Listing(items, found.version)
            if found.next == query.get("continue"):
                raise Garbage(f"a list of {resource.plural} gives the same page for ever")
            query["continue"] = found.next
        raise Garbage(f"a list of {resource.plural} has more than {MOST_PAGES} pages")

    @contextmanager
    def watch(
        self,
        resource: Resource,
        namespace: str,
        version: str,
        *,
        timeout: int,
        silence: float,
        selection: Selection = EVERYTHING,
    ) -> Iterator[Iterator[bytes]]:
        """Open a watch and give its byte chunks; the response is closed on leaving.

        `timeout`: seconds after which the server ends the stream. `silence`: seconds without a
        byte after which reading raises `ApiError`.
        """
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout),
            **selection.query(),
        }
        response = self._send("GET", resource.path(namespace), query, None, "", silence)
        try:
            yield _chunks(response)
        finally:
            # Not release_conn(): an unfinished stream must never go back to the pool.
            response.close()

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        response = self._send(method, path, query, data, content_type, READ_TIMEOUT)
        return parsed(_read(response), response.status)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        read_timeout: float,
    ) -> urllib3.BaseHTTPResponse:
        url = self.url + path + ("?" + urlencode(query) if query else "")
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read_timeout)
        for attempt in (1, 2):
            headers = self._headers(content_type if data is not None else "")
            try:
                response = self._rest.pool_manager.request(
                    method,
                    url,
                    body=data,
                    headers=headers,
                    timeout=timeout,
                    preload_content=False,
                    retries=False,
                )
            except (HTTPError, OSError, ssl.SSLError) as exception:
                why = reason_of(exception)
                raise ApiError(0, "Unreachable", f"{self.url}: {why}") from exception
            if 200 <= response.status < 300:
                return response
            error = _error(response)
            if response.status != 401 or attempt == 2 or not self._token.refused():
                raise error
        raise AssertionError("unreachable")

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if content_type:
            headers["Content-Type"] = content_type
        token = self._token.current()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers


def _chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield what arrives as it arrives, until the end of the stream."""
    while True:
        try:
            data = response.read1(1 << 16)
        except (HTTPError, OSError, ValueError) as exception:
            raise ApiError(0, STREAM_BROKEN, reason_of(exception)) from exception
        if not data:
            return
        yield data


class TooLarge(Garbage):
    """An answer that does not end."""


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """A whole answer, of which neither the size nor the time is the server's choice."""
    until = time.monotonic() + WHOLE_TIMEOUT
    data = bytearray()
    try:
        for chunk in _chunks(response):
            data += chunk
            if len(data) > MOST_BYTES:
                raise TooLarge(f"an answer of more than {MOST_BYTES} bytes", response.status)
            if time.monotonic() > until:
                raise ApiError(0, "Unreachable", f"no whole answer in {WHOLE_TIMEOUT:g} s")
    except ApiError:
        response.close()  # what is left of it must not be taken for another answer
        raise
    response.release_conn()
    return bytes(data)


def _error(response: urllib3.BaseHTTPResponse) -> ApiError:
    """Turn an unsuccessful answer, usually a `Status` object, into an exception."""
    try:
        document = parsed(_read(response), response.status)
    except ApiError:
        document = {}
    details = document.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    header = response.headers.get("Retry-After", "")
    if header.isascii() and header.isdigit() and len(header) < 10:
        seconds = int(header)
    return ApiError(
        response.status,
        str(document.get("reason") or response.reason or ""),
        str(document.get("message") or "no explanation given"),
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def connect(
    endpoint: str = "",
    token: str = "",
    certificate_file: str = "",
    environment: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Api:
    """Build the client as Traefik 1.7 does (`provider.md` 1.3); raises ConfigurationError."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if host and port:
        return _in_cluster(endpoint, host, port, account)
    if not endpoint:
        raise ConfigurationError("endpoint missing for external cluster client")
    if certificate_file:
        try:
            ssl.create_default_context(cafile=certificate_file)
        except (OSError, ssl.SSLError) as exception:
            raise ConfigurationError(f"certAuthFilePath {certificate_file}: {exception}") from None
    return Api(
        _url(endpoint, secure=bool(certificate_file)), Token(token), certificate_file or None
    )


def _in_cluster(endpoint: str, host: str, port: str, account: Path) -> Api:
    token_file = account / "token"
    if not token_file.is_file():
        raise ConfigurationError(f"service account token missing: {token_file}")
    ca_file: str | None = str(account / "ca.crt")
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exception:
        log.error("CA of the API server not usable, trusting the system's: %s", exception)
        ca_file = None
    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Api(
        _url(endpoint, secure=True) if endpoint else address, Token(file=token_file), ca_file
    )


def _url(endpoint: str, *, secure: bool) -> str:
    """Complete `host:port`; like client-go, https only where a CA is configured."""
    if "://" not in endpoint:
        endpoint = f"{'https' if secure else 'http'}://{endpoint}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"endpoint {endpoint!r} is not an http(s) URL")
    return endpoint


def object_path(resource: Resource, namespace: str, name: str, part: str = "") -> str:
    """Path of one object, or of its subresource `part`."""
    path = f"{resource.path(namespace)}/{quote(name, safe='')}"
    return f"{path}/{part}" if part else path
