"""h2spec, a conformance test for servers of HTTP/2, through to an HTTP/1.1 endpoint.

`make test-http2` builds it from its Go module when it is missing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import Ask, Field, Row
from tests.support.go_programs import H2SPEC, Unavailable, program
from tests.support.processes import wait_until

pytestmark = pytest.mark.http2

# A plain port does not know yet that it was to be HTTP/2, and says 400 as HTTP/1.1 does.
ALLOWED = {"h2": 0, "h2c": 1}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with Field(
        tmp_path_factory.mktemp("h2spec"),
        [Row("everything")],
        entry_points={"https": "[entryPoints.https.tls]"},
        default_entry_points='["http", "https"]',
    ) as field:
        # The address h2spec names is that of the route, whatever it is called.
        file = field.folder / "manifests" / "all.yaml"
        file.write_text(file.read_text().replace('"row0.test"', '"127.0.0.1"'))
        wait_until(lambda: field.ask(Ask(), "127.0.0.1").status == 200, "the route", 10)
        # An answer that overtakes what is wrong with its request hides how that is told.
        field.backend.always["/"] = {"delay": 0.05}
        yield field


@pytest.mark.parametrize("how", ["h2", "h2c"])
@pytest.mark.timeout(300)
def test_h2spec(running: Field, how: str) -> None:
    try:
        tool = program(H2SPEC)
    except Unavailable as problem:
        pytest.skip(str(problem))
    port = running.ports["https" if how == "h2" else "http"]
    more = ["-t", "-k"] if how == "h2" else []
    done = subprocess.run(
        [tool, "-h", "127.0.0.1", "-p", str(port), "--strict", "-o", "3", *more],
        capture_output=True,
        text=True,
        timeout=280,
    )
    found = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    failed = done.stdout.partition("Failures:")[2]
    assert (int(found[1]), int(found[3])) == (146, 0)
    assert int(found[4]) == ALLOWED[how], failed
    assert how == "h2" or "Sends invalid connection preface" in failed
