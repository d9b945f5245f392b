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
    found = json.loads(capsys.readouterr().out)
    (finding,) = [row for row in found if row["severity"] != "note"]
    assert finding["sentence"].startswith("Ingress default/b has the same host and path")
    del finding["sentence"]
    assert finding == {
        "code": "FP121",
        "severity": "warning",
        "kind": "Ingress",
        "namespace": "default",
        "name": "a",
        "field": "spec.rules[0].http.paths[0]",
        "also": [],
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
    ([], "--manifests PATH"),
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


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]
---
"""
INGRESS = """\
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: shop, annotations: {}}
spec: {rules: [{host: a.example, http: {paths: [{backend: {serviceName: web, servicePort: 80}}]}}]}
"""
OTHER = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
NGINX = INGRESS.replace("{}", "{kubernetes.io/ingress.class: nginx}")
NO_DIRECTORY: dict[str, str] = {}

# files, exit code, parts of the output (of standard error with code 2), parts that are not in it
LOOKED_AT = [
    ({"a.yaml": SERVICE + INGRESS}, 0, ["1 Ingress, 1 Service, 1 Endpoints in 1 file"], ["FP24"]),
    (NO_DIRECTORY, 2, ["holds no file", "nothing was checked"], []),
    ({"a.txt": INGRESS}, 2, ["1 other files", "a.txt"], []),
    ({"a.yaml": ""}, 0, ["FP245", "looked at nothing in 1 file"], []),
    ({"a.yaml": OTHER}, 0, ["FP241 Deployment web", "Deployment (apps/v1)", "FP245"], []),
    ({"a.yaml": OTHER + "---\n" + OTHER}, 0, ["There are 2."], []),
    ({"a.yaml": "name: x\n"}, 0, ["It has neither kind nor apiVersion, so it is no object"], []),
    ({"a.yaml": SERVICE + NGINX}, 0, ["FP242 Ingress default/shop", "nginx", "traefik"], []),
    ({"a.yaml": b"\xff\xfe\xfa"}, 2, ["FP184", "not UTF-8"], []),
    ({"a.yaml": SERVICE + INGRESS, "b.yaml": "a: ["}, 1, ["b.yaml:2: error   FP182 docum"], []),
]  # fmt: skip


@pytest.mark.parametrize(("files", "code", "parts", "absent"), LOOKED_AT)
def test_what_was_looked_at_and_what_not(
    files: dict[str, str | bytes],
    code: int,
    parts: list[str],
    absent: list[str],
    tmp_path: Path,
    no_settings_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(folder)]
    assert main(command) == code
    output = "".join(capsys.readouterr())
    assert all(part in output for part in parts), output
    assert not any(part in output for part in absent), output


# what follows the annotations of the Ingress, code, field, part of the line
TOLD = [
    ("{ingress.kubernetes.io/priority: 5, ingress.kubernetes.io/preserve-host: true}",
     ["FP181 Ingress default/shop metadata.annotations[ingress.kubernetes.io/priority]: It must be",
      "FP181 Ingress default/shop metadata.annotations[ingress.kubernetes.io/preserve-host]"]),
    ("{ingress.kubernetes.io/priority: 5, ingress.kubernetes.io/auth-secret: users}",
     ["FP181 ", "FP222 Ingress default/shop metadata.annotations[ingress.kubernetes.io/auth-se"]),
    ("{ingress.kubernetes.io/protocol: h2c}", ["FP236 Ingress default/shop", "answer 503"]),
    ("{ingress.kubernetes.io/rewrite-target: /x}", ["FP223", "needs a path"]),
    ('{ingress.kubernetes.io/pass-client-tls-cert: "pem: true"}', ["FP228", "tls.clientCA"]),
    ('{ingress.kubernetes.io/pass-tls-cert: "true"}', ["FP170", "pass-tls-cert: the entry point"]),
]  # fmt: skip


@pytest.mark.parametrize(("annotations", "parts"), TOLD)
def test_everything_is_told_at_once(
    annotations: str,
    parts: list[str],
    tmp_path: Path,
    no_settings_file: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = INGRESS.replace("{}", annotations)
    (tmp_path / "a.yaml").write_text(SERVICE + text)
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(tmp_path)]
    main(command)
    out, err = capfd.readouterr()
    assert all(part in out for part in parts), out
    assert "Traceback" not in err


def test_services_that_nobody_uses_are_checked(
    tmp_path: Path, no_settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotated = "metadata: {name: lonely, annotations: {ingress.kubernetes.io/affinity: maybe}}"
    text = SERVICE.replace("metadata: {name: web, namespace: default}", annotated)
    (tmp_path / "a.yaml").write_text(text)
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(tmp_path)]
    assert main(command) == 1
    assert "a.yaml:3: error   FP161 Service default/lonely" in capsys.readouterr().out


def test_without_settings_the_assumptions_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    names = "{traefik.ingress.kubernetes.io/frontend-entry-points: 'http,https'}"
    (tmp_path / "m/a.yaml").write_text(SERVICE + INGRESS.replace("{}", names))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "settings.toml").rename(tmp_path / "elsewhere")
    assert main(["lint", "--manifests", "m", "--format", "json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)
    assert (note["code"], note["severity"]) == ("FP244", "note")
    assert "https (:443 with TLS)" in note["sentence"]
    assert "--configfile" in note["sentence"]


def test_several_paths_with_one_cause_are_one_finding(
    tmp_path: Path, no_settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = "{path: /%s, backend: {serviceName: gone, servicePort: 80}}"
    text = INGRESS.replace(
        "{backend: {serviceName: web, servicePort: 80}}", f"{item % 'x'}, {item % 'y'}"
    )
    (tmp_path / "a.yaml").write_text(text)
    command = ["lint", "--configfile", str(no_settings_file), "--manifests", str(tmp_path)]
    assert main([*command, "--format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["field"] == "spec.rules[0].http.paths[0].backend"
    assert finding["also"] == ["spec.rules[0].http.paths[1].backend"]
    assert finding["effect"] == "2 paths answer 404."
