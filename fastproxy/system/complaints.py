"""Why requests were answered 502, 503 or 504 (or 500), told in the log.

The engine counts failures by what they have in common (`engine/stream/complaint.pyx`) and hands
them over at most ten times a second. The first of a kind is told at once; what follows is counted
and told with the number after 10 s, then once a minute, for as long as it goes on. So a backend
that is gone costs two lines a minute, whatever clients send.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

log = logging.getLogger("fastproxy.requests")

FIRST = 10.0  # seconds until the number of those that followed the first is told
PAUSE = 60.0  # seconds between two such lines later
KINDS = 8  # of failures of one backend that are told apart
MOST = 1000  # failures told apart in all


class Why(IntEnum):
    """The reason; the numbers are those of engine/stream/complaint.pxd."""

    UNKNOWN = 0
    CONNECT = 1
    SOCKET = 2
    CONNECT_TIMEOUT = 3
    NAME = 4
    NAME_TIMEOUT = 5
    TLS = 6
    TLS_TIMEOUT = 7
    RESPONSE_TIMEOUT = 8
    UPGRADE_TIMEOUT = 9
    STALL = 10
    CLOSED = 11
    RESET = 12
    MALFORMED = 13
    TOO_LONG = 14
    TRUNCATED = 15
    NO_ENDPOINT = 16
    NO_WEIGHT = 17
    BREAKER = 18
    FULL = 19
    PAUSED = 20
    NO_URL = 21
    AUTH_TIMEOUT = 22
    AUTH_TOO_LONG = 23


SENTENCES = {
    Why.UNKNOWN: "{endpoint} failed",
    Why.CONNECT: "connect() to {endpoint} failed ({error})",
    Why.SOCKET: "socket() for {endpoint} failed ({error})",
    Why.CONNECT_TIMEOUT: "connect() to {endpoint} timed out (forwardingTimeouts.dialTimeout)",
    Why.NAME: "the name of {endpoint} has no address",
    Why.NAME_TIMEOUT: "the name of {endpoint} was not looked up in time",
    Why.TLS: "TLS handshake with {endpoint} failed ({error})",
    Why.TLS_TIMEOUT: "TLS handshake with {endpoint} timed out (limits.upstreamTLSHandshakeTimeout)",
    Why.RESPONSE_TIMEOUT: "no response of {endpoint} in time"
    " (forwardingTimeouts.responseHeaderTimeout)",
    Why.UPGRADE_TIMEOUT: "no response of {endpoint} to a WebSocket handshake in time"
    " (limits.websocketHandshakeTimeout)",
    Why.STALL: "{endpoint} took nothing of the request in time (limits.bodyTimeout)",
    Why.CLOSED: "{endpoint} closed the connection before its response",
    Why.RESET: "recv() from {endpoint} failed before its response ({error})",
    Why.MALFORMED: "the response of {endpoint} is malformed",
    Why.TOO_LONG: "the head of the response of {endpoint} is longer than limits.upstreamHeadBlock",
    Why.TRUNCATED: "the response of {endpoint} ended in the middle, so the client's is cut",
    Why.NO_ENDPOINT: "the backend has no endpoint; look at its Service and its Pods",
    Why.NO_WEIGHT: "all endpoints of the backend have weight 0",
    Why.BREAKER: "the circuit breaker is open",
    Why.FULL: "all connections are in use (limits.maxConnections)",
    Why.PAUSED: "all connections are in use (limits.maxConnections): accepting pauses",
    Why.NO_URL: "the replacement makes no URL",
    Why.AUTH_TIMEOUT: "no answer of the authentication server {endpoint} in time",
    Why.AUTH_TOO_LONG: "the answer of the authentication server {endpoint} is too long",
}
MILD = (Why.BREAKER, Why.FULL, Why.PAUSED)  # it is as somebody has asked for


class Complaint(NamedTuple):
    """What the engine has counted; texts are empty where there is none."""

    why: int
    status: int  # what the client was answered; 0: nothing
    number: int  # errno, or 0
    route: str
    backend: str
    endpoint: str  # URL
    detail: str

    @property
    def error(self) -> str:
        if self.number:
            return f"{self.number}: {os.strerror(self.number)}"
        return self.detail

    def __str__(self) -> str:
        text = SENTENCES[Why(self.why)].format(
            endpoint=self.endpoint or "the endpoint", error=self.error or "no reason is known"
        )
        if self.route:
            text = f"route {self.route}: {text}"
        return f"{self.status} {text}" if self.status else text

    def fields(self) -> dict[str, object]:
        found = {
            "status": self.status,
            "route": self.route,
            "backend": self.backend,
            "endpoint": self.endpoint,
            "error": self.error,
        }
        return {name: value for name, value in found.items() if value}


@dataclass(slots=True)
class _Told:
    complaint: Complaint
    until: float
    pause: float
    more: int = 0


class Complaints:
    """What has been told, and what is counted until it is told again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[tuple[Any, ...], _Told] = {}
        self._kinds: dict[str, int] = {}  # by backend

    def hear(self, found: Iterable[tuple[Complaint, int]]) -> None:
        """Take over complaints, each with how often it occurred."""
        for complaint, count in found:
            key = self._key(complaint)
            told = self._told.get(key)
            if told is None:
                told = self._told[key] = _Told(complaint, self._clock() + FIRST, FIRST)
                self._kinds[complaint.backend] = self._kinds.get(complaint.backend, 0) + 1
                _write(complaint, 0, 0.0)
                count -= 1
            told.more += count

    def tell(self) -> None:
        """Tell what has been counted for long enough."""
        now = self._clock()
        for key in [key for key, told in self._told.items() if told.until <= now]:
            told = self._told[key]
            if told.more == 0:
                del self._told[key]
                backend = told.complaint.backend
                self._kinds[backend] -= 1
                if self._kinds[backend] == 0:
                    del self._kinds[backend]
                continue
            _write(told.complaint, told.more, told.pause)
            told.more, told.until, told.pause = 0, now + PAUSE, PAUSE

    def end(self) -> None:
        """Tell everything that is counted, before the process ends."""
        for told in self._told.values():
            if told.more:
                _write(told.complaint, told.more, told.pause - max(0.0, told.until - self._clock()))
                told.more = 0

    @property
    def due(self) -> float | None:
        """When `tell` has something to do."""
        return min((told.until for told in self._told.values()), default=None)

    def _key(self, complaint: Complaint) -> tuple[Any, ...]:
        """What makes two complaints the same. Of too many kinds the rest counts as one."""
        key = (complaint.backend, *complaint)
        if key in self._told:
            return key
        if self._kinds.get(complaint.backend, 0) < KINDS and len(self._told) < MOST:
            return key
        return (complaint.backend if len(self._told) < MOST else "", complaint.why)


def _write(complaint: Complaint, more: int, seconds: float) -> None:
    level = logging.WARNING if complaint.why in MILD else logging.ERROR
    text, fields = str(complaint), complaint.fields()
    if more:
        text += f"; {more} more in {seconds:.0f} s"
        fields["suppressed"] = more
    log.log(level, "%s", text, extra={"fields": fields})
