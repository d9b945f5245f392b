"""`fastproxy healthcheck`: ask `/ping` of the proxy that runs here with the same settings."""

from __future__ import annotations

import argparse
import http.client
import ssl
import sys
from typing import Any

from fastproxy.cli.reading import loaded
from fastproxy.settings.options import EntryPoint

PATIENCE = 5.0  # seconds, as in Traefik 1.7


def add(commands: Any) -> None:
    command = commands.add_parser("healthcheck", "ask /ping of the proxy on this machine")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = loaded(arguments)
    if found is None:
        return 2
    ping, points = found.settings.ping, found.settings.entry_points
    point = points.get(ping.entry_point) if ping is not None else None
    if ping is None or point is None:
        print("fastproxy: /ping is on no entry point; add [ping]", file=sys.stderr)
        return 2
    path = f"{ping.prefix}/ping"
    where = f"{ping.entry_point} ({point.address}) {path}"
    try:
        status = _status(point, path)
    except (OSError, http.client.HTTPException) as problem:
        print(f"not healthy: {where}: {problem}")
        return 1
    print(f"{'healthy' if status == 200 else 'not healthy'}: {where}: {status}")
    return int(status != 200)


def _status(point: EntryPoint, path: str) -> int:
    host = "127.0.0.1" if point.host in ("", "0.0.0.0", "::") else point.host
    connection: http.client.HTTPConnection
    if point.tls is not None:
        # It is ourselves; the certificate is for other names.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            host, point.port, timeout=PATIENCE, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, point.port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
