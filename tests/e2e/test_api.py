"""`/api/findings`: from a manifest with a mistake to JSON at the API entry point."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.api_store import wait_until
from tests.support.running import Proxy, free_port, ingress_manifest

SETTINGS = """
[entryPoints.http]
address = "127.0.0.1:{port}"
[entryPoints.inside]
address = "127.0.0.1:{inside}"
[entryPoints.inside.auth.basic]
users = ["ann:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ="]
[api]
entryPoint = "inside"
"""


def get(port: int, password: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/findings")
    request.add_header("Authorization", "Basic " + base64.b64encode(password.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def test_findings_are_shown_behind_the_entry_points_authentication(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "a.yaml").write_text(ingress_manifest("a", [("a.test", "/", "nowhere")]))
    port, inside = free_port(), free_port()
    proxy = Proxy(tmp_path, manifests, SETTINGS.format(port=port, inside=inside), port)
    proxy.launch()
    try:
        wait_until(lambda: get(inside, "ann:secret")[0] == 200)
        (finding,) = json.loads(get(inside, "ann:secret")[1])
        assert (finding["kind"], finding["name"]) == ("Ingress", "a")
        assert "nowhere" in finding["sentence"]
        assert get(inside, "ann:wrong")[0] == 401
        (manifests / "a.yaml").unlink()
        wait_until(lambda: json.loads(get(inside, "ann:secret")[1]) == [])
    finally:
        proxy.stop()
