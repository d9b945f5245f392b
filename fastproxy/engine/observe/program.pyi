"""What `[accessLog]` says, ready for use by the engine."""

FORMATS: dict[str, int]
MODES: dict[str, int]
SECRET_HEADERS: tuple[str, ...]
"""Shown redacted, unless the settings name them."""
