"""The address of an entry point, as Go reads it."""

from __future__ import annotations

import socket

# Of Go's net/port.go, for images without /etc/services.
PORTS = {
    **{"domain": 53, "ftp": 21, "ftps": 990, "gopher": 70, "http": 80, "https": 443, "imap2": 143},
    **{"imap3": 220, "imaps": 993, "pop3": 110, "pop3s": 995, "smtp": 25, "ssh": 22, "telnet": 23},
}


def split_address(address: str) -> tuple[str, int]:
    """Return host without brackets and port of `host:port`, `:port` or `[::1]:port`.

    The port may be a name (`:http`). Raises ValueError with a sentence.
    """
    host, colon, port = address.rpartition(":")
    number = port_number(port)
    if not colon or number is None:
        known = "" if not colon or port.isdigit() else f" and {port!r} no name of a service"
        raise ValueError(
            f'{address!r} is not an address{known}; write for example ":80" or "10.0.0.1:80"'
        )
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], number
    if ":" in host or "[" in host or "]" in host:
        raise ValueError(f'the IPv6 address in {address!r} needs brackets, as in "[::1]:80"')
    return host, number


def port_number(text: str) -> int | None:
    """Return the port of a number or name, as Go's `net.LookupPort` does; None: there is none.

    Names are those of /etc/services, and those which Go knows where that file is missing.
    """
    if text.isascii() and text.isdigit():
        return int(text) if int(text) <= 65535 else None
    try:
        return socket.getservbyname(text.lower(), "tcp")
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return PORTS.get(text.lower())
