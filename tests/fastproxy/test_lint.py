"""`fastproxy lint` prints findings and says by its exit code whether there are errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastproxy.cli import main
from tests.support.api_server import ApiServer
from tests.support.cases import FOLDER
from tests.support.kubernetes_objects import ingress

# case, exit code, what its output names
CASES = [
    ("vector_01_two_subsets", 0, ["0 errors, 0 warnings"]),
    (
        "odd_hosts",
        1,
        ["error   FP114 Ingress default/a spec.rules[0].host: ", "1 error, 1 warning"],
    ),
    ("merge_order_is_age", 0, ["warning FP121 ", "0 errors, 1 warning"]),
    ("vector_15_tls_secret_missing", 1, ["FP141"]),
]


@pytest.fixture(autouse=True)
def no_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = tmp_path / "settings.toml"
    settings.write_text('[entryPoints.http]\naddress = ":80"\n')
    return settings


@pytest.mark.parametrize(("case", "code", "parts"), CASES)
def test_lint(
    case: str,
    code: int,
    parts: list[str],
    tmp_path: Path,
    no_settings_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "m").mkdir()
    shutil.copy(FOLDER / f"{case}.yaml", tmp_path / "m")
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(tmp_path / "m")]
    assert main(command) == code
    output = capsys.readouterr().out
    for part in parts:
        assert part in output


def test_json(tmp_path: Path, no_settings_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = FOLDER / "merge_order_is_age.yaml"
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(path)]
    assert main([*command, "--format", "json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["sentence"].startswith("Ingress default/b has the same host and path")
    del finding["sentence"]
    assert finding == {
        "code": "FP121",
        "severity": "warning",
        "kind": "Ingress",
        "namespace": "default",
        "name": "a",
        "field": "spec.rules[0].http.paths[0]",
        "effect": "Both Ingresses share one route and their endpoints are united.",
        "file": "merge_order_is_age.yaml",
        "line": 3,
    }


def test_a_route_that_cannot_be_built_is_an_error(
    tmp_path: Path, no_settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (FOLDER / "vector_12_unknown_protocol.yaml").read_text()
    text = text.replace(
        "ingress.kubernetes.io/protocol: foobar", 'ingress.kubernetes.io/pass-tls-cert: "true"'
    )
    (tmp_path / "a.yaml").write_text(text)
    command = [
        "lint",
        "--configfile",
        str(no_settings_file),
        "--manifests",
        str(tmp_path / "a.yaml"),
    ]
    assert main(command) == 1
    assert "FP170 Ingress default/a" in capsys.readouterr().out


# arguments, what is said
REFUSED = [
    (["--manifests", "/no/such/directory"], "does not exist"),
    ([], "--manifests DIR"),
    (["--configfile", "/no/such/file"], "/no/such/file"),
]


@pytest.mark.parametrize(("arguments", "part"), REFUSED)
def test_refused(
    arguments: list[str], part: str, no_settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "--configfile", str(no_settings_file), *arguments]) == 2
    assert part in capsys.readouterr().err


def test_a_cluster_is_looked_at_as_the_settings_say(
    no_settings_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with ApiServer() as server:
        server.create("Ingress", ingress("shop", "shop.example", service="gone"))
        text = no_settings_file.read_text()
        no_settings_file.write_text(f'{text}[kubernetes]\nendpoint = "{server.url}"\n')
        assert main(["lint", "--configfile", str(no_settings_file)]) == 1
    assert "error   FP102 Ingress default/shop" in capsys.readouterr().out
