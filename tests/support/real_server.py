"""A real `kube-apiserver` with its `etcd` on loopback, started and stopped by the test.

No controllers run behind it: tests create EndpointSlices themselves. The test itself works through
an administrator's token; `token_for` gives the token of a ServiceAccount, so that a client has
exactly the rights of our manifests.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import trustme
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from controller.kubernetes.api import Api, ApiError, Token, object_path
from controller.kubernetes.resources import (
    CLASSES,
    ENDPOINTS,
    EVENTS,
    INGRESSES,
    LEASES,
    SECRETS,
    SERVICES,
    SLICES,
    Resource,
)
from tests.support.kubernetes_binaries import Binaries
from tests.support.running import free_port

Object = dict[str, Any]
START_SECONDS = 90.0
ADMINISTRATOR = "administrator-token"
NAMESPACES = Resource("Namespace", "v1", "namespaces", namespaced=False)
ACCOUNTS = Resource("ServiceAccount", "v1", "serviceaccounts")
RBAC = "rbac.authorization.k8s.io/v1"
RESOURCES = {
    resource.kind: resource
    for resource in (
        INGRESSES[0],
        CLASSES[0],
        SLICES[0],
        ENDPOINTS,
        SERVICES,
        SECRETS,
        LEASES,
        EVENTS,
        NAMESPACES,
        ACCOUNTS,
        Resource("ClusterRole", RBAC, "clusterroles", namespaced=False),
        Resource("ClusterRoleBinding", RBAC, "clusterrolebindings", namespaced=False),
        Resource("Role", RBAC, "roles"),
        Resource("RoleBinding", RBAC, "rolebindings"),
        Resource("Deployment", "apps/v1", "deployments"),
        Resource("DaemonSet", "apps/v1", "daemonsets"),
        Resource("ConfigMap", "v1", "configmaps"),
        Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        Resource("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
    )
}


class Administrator(Api):
    """What fastproxy itself never does."""

    def delete(self, path: str) -> None:
        self._call("DELETE", path)


class RealServer:
    """The two processes; `stop_apiserver` and `start_apiserver` make a restart."""

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="fastproxy-apiserver-"))
        self._etcd: subprocess.Popen[bytes] | None = None
        self._apiserver: subprocess.Popen[bytes] | None = None
        self._etcd_port, self._peer_port, self._port = (free_port() for _ in range(3))
        self.ca_file = self._folder / "ca.crt"
        self._write_credentials()
        self.api = Administrator(self.url, Token(ADMINISTRATOR), str(self.ca_file))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def client(self, token: str) -> Api:
        return Api(self.url, Token(token), str(self.ca_file))

    def start(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._etcd = self._spawn(
            "etcd",
            str(self._binaries.etcd),
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync=true",
            "--log-level=error",
        )
        self.start_apiserver()

    def start_apiserver(self) -> None:
        folder = self._folder
        self._apiserver = self._spawn(
            "kube-apiserver",
            str(self._binaries.apiserver),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            # Needs a controller that makes default accounts and their tokens.
            "--disable-admission-plugins=ServiceAccount",
            f"--tls-cert-file={folder / 'server.crt'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--v=0",
        )
        self._wait()

    def stop_apiserver(self, *, kill: bool = False) -> None:
        stop(self._apiserver, signal.SIGKILL if kill else signal.SIGTERM)
        self._apiserver = None

    def hang(self) -> None:
        """Let the API server stop in the middle of whatever it does; connections stay open."""
        assert self._apiserver is not None
        self._apiserver.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._apiserver is not None
        self._apiserver.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.stop_apiserver(kill=True)
        stop(self._etcd, signal.SIGKILL)
        self._etcd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def compact(self) -> None:
        """Make etcd forget its history up to now."""
        http = urllib3.PoolManager()
        base = f"http://127.0.0.1:{self._etcd_port}/v3/kv"
        answer = http.request("POST", f"{base}/range", body=b'{"key":"AA=="}')
        revision = orjson.loads(answer.data)["header"]["revision"]
        body = orjson.dumps({"revision": revision, "physical": True})
        done = http.request("POST", f"{base}/compaction", body=body)
        if done.status != 200:
            raise AssertionError(f"compaction: {done.status} {done.data!r}")

    def create(self, kind: str, new: Object) -> Object:
        if kind == "Service" and new["spec"].get("type", "ClusterIP") == "ClusterIP":
            # Addresses cannot be allocated in the first seconds after a restart.
            new = {**new, "spec": {"clusterIP": "None", **new["spec"]}}
        return self.api.create(self._path(kind, new), new)

    def update(self, kind: str, new: Object) -> Object:
        """Replace an object whatever its version."""
        path = self._path(kind, new, named=True)
        for _ in range(5):
            version = self.api.get(path)["metadata"]["resourceVersion"]
            metadata = {**new["metadata"], "resourceVersion": version}
            try:
                return self.api.replace(path, {**new, "metadata": metadata})
            except ApiError as error:
                if not error.conflict:
                    raise
        raise AssertionError(f"{path} is changed by somebody else all the time")

    def apply(self, kind: str, new: Object) -> Object:
        try:
            return self.create(kind, new)
        except ApiError as error:
            if not error.conflict:
                raise
            return self.update(kind, new)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.api.delete(object_path(RESOURCES[kind], namespace, name))

    def read(self, kind: str, namespace: str, name: str) -> Object:
        return self.api.get(object_path(RESOURCES[kind], namespace, name))

    def items(self, kind: str, namespace: str = "") -> list[Object]:
        return self.api.list(RESOURCES[kind], namespace).items

    def set_status(self, kind: str, namespace: str, name: str, status: Object) -> Object:
        path = object_path(RESOURCES[kind], namespace, name, "status")
        return self.api.patch(path, {"status": status})

    def namespace(self, name: str) -> None:
        """Create a namespace unless it exists."""
        with contextlib.suppress(ApiError):
            self.create("Namespace", {"metadata": {"name": name}})

    def token_for(self, namespace: str, account: str, bound_secret: Object | None = None) -> str:
        """Request a token of a ServiceAccount, which dies with `bound_secret` if given."""
        spec: Object = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}
        if bound_secret is not None:
            metadata = bound_secret["metadata"]
            spec["boundObjectRef"] = {
                "kind": "Secret",
                "apiVersion": "v1",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        path = object_path(ACCOUNTS, namespace, account, "token")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token: str = self.api.create(path, body)["status"]["token"]
        return token

    def kubeconfig(self) -> Path:
        """Write a kubeconfig of the administrator for kubectl."""
        path = self._folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)},
                }
            ],
            "users": [{"name": "admin", "user": {"token": ADMINISTRATOR}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
        path.write_bytes(orjson.dumps(config))
        return path

    def _path(self, kind: str, new: Object, *, named: bool = False) -> str:
        resource, metadata = RESOURCES[kind], new["metadata"]
        namespace = metadata.get("namespace", "")
        if named:
            return object_path(resource, namespace, metadata["name"])
        return resource.path(namespace)

    def _write_credentials(self) -> None:
        folder = self._folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        server = authority.issue_cert("127.0.0.1", "localhost")
        server.cert_chain_pems[0].write_to_path(str(folder / "server.crt"))
        server.private_key_pem.write_to_path(str(folder / "server.key"))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        (folder / "accounts.key").write_bytes(pem)
        (folder / "tokens.csv").write_text(f"{ADMINISTRATOR},admin,admin,system:masters\n")

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        last: object = None
        while time.monotonic() < deadline:
            if self._apiserver is None or self._apiserver.poll() is not None:
                break
            try:
                # "default" is made after the RBAC roles, so authorisation works from then on.
                self.api.get("/api/v1/namespaces/default")
                return
            except ApiError as error:
                last = error
            time.sleep(0.1)
        log = (self._folder / "kube-apiserver.log").read_text()[-2000:]
        self.stop()
        raise AssertionError(f"kube-apiserver did not start: {last}\n{log}")


def stop(process: subprocess.Popen[bytes] | None, how: int) -> None:
    if process is None:
        return
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
