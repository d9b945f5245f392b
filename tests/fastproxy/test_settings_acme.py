# ruff: noqa: E501 -- a table of files
"""`acme.json` of Traefik 1.7: what is served of it, and what is said."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.report.build import settings_findings
from fastproxy.settings.acme import stored_in
from fastproxy.settings.file import Loaded, SettingsError, load
from tests.support.tls import AUTHORITY, pem

SUBJECT = "O=trustme"
SETTINGS = """
[entryPoints.https]
address = ":443"
[entryPoints.https.tls]
[entryPoints.http]
address = ":80"
[acme]
storage = "{file}"
entryPoint = "https"
"""


def pair(*names: str, days: int = 30) -> tuple[str, str]:
    until = datetime.now(UTC) + timedelta(days=days)
    start = until - timedelta(days=90)
    leaf = AUTHORITY.issue_cert(*names, not_before=start, not_after=until)
    chain, key = pem(leaf)
    return base64.b64encode(chain).decode(), base64.b64encode(key).decode()


def entry(*names: str, days: int = 30, **other: Any) -> dict[str, Any]:
    chain, key = pair(*names, days=days)
    domain = {"Main": names[0], "SANs": list(names[1:]) or None}
    return {"Domain": domain, "Certificate": chain, "Key": key} | other


def old_form(*names: str) -> dict[str, Any]:
    chain, key = pair(*names)
    held = {"Domain": names[0], "CertURL": "x", "PrivateKey": key, "Certificate": chain}
    return {"Domains": {"Main": names[0], "SANs": list(names[1:])}, "Certificate": held}


def read(folder: Path, text: str, settings: str = SETTINGS) -> Loaded:
    (folder / "acme.json").write_text(text)
    (folder / "f.toml").write_text(settings.format(file=folder / "acme.json"))
    return load(folder / "f.toml")


USED = [
    # the file, names of what is served, words said of each certificate
    ({"Account": {}, "Certificates": [entry("a.test", "b.test")]}, [("a.test", "b.test")],
     ["is served until it expires on"]),
    ({"certificates": [entry("a.test"), entry("b.test")]}, [("a.test",), ("b.test",)], ["a.test", "b.test"]),
    ({"Certificates": [entry("a.test", days=-3)]}, [("a.test",)], ["has expired on"]),
    ({"Certificates": [entry("a.test", Domain={})]}, [(SUBJECT,)], ["trustme"]),
    ({"Email": "a@b", "DomainsCertificate": {"Certs": [old_form("a.test", "b.test")]}},
     [("a.test", "b.test")], ["cert-manager"]),
    # What cannot be used is left out.
    ({"Certificates": [entry("a.test"), entry("b.test", Key="")]}, [("a.test",)],
     ["a.test", "b.test in '/acme.json' is not served: its certificate or key cannot be read"]),
    ({"Certificates": [entry("b.test", Certificate="!"), None, entry("a.test")]}, [("a.test",)],
     ["is not served", "a.test"]),
    ({"Certificates": [entry("a.test"), entry("b.test", Key=pair("c.test")[1])]}, [("a.test",)],
     ["a.test", "its key belongs to another certificate"]),
]  # fmt: skip


@pytest.mark.parametrize(("held", "names", "words"), USED)
def test_what_is_served(
    tmp_path: Path, held: Any, names: list[tuple[str, ...]], words: list[str]
) -> None:
    found = read(tmp_path, json.dumps(held))
    acme, tls = found.settings.acme, found.settings.entry_points["https"].tls
    assert acme is not None and tls is not None
    assert len(tls.fetched) == len(names)
    assert tls.certificates == ()
    for known, expected in zip(acme.certificates, names, strict=True):
        assert known.names == expected or (expected == (SUBJECT,) and SUBJECT in known.names[0])
    told = [str(w) for w in found.warnings if w.key == "acme"]
    assert len(told) >= len(names)
    for word in words:
        assert word in "\n".join(told).replace(str(tmp_path), "")
    findings = settings_findings(found.settings)
    assert [finding.code for finding in findings] == ["FP261"] * len(names)
    assert "PRIVATE" not in repr(found)


def test_until_when(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps({"Certificates": [entry("a.test")]}))
    (finding,) = settings_findings(found.settings)
    day = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    assert f"expires on {day}" in finding.sentence
    assert (finding.field, finding.file) == ("a.test", str(tmp_path / "acme.json"))


REFUSED = [
    # the text of the file, what is said
    ("", "(Expecting value"),
    ("[]", "it is no acme.json of Traefik 1.7"),
    ("{}", "it is no acme.json of Traefik 1.7"),
    ('{"le": {"Certificates": []}}', "it is no acme.json of Traefik 1.7"),
    ('{"Certificates": null}', "(it holds none)"),
    ('{"Certificates": [{}, 1, [], "x"]}', "(no certificate in it can be used)"),
    ('{"DomainsCertificate": {"Certs": [{"Certificate": 1}]}}', "(no certificate in it"),
    ("[" * 100_000, "recursion"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_without_certificates_it_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.key == "acme"
    assert said in problem.sentence
    assert "self-signed certificate" in problem.sentence
    assert "cert-manager" in problem.sentence and "remove [acme]" in problem.sentence


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('storage = "{file}"\nentryPoint = "http"', "'http', which is no entry point with TLS"),
        ('storage = "{file}"', "'', which is no entry point with TLS"),
        ('storage = "/missing/acme.json"\nentryPoint = "https"', "No such file or directory"),
        ('storage = "traefik/acme/account"\nentryPoint = "https"', "No such file or directory"),
        ('storage = "/dev"\nentryPoint = "https"', "it is no file"),
        ('entryPoint = "https"', "a storage, which is not named"),
    ],
)
def test_where_it_is_looked_for(tmp_path: Path, written: str, said: str) -> None:
    head, _, _ = SETTINGS.partition("storage")
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, json.dumps({"Certificates": [entry("a.test")]}), head + written)
    (problem,) = caught.value.problems
    assert said in problem.sentence


def test_the_older_name_of_storage(tmp_path: Path) -> None:
    held = json.dumps({"Certificates": [entry("a.test")]})
    found = read(tmp_path, held, SETTINGS.replace("storage =", "storageFile ="))
    assert found.settings.acme is not None and len(found.settings.acme.certificates) == 1


def test_both_forms_say_the_same() -> None:
    new, old = entry("a.test", "b.test"), old_form("a.test", "b.test")
    first = stored_in(json.dumps({"Certificates": [new]}))[0]
    second = stored_in(json.dumps({"DomainsCertificate": {"Certs": [old]}}))[0]
    assert first.names == second.names == ("a.test", "b.test")
    assert first.chain.startswith(b"-----BEGIN CERT") and second.chain.startswith(
        b"-----BEGIN CERT"
    )
    assert b"PRIVATE KEY" in first.key and b"PRIVATE KEY" in second.key
