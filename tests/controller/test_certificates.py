"""TLS secrets: what is PEM, what fits together, and who comes first (`provider.md` 5.9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.kubernetes.objects import Secret
from controller.kubernetes.tls_secrets import certificate_names, is_pem
from controller.snapshot.snapshot import Snapshot
from controller.translate.certificates import Wanted, check_secret, choose
from fastproxy.model.configuration import ObjectReference
from tests.support.cases import FOLDER, read_case

INGRESS = ObjectReference("Ingress", "default", "i")
SAME = read_case(FOLDER / "tls_same_names.yaml").snapshot.secrets
ONE, TWO = SAME["default", "one"], SAME["default", "two"]
CHAIN, KEY = ONE.data["tls.crt"], ONE.data["tls.key"]
BLOCK = b"-----BEGIN X-----\nAAAA\n-----END X-----\n"

# data, PEM?
PEMS = [
    (b"", False),
    (b"text", False),
    (BLOCK, True),
    (BLOCK.rstrip(b"\n"), True),
    (BLOCK.replace(b"\n", b"\r\n"), True),
    (BLOCK + BLOCK, True),
    (BLOCK + b"\n", True),
    (BLOCK + b"\n \t\n", True),
    (BLOCK + b"rest", False),
    (BLOCK + b"rest\n", False),
    (b"a comment\n" + BLOCK, True),
    (BLOCK + b"between\n" + BLOCK, True),
    (b"-----BEGIN X-----\nAAAA\n", False),
    (b"-----BEGIN X-----\nAAAA\n-----END Y-----\n", False),
    (CHAIN, True),
    (KEY, True),
]


@pytest.mark.parametrize(("data", "expected"), PEMS)
def test_pem(data: bytes, expected: bool) -> None:
    assert is_pem(data) is expected


def test_pem_is_read_in_linear_time() -> None:
    assert not is_pem(b"-----BEGIN X-----\n" + b"A\n" * 200_000)
    assert not is_pem(b"x\n" * 200_000 + BLOCK + b"y")
    assert not is_pem(BLOCK * 5_000 + b"y")


# entries of the Secret, code
REFUSED = [
    ({}, "FP142"),
    ({"tls.crt": CHAIN}, "FP142"),
    ({"tls.crt": CHAIN, "tls.key": b""}, "FP142"),
    ({"tls.crt": CHAIN, "tls.key": b"key"}, "FP143"),
    ({"tls.crt": b"crt", "tls.key": KEY}, "FP143"),
]


@pytest.mark.parametrize(("data", "code"), REFUSED)
def test_secrets_that_skip_an_ingress(data: dict[str, bytes], code: str) -> None:
    finding = check_secret(Secret("default", "s", data), "s", INGRESS, "spec.tls[0]")
    assert finding is not None
    assert finding.code == code
    assert "BEGIN" not in finding.sentence


def test_a_good_secret() -> None:
    assert check_secret(ONE, "one", INGRESS, "spec.tls[0]") is None
    assert certificate_names(CHAIN, KEY).names == ("host", "host")


@pytest.mark.parametrize(
    ("chain", "key"),
    [(CHAIN, TWO.data["tls.key"]), (BLOCK, KEY), (CHAIN, BLOCK), (KEY, CHAIN)],
)
def test_pairs_which_cannot_be_used(chain: bytes, key: bytes) -> None:
    secret = Secret("default", "bad", {"tls.crt": chain, "tls.key": key})
    chosen = choose([Wanted(secret, ("https",))])
    assert chosen.certificates == ()
    assert [finding.code for finding in chosen.findings] == ["FP144"]


def test_entry_points_are_united_and_sorted() -> None:
    chosen = choose([Wanted(ONE, ("b",)), Wanted(ONE, ("a", "b"))])
    assert [(c.name, c.entry_points) for c in chosen.certificates] == [("default/one", ("a", "b"))]
    assert chosen.findings == ()


def test_the_first_of_the_same_names_is_kept_per_entry_point() -> None:
    chosen = choose([Wanted(TWO, ("a", "b")), Wanted(ONE, ("b", "c"))])
    assert [(c.name, c.entry_points) for c in chosen.certificates] == [
        ("default/one", ("b", "c")),
        ("default/two", ("a",)),
    ]
    (finding,) = chosen.findings
    assert (finding.code, finding.object.name) == ("FP145", "two")


def test_keys_do_not_show() -> None:
    (certificate,) = choose([Wanted(ONE, ("a",))]).certificates
    assert b"PRIVATE" in certificate.key
    assert "PRIVATE" not in repr(certificate)


# data of the Secret, one after the other; which of them is served, finding
LIVES = [
    ([ONE.data], 0, None),
    ([ONE.data, {"tls.crt": b"x", "tls.key": b"x"}], 0, "FP146"),
    ([ONE.data, {}], 0, "FP146"),
    ([ONE.data, {"tls.crt": CHAIN, "tls.key": TWO.data["tls.key"]}], 0, "FP146"),
    ([ONE.data, {}, {"tls.crt": b"x"}], 0, "FP146"),
    ([ONE.data, {}, TWO.data], 2, None),
    ([ONE.data, {}, TWO.data, {}], 2, "FP146"),
    ([{"tls.crt": CHAIN, "tls.key": TWO.data["tls.key"]}], None, "FP144"),
    ([ONE.data, None, {"tls.crt": CHAIN, "tls.key": TWO.data["tls.key"]}], None, "FP144"),
]


@pytest.mark.parametrize(("lives", "served", "code"), LIVES)
def test_a_secret_gone_bad_keeps_its_certificate(
    lives: list[dict[str, bytes] | None], served: int | None, code: str | None
) -> None:
    snapshot = Snapshot()
    for data in lives:
        if data is None:
            snapshot = snapshot.without(ONE.reference)
        else:
            snapshot = snapshot.with_object(replace(ONE, data=data))
    secret = snapshot.secrets["default", "one"]
    assert check_secret(secret, "one", INGRESS, "spec.tls[0]") is None
    chosen = choose([Wanted(secret, ("https",))])
    expected = [] if served is None else [lives[served]["tls.crt"]]  # type: ignore[index]
    assert [certificate.chain for certificate in chosen.certificates] == expected
    assert [finding.code for finding in chosen.findings] == ([code] if code else [])
