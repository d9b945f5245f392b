"""What limits count by: the extractor functions of max-conn and rate-limit (`features.md` 3.15)."""

from __future__ import annotations

from fastproxy.annotation_values import TOKEN, canonical, shown
from fastproxy.engine.operations.writer import Extractor


def extractor(text: str) -> tuple[Extractor, str]:
    """`client.ip`, `request.host` or `request.header.NAME` -> extractor and header name."""
    if text == "client.ip":
        return Extractor.CLIENT_IP, ""
    if text == "request.host":
        return Extractor.REQUEST_HOST, ""
    name = text.removeprefix("request.header.")
    if name != text and TOKEN.fullmatch(name):
        return Extractor.REQUEST_HEADER, canonical(name)
    raise ValueError(
        f"{shown(text)} is nothing to count by; write client.ip, request.host or "
        "request.header.NAME"
    )
