"""JSON documents that a worker shows on the API entry point, by path.

The controller writes them, the parent keeps the newest of each and gives them to every worker; a
worker only looks them up (`features/api.py`).
"""

from __future__ import annotations

FINDINGS = "/api/findings"
SOURCE = "/api/source"
PATHS = (FINDINGS, SOURCE)

_documents: dict[str, bytes] = {}


def put(path: str, content: bytes) -> None:
    """Show this content under the path from now on."""
    _documents[path] = content


def get(path: str) -> bytes | None:
    return _documents.get(path)
