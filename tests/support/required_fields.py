"""What RFC 9110 wants in a response besides what it is about: the fields of a status.

Asked of every answer that fastproxy makes itself, in the corpus and in the table of own answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.safety.messages import Message


class Required(NamedTuple):
    section: str  # of RFC 9110, unless it says another one
    statuses: range | tuple[int, ...]
    name: str
    value: str  # expression for each of its values


TOKENS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[0-9.]+)?"
LIST = rf"{TOKENS}(?:, {TOKENS})*"
REQUIRED = (
    Required("6.6.1", range(200, 500), "Date", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
    Required("15.4", (301, 302, 303, 307, 308), "Location", r"\S+"),
    Required("15.5.2", (401,), "WWW-Authenticate", r"(?:Basic|Digest) realm=.+"),
    Required("15.5.6", (405,), "Allow", LIST),
    Required("15.5.8", (407,), "Proxy-Authenticate", r".+"),
    Required("15.5.9", (408,), "Connection", r"close"),
    Required("15.5.22", (426,), "Upgrade", LIST),
    Required("7.8", (426,), "Connection", r"(?i)(?:.*, ?)?upgrade(?:,.*)?"),
    Required("RFC 6585 4", (429,), "Retry-After", r"\d+"),
)
# May stand anywhere, and is right where it stands.
OPTIONAL = (
    Required("10.2.3", range(200, 600), "Retry-After", r"\d+|\w{3}, .* GMT"),
    Required("8.6", range(200, 600), "Content-Length", r"\d+"),
)
LISTS = ("allow", "connection", "set-cookie", "upgrade", "www-authenticate")  # may be parted
UNFRAMED = (204, 304)  # and 1xx: there is no content


def lacking(message: Message) -> Iterator[str]:
    """Yield a sentence for each thing that is not as it has to be."""
    for row in REQUIRED:
        if message.status in row.statuses and not message.values(row.name):
            yield f"{message.status} without {row.name} ({row.section})"
    for row in (*REQUIRED, *OPTIONAL):
        value = ", ".join(message.values(row.name))
        if message.status in row.statuses and value and not re.fullmatch(row.value, value):
            yield f"{message.status} with {row.name}: {value} ({row.section})"
    if message.status in UNFRAMED or message.status < 200:
        if message.values("Content-Length") and message.status != 304:
            yield f"{message.status} with Content-Length (8.6)"
    elif not message.values("Content-Length") and not message.chunked:
        yield f"{message.status} of unknown length"
    for name in {name.lower() for name, _ in message.fields}:
        if len(message.values(name)) > 1 and name not in LISTS:
            yield f"{name} twice (5.3)"
