"""What goes wrong when a route is wired to an entry point is a finding too."""

from __future__ import annotations

import pytest

from controller.loop import Controller
from controller.report.build import build_findings, failures_as_findings
from controller.snapshot.snapshot import Snapshot
from fastproxy.model.configuration import Backend, Desired, Endpoint, ObjectReference, Route
from fastproxy.model.matchers import Host
from tests.support.cases import FOLDER, read_case, settings

INGRESS = ObjectReference("Ingress", "d", "i")
DESIRED = Desired(
    (Route("r", ("http",), (Host(("h",)),), 1, "b", origin=INGRESS),), (Backend("b"),)
)


def test_failures_name_the_ingress() -> None:
    (finding,) = failures_as_findings(DESIRED, [("r", "no TLS here"), ("gone", "x")])
    assert (finding.code, finding.object) == ("FP170", INGRESS)
    assert "no TLS here" in finding.sentence


def test_a_desired_that_can_be_built_has_no_findings() -> None:
    assert build_findings(DESIRED, settings({})) == ()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_whatever_translation_accepts_can_be_built(path: object) -> None:
    case = read_case(FOLDER / str(path))
    assert build_findings(case.run().desired, case.settings) == ()


class Publisher:
    generation = 0
    failures = (("r", "no TLS here"),)

    def publish(self, desired: Desired) -> bool:
        return True

    def show(self, path: str, content: bytes) -> None:
        """Nobody looks."""

    def set_endpoints(self, backend_name: str, endpoints: tuple[Endpoint, ...]) -> None:
        pass


def test_the_controller_tells_them() -> None:
    case = read_case(FOLDER / "vector_06_no_host_no_path.yaml")
    publisher = Publisher()
    publisher.failures = (("service8", "no TLS here"),)
    controller = Controller(case.settings, publisher)
    controller.apply(case.snapshot)
    assert [finding.code for finding in controller.findings] == ["FP170"]
    publisher.failures = ()
    controller.apply(Snapshot())
    assert controller.findings == ()
