"""What goes wrong while a request is served; each error knows the status it becomes."""

from __future__ import annotations


class ProxyError(Exception):
    """Base; `status` is what the client sees when nothing was sent yet (`features.md` 1.2)."""

    status = 500


class TooLarge(ProxyError):
    """A body is longer than its limit."""

    status = 413


class BackendError(ProxyError):
    """The endpoint could not be used."""

    status = 502


class BackendTimeout(BackendError):
    """The endpoint did not answer in time."""

    status = 504


class NoEndpoint(BackendError):
    """The backend has no endpoint to pick."""

    status = 503


class UnknownBackend(BackendError):
    """No route uses a backend of that name (sub-requests only)."""
