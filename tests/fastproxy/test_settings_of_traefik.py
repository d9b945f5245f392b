# ruff: noqa: E501 -- a table of settings files
"""What a `traefik.toml` of 1.7 contains: served, ignored with a warning, or refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from fastproxy.settings.file import SettingsError, parse
from fastproxy.settings.options import EntryPointAuth, Settings, Users

POINT = "[entryPoints.a]\naddress=':80'\n"
USERS = "users = ['ops:$apr1$fieldtst$BODTDXB9601WVOq2A5Nim.']\n"

REFUSED = [
    # text, keys, words of the sentences
    # Providers: one sentence each.
    *(
        (f"[{name}]\nwatch = true\n[{name}.more]\nx = 1", [name], ["lost", "Ingresses", "remove"])
        for name in ("docker", "marathon", "mesos", "consul", "consulCatalog", "etcd", "zookeeper",
                     "boltdb", "dynamodb", "ecs", "eureka", "rancher", "serviceFabric", "DOCKER")
    ),
    ("[file]\n[backends.a]\n[frontends.b]\n[[tls]]", ["file, backends, frontends, tls"], ["routes", "lost", "remove"]),
    ("[backends.a.servers.b]\nurl = 'x'", ["backends"], ["routes"]),
    ("[file]\nfilename = '/x'\nwatch = true", ["file"], ["certificates"]),
    # Somebody counts on it.
    ("[entryPoint.http]\naddress = ':80'", ["entryPoint"], ["sockets would not be opened", "did you mean 'entryPoints'?"]),
    ("[entrypointz.http]\naddress = ':80'", ["entrypointz"], ["did you mean 'entryPoints'?"]),
    (USERS, ["users"], ["nobody would be asked for a password; move it to [entryPoints.NAME.auth.basic]"]),
    (POINT + USERS, ["entryPoints.a.users"], ["move it to [entryPoints.NAME.auth.basic]"]),
    (POINT + "[entryPoints.a.auth.basic]\nuser = ['a:b']\nusersFile = '/x'", ["entryPoints.a.auth.basic.user"], ["did you mean 'users'?"]),
    (POINT + "[entryPoints.a.auths.basic]\nusers = ['a:b']", ["entryPoints.a.auths"], ["did you mean 'auth'?"]),
    (POINT + "[entryPoints.a.basic]\nusers = ['a:b']", ["entryPoints.a.basic"], ["move it to [entryPoints.NAME.auth.basic]"]),
    (POINT + "[entryPoints.a.authentication]\nx = 1", ["entryPoints.a.authentication"], ["nobody would be asked"]),
    (POINT + "[entryPoints.a.whiteLists]\nsourceRange = ['::1']", ["entryPoints.a.whiteLists"], ["everybody would be let in; did you mean 'whiteList'?"]),
    (POINT + "[entryPoints.a.white_list]\nsourceRange = ['::1']", ["entryPoints.a.white_list"], ["everybody would be let in"]),
    (POINT + "sourceRange = ['::1']", ["entryPoints.a.sourceRange"], ["move it to [entryPoints.NAME.whiteList]"]),
    ("whitelistSourceRange = ['::1']", ["whitelistSourceRange"], ["move it to [entryPoints.NAME]"]),
    (POINT + "[entryPoints.a.tls]\nwhiteList = {sourceRange = ['::1']}", ["entryPoints.a.tls.whiteList"], ["everybody would be let in"]),
    (POINT + "[entryPoints.a.clientCA]\nfiles = ['/x']", ["entryPoints.a.clientCA"], ["no client would be asked for a certificate; move it to [entryPoints.NAME.tls.clientCA]"]),
    (POINT + "[[entryPoints.a.certificates]]\ncertFile = '/x'\nkeyFile = '/y'", ["entryPoints.a.certificates"], ["certificates would be lost"]),
    ("[api.auth.basic]\nusers = ['a:b']", ["api.auth"], ["nobody would be asked for a password; move it to [entryPoints.NAME.auth]"]),
    ("[http.auth.basic]\nusers = ['a:b']", ["http"], ["nobody would be asked for a password"]),
    ("[dashboard]\n[[dashboard.x]]\nwhiteList = {}", ["dashboard"], ["everybody would be let in"]),
    # Names of Traefik 2: what is lost, and what to write.
    (POINT + "[entryPoints.a.http.redirections.entryPoint]\nto = 'b'\nscheme = 'https'", ["entryPoints.a.http"],
     ["is a name of Traefik 2 and nothing would be redirected; write [entryPoints.a.redirect] with entryPoint"]),
    (POINT + "[entryPoints.a.http.tls]\ncertResolver = 'le'", ["entryPoints.a.http"], ["is a name of Traefik 2 and its connections and certificates would be lost", "[entryPoints.a.tls]"]),
    # [web] is never open because its authentication cannot be read.
    ("[web.auth]", ["web.auth"], ["names no method"]),
    ("[web.auth.basic]", ["web.auth.basic"], ["has no users"]),
    ("[web.auth.basic]\nusers = 'a:b'", ["web.auth.basic.users"], ["it must be a list"]),
    ("[web.auth.basic]\nusers = ['secret']", ["web.auth.basic.users[0]"], ["is not of the form name:hash"]),
    ("[web.auth.basik]\nusers = ['a:b']", ["web.auth.basik"], ["did you mean 'basic'?"]),
    ("[web]\n" + USERS, ["web.users"], ["nobody would be asked"]),
    ("[web.basic]\n" + USERS, ["web.basic"], ["nobody would be asked"]),
    ("[web]\ncertFile = '/x'", ["web.tls.certificates[0]"], ["needs both"]),
    ("[web]\naddress = '8081'", ["web.address"], ["is not an address"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "keys", "words"), REFUSED)
def test_refused(text: str, keys: list[str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, "f.toml")
    assert [problem.key for problem in caught.value.problems] == keys
    for word in words:
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


WARNED = [
    # text, keys, words of the sentences
    ("[tracing]\nbackend = 'jaeger'\n[tracing.jaeger]\nx = 1", ["tracing"], ["no spans"]),
    ("[rest]\nentryPoint = 'x'", ["rest"], ["is ignored"]),
    ("[cluster]\nnode = 'a'", ["cluster"], ["is ignored"]),
    ("dashboard = 'true'", ["dashboard"], ["is not known here and ignored; move it to [api]"]),
    ("disablePassHostHeaders = true", ["disablePassHostHeaders"], ["move it to [kubernetes]"]),
    ("[limits]\nlogLevel = 'INFO'", ["limits.logLevel"], ["move it to the top of the file, before any [table]"]),
    ("[metrics.statistics]\nrecentErrors = 1", ["metrics.statistics"], ["move it to [api.statistics]"]),
    ("[statistics]", ["statistics"], ["is not known here and ignored"]),
    ("loglvel = 'x'", ["loglvel"], ["is not known and ignored; did you mean 'logLevel'?"]),
    ("[kubernetes]\nnamespace = []", ["kubernetes.namespace"], ["did you mean 'namespaces'?"]),
    ("[ping]\nqqqqqq = 1", ["ping.qqqqqq"], ["remove it (possible here: entryPoint)"]),
    ("dialTimeout = 1", ["dialTimeout"], ["move it to [forwardingTimeouts]"]),
    ("compress = true", ["compress"], ["move it to [entryPoints.NAME]"]),
    ("logLevel = 'loud'", ["logLevel"], ["is 'loud', which is not known: the default is used"]),
    ("[traefikLog]\nformat = 'text'", ["traefikLog.format"], ["'common' is used"]),
    ("[accessLog]\nformat = 'text'", ["accessLog.format"], ["switches the access log off"]),
    ("[accessLog.filters]\nstatusCodes = ['2xx', '200']", ["accessLog.filters.statusCodes"], ["'2xx' is not a status"]),
    ("[metrics.influxdb]\nprotocol = 'tcp'", ["metrics.influxdb.protocol", "metrics.influxdb"], ["'udp' is used"]),
    ("[kubernetes.ingressEndpoint]\npublishedService = 'x'", ["kubernetes.ingressEndpoint.publishedService"], ["no status is written; write namespace/name"]),
    ("defaultEntryPoints = ['a', 'ws']\n" + POINT, ["defaultEntryPoints"], ["'ws'", "only a holds"]),
    ("defaultEntryPoints = ['x']", ["defaultEntryPoints"], ["only http holds"]),
    ("defaultEntryPoints = ['http']\n" + POINT, ["defaultEntryPoints"], ["names none but 'http': routes which name no entry point are not served"]),
    ("[entryPoints.http]\naddress=':80'\n[entryPoints.http.redirect]", ["entryPoints.http.redirect"], ["nothing is redirected"]),
    ("[entryPoints.http]\naddress=':80'\n[entryPoints.http.redirect]\npermanent = true", ["entryPoints.http.redirect"], ["names no target"]),
    ("[entryPoints.http]\naddress=':80'\n[[entryPoints.http.tls.certificates]]\n[entryPoints.http.tls.defaultCertificate]",
     ["entryPoints.http.tls.certificates", "entryPoints.http.tls.defaultCertificate"], ["empty"]),
    ("[ping]\nentryPoint = 'health'", ["ping.entryPoint"], ["'health', so /ping and /ready are nowhere"]),
    ("[api]\nentryPoint = 'x'", ["api.entryPoint"], ["the API is nowhere"]),
    ("[metrics.prometheus]\nentryPoint = 'x'", ["metrics.prometheus.entryPoint"], ["/metrics is nowhere"]),
    ("[api]\n[entryPoints.http]\naddress = ':8080'", ["ping.entryPoint", "api.entryPoint"], ["unknown entry point 'traefik'"]),
    ("[web]", ["web"], ["is deprecated", "on :8080"]),
    ("[web]\npath = 'edge/'", ["web", "web.path"], ["/edge/ping", "probes"]),
    ("[web]\naddress = ':8081'\n[api]", ["web", "api"], ["is ignored beside [api]"]),
    ("[web.auth.basic]\nusers = ['a:b']\n[api]", ["web", "api"], ["its auth protects nothing"]),
    ("[web]\n[api]\n[ping]\n[metrics]\n[rest]", ["rest", "web", "api"], ["beside [api], [ping], [metrics], [rest]"]),
    ("[web]\naddress=':1'\n[entryPoints.http]\naddress=':2'\n[entryPoints.traefik]\naddress=':3'", ["web", "web.address"], ["remove one of the two tables"]),
    (POINT + "[entryPoints.a.transport.lifeCycle]\ngraceTimeOut = 1", ["entryPoints.a.transport", "defaultEntryPoints"], ["is a name of Traefik 2 and ignored; write [lifeCycle]"]),
    ("[providers.kubernetesIngress]\ningressClass = 'a'", ["providers"], ["is a name of Traefik 2 and ignored", "[kubernetes]"]),
    ("[certificatesResolvers.le.acme]\nstorage = '/x'", ["certificatesResolvers"], ["no certificate is fetched here"]),
    ("[log]\nlevel = 'DEBUG'", ["log"], ["write logLevel"]),
    ("[serversTransport]\ninsecureSkipVerify = true", ["serversTransport"], ["insecureSkipVerify"]),
    (POINT + "[entryPoints.a.entryPoint]\nx = 1", ["entryPoints.a.entryPoint", "defaultEntryPoints"], ["is not known and ignored"]),
    ("[web]\nreadOnly = true\nmonitor = 1", ["web.monitor", "web"], ["is not known and ignored"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "keys", "words"), WARNED)
def test_warned(text: str, keys: list[str], words: list[str]) -> None:
    warnings = [
        w for w in parse(text, "f.toml").warnings if not (w.key == "api" and "[api]" not in text)
    ]
    assert [warning.key for warning in warnings] == keys
    said = "\n".join(map(str, warnings))
    for word in words:
        assert word in said


SERVED = [
    # text, what to look at, value
    ("logLevel = 'WARNING'", lambda s: s.log_level, "WARN"),
    ("checkNewVersion = true\nsendAnonymousUsage = false\nconstraints = ['tag==a']", lambda s: s.workers, 0),
    ("defaultEntryPoints = ['a', 'ws']\n" + POINT, lambda s: s.default_entry_points, ("a",)),
    ("[entryPoints.http]\naddress=':80'\n[[entryPoints.http.tls.certificates]]",
     lambda s: s.entry_points["http"].tls.certificates, ()),
    ("[entryPoints.http]\naddress=':80'\n[entryPoints.http.redirect]", lambda s: s.entry_points["http"].redirect, None),
    ("[api]\nentryPoint = 'x'", lambda s: s.api, None),
    ("", lambda s: s.entry_points["traefik"].implicit, True),
    ("[entryPoints.traefik]\naddress=':8080'", lambda s: s.entry_points["traefik"].implicit, False),
    # [web]
    ("[web]\naddress = ':8081'", lambda s: sorted((n, p.address) for n, p in s.entry_points.items()),
     [("http", ":80"), ("traefik", ":8081")]),
    ("[web]", lambda s: (s.ping.entry_point, s.api.entry_point, s.metrics, s.web), ("traefik", "traefik", None, None)),
    ("[web.auth.basic]\nusers = ['a:b']", lambda s: s.entry_points["traefik"].auth,
     EntryPointAuth(basic=Users(("a:b",)))),
    ("[web]\ncertFile = '/c'\nkeyFile = '/k'", lambda s: s.entry_points["traefik"].tls.certificates[0].cert_file, "/c"),
    ("[web]\npath = '/edge/'", lambda s: (s.ping.prefix, s.api.prefix), ("/edge", "/edge")),
    ("[web]\npath = '/'", lambda s: (s.ping.prefix, s.api.prefix), ("", "")),
    ("[web]\n[web.statistics]\nRecentErrors = 20", lambda s: s.api.statistics.recent_errors, 20),
    ("[web]\n[web.metrics.prometheus]\nBuckets = [0.1, 0.5]", lambda s: s.metrics.prometheus.buckets, (0.1, 0.5)),
    ("[web]\ndebug = true", lambda s: s.log_level, "DEBUG"),
    ("[web]\naddress=':1'\n[ping]", lambda s: s.entry_points["traefik"].address, ":8080"),
    ("[web]\naddress=':1'\n[entryPoints.traefik]\naddress=':3'\n[entryPoints.traefik.auth.basic]\nusers=['a:b']",
     lambda s: (s.entry_points["traefik"].address, s.entry_points["traefik"].auth is not None), (":1", True)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "look", "expected"), SERVED)
def test_served(text: str, look: Any, expected: object) -> None:
    read: Settings = parse(text, "f.toml").settings
    assert look(read) == expected
