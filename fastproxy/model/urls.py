"""URLs that go into a Location: what Go's `net/url` accepts, and how it writes them."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

# What may stand in a Location as it is; everything else is percent-encoded. `%` is kept: V is
# made of text which is encoded already.
KEPT = "!#$%&'()*+,/:;=?@[]"

# What Go's url.Parse refuses: control characters, bad escapes in the path, bad hosts and ports.
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
URL = re.compile(
    rb"""(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?
         (?://(?P<authority>[^/?#]*))?
         (?P<path>[^?#]*)(?P<rest>.*)""",
    re.X | re.DOTALL,
)
AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9._:~!$&'()*+,;=%@-]*@)?"
    rb"(?:\[[0-9A-Fa-f:.%A-Za-z_~-]*\]|[^\x00-\x20\"#/<>?@\[\\\]^`{|}:%]*)(?::[0-9]*)?"
)


def ascii_host(authority: str) -> str:
    """`host[:port]` with the letters of other alphabets as DNS knows them; unchanged when that is
    no host name."""
    host, colon, port = authority.partition(":")
    try:
        return authority if authority.isascii() else host.encode("idna").decode() + colon + port
    except UnicodeError:
        return authority


def location_bytes(url: bytes) -> bytes:
    return quote_from_bytes(url, safe=KEPT).encode()


def with_path(url: bytes, path: bytes | None) -> bytes | None:
    """The URL, with its path overwritten when `path` is given; None when it is no URL."""
    if CONTROL.search(url):
        return None
    match = URL.fullmatch(url)
    if match is None:
        return None
    authority, old = match["authority"], match["path"]
    if authority is not None and not AUTHORITY.fullmatch(authority):
        return None
    if BAD_ESCAPE.search(old):
        return None
    if match["scheme"] is None and authority is None and b":" in old.split(b"/", 1)[0]:
        return None  # "first path segment in URL cannot contain colon"
    if path is None:
        return url
    start = url[: match.start("path")]
    return start + path + match["rest"]
