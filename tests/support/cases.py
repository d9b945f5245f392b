"""The files of `tests/cases`: settings, Kubernetes objects, and what they must become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.snapshot.snapshot import Snapshot
from controller.sources.manifests import read_documents
from controller.translate.contributors import translate
from controller.translate.translator import Translation
from fastproxy.settings.options import EntryPoint, EntryPointTls, Kubernetes, Settings

FOLDER = Path(__file__).parent.parent / "cases"
MARK = "\n---\nexpected:"


@dataclass(frozen=True)
class Case:
    path: Path
    given: str  # everything before the expectation, as written
    settings: Settings
    snapshot: Snapshot
    expected: dict[str, Any]

    def run(self) -> Translation:
        return translate(self.snapshot, self.settings)


def read_case(path: Path) -> Case:
    given, _, expected = path.read_text().partition(MARK)
    header = yaml.safe_load(given.split("\n---\n")[0])
    assert header["case"], f"{path} must say what it shows"
    objects, problems = read_documents(given.partition("\n---\n")[2], path.name)
    assert not problems, problems
    return Case(
        path,
        given,
        settings(header.get("settings", {})),
        Snapshot.of(objects),
        yaml.safe_load(MARK[5:] + expected)["expected"] or {} if expected else {},
    )


def write_case(case: Case, found: dict[str, Any]) -> None:
    text = yaml.safe_dump(found, sort_keys=False, width=1000, allow_unicode=True)
    body = "".join(f"  {line}\n" for line in text.splitlines()) if found else "  {}\n"
    case.path.write_text(f"{case.given}{MARK}\n{body}")


def settings(given: dict[str, Any]) -> Settings:
    """Settings by the names of their attributes; those of `Kubernetes` stand among the others.

    The entry points are always http, https (TLS), ep1 and ep2 (TLS).
    """
    own = {name: value for name, value in given.items() if name in Settings.__slots__}
    kubernetes = {name: value for name, value in given.items() if name in Kubernetes.__slots__}
    assert own.keys() | kubernetes.keys() == given.keys()
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in own.items()}
    kubernetes = {name: tuple(v) if isinstance(v, list) else v for name, v in kubernetes.items()}
    return Settings(
        entry_points={
            "http": EntryPoint(":80"),
            "https": EntryPoint(":443", tls=EntryPointTls()),
            "ep1": EntryPoint(":8001", tls=EntryPointTls()),
            "ep2": EntryPoint(":8002", tls=EntryPointTls()),
        },
        kubernetes=Kubernetes(**kubernetes),
        **own,
    )
