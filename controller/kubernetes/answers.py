"""What an answer of the API server must be before it is believed.

A server, or something between it and us, may answer 200 with anything: `{}`, nothing at all, a
`Status`, a list of something else. Taken for what was asked, that would mean "there is nothing"
and every route would go. So each kind of answer is checked here for what tells it from nonsense;
the rest is an `ApiError` like any other failure, after which what is known stays.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from controller.kubernetes.resources import Resource

GARBAGE = "Garbage"  # reason of the error
LONGEST_MESSAGE = 500  # characters of what a server says that are shown
LONGEST_REASON = 100
MOST_PATIENCE = 300.0  # seconds a server may ask us to stay away


class ApiError(Exception):
    """The API server refused or could not be reached; `status` is 0 without an HTTP answer."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        reason, message = reason[:LONGEST_REASON], message[:LONGEST_MESSAGE]
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.retry_after = (  # seconds
            None if retry_after is None else min(max(retry_after, 0.0), MOST_PATIENCE)
        )

    @property
    def gone(self) -> bool:
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def forbidden(self) -> bool:
        return self.status == 403

    @property
    def missing(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        return self.status == 409


class Garbage(ApiError):
    """An answer that is not what was asked for; `status` is that of the answer."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(status, GARBAGE, message)


class Page(NamedTuple):
    items: list[Any]
    version: str
    next: str  # token of the next page, "" on the last


def parsed(data: bytes, status: int = 200) -> dict[str, Any]:
    """The JSON object an answer holds. Raises `Garbage`."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        what = f"not JSON: {problem}" if data else "empty"
        raise Garbage(f"the answer is {what}", status) from None
    if not isinstance(document, dict):
        raise Garbage("the answer is not a JSON object", status)
    return document


def page_of(document: Mapping[str, Any], resource: Resource) -> Page:
    """A page of a list of this resource. Raises `Garbage`."""
    kind = document.get("kind")
    if kind not in (f"{resource.kind}List", "List"):
        raise Garbage(f"a list of {resource.plural} is of kind {shown(kind)}")
    items = document.get("items", resource)
    if items is not None and not isinstance(items, list):
        raise Garbage(f"a list of {resource.plural} has no array of items")
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    version, token = metadata.get("resourceVersion"), metadata.get("continue") or ""
    if not isinstance(version, str) or not version or not isinstance(token, str):
        raise Garbage(f"a list of {resource.plural} has no resourceVersion")
    return Page(items or [], version, token)


def checked_object(
    document: dict[str, Any], resource: Resource, namespace: str = "", name: str = ""
) -> dict[str, Any]:
    """The object, if it is of this kind and name. Raises `Garbage`."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    found = document.get("kind"), metadata.get("namespace") or "", metadata.get("name")
    if found != (resource.kind, namespace, name):
        what = " ".join(map(shown, found))
        raise Garbage(f"asked for {resource.kind} {namespace}/{name}, the answer is {what}")
    return document


def names_served(document: Mapping[str, Any]) -> Iterable[Any]:
    """What a discovery document says there is. Raises `Garbage`."""
    resources = document.get("resources")
    if document.get("kind", "APIResourceList") != "APIResourceList" or not (
        isinstance(resources, list) and all(isinstance(item, dict) for item in resources)
    ):
        raise Garbage("the answer of discovery is no list of resources")
    return (item.get("name") for item in resources)


def is_object(item: Any, kind: str) -> bool:
    """Whether an item of a list, or of an event, may be an object of the kind."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return isinstance(name, str) and bool(name) and item.get("kind", kind) == kind


def reason_of(error: BaseException) -> str:
    """What was in the way of an answer, in the words of the system or of TLS, without those of the
    libraries around it."""
    innermost, found = error, error.__cause__ or error.__context__
    while found is not None:
        innermost, found = found, found.__cause__ or found.__context__
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({innermost.verify_message})"
    if isinstance(innermost, ssl.SSLError):
        reason = (innermost.reason or str(innermost)).lower().replace("_", " ")
        return f"the TLS handshake fails ({reason})"
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return str(innermost) or type(innermost).__name__


def shown(value: Any) -> str:
    return repr(value)[:60]
