from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.settings.options import Settings, TraefikLog
from fastproxy.system import logs


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.set_role("")


def written(file: Path, level: str, format_name: str) -> list[str]:
    logs.configure(Settings(log_level=level, traefik_log=TraefikLog(str(file), format_name)))
    logger = logging.getLogger("test")
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(number, 'a "%s"\nb', number)
    return file.read_text().splitlines()


LEVELS = [("DEBUG", 5), ("INFO", 4), ("WARN", 3), ("ERROR", 2), ("FATAL", 1), ("PANIC", 1)]


@pytest.mark.parametrize(("level", "count"), LEVELS)
def test_levels(level: str, count: int, tmp_path: Path) -> None:
    lines = written(tmp_path / "log", level, "common")
    assert len(lines) == count
    names = [re.search(r" level=(\w+) ", line)[1] for line in lines]  # type: ignore[index]
    assert names == ["debug", "info", "warning", "error", "fatal"][5 - count :]


def test_common_format(tmp_path: Path) -> None:
    line = written(tmp_path / "log", "FATAL", "common")[0]
    assert re.fullmatch(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ" level=fatal msg="a \\"50\\"\\nb"', line
    )


def test_json_format(tmp_path: Path) -> None:
    values = json.loads(written(tmp_path / "log", "FATAL", "json")[0])
    assert (values["level"], values["msg"], sorted(values)) == (
        "fatal",
        'a "50"\nb',
        ["level", "msg", "time"],
    )


def test_exceptions_stay_on_one_line(tmp_path: Path) -> None:
    written(tmp_path / "log", "ERROR", "common")
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("test").exception("it failed")
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert "it failed" in last
    assert "ValueError: wrong" in last


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    written(tmp_path / "log", "ERROR", "common")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logs.reopen()
    logging.getLogger("test").error("after")
    assert "after" in (tmp_path / "log").read_text()
    assert "after" not in (tmp_path / "log.1").read_text()


FACTS = {"code": "FP101", "object": "Ingress default/shop", "line": 7}


def one_line(file: Path, format_name: str) -> str:
    logs.configure(Settings(log_level="INFO", traefik_log=TraefikLog(str(file), format_name)))
    logging.getLogger("test").info("said", extra={"fields": FACTS})
    (line,) = file.read_text().splitlines()
    return line


def test_facts_role_and_milliseconds_in_json(tmp_path: Path) -> None:
    logs.set_role("worker 3")
    values = json.loads(one_line(tmp_path / "log", "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", values.pop("time"))
    expected = {"level": "info", "msg": "said", "role": "worker 3", "pid": os.getpid(), **FACTS}
    assert values == expected


@pytest.mark.parametrize(
    ("role", "end"), [("worker 3", ' role="worker 3"'), ("parent", " role=parent")]
)
def test_text_names_the_role(role: str, end: str, tmp_path: Path) -> None:
    logs.set_role(role)
    assert one_line(tmp_path / "log", "common").endswith(f'level=info msg="said"{end}')


ROLES = [("", True), ("worker 0", True), ("worker 1", False), ("controller", False)]


@pytest.mark.parametrize(("role", "speaks"), ROLES)
def test_who_tells_what_all_find(role: str, speaks: bool) -> None:
    logs.set_role(role)
    assert logs.speaks_for_all() is speaks
