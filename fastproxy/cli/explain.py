"""`fastproxy explain`: why an Ingress is served, or is not.

Exit code 0: all its paths are served, 1: some or none, 2: there is no such Ingress, or it could not
be looked at.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import TYPE_CHECKING, Any

from fastproxy.cli.looking import add_objects, add_output, inspection
from fastproxy.cli.printing import annotation_of, emit, finding_line, table
from fastproxy.model.configuration import ObjectReference

if TYPE_CHECKING:
    from rich.console import Console

    from controller.report.explanation import Explanation

COLOURS = {"served": "green", "partly": "yellow", "ignored": "red", "other_class": "dim"}


def add(commands: Any) -> None:
    command = commands.add_parser(
        "explain",
        "say why an Ingress is served, or is not",
        examples=(
            "fastproxy explain ingress shop/web --manifests deploy/",
            "kubectl get ingress,svc,endpointslices -A -o yaml |"
            " fastproxy explain ingress shop/web --manifests -",
        ),
    )
    command.add_argument("kind", choices=("ingress",), help="what is to be explained")
    command.add_argument("name", metavar="NAMESPACE/NAME", help="which one")
    add_objects(command)
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from controller.report.explanation import Verdict, explain

    found = inspection(arguments, arguments.manifests)
    if found is None:
        return 2
    namespace, slash, name = arguments.name.partition("/")
    reference = ObjectReference(
        "Ingress", *((namespace, name) if slash else ("default", namespace))
    )
    try:
        explanation = explain(found, reference)
    except KeyError:
        there = [f"{a}/{b}" for a, b in found.view.looked.snapshot.ingresses]
        close = difflib.get_close_matches(f"{reference.namespace}/{reference.name}", there, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"fastproxy: there is no {reference}{hint}", file=sys.stderr)
        return 2
    emit(
        arguments,
        document(explanation),
        lambda console: show(console, explanation),
        [annotation_of(finding) for finding in explanation.findings],
    )
    return int(explanation.verdict is not Verdict.SERVED)


def document(explanation: Explanation) -> dict[str, Any]:
    reference = explanation.ingress
    return {
        "namespace": reference.namespace,
        "name": reference.name,
        "verdict": explanation.verdict.value,
        "sentence": explanation.sentence,
        "paths": [
            {
                "field": path.field,
                "host": path.host,
                "path": path.path,
                "served": path.served,
                "route": path.route,
                "reason": path.reason,
                "owner": str(path.owner) if path.owner else "",
                "hiddenBy": path.hidden_by,
            }
            for path in explanation.paths
        ],
        "findings": [finding.as_fields() for finding in explanation.findings],
    }


def show(console: Console, explanation: Explanation) -> None:
    verdict = explanation.verdict.value
    console.print(f"{explanation.ingress}: ", end="")
    console.print(verdict, style=COLOURS[verdict], end="")
    console.print(f". {explanation.sentence}")
    if explanation.paths:
        rows = table("HOST", "PATH", "ROUTE", "")
        for path in explanation.paths:
            about = path.reason
            if path.owner:
                about = f"the route is that of {path.owner}, this Ingress adds to it"
            if path.hidden_by:
                about = f"its requests go to {path.hidden_by}"
            host = path.host or ("(default backend)" if not path.path else "(every host)")
            rows.add_row(host, path.path or "(every path)", path.route or "none", about)
        console.print()
        console.print(rows)
    if explanation.findings:
        console.print()
    for finding in explanation.findings:
        console.print(finding_line(finding), soft_wrap=True)
