"""fastproxy's own log, in Traefik 1.7's two formats (`[traefikLog]`), on stdout or in a file."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from fastproxy.settings import Settings

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


class CommonFormatter(logging.Formatter):
    """`time="2026-01-31T10:00:00Z" level=info msg="..."`, as logrus writes it."""

    def format(self, record: logging.LogRecord) -> str:
        level = NAMES.get(record.levelno, "info")
        message = json.dumps(_message(self, record), ensure_ascii=False)
        return f'time="{_time(record)}" level={level} msg={message}'


class JsonFormatter(logging.Formatter):
    """One JSON object on each line: `level`, `msg`, `time`."""

    def format(self, record: logging.LogRecord) -> str:
        level = NAMES.get(record.levelno, "info")
        values = {"level": level, "msg": _message(self, record), "time": _time(record)}
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
