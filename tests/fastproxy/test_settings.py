# ruff: noqa: E501 -- a table of whole messages
from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fastproxy.settings import file as settings_file
from fastproxy.settings.address import split_address
from fastproxy.settings.declare import options_of
from fastproxy.settings.file import SettingsError, find_file, load, parse
from fastproxy.settings.options import (
    AccessLog,
    CertificateFiles,
    ClientCa,
    ForwardedHeaders,
    Ping,
    Settings,
    WhiteList,
)

EVERY_OPTION = (Path(__file__).parent / "every_option.toml").read_text()


def settings(text: str) -> Settings:
    return parse(text, "f.toml").settings


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "f.toml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [f"{problem.key}: {problem.sentence}" for problem in caught.value.problems]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, value and default of every option below a settings value."""
    for field in options_of(value):
        place, item = f"{path}.{field.name}".strip("."), getattr(value, field.name)
        default = (
            field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default
        )
        if dataclasses.is_dataclass(item):
            yield from leaves(item, place)
        elif (
            isinstance(item, Mapping)
            and item
            and dataclasses.is_dataclass(next(iter(item.values())))
        ):
            for name, one in item.items():
                yield from leaves(one, f"{place}.{name}")
        else:
            yield place, item, default


# Aliases that `resolve` turns into their successor.
RESOLVED = {"grace_time_out", "idle_timeout", "access_logs_file", "traefik_logs_file"}


def test_every_option_of_the_file_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file.settings_check, "resolve", lambda s, given: (s, []))
    monkeypatch.setattr(settings_file.settings_check, "problems", lambda s: ())
    read = settings(EVERY_OPTION)
    same = [place for place, value, default in leaves(read) if value == default]
    # The two entry points share the options: one has TLS, the other the rest.
    assert [place for place in same if not place.startswith("entry_points.")] == []
    by_point = [{p.split(".", 2)[2] for p in same if p.startswith(f"entry_points.{name}.")}
                for name in ("http", "https")]  # fmt: skip
    assert by_point[0] & by_point[1] == set()


def test_every_option_resolved() -> None:
    read = settings(EVERY_OPTION)
    assert read.life_cycle.grace_time_out == 7.0  # the deprecated ones win when not zero
    assert read.responding_timeouts.idle_timeout == 8.0
    assert read.traefik_log.file_path == "/log"
    assert read.access_log is not None
    assert read.access_log.file_path == "/old-access"  # wins, as in 1.7
    assert read.log_level == "WARN"
    http, https = read.entry_points["http"], read.entry_points["https"]
    assert http.white_list == WhiteList(("10.0.0.0/8", "::1"), True)
    assert https.tls is not None
    assert https.tls.client_ca == ClientCa(("/ca",), True)
    assert https.tls.certificates == (CertificateFiles("/a.crt", "/a.key"),)
    assert (https.host, https.port) == ("::1", 8443)
    assert [getattr(read, name) for name in sorted(RESOLVED)] == ["", 0.0, 0.0, ""]
    assert pickle.loads(pickle.dumps(read)) == read


def test_keys_are_case_insensitive_but_names_are_not() -> None:
    read = settings(
        'LOGLEVEL = "Debug"\n[KUBERNETES]\nLabelSelector = "a"\n[ENTRYPOINTS.Web]\naddress = ":1"\n'
    )
    assert read.log_level == "DEBUG"
    assert read.kubernetes is not None
    assert read.kubernetes.label_selector == "a"
    assert "Web" in read.entry_points


def test_defaults() -> None:
    read = settings("")
    assert {name: point.address for name, point in read.entry_points.items()} == {
        "http": ":80",
        "traefik": ":8080",
    }
    assert read.default_entry_points == ("http",)
    assert read.kubernetes is None
    assert read.ping == Ping("traefik")
    assert read.log_level == "INFO"
    assert read.life_cycle.grace_time_out == 10.0
    assert read.responding_timeouts.idle_timeout == 180.0
    assert read.forwarding_timeouts.dial_timeout == 30.0
    assert read.providers_throttle_duration == 2.0
    assert read.max_idle_conns_per_host == 200


