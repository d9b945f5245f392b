"""`fastproxy check` and `run` on what only shows where the settings are used: one verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.cli import check_start, main
from fastproxy.settings.options import Kubernetes, Settings
from tests.support.tls import AUTHORITY, pem

API = 'endpoint = "http://127.0.0.1:1"\n'
KUBERNETES = "[kubernetes]\n"
CASES = [
    # text, exit code, key, and what is said
    (KUBERNETES + API, 0, "", ""),
    (KUBERNETES + API + 'labelselector = "app=web,tier in (a,b),!old"\n', 0, "", ""),
    (KUBERNETES + API + 'labelselector = "A and not B"\n', 2, "kubernetes.labelselector",
     "write for example app=web"),
    (KUBERNETES + API + 'labelSelector = "a="\nnamespaces = ["No"]\n', 2, "kubernetes.namespaces",
     "'No' is no name of a namespace; correct it"),
    (KUBERNETES + 'labelselector = "in (a"\n', 2, "kubernetes.labelselector", "cannot be read"),
    (KUBERNETES, 0, "kubernetes.endpoint", "warning: {file}: "),
    (KUBERNETES + 'endpoint = "ftp://a"\n', 2, "kubernetes.endpoint", "is not an http(s) URL"),
    (KUBERNETES + API + 'certAuthFilePath = "{0}/none.pem"\n', 2, "kubernetes.certAuthFilePath",
     "No such file"),
    (KUBERNETES + API + 'certAuthFilePath = "{0}/a.key"\n', 2, "kubernetes.certAuthFilePath",
     "name a PEM file"),
    (KUBERNETES + API + 'certAuthFilePath = "{0}/a.crt"\n', 0, "", ""),
    ('rootCAs = ["{0}/a.crt"]\n' + KUBERNETES + API, 0, "", ""),
    ('rootCAs = ["{0}/a.crt", "{0}/a.key"]\n', 2, "rootCAs[1]", "holds no certificate"),
    ('[hostResolver]\nresolvConf = "{0}/none"\n', 0, "hostResolver.resolvConf",
     "is no file, so 127.0.0.1 is asked; correct the path"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    chain, key = pem(AUTHORITY.issue_cert("a.test"))
    (tmp_path / "a.crt").write_bytes(chain)
    (tmp_path / "a.key").write_bytes(key)
    return tmp_path


@pytest.mark.parametrize(("text", "code", "key", "said"), CASES)
def test_check(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, key: str, said: str
) -> None:
    file = folder / "fastproxy.toml"
    file.write_text(text.replace("{0}", str(folder)))
    assert main(["check", "--configfile", str(file)]) == code
    errors = capsys.readouterr().err
    assert bool(errors) == bool(key)
    if key:
        assert f"{file}: {key}: " in errors
        assert said.replace("{file}", str(file)) in errors
    assert "PRIVATE" not in errors
    if code:
        assert main(["run", "--configfile", str(file)]) == code
        assert f"fastproxy: {file}: {key}: " in capsys.readouterr().err


def test_all_problems_come_at_once(folder: Path) -> None:
    options = Kubernetes(endpoint="http://a", label_selector="(", namespaces=("-", "ok", "B"))
    found = [key for key, _ in check_start.problems(Settings(kubernetes=options), True, {})]
    assert found == ["kubernetes.labelselector", "kubernetes.namespaces", "kubernetes.namespaces"]


def test_in_a_cluster_the_account_is_needed_and_the_endpoint_is_not() -> None:
    settings = Settings(kubernetes=Kubernetes(cert_auth_file_path="/none"))
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert list(check_start.warnings(settings, True, environment)) == []
    [(key, sentence)] = check_start.problems(settings, True, environment)
    assert key == "kubernetes" and "service account token missing" in sentence
