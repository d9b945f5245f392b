"""Heads as lines, through the probe of the engine's parser and writer."""

from __future__ import annotations

from tests.native.head_probe import Probe

Lines = list[str]
# what every endpoint hears of a plain request by 192.0.2.1 for a.test
OURS = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "a.test",
    "X-Forwarded-Port": "80",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Server": "proxy",
    "X-Real-Ip": "192.0.2.1",
}


def message(first: str, lines: Lines) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def fields(data: bytes | None) -> tuple[str, list[tuple[str, str]]]:
    assert data is not None and data.endswith(b"\r\n\r\n")
    first, *lines = data.decode("latin-1")[:-4].split("\r\n")
    return first, [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]


def forwarded(lines: Lines, first: str = "GET / HTTP/1.1", host: str = "a.test", **more: object):
    probe = Probe()
    probe.parse(message(first, [f"Host: {host}", *lines]))
    return fields(probe.write_request(**more))
