"""What is wrong with the API server, told once however many of us meet it.

Five watches, a Lease and two writers ask the same server. That it is out of order, or does not know
our token, is one fact for all of them; that one of them may not do what it wants is its own. While
nobody reaches the server at all nothing is said here: the loop tells how old the picture is, and
why.
"""

from __future__ import annotations

import logging
import threading

from controller.kubernetes.answers import ApiError

log = logging.getLogger(__name__)

_AWAY = ("", "unreachable")
_SHARED = (401, 429)  # and all above 499: about the server or our token, not about one request
_SERVER = "the API server"


class Outages:
    """Used by all threads that ask one API server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: dict[object, tuple[str, str]] = {}  # who -> whom it concerns, what

    def met(self, who: object, error: ApiError, effect: str = "") -> None:
        """Note what `who` has met; its text is for people. `effect` says what that costs."""
        what = _what(who, error)
        with self._lock:
            if self._met.get(who) == what:
                return
            told = what in self._met.values()
            self._met[who] = what
        if told:
            return
        remedy = "; allow it to this account" if error.forbidden else ""
        effect = f"; {effect}" if effect else ""
        level = logging.DEBUG if what == _AWAY else logging.WARNING
        log.log(level, "%s: %s%s%s", what[0] or who, error, remedy, effect)

    def over(self, who: object) -> None:
        """Note that `who` was answered as it wants."""
        with self._lock:
            what = self._met.pop(who, None)
            if what is None or what in self._met.values():
                return
        level = logging.DEBUG if what == _AWAY else logging.INFO
        log.log(level, "%s works again", what[0] or who)


def _what(who: object, error: ApiError) -> tuple[str, str]:
    if not error.status:
        return _AWAY
    shared = error.status in _SHARED or error.status >= 500
    return _SERVER if shared else str(who), f"{error.status} {error.reason}"