DERIVED = [
    ("[kubernetes]", lambda s: s.kubernetes is not None, True),
    ("debug = true", lambda s: s.log_level, "DEBUG"),
    ('debug = true\nlogLevel = "INFO"', lambda s: s.log_level, "INFO"),
    ('[entryPoints.a]\naddress = ":81"', lambda s: sorted(s.entry_points), ["a", "traefik"]),
    (
        '[ping]\nentryPoint = "a"\n[entryPoints.a]\naddress = ":81"',
        lambda s: sorted(s.entry_points),
        ["a"],
    ),
    # Traefik 1.7 does not listen on 8080 when nobody asks for it; neither must we get in the way.
    ('[entryPoints.http]\naddress = ":8080"', lambda s: (s.ping, len(s.entry_points)), (None, 1)),
    ('[entryPoints.traefik]\naddress = ":9"', lambda s: s.entry_points["traefik"].port, 9),
    (
        '[entryPoints.a]\naddress = ":81"',
        lambda s: s.entry_points["a"].forwarded_headers,
        ForwardedHeaders(insecure=True),
    ),
    (
        '[entryPoints.a]\naddress=":81"\n[entryPoints.a.forwardedHeaders]\ntrustedIPs=["::1"]',
        lambda s: s.entry_points["a"].forwarded_headers,
        ForwardedHeaders(("::1",), False),
    ),
    (
        '[entryPoints.a]\naddress=":81"\nwhitelistSourceRange=["::1"]',
        lambda s: s.entry_points["a"].white_list,
        WhiteList(("::1",)),
    ),
    (
        '[entryPoints.a]\naddress=":81"\n[entryPoints.a.tls]\nclientCAFiles=["/c"]',
        lambda s: s.entry_points["a"].tls.client_ca,
        ClientCa(("/c",), False),
    ),
    ('accessLogsFile = "/a"', lambda s: s.access_log, AccessLog(file_path="/a")),
    ('traefikLogsFile = "/a"', lambda s: s.traefik_log.file_path, "/a"),
    ("[retry]", lambda s: s.retry.attempts, 0),
    ('[lifeCycle]\ngraceTimeOut = "0"', lambda s: s.life_cycle.grace_time_out, 0.0),
]


@pytest.mark.parametrize(("text", "look", "expected"), DERIVED)
def test_derived(text: str, look: Any, expected: object) -> None:
    assert look(settings(text)) == expected


