"""Read the cases from `cases/*.yaml`.

A file is `about`, optional `defaults`, and `cases`. A case is one mapping; its keys:

    id       unique within the file
    row      the row of the table of message cases it belongs to, or "path"
    send     raw bytes; in double quotes \\r, \\n, \\t, \\0 and \\xNN mean those bytes
             (or, in place of `send`, the three parts it is made of:)
    line     request line, "GET / HTTP/1.1" unless given
    fields   header lines, joined by CRLF; `Host: a.test` is put first unless `host` says otherwise
    body     what follows the empty line
    host     another Host value, or null for none
    repeat   [text, count]: replaces `@` in `send`, `line`, `fields` and `body`
    more     bytes sent after the proxy has answered `send` (or after the interim status 100)
    status   what the client gets: one status, or several separated by "|", of which "none" means
             closed without an answer; a list for several answers in order
    then     "closed", "kept" (another request on the same connection works), "reset" (closed
             without a clean end, or with less than was announced) or "any"
    arrives  at the origin: "nothing", a number of requests, or a mapping (below); null = not judged
    answer   what the origin answers: raw bytes, or a mapping, see origin.Answer
    answers  the same for several requests
    client   the response the client gets: a mapping (below)
    half_close  true: the client sends FIN behind `send`
    why      a remark

A mapping may have `line` (the first line), `body`, `chunked`, `has` (header lines that must be
there, exactly), `lacks` (header names that must not), `trailers` (lines), `backend` (a name).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.safety.origin import Answer

CASES = Path(__file__).parent / "cases"
KEYS = {
    *("id", "row", "send", "line", "fields", "body", "host", "repeat", "more", "half_close"),
    *("status", "then", "arrives", "answer", "answers", "client", "why"),
}


@dataclass(frozen=True)
class Case:
    name: str  # file/id
    row: str
    send: bytes
    more: bytes
    statuses: tuple[frozenset[int], ...]  # 0 = none, the connection just closes
    then: str
    arrives: Any  # "nothing", int, dict or None, as written
    answers: tuple[Answer, ...]
    client: dict[str, Any]
    half_close: bool

    @property
    def method(self) -> str:
        return "HEAD" if self.send.startswith(b"HEAD ") else "GET"


def raw(text: str) -> bytes:
    return text.encode("latin-1")


def message(case: dict[str, Any]) -> bytes:
    if "send" in case:
        text = case["send"]
    else:
        host = case.get("host", "a.test")
        fields = case.get("fields", [])
        lines = [
            case.get("line", "GET / HTTP/1.1"),
            *([] if host is None else [f"Host: {host}"]),
            *([fields] if isinstance(fields, str) else fields),
        ]
        text = "\r\n".join(lines) + "\r\n\r\n" + case.get("body", "")
    if "repeat" in case:
        what, count = case["repeat"]
        text = text.replace("@", what * count)
    return raw(text)


def statuses(value: Any) -> tuple[frozenset[int], ...]:
    several = value if isinstance(value, list) else [value]
    return tuple(
        frozenset(0 if part == "none" else int(part) for part in str(one).split("|"))
        for one in several
    )


def answer(value: Any) -> Answer:
    if isinstance(value, str):
        return Answer(raw(value))
    texts = {key: raw(value.get(key, "")) for key in ("send", "late")}
    return Answer(**{**value, **texts})


def read(path: Path) -> list[Case]:
    # libyaml's, where PyYAML has it: several times as fast, and every worker of the suite reads it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(path.read_text(), Loader=loader)
    found = []
    for written in document["cases"]:
        case = {**document.get("defaults", {}), **written}
        unknown = set(case) - KEYS
        assert not unknown, f"{path.name}: {case.get('id')}: unknown {unknown}"
        scripted = case.get("answers") or ([case["answer"]] if "answer" in case else [])
        found.append(
            Case(
                name=f"{path.stem}/{case['id']}",
                row=str(case["row"]),
                send=message(case),
                more=raw(case.get("more", "")),
                statuses=statuses(case["status"]),
                then=case["then"],
                arrives=case.get("arrives"),
                answers=tuple(answer(one) for one in scripted),
                client=case.get("client", {}),
                half_close=case.get("half_close", False),
            )
        )
    return found


@cache
def corpus() -> tuple[Case, ...]:
    return tuple(case for path in sorted(CASES.glob("*.yaml")) for case in read(path))
