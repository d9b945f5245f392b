"""The debug form names everything and reveals nothing."""

from __future__ import annotations

import json

from controller.report.describe import describe
from fastproxy.model.configuration import Backend, Certificate, Desired, Endpoint, Route


def test_names_without_secrets() -> None:
    desired = Desired(
        (Route("a/", ("http",), (), 7, "a/"),),
        (Backend("a/", (Endpoint("http", "fd00::1", 80, 3),)),),
        (Certificate("blue/cert", ("https",), b"CHAIN", b"PRIVATE"),),
    )
    text = describe(desired)
    assert "PRIVATE" not in text and "CHAIN" not in text
    document = json.loads(text)
    assert document["frontends"]["a/"]["priority"] == 7
    servers = document["backends"]["a/"]["servers"]
    assert servers == {"http://[fd00::1]:80": {"url": "http://[fd00::1]:80", "weight": 3}}
    assert document["tls"] == [{"name": "blue/cert", "entryPoints": ["https"]}]