PROBLEMS = [
    ("debug = true\nDebug = true", "Debug: is given twice; keys are case-insensitive, keep one"),
    # Wrong types.
    ("workers = '2'", "workers: is text; it must be a whole number, without quotes"),
    ("workers = true", "workers: is a boolean; it must be a whole number, without quotes"),
    ("debug = 'true'", "debug: is text; it must be true or false, without quotes"),
    ("logLevel = 1", "logLevel: is a whole number; it must be text in quotes"),
    ("rootCAs = '/a'", "rootCAs: is text; it must be a list; put it between [ and ]"),
    ("rootCAs = [1]", "rootCAs[0]: is a whole number; it must be text in quotes"),
    ("ping = true", "ping: is a boolean; it must be a table; write [ping]"),
    ("entryPoints = 1", "entryPoints: is a whole number; it must be a table; write [entryPoints]"),
    ("idleTimeout = 1.5", "idleTimeout: is a number with a fraction; it must be a duration: seconds as a whole number, or text such as \"10s\""),
    ("idleTimeout = '10.5'", "idleTimeout: '10.5' is not a duration; write for example \"10s\", \"1m30s\" or \"250ms\""),
    ("[metrics.prometheus]\nbuckets=['1']", "metrics.prometheus.buckets[0]: is text; it must be a number"),
    # Impossible values.
    ("idleTimeout = '-1s'", "idleTimeout: is -1; write 0 or more"),
    ("workers = -1", "workers: is -1; write 0 or more"),
    ("workers = 5000", "workers: is 5000; write at most 1024, or 0 for one per processor"),
    ("[limits]\nbuffer = 1", "limits.buffer: is 1; write 4096 or more"),
    ("".join(f"[entryPoints.p{n}]\naddress=':{1000 + n}'\n" for n in range(64)), "entryPoints: are 65, with those made for ping and api; write at most 64"),
    ("[limits]\ntrailerBlock = 9000", "limits.trailerBlock: is 9000; write at most 8192"),
    ("[limits]\nheaderBlock = 1024", "limits.headerBlock: is 1024, less than requestLine (8192) which it includes; raise it or lower requestLine"),
    ("[kubernetes]\nrouteOrder = 'x'", "kubernetes.routeOrder: is 'x'; write one of 'length', 'specificity'"),
    ("defaultEntryPoints = ['x']\n[entryPoints.a]\naddress = ':80'", "defaultEntryPoints: names the unknown entry point 'x'; define it or write one of a, traefik"),
    ("defaultEntryPoints = []", "defaultEntryPoints: is empty; define it or write one of http, traefik"),
    ("[entryPoints.a]", 'entryPoints.a.address: is missing; write for example address = ":80"'),
    ("[entryPoints.a]\naddress = '80'", "entryPoints.a.address: '80' is not an address; write for example \":80\" or \"10.0.0.1:80\""),
    ("[entryPoints.a]\naddress = ':70000'", "entryPoints.a.address: ':70000' is not an address; write for example \":80\" or \"10.0.0.1:80\""),
    ("[entryPoints.a]\naddress = '::1:80'", 'entryPoints.a.address: the IPv6 address in \'::1:80\' needs brackets, as in "[::1]:80"'),
    ("[entryPoints.a]\naddress = ':80'\n[entryPoints.b]\naddress = '127.0.0.1:80'", "entryPoints.b.address: port 80 is also the one of entry point 'a'; choose another"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.whiteList]", "entryPoints.a.whiteList.sourceRange: is empty; list the ranges that may connect, or remove the table"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.whiteList]\nsourceRange=['x']", "entryPoints.a.whiteList.sourceRange: 'x' is not an address or a range; write for example \"10.0.0.0/8\""),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.redirect]\nentryPoint='b'", "entryPoints.a.redirect.entryPoint: names the unknown entry point 'b'; define it or write one of a, traefik"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.redirect]\nregex='x'", "entryPoints.a.redirect: needs either entryPoint, or both regex and replacement; add what is missing"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.redirect]\nregex='\\C'\nreplacement='x'", r"entryPoints.a.redirect.regex: contains \C, which is refused; write . instead"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.auth]", "entryPoints.a.auth: names no method; add a table basic, digest or forward"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.auth.basic]", "entryPoints.a.auth.basic: has no users; add users or usersFile"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.auth.basic]\nusers=['secret']", "entryPoints.a.auth.basic.users[0]: is not of the form name:hash; correct it"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.auth.digest]\nusers=['a:b']", "entryPoints.a.auth.digest.users[0]: is not of the form name:realm:hash; correct it"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.auth.forward]\naddress='x'", "entryPoints.a.auth.forward.address: 'x' is not a URL; write for example \"https://auth.example/check\""),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.proxyProtocol]", "entryPoints.a.proxyProtocol: trusts nobody; add trustedIPs or insecure = true"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.forwardedHeaders]", "entryPoints.a.forwardedHeaders: trusts nobody; add trustedIPs or insecure = true"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.forwardedHeaders]\ntrustedIPs=['x']", "entryPoints.a.forwardedHeaders.trustedIPs: 'x' is not an address or a range; write for example \"10.0.0.0/8\""),
    ("[entryPoints.a]\naddress=':80'\n[[entryPoints.a.tls.certificates]]\ncertFile='x'", "entryPoints.a.tls.certificates[0]: needs both certFile and keyFile; add what is missing"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.tls.clientCA]", "entryPoints.a.tls.clientCA.files: is empty; list the CA files, or remove the table"),
    ("[entryPoints.a]\naddress=':80'\n[entryPoints.a.tls]\ncipherSuites=['X']", "entryPoints.a.tls.cipherSuites: 'X' is not one of Go's names of suites; correct it"),
    ("[accessLog.fields.names]\nx='y'", "accessLog.fields.names.x: is 'y'; write one of keep, drop"),
    ("[accessLog.fields.headers.names]\nx='y'", "accessLog.fields.headers.names.x: is 'y'; write one of keep, drop, redact"),
    ("[metrics.prometheus]\nbuckets=[2, 1]", "metrics.prometheus.buckets: must increase; sort them and remove duplicates"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PROBLEMS)
