"""What is refused in an annotation is told without the value: in the log, by the API, by lint."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastproxy.feature import PREFIXES, Scope
from fastproxy.features import FEATURES
from tests.features.test_values_are_not_repeated import FORMS, MARK
from tests.support.feature_rows import Ask, Field, ingress
from tests.support.processes import ROOT

NAMES = [
    annotation.name
    for feature in FEATURES
    for annotation in feature.annotations
    if feature.scope is Scope.INGRESS and not annotation.public
]
# values of other types, as YAML without quotes makes them
TYPES: list[object] = [[MARK], {MARK: MARK}, {"a": {MARK: [MARK]}}, None, True]
POINTS = """
[entryPoints.asks.auth.forward]
address = "http://user:{mark}@127.0.0.1:{port}/x"
"""


def manifests() -> str:
    """An Ingress for every form, which has it in all annotations, and one for each with auth-url
    and the redirect, which need others beside them."""
    documents = []
    for number, form in enumerate([*FORMS, *TYPES]):
        name = f"all-{number}"
        made = json.loads(ingress(name, f"{name}.test", "/a", "fence", {}))
        made["metadata"]["annotations"] = {PREFIXES[0] + key: form for key in NAMES}
        documents.append(made)
        for asked in ("auth-url", "redirect-regex", "redirect-replacement", "request-modifier"):
            name = f"{asked}-{number}"
            made = json.loads(ingress(name, f"{name}.test", "/a", "fence", {}))
            beside = {"auth-type": "forward", "redirect-regex": "a", "redirect-replacement": "b"}
            values = {**(beside if asked != "request-modifier" else {}), asked: form}
            made["metadata"]["annotations"] = {PREFIXES[0] + key: v for key, v in values.items()}
            documents.append(made)
    return "\n---\n".join(map(json.dumps, documents))


def test_nothing_shows_what_stands_in_an_annotation(tmp_path: Path) -> None:
    with Field(
        tmp_path,
        [],
        settings='logLevel = "DEBUG"\n[api]\n[ping]\n',
        manifests=manifests(),
        entry_points={"asks": POINTS.format(mark=MARK, port=1)},
    ) as proxy:
        for number in range(len(FORMS)):  # requests fail in many ways, which is told too
            for name in ("all", "auth-url", "redirect-regex"):
                host = f"{name}-{number}.test"
                assert MARK not in str(proxy.ask(Ask("/a/b"), host).status)
        proxy.ask(Ask("/a", entry_point="asks"), "all-0.test")
        findings = proxy.ask(Ask("/api/findings", entry_point="traefik"), "x")
        assert findings.status == 200
        told = json.loads(findings.body)
        assert len({finding["name"] for finding in told}) > len(FORMS)
        assert MARK not in findings.body.decode()
        time.sleep(0.3)
        log = proxy.proxy.log.read_text()
        assert log
        assert MARK not in log, [line for line in log.splitlines() if MARK in line][:3]


@pytest.mark.parametrize("form", ["human", "json"])
def test_lint_shows_no_values(tmp_path: Path, form: str) -> None:
    (tmp_path / "all.yaml").write_text(manifests())
    command = [sys.executable, "-m", "fastproxy", "lint", "--manifests", tmp_path, "--format", form]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout
    assert MARK not in done.stdout + done.stderr
