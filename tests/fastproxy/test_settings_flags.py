# ruff: noqa: E501 -- a table of command lines
"""The flags of Traefik 1.7, alone and over a file."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fastproxy.settings import flags as settings_flags
from fastproxy.settings.file import SettingsError, parse
from fastproxy.settings.flags import FlagError
from fastproxy.settings.options import (
    CertificateFiles,
    ClientCa,
    EntryPoint,
    EntryPointAuth,
    EntryPointRedirect,
    EntryPointTls,
    Forward,
    ForwardedHeaders,
    ProxyProtocol,
    Settings,
    Users,
    WhiteList,
)
from fastproxy.settings.reader import every_option


def read(arguments: list[str], file: str = "") -> Settings:
    return parse(file, "f.toml", settings_flags.read(arguments)).settings


VALUES = [
    # arguments, what to look at, value
    (["--kubernetes"], lambda s: s.kubernetes is not None, True),
    (["--KUBERNETES=true"], lambda s: s.kubernetes is not None, True),
    (["--kubernetes=false"], lambda s: s.kubernetes, None),
    (["--kubernetes.endpoint=http://a"], lambda s: s.kubernetes.endpoint, "http://a"),
    (["--kubernetes.endpoint", "http://a", "--debug"], lambda s: (s.kubernetes.endpoint, s.debug), ("http://a", True)),
    (["--kubernetes", "--kubernetes.ingressclass=edge"], lambda s: s.kubernetes.ingress_class, "edge"),
    (["--kubernetes.ingressclass=edge", "--kubernetes"], lambda s: s.kubernetes.ingress_class, "edge"),
    (["--kubernetes.namespaces=default,shop"], lambda s: s.kubernetes.namespaces, ("default", "shop")),
    (["--kubernetes.namespaces=default;shop"], lambda s: s.kubernetes.namespaces, ("default", "shop")),
    (["--kubernetes.namespaces=a", "--kubernetes.namespaces=b"], lambda s: s.kubernetes.namespaces, ("a", "b")),
    (["--kubernetes.labelselector=traffic=external"], lambda s: s.kubernetes.label_selector, "traffic=external"),
    (["--kubernetes.ingressendpoint.publishedservice=a/b"], lambda s: s.kubernetes.ingress_endpoint.published_service, "a/b"),
    (["--kubernetes.disablepasshostheaders"], lambda s: s.kubernetes.disable_pass_host_headers, True),
    (["--kubernetes.throttleduration=10s"], lambda s: s.kubernetes.throttle_duration, 10.0),
    (["--kubernetes.watch=false", "--kubernetes.trace", "--kubernetes.constraints=tag==a"], lambda s: s.kubernetes.watch, False),
    (["-d"], lambda s: s.log_level, "DEBUG"),
    (["-l", "INFO"], lambda s: s.log_level, "INFO"),
    (["-lINFO"], lambda s: s.log_level, "INFO"),
    (["-l=INFO"], lambda s: s.log_level, "INFO"),
    (["-dl", "INFO"], lambda s: (s.debug, s.log_level), (True, "INFO")),
    (["-g", "3"], lambda s: s.life_cycle.grace_time_out, 3.0),
    (["--logLevel=info"], lambda s: s.log_level, "INFO"),
    (["--log-level", "info"], lambda s: s.log_level, "INFO"),
    (["--debug=false"], lambda s: s.debug, False),
    (["--debug", "false"], lambda s: s.debug, False),
    (["--debug=T"], lambda s: s.debug, True),
    (["--api"], lambda s: s.api.entry_point, "traefik"),
    (["--api.dashboard=false", "--api.statistics.recenterrors=42"], lambda s: (s.api.dashboard, s.api.statistics.recent_errors), (False, 42)),
    (["--api=false", "--ping"], lambda s: s.api, None),
    (["--ping", "--ping.entrypoint=http"], lambda s: s.ping.entry_point, "http"),
    (["--web", "--web.address=:8081"], lambda s: s.entry_points["traefik"].address, ":8081"),
    (["--web.path=/edge", "--web.readonly", "--web.statistics"], lambda s: s.ping.prefix, "/edge"),
    (["--web.metrics.prometheus", "--web.metrics.prometheus.buckets=0.5,1"], lambda s: s.metrics.prometheus.buckets, (0.5, 1.0)),
    (["--web.certfile=/c", "--web.keyfile=/k"], lambda s: s.entry_points["traefik"].tls.certificates[0].cert_file, "/c"),
    (["--metrics", "--metrics.prometheus"], lambda s: s.metrics.prometheus.entry_point, "traefik"),
    (["--metrics.statsd.address=a:1", "--metrics.statsd.pushinterval=5s"], lambda s: s.metrics.statsd.push_interval, 5.0),
    (["--accesslog"], lambda s: s.access_log.format, "common"),
    (["--accesslog.format=json", "--accesslog.bufferingsize=5"], lambda s: (s.access_log.format, s.access_log.buffering_size), ("json", 5)),
    (["--accesslog.filters.statuscodes=200,300-302"], lambda s: s.access_log.filters.status_codes, ("200", "300-302")),
    (["--accesslog.fields.names=Username=drop Hostname=keep"], lambda s: dict(s.access_log.fields.names), {"Username": "drop", "Hostname": "keep"}),
    (["--accesslog.fields.headers.names=Cookie=redact,Via=drop"], lambda s: dict(s.access_log.fields.headers.names), {"Cookie": "redact", "Via": "drop"}),
    (["--accesslogsfile=/a"], lambda s: s.access_log.file_path, "/a"),
    (["--traefiklog.format=json", "--traefiklog.filepath", "/log"], lambda s: (s.traefik_log.format, s.traefik_log.file_path), ("json", "/log")),
    (["--insecureskipverify"], lambda s: s.insecure_skip_verify, True),
    (["--InsecureSkipVerify=true"], lambda s: s.insecure_skip_verify, True),
    (["--rootcas=/a,/b"], lambda s: s.root_cas, ("/a", "/b")),
    (["--retry"], lambda s: s.retry.attempts, 0),
    (["--retry.attempts=3", "--retry.maxmem=2"], lambda s: s.retry.attempts, 3),
    (["--lifecycle.gracetimeout=3", "--lifecycle.requestacceptgracetimeout=1s"], lambda s: (s.life_cycle.grace_time_out, s.life_cycle.request_accept_grace_timeout), (3.0, 1.0)),
    (["--respondingtimeouts.idletimeout=1m", "--forwardingtimeouts.dialtimeout=1s"], lambda s: (s.responding_timeouts.idle_timeout, s.forwarding_timeouts.dial_timeout), (60.0, 1.0)),
    (["--maxidleconnsperhost=7", "--providersthrottleduration=5"], lambda s: (s.max_idle_conns_per_host, s.providers_throttle_duration), (7, 5.0)),
    (["--hostresolver.cnameflattening", "--hostresolver.resolvdepth=3"], lambda s: (s.host_resolver.cname_flattening, s.host_resolver.resolv_depth), (True, 3)),
    (["--healthcheck.interval=3s", "--keeptrailingslash", "--allowminweightzero"], lambda s: s.keep_trailing_slash, True),
    (["--sendanonymoususage", "--checknewversion=false", "--constraints=tag==a", "--debug"], lambda s: s.debug, True),
    (["--workers=2", "--limits.buffer=8192"], lambda s: (s.workers, s.limits.buffer), (2, 8192)),
    (["--tracing", "--tracing.backend=jaeger", "--tracing.jaeger.samplingparam=1.0"], lambda s: s.debug, False),
    (["--rest", "--rest.entrypoint", "traefik"], lambda s: s.debug, False),
    (["--docker=false", "--file=false"], lambda s: s.debug, False),
    (["--"], lambda s: s.debug, False),
    # Entry points.
    (["--defaultentrypoints=http,https", "--entrypoints=Name:http Address::80", "--entryPoints=Name:https Address::443 TLS"],
     lambda s: (s.default_entry_points, sorted(s.entry_points), s.entry_points["https"].tls),
     (("http", "https"), ["http", "https", "traefik"], EntryPointTls())),
    (["--entrypoints", "Name:a Address::1"], lambda s: s.entry_points["a"].address, ":1"),
    (["--entrypoints='Name:a Address::1'"], lambda s: s.entry_points["a"].address, ":1"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "look", "expected"), VALUES)
def test_values(arguments: list[str], look: Any, expected: object) -> None:
    assert look(read(arguments)) == expected


OPEN = ForwardedHeaders(insecure=True)
ENTRY_POINTS = [
    # words behind `Name:a Address::1`, the entry point
    ("", EntryPoint(":1")),
    ("Compress:true", EntryPoint(":1", compress=True)),
    ("Compress:on", EntryPoint(":1", compress=True)),
    ("compress:enable", EntryPoint(":1", compress=True)),
    ("Compress:yes", EntryPoint(":1")),
    ("Compress", EntryPoint(":1")),
    ("TLS", EntryPoint(":1", tls=EntryPointTls())),
    ("TLS:/a.crt,/a.key;/b.crt,/b.key",
     EntryPoint(":1", tls=EntryPointTls((CertificateFiles("/a.crt", "/a.key"), CertificateFiles("/b.crt", "/b.key"))))),
    ("TLS TLS.MinVersion:VersionTLS12 TLS.CipherSuites:TLS_RSA_WITH_AES_256_GCM_SHA384 TLS.SniStrict:true",
     EntryPoint(":1", tls=EntryPointTls(min_version="VersionTLS12", sni_strict=True,
                                        cipher_suites=("TLS_RSA_WITH_AES_256_GCM_SHA384",)))),
    ("TLS.DefaultCertificate.Cert:/d.crt TLS.DefaultCertificate.Key:/d.key TLS",
     EntryPoint(":1", tls=EntryPointTls(default_certificate=CertificateFiles("/d.crt", "/d.key")))),
    ("TLS CA:/a,/b CA.Optional:true", EntryPoint(":1", tls=EntryPointTls(client_ca=ClientCa(("/a", "/b"), True)))),
    ("TLS CA:/a CA_Optional:false", EntryPoint(":1", tls=EntryPointTls(client_ca=ClientCa(("/a",))))),
    ("Redirect.EntryPoint:traefik Redirect.Permanent:true",
     EntryPoint(":1", redirect=EntryPointRedirect("traefik", permanent=True))),
    ("Redirect.Regex:^http://(.*) Redirect.Replacement:https://$1",
     EntryPoint(":1", redirect=EntryPointRedirect("", "^http://(.*)", "https://$1"))),
    ("Auth.Basic.Users:a:b,c:d Auth.Basic.RemoveHeader:true Auth.HeaderField:X-Who",
     EntryPoint(":1", auth=EntryPointAuth("X-Who", basic=Users(("a:b", "c:d"), remove_header=True)))),
    ("Auth.Digest.Users:a:b:c", EntryPoint(":1", auth=EntryPointAuth(digest=Users(("a:b:c",))))),
    ("auth_forward_address:https://a/b Auth.Forward.AuthResponseHeaders:X-A,X-B Auth.Forward.TrustForwardHeader:true",
     EntryPoint(":1", auth=EntryPointAuth(forward=Forward("https://a/b", True, ("X-A", "X-B"))))),
    ("WhiteList.SourceRange:10.0.0.0/8,::1 WhiteList.UseXForwardedFor:true",
     EntryPoint(":1", white_list=WhiteList(("10.0.0.0/8", "::1"), True))),
    ("WhiteListSourceRange:10.0.0.0/8", EntryPoint(":1", white_list=WhiteList(("10.0.0.0/8",)))),
    ("ProxyProtocol.TrustedIPs:10.0.0.0/8", EntryPoint(":1", proxy_protocol=ProxyProtocol(("10.0.0.0/8",)))),
    ("ProxyProtocol.Insecure:true", EntryPoint(":1", proxy_protocol=ProxyProtocol(insecure=True))),
    ("ForwardedHeaders.TrustedIPs:10.0.0.0/8", EntryPoint(":1", forwarded_headers=ForwardedHeaders(("10.0.0.0/8",)))),
    ("ForwardedHeaders.Insecure:true", EntryPoint(":1", forwarded_headers=OPEN)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), ENTRY_POINTS)
def test_entry_points(words: str, expected: EntryPoint) -> None:
    found = read([f"--entryPoints=Name:a Address::1 {words}", "--defaultEntryPoints=a"])
    assert found.entry_points["a"] == expected


def test_an_unknown_word_of_an_entry_point_is_a_warning() -> None:
    flags = settings_flags.read(["--entrypoints=Name:http Address::80 Colour:red"])
    (warning,) = parse("", "f", flags).warnings
    assert str(warning) == (
        "command line: entryPoints.http.colour: is not known and ignored; remove it (possible here:"
        " address, auth, compress, deferAccept, forwardedHeaders, http2, proxyProtocol, redirect,"
        " tls, whiteList, whitelistSourceRange)"
    )


REFUSED = [
    # arguments, words
    (["--nonsense"], "--nonsense is not known; see docs/settings.md"),
    (["--kubernets"], "--kubernets is not known; did you mean --kubernetes?"),
    (["--kubernetes.ingresclass=a"], "did you mean --kubernetes.ingressclass?"),
    (["--web.auth.basick=a"], "did you mean --web.auth.basic?"),
    (["serve"], "'serve' is no flag"),
    (["-x"], "'-x' is no flag"),
    (["--retry.attempts=many"], "--retry.attempts is 'many'; it must be a number"),
    (["--debug=maybe"], "--debug is 'maybe'; write --debug=true or --debug=false"),
    (["--kubernetes=maybe"], "--kubernetes is 'maybe'"),
    (["--loglevel"], "--loglevel needs a value"),
    (["-c"], "-c needs a value"),
    (["--entrypoints=Address::80"], "has no name"),
    (["--metrics.prometheus.buckets=a"], "must be a number"),
    (["--accesslog.fields.names=a"], 'write for example --accesslog.fields.names="Username=drop"'),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(FlagError, match=re.escape(words)):
        settings_flags.read(arguments)


UNUSABLE = [
    # arguments, key, words: read as a file would be
    (["--docker", "--docker.exposedbydefault=false"], "docker", "remove"),
    (["--file", "--file.filename=/x"], "file", "routes"),
    (["--consul.endpoint=a:1"], "consul", "Ingresses"),
    (["--ecs"], "ecs", "lost"),
    (["--workers", "-1"], "workers", "is -1; write 0 or more"),
    (["--entrypoints=Name:a Address:80"], "entryPoints.a.address", "is not an address"),
    (["--entrypoints=Name:a Address::80 Whitelists.SourceRange:::1"], "entryPoints.a.whitelists", "everybody would be let in"),
    (["--entrypoints=Name:a Address::80 Auth.Basic.User:a:b"], "entryPoints.a.auth.basic.user", "did you mean 'users'?"),
    (["--idletimeout=1.5x"], "idleTimeout", "is not a duration"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "key", "words"), UNUSABLE)
def test_unusable(arguments: list[str], key: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(arguments)
    (*_, problem) = caught.value.problems
    assert (problem.file, problem.key.lower()) == ("command line", key.lower())
    assert words in problem.sentence


FILE = """
logLevel = "ERROR"
defaultEntryPoints = ["http", "https"]
[Kubernetes]
ingressClass = "file"
namespaces = ["a", "b"]
[entryPoints.http]
address = ":80"
compress = true
[entryPoints.https]
address = ":443"
[entryPoints.https.tls]
[accessLog]
filePath = "/a"
[accessLog.fields.names]
Via = "drop"
[docker]
"""
OVER = [
    (["--loglevel=DEBUG"], lambda s: s.log_level, "DEBUG"),
    (["--kubernetes"], lambda s: s.kubernetes.ingress_class, "file"),
    (["--kubernetes.ingressclass=flag"], lambda s: (s.kubernetes.ingress_class, s.kubernetes.namespaces), ("flag", ("a", "b"))),
    (["--kubernetes.namespaces=c"], lambda s: s.kubernetes.namespaces, ("c",)),
    (["--kubernetes=false"], lambda s: s.kubernetes, None),
    (["--entrypoints=Name:http Address::81"], lambda s: (s.entry_points["http"], s.entry_points["https"].address), (EntryPoint(":81"), ":443")),
    (["--accesslog.format=json"], lambda s: (s.access_log.format, s.access_log.file_path), ("json", "/a")),
    (["--accesslog.fields.names=A=keep"], lambda s: dict(s.access_log.fields.names), {"A": "keep"}),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "look", "expected"), OVER)
def test_flags_win_over_the_file(arguments: list[str], look: Any, expected: object) -> None:
    assert look(read([*arguments, "--docker=false"], FILE)) == expected


def test_the_place_of_a_problem_is_the_one_to_correct() -> None:
    flags = settings_flags.read(["--api.entrypoint=x"])
    places = {w.key: w.file for w in parse("[ping]\nentryPoint = 'y'", "f", flags).warnings}
    assert places == {"api.entryPoint": "command line", "ping.entryPoint": "f"}


def test_the_file_that_is_named() -> None:
    assert settings_flags.read(["-c", "/a", "--debug"]).file == "/a"
    assert settings_flags.read(["--configFile=/a"]).file == "/a"
    assert settings_flags.read(["--CONFIGFILE", "/a"]).file == "/a"


def test_every_option_has_a_flag() -> None:
    for path, field, hint in every_option():
        if ".NAME." in path or path == "entryPoints":
            continue
        text = {int: "1", float: "1"}.get(hint, "true")
        if "Mapping" in str(hint):
            text = "a=keep"
        if "float" in str(hint):
            text = "1"
        given = settings_flags.read([f"--{path}={text}"])
        assert given.document, (path, field)
        assert given.names == {path.lower()}