def test_problem(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_all_problems_come_at_once() -> None:
    text = "workers = 'x'\nusers = ['a:b']\n[limits]\nbuffer = 1\n[consul]\n[file]\n[backends]\n"
    assert [line.partition(":")[0] for line in problems(text)] == [
        "consul",
        "file, backends",
        "workers",
        "users",
        "limits.buffer",
    ]


def test_a_file_that_is_not_toml() -> None:
    (problem,) = problems("[kubernetes]\nthrottleDuration = 10s\n")
    assert "line 2" in problem
    assert 'durations need quotes, as in "10s"' in problem


def test_a_file_that_is_nested_too_deeply() -> None:
    (problem,) = problems("a = " + "[" * 100_000)
    assert "is not TOML" in problem


WARNINGS = [
    ("[kubernetes]\nfilename = '/x'", ["kubernetes.filename"]),
    ("[accessLog]\nformat = 'x'", ["accessLog.format"]),
    ("[api]\n[metrics.statsd]\n[hostResolver]\ncnameFlattening=true", ["metrics.statsd", "api"]),
    ("[entryPoints.http]\naddress = ':8080'", ["ping"]),
    ("[entryPoints.a]\naddress = ':81'", ["defaultEntryPoints"]),
    ("[entryPoints.http]\naddress=':1'\n[entryPoints.http.tls]\nminVersion='x'",
     ["entryPoints.http.tls.minVersion"]),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "keys"), WARNINGS)
def test_warnings(text: str, keys: list[str]) -> None:
    assert [warning.key for warning in parse(text, "f.toml").warnings] == keys


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read \(No such file"):
        load(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"a = '\xff'")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load(tmp_path / "latin")


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "f.toml").write_text(
        f"""
rootCAs = ["-----BEGIN CERTIFICATE-----", "{tmp_path}/ca.pem", "/missing/a"]
[entryPoints.http]
address = ":80"
[entryPoints.http.auth.basic]
usersFile = "/missing/b"
[entryPoints.http.auth.forward]
address = "http://a"
[entryPoints.http.auth.forward.tls]
ca = "/missing/c"
cert = "/missing/d"
key = "/missing/e"
[entryPoints.http.tls.clientCA]
files = ["/missing/f"]
[[entryPoints.http.tls.certificates]]
certFile = "/missing/only logged"
keyFile = "/missing/only logged"
"""
    )
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "f.toml")
    assert [problem.key for problem in caught.value.problems] == [
        "rootCAs[2]",
        "entryPoints.http.tls.clientCA.files[0]",
        "entryPoints.http.auth.basic.usersFile",
        "entryPoints.http.auth.forward.tls.ca",
        "entryPoints.http.auth.forward.tls.cert",
        "entryPoints.http.auth.forward.tls.key",
    ]
    assert caught.value.problems[0].sentence == (
        "'/missing/a' cannot be read (No such file or directory);"
        " correct the path or its permissions"
    )


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    (home / ".traefik").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    assert find_file(str(home)) is None
    (here / "traefik.toml").touch()
    assert find_file(str(home)) == Path("traefik.toml")
    (here / "fastproxy.toml").touch()
    assert find_file(str(home)) == Path("fastproxy.toml")
    (home / ".traefik/traefik.toml").touch()
    assert find_file(str(home)) == home / ".traefik/traefik.toml"


def test_secrets_are_not_shown() -> None:
    shown = repr(settings("[kubernetes]\ntoken = 'hidden'\n[metrics.influxdb]\npassword='hidden'"))
    assert "hidden" not in shown


ADDRESSES = [
    (":80", ("", 80)),
    ("a:1", ("a", 1)),
    ("[::1]:443", ("::1", 443)),
    ("[::]:0", ("::", 0)),
    (":http", ("", 80)),  # names of ports, as Go takes them
    ("10.0.0.1:HTTPS", ("10.0.0.1", 443)),
    ("[::1]:domain", ("::1", 53)),
]


@pytest.mark.parametrize(("text", "expected"), ADDRESSES)
def test_split_address(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "80", ":-1", ":65536", ":no-such-service", ":ht\0tp", ":\uff18\uff10"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        split_address(text)


def test_names_of_ports_without_etc_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a slim image; what Go knows by itself."""

    def missing(name: str, protocol: str) -> int:
        raise OSError("service/proto not found")

    monkeypatch.setattr("socket.getservbyname", missing)
    assert [split_address(f":{name}")[1] for name in ("http", "HTTPS", "ssh")] == [80, 443, 22]
    with pytest.raises(ValueError, match="'https-alt' no name of a service"):
        split_address(":https-alt")
