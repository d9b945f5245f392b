"""Features that ask whether the client speaks TLS, on entry points which do (`features.md` 3)."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.support.feature_rows import Answer, Ask, Field, Row, answering, compare
from tests.support.tls import client_context

CLIENTS = trustme.CA()
PEM, INFOS = "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Infos"
FORGED = ((PEM, "forged"), (INFOS, "forged"), ("x_forwarded_tls_client_cert", "forged"))


def moved(title: str, annotations: dict[str, str], location: str, **more: Any) -> Row:
    expected = {"status": 302, "target": "", "client": {"Location": location}, **more}
    return Row(title, annotations, **expected)


REDIRECT_REGEX = {"redirect-regex": "^https://(.*)", "redirect-replacement": "https://www.$1"}
ROWS = [
    Row("hsts and pins", {"hsts-max-age": "60", "public-key": "pin"},
        client={"Strict-Transport-Security": "max-age=60", "Public-Key-Pins": "pin"}),
    Row("neither in development", {"hsts-max-age": "60", "public-key": "pin", "force-hsts": "true",
        "is-development": "true"},
        client={"Strict-Transport-Security": None, "Public-Key-Pins": None}),
    Row("ssl-redirect has nothing to do", {"ssl-redirect": "true"}, target="/"),
    Row("forced host on TLS", {"ssl-force-host": "true", "ssl-host": "s.test"}, ask=Ask("/a?b"),
        status=301, target="", client={"Location": "https://s.test/a?b"}),
    Row("location fixed", {"ssl-host": "s.test"},
        ask=Ask(headers=(answering(status=302, headers=[["Location", "http://s.test/x"]]),)),
        status=302, client={"Location": "https://s.test/x"}),
    moved("app-root", {"app-root": "/start"}, "https://HOST/start"),
    moved("app-root, whatever X-Forwarded-Proto says", {"app-root": "/start"},
          "https://HOST/start", ask=Ask(headers=(("X-Forwarded-Proto", "http"),))),
    moved("the regex sees https", REDIRECT_REGEX, "https://www.HOST/a", ask=Ask("/a")),
    moved("to the plain entry point", {"redirect-entry-point": "http"}, "http://HOST:PLAIN/a",
          ask=Ask("/a")),
    Row("X-Forwarded-Proto", backend={"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}),
    Row("not asked for a certificate", {"pass-client-tls-cert": "pem: true\ninfos: {}"},
        ask=Ask(headers=FORGED), backend={PEM: None, INFOS: None}),
]  # fmt: skip
TO_TLS = Row("to the TLS entry point", {"redirect-entry-point": "https"})
BOTH = Row("certificate", {"pass-client-tls-cert": "pem: true\ninfos: {}"})
EMPTY = Row("empty infos", {"pass-client-tls-cert": "infos: {}"})


class TlsField(Field):
    """Its requests go through TLS unless the plain entry point is named."""

    context: ssl.SSLContext | None = None

    def ask(self, ask: Ask, host: str) -> Answer:
        if ask.entry_point == "other":
            return super().ask(ask, host)
        name = "https" if ask.entry_point == "http" else ask.entry_point
        context = self.context or client_context(verify=False)
        connection = http.client.HTTPSConnection("127.0.0.1", self.ports[name], context=context)
        headers = [*ask.headers]
        connection.putrequest(ask.method, ask.target, skip_host=True, skip_accept_encoding=True)
        for key, value in [("Host", host), *headers]:
            connection.putheader(key, value)
        connection.endheaders()
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsField]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    optional = (
        "[entryPoints.optional.tls]\n[entryPoints.optional.tls.clientCA]\n"
        f'files = ["{folder / "clients.pem"}"]\noptional = true\n'
    )
    made = TlsField(
        folder, [*ROWS, TO_TLS, BOTH, EMPTY],
        entry_points={"https": "[entryPoints.https.tls]\n", "optional": optional},
        default_entry_points='["http", "https", "other", "optional"]',
    )  # fmt: skip
    made.words["PLAIN"] = str(made.ports["http"])
    with made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rows(field: TlsField, row: Row) -> None:
    field.check(row)


def test_the_port_of_a_redirect_is_always_written(field: TlsField) -> None:
    host, port = field.host(TO_TLS), field.ports["https"]
    answer = field.ask(Ask("/a?b", entry_point="other"), host)
    assert answer.headers["Location"] == f"https://{host}:{port}/a?b"
    # Behind a balancer that ends TLS: another redirect without the port, none with it.
    for sent, status in ((host, 302), (f"{host}:{port}", 200)):
        behind = Ask("/", headers=(("X-Forwarded-Proto", "https"),), entry_point="other")
        assert field.ask(behind, sent).status == status
    assert field.ask(Ask("/"), host).status == 200  # not installed on the entry point itself


# who shows a certificate, on which route, the two headers at the backend
SHOWN = [
    (False, BOTH, None, None),
    (True, BOTH, "MI", ""),
    (True, EMPTY, None, ""),
    (False, EMPTY, None, None),
]


@pytest.mark.parametrize(("shown", "row", "pem_", "infos"), SHOWN)
def test_an_optional_certificate(field: TlsField, shown: bool, row: Row, pem_: str | None,
                                 infos: str | None) -> None:  # fmt: skip
    certificate = CLIENTS.issue_cert("client.test") if shown else None
    field.context = client_context(verify=False, certificate=certificate)
    try:
        field.backend.seen.clear()
        assert field.ask(Ask(headers=FORGED, entry_point="optional"), field.host(row)).status == 200
    finally:
        field.context = None
    [seen] = field.backend.seen
    if pem_ is None:
        compare(seen.headers, {PEM: None, FORGED[2][0]: None}, {})
    else:
        [value] = seen.headers.get_all(PEM)
        assert value.startswith(pem_)
    compare(seen.headers, {INFOS: infos}, {})
