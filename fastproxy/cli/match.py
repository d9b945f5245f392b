"""`fastproxy match`: which route takes a request, and why not the others.

Exit code 0: a route takes it, 1: none does (404), 2: nothing could be looked at, or no worker would
take such a request.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastproxy.cli.looking import add_objects, add_output, inspection
from fastproxy.cli.printing import Annotation, emit
from fastproxy.cli.routes import document as route_document
from fastproxy.settings.options import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from controller.report.matching import Candidate

DEFAULT_PORTS = {"http": 80, "https": 443}


def add(commands: Any) -> None:
    command = commands.add_parser(
        "match",
        "say which route takes a request",
        examples=(
            "fastproxy match --manifests deploy/ https://shop.example/api/v1",
            "fastproxy match --manifests deploy/ -X POST -H 'Host: shop.example' http://10.0.0.1/",
        ),
    )
    command.add_argument("url", metavar="URL")
    command.add_argument("-X", "--request", metavar="METHOD", default="GET", help="default: GET")
    command.add_argument(
        "-H", "--header", metavar="NAME: VALUE", action="append", default=[], dest="headers",
        help="may be given several times",
    )  # fmt: skip
    command.add_argument(
        "--entry-point", metavar="NAME", help="default: the one of the URL's port, or scheme"
    )
    add_objects(command)
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from controller.report.matching import Router, Unusable, request_of

    found = inspection(arguments, arguments.manifests)
    if found is None:
        return 2
    try:
        headers = [_header(text) for text in arguments.headers]
        request = request_of(arguments.request, arguments.url, headers)
        point = arguments.entry_point or entry_point_of(arguments.url, found.view.settings)
        if point not in found.view.settings.entry_points:
            known = ", ".join(sorted(found.view.settings.entry_points))
            raise Unusable(f"there is no entry point {point}; there are {known}")
    except ValueError as problem:
        print(f"fastproxy: {problem}", file=sys.stderr)
        return 2
    router = Router(found.view)
    name, redirect = router.route(point, request)
    candidates = router.candidates(point, request)
    answer = {
        "entryPoint": point,
        "request": {
            "method": request.method,
            "host": request.host,
            "path": request.path,
            "query": request.query,
        },
        "taken": bool(name),
        "route": None,  # also for a path of our own, such as /api/findings
        "answer": _answer(name, redirect),
        "elsewhere": {
            other: taken
            for other in router.entry_points
            if not name and (taken := router.route(other, request)[0])
        },
        "candidates": [_candidate(candidate) for candidate in candidates],
    }
    route = found.view.routes.get(name)
    if route is not None:
        answer["route"] = route_document(route, router.backend(route))
    notice = Annotation("notice" if name else "warning", arguments.url, str(answer["answer"]))
    emit(arguments, answer, lambda console: show(console, answer), [notice])
    return 0 if name else 1


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"{text!r} is no header; write 'Name: value'")
    return name.strip(), value.strip()


def entry_point_of(url: str, settings: Settings) -> str:
    """The entry point which listens on the port of a URL, else the first of its scheme."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
    points = settings.entry_points
    ordered = [*settings.default_entry_points, *sorted(points)]
    ordered = [name for name in ordered if name in points]
    for name in ordered:
        if points[name].address.rpartition(":")[2] == str(port):
            return name
    with_tls = parts.scheme == "https"
    return next((name for name in ordered if bool(points[name].tls) is with_tls), ordered[0])


def _answer(name: str, redirect: str) -> str:
    if not name:
        return "404: no route matches"
    if redirect:
        return f"301 to the same path {redirect} its last slash"
    return f"route {name}"


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "route": candidate.route.name,
        "matches": candidate.matches,
        "priority": candidate.route.priority,
        "tieBreak": candidate.route.tie_break,
        "origin": str(candidate.route.origin) if candidate.route.origin else "",
        "conditions": [{"text": c.text, "holds": c.holds} for c in candidate.conditions],
    }


def show(console: Console, answer: dict[str, Any]) -> None:
    request, route = answer["request"], answer["route"]
    query = f"?{request['query']}" if request["query"] is not None else ""
    console.print(f"{request['method']} {request['host']}{request['path']}{query}")
    console.print(f"└─ entry point {answer['entryPoint']}")
    if route is None:
        console.print(f"   └─ {answer['answer']}", style="red" if not answer["taken"] else "")
    else:
        whose = f", of {route['origin']}" if route["origin"] else ""
        console.print(f"   └─ route {route['name']} ({route['rule']}){whose}", style="green")
        if answer["answer"].startswith("301"):
            console.print(f"      ├─ {answer['answer']}")
        for feature in route["features"]:
            console.print(f"      ├─ {feature}")
        endpoints = [f"{e['url']} (weight {e['weight']})" for e in route["endpoints"]]
        console.print(f"      └─ backend {route['backend']}")
        for endpoint in endpoints or ["no endpoint: 503"]:
            console.print(f"         └─ {endpoint}")
    for point, name in answer["elsewhere"].items():
        console.print(f"\nOn entry point {point} route {name} would take it.")
    others = [c for c in answer["candidates"] if route is None or c["route"] != route["name"]]
    if others:
        console.print("\nother routes:")
    for other in others:
        failed = [c["text"] for c in other["conditions"] if not c["holds"]]
        why = f"fails {'; '.join(failed)}" if failed else "matches too, and comes later"
        console.print(f"  {other['route']} (priority {other['priority']}): {why}")
