"""Replace or delete headers of requests and of backends' responses.

An entry replaces the header, an empty value deletes it. Own answers (redirects, 401, 403, ...)
never get custom response headers. `Host` in custom-request-headers does not change the forwarded
Host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import HeaderMap, header_map
from fastproxy.engine.operations.writer import EditRequestHeaders, EditResponseHeaders, Operation
from fastproxy.feature import Annotation, BuildContext, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config

REQUEST_HEADERS = Annotation(
    name="custom-request-headers",
    parse=header_map,
    default=HeaderMap(),
    doc="Headers set on requests, `Name: value || Name2: value2`; an empty value deletes.",
    example="X-Team: blue || X-Debug:",
)
RESPONSE_HEADERS = Annotation(
    name="custom-response-headers",
    parse=header_map,
    default=HeaderMap(),
    doc="Headers set on responses of the backend, `Name: value || Name2: value2`; an empty value "
    "deletes. They win over the security headers.",
    example="Cache-Control: no-store || Server:",
)


@dataclass(frozen=True, slots=True)
class CustomRequestHeaders(Config):
    edits: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CustomResponseHeaders(Config):
    edits: tuple[tuple[str, str], ...]


def pairs_of(notes: Notes, annotation: Annotation[HeaderMap]) -> tuple[tuple[str, str], ...]:
    found = notes.get(annotation)
    for item in found.ignored:
        notes.warn(annotation, f"item {item} is no header and is left out; write `Name: value`")
    return found.pairs


def encoded(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


def read_request(notes: Notes, refs: Refs) -> CustomRequestHeaders | None:
    pairs = pairs_of(notes, REQUEST_HEADERS)
    return CustomRequestHeaders(pairs) if pairs else None


def read_response(notes: Notes, refs: Refs) -> CustomResponseHeaders | None:
    pairs = pairs_of(notes, RESPONSE_HEADERS)
    return CustomResponseHeaders(pairs) if pairs else None


def build_request(config: CustomRequestHeaders, context: BuildContext) -> Sequence[Operation]:
    edits = tuple(pair for pair in encoded(config.edits) if pair[0] != b"Host")
    return [EditRequestHeaders(edits)] if edits else []


def build_response(config: CustomResponseHeaders, context: BuildContext) -> Sequence[Operation]:
    return [EditResponseHeaders(encoded(config.edits))]


REQUEST = Feature(
    name="Custom request headers",
    scope=Scope.INGRESS,
    annotations=(REQUEST_HEADERS,),
    read=read_request,
    on_invalid=OnInvalid.DEFAULT,
    config=CustomRequestHeaders,
    build=build_request,
    doc=__doc__ or "",
)
RESPONSE = Feature(
    name="Custom response headers",
    scope=Scope.INGRESS,
    annotations=(RESPONSE_HEADERS,),
    read=read_response,
    on_invalid=OnInvalid.DEFAULT,
    config=CustomResponseHeaders,
    build=build_response,
    doc=__doc__ or "",
)
