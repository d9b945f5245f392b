"""`fastproxy check` and `run` on the TLS part of the settings: files are read, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.cli import main
from tests.support.tls import AUTHORITY, pem

SETTINGS = """
defaultEntryPoints = ["https"]
[kubernetes]
endpoint = "http://127.0.0.1:1"
[entryPoints.https]
address = "127.0.0.1:0"
[entryPoints.https.tls]
"""
PAIR = '[[entryPoints.https.tls.certificates]]\ncertFile = "{0}/a.crt"\nkeyFile = "{0}/{1}.key"\n'

CASES = [
    # text, exit code, what is said
    ("", 0, ""),
    ('minVersion = "VersionTLS12"\n', 0, ""),
    (PAIR.format("{0}", "a"), 0, ""),
    (
        PAIR.format("{0}", "b"),
        0,
        "warning: {0}/fastproxy.toml: entryPoints.https.tls: certificate {0}/a.crt is not used",
    ),
    (PAIR.format("{0}", "c"), 0, "No such file or directory: '{0}/c.key'"),
    ('cipherSuites = ["TLS_NEW"]\n', 2, "'TLS_NEW'"),
    ('cipherSuites = ["TLS_RSA_WITH_RC4_128_SHA"]\n', 2, "none of the cipher suites is available"),
    ('[entryPoints.https.tls.clientCA]\nfiles = ["{0}/none.pem"]\n', 2, "none.pem"),
    ('[entryPoints.https.tls.clientCA]\nfiles = ["{0}/a.key"]\n', 2, "no certificate in a file"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chain, key = pem(AUTHORITY.issue_cert("a.test"))
    (tmp_path / "a.crt").write_bytes(chain)
    (tmp_path / "a.key").write_bytes(key)
    (tmp_path / "b.key").write_bytes(pem(AUTHORITY.issue_cert("a.test"))[1])
    return tmp_path


@pytest.mark.parametrize(("text", "code", "said"), CASES)
def test_check(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, said: str
) -> None:
    file = folder / "fastproxy.toml"
    file.write_text(SETTINGS + text.replace("{0}", str(folder)))
    assert main(["check", "--configfile", str(file)]) == code
    errors = capsys.readouterr().err
    assert said.replace("{0}", str(folder)) in errors
    assert bool(errors) == bool(said)
    assert "PRIVATE" not in errors


def test_run_refuses_what_no_worker_could_use(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "fastproxy.toml"
    file.write_text(SETTINGS + 'cipherSuites = ["TLS_RSA_WITH_RC4_128_SHA"]\n')
    assert main(["run", "--configfile", str(file), "--manifests", str(folder)]) == 2
    assert f"fastproxy: {file}: entryPoints.https.tls cannot be used" in capsys.readouterr().err
