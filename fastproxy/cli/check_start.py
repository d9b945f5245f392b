"""What is wrong with settings and shows only where they are used: for `check` and for `run`.

Traefik 1.7 starts with a provider that cannot work, and answers every request with 404. fastproxy
does not start: a Pod that never becomes ready keeps the one before in service.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastproxy.settings.options import HostResolver, Kubernetes, Settings
from fastproxy.settings.tls_options import read_pem

Found = Iterator[tuple[str, str]]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def problems(
    settings: Settings, asks_api: bool = True, environment: Mapping[str, str] = os.environ
) -> Found:
    """Yield key and sentence of what keeps the provider, or trust in endpoints, from working.

    `asks_api`: objects come from the API server, and not from manifests.
    """
    for number, source in enumerate(settings.root_cas):
        if not _holds_certificates(read_pem(source)):
            yield f"rootCAs[{number}]", "holds no certificate; name a PEM file, or write PEM text"
    log = settings.traefik_log.file_path
    if log and not _can_write(Path(log)):
        yield "traefikLog.filePath", f"{log!r} cannot be written; correct the path or its rights"
    if settings.kubernetes is not None:
        yield from _selection(settings.kubernetes)
        if asks_api:
            yield from _connection(settings.kubernetes, environment)


def warnings(
    settings: Settings, asks_api: bool = True, environment: Mapping[str, str] = os.environ
) -> Found:
    """Yield key and sentence of what may be right elsewhere but is not here."""
    options = settings.kubernetes if asks_api else None
    if options is not None and not options.endpoint and not _in_cluster(environment):
        yield (
            "kubernetes.endpoint",
            "is empty, which works inside of a cluster only; name the URL of the API server",
        )
    file = settings.host_resolver.resolv_conf if settings.host_resolver is not None else ""
    if file not in ("", HostResolver().resolv_conf) and not Path(file).is_file():
        yield (
            "hostResolver.resolvConf",
            f"{file!r} is no file, so 127.0.0.1 is asked; correct the path",
        )


def _selection(options: Kubernetes) -> Found:
    from controller.translate.selection import parse_selector

    try:
        parse_selector(options.label_selector)
    except ValueError as problem:
        yield (
            "kubernetes.labelselector",
            f"cannot be read ({problem}); write for example app=web,tier in (a,b),!legacy",
        )
    for name in options.namespaces:
        if not LABEL.fullmatch(name):
            yield "kubernetes.namespaces", f"{name!r} is no name of a namespace; correct it"


def _connection(options: Kubernetes, environment: Mapping[str, str]) -> Found:
    from controller.kubernetes.api import ConfigurationError, connect

    if not options.endpoint and not _in_cluster(environment):
        return
    if options.cert_auth_file_path and not _in_cluster(environment):
        key = "kubernetes.certAuthFilePath"
        try:
            ssl.create_default_context(cafile=options.cert_auth_file_path)
        except (OSError, ssl.SSLError) as problem:
            yield key, f"cannot be used ({problem}); name a PEM file with the CA of the API server"
            return
    try:
        connect(options.endpoint, options.token, options.cert_auth_file_path, environment)
    except (ConfigurationError, ValueError) as problem:
        key = "kubernetes" if _in_cluster(environment) else "kubernetes.endpoint"
        yield key, f"cannot be used ({problem}); correct it"


def _can_write(path: Path) -> bool:
    """Return whether a file is there to be written, or can be made with its directories."""
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    above = next(each for each in path.absolute().parents if each.exists())
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _in_cluster(environment: Mapping[str, str]) -> bool:
    return bool(
        environment.get("KUBERNETES_SERVICE_HOST") and environment.get("KUBERNETES_SERVICE_PORT")
    )


def _holds_certificates(text: bytes) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=text.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return False
    return True
