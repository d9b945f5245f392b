"""The engine's normal form of a path against a slow one that follows RFC 3986 step by step."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from tests.safety.client import Client
from tests.safety.conftest import Bench
from tests.support.sanitized import fuzz

UNRESERVED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
PARTS = ["/", "//", ".", "..", "...", "a", "b;c=d", "%2e", "%2E", "%2f", "%5c", "%41", "%7e", "%20"]
PARTS += ["%c3%a4", "%25", "%252e", ";", ":", "@", "!", "=", "guarded", "///", "[|]", *'"<>^`{}\\']
paths = st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: "/" + "".join(parts))


def decoded(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in UNRESERVED else match[0].upper()


def normal(path: str) -> str:
    """RFC 3986 6.2.2.1 to 6.2.2.3, without a look at empty segments: what is routed. `..` stops at
    the root, and what may not stand raw is escaped."""
    path = re.sub("%([0-9A-Fa-f]{2})", decoded, path)
    path = re.sub('["<>^`{}\\\\]', lambda found: f"%{ord(found[0]):02X}", path)
    kept: list[str] = []
    segments = path.split("/")[1:]
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "..":
            del kept[-1:]
        if segment not in ("", ".", ".."):
            kept.append(segment)
        elif last and kept:
            kept.append("")
    return "/" + "/".join(kept)


def forwarded(path: str) -> str:
    """The same with empty segments; they belong to what `..` takes away."""
    path = re.sub("%([0-9A-Fa-f]{2})", decoded, path)
    path = re.sub('["<>^`{}\\\\]', lambda found: f"%{ord(found[0]):02X}", path)
    kept: list[str] = []
    segments = path.split("/")[1:]
    for place, segment in enumerate(segments):
        if segment == "..":
            while kept and kept[-1] == "":
                kept.pop()
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
            continue
        if place == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)


@fuzz(400)
@given(paths)
@example("/a/..")
@example("/..")
@example("/a/b/../")
@example("//a//../")
@example("//guarded//..//x")
@example("/x//..//guarded//")
@example("//..//.")
def test_the_path_that_arrives(bench: Bench, path: str) -> None:
    bench.origin.begin([], "whole", 1)
    client = Client(bench.address)
    with client.socket:
        client.socket.sendall(f"GET {path}?x=/../y HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        answer = client.response("GET")
    assert answer is not None
    assert answer.status == 200
    ((backend, request),) = bench.origin.end().requests
    wanted = normal(path)
    assert request.target == forwarded(path) + "?x=/../y"
    assert re.sub("//+", "/", forwarded(path)) == wanted  # an endpoint that merges sees the same
    assert backend == ("guarded" if wanted.startswith("/guarded") else "main")
