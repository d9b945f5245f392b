"""fastproxy's own log, in Traefik 1.7's two formats (`[traefikLog]`), on stdout or in a file.

A line of text says everything in its message. What it says by name (`extra={"fields": {...}}`) is
for the JSON format, so that nobody has to take sentences apart.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from fastproxy.settings.options import Settings

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "PANIC": logging.CRITICAL,
}
NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}


_WORD = re.compile(r"[A-Za-z0-9._/@:-]+")
_role = ""


def set_role(role: str) -> None:
    """Say which of fastproxy's processes this one is: `parent`, `controller`, `worker 0` ..."""
    global _role
    _role = role


def speaks_for_all() -> bool:
    """Whether this process is to tell what every worker finds in the same way."""
    return _role in ("", "worker 0")


class CommonFormatter(logging.Formatter):
    """`time="2026-01-31T10:00:00Z" level=info msg="..." role=parent`, as logrus writes it."""

    def format(self, record: logging.LogRecord) -> str:
        level = NAMES.get(record.levelno, "info")
        message = json.dumps(_message(self, record), ensure_ascii=False)
        text = f'time="{_time(record)}" level={level} msg={message}'
        if not _role:
            return text
        role = _role if _WORD.fullmatch(_role) else json.dumps(_role)
        return f"{text} role={role}"


class JsonFormatter(logging.Formatter):
    """One JSON object on each line: `level`, `msg`, `time` with milliseconds, the facts of the
    message by their names, `role` and `pid`."""

    def format(self, record: logging.LogRecord) -> str:
        level = NAMES.get(record.levelno, "info")
        time = f"{_time(record)[:-1]}.{int(record.msecs):03d}Z"
        values: dict[str, object] = {"level": level, "msg": _message(self, record), "time": time}
        values |= getattr(record, "fields", {})
        if _role:
            values |= {"role": _role, "pid": record.process}
        return json.dumps(values, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Direct all logging of this process as the settings say. Raises OSError for a bad file."""
    path = settings.traefik_log.file_path
    handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stdout)
    is_json = settings.traefik_log.format == "json"
    handler.setFormatter(JsonFormatter() if is_json else CommonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[settings.log_level or "INFO"])


def reopen() -> None:
    """Close log files; the next line opens them anew (SIGUSR1, after a rotation)."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + formatter.formatException(record.exc_info)
    return text
