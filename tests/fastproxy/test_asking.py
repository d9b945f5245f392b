"""`explain`, `match`, `routes` and `diff`: the same answers from files and from a cluster."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.report.inspection import inspect
from controller.report.matching import Router, Unusable, request_of
from fastproxy.cli import main
from fastproxy.cli.match import entry_point_of
from fastproxy.cli.printing import Annotation
from fastproxy.engine.http.canonical import Refused, canonical
from fastproxy.settings.options import EntryPoint, EntryPointTls, Settings
from tests.support.api_server import ApiServer
from tests.support.cases import FOLDER
from tests.support.cases import settings as case_settings

OURS = "traefik.ingress.kubernetes.io/"


def ingress(name: str, *paths: str, host: str = "shop.example", **more: Any) -> dict[str, Any]:
    """Paths are `PATH SERVICE`; annotations, or `class_name`, are `more`."""
    items = [
        {"path": path, "pathType": "Prefix",
         "backend": {"service": {"name": service, "port": {"number": 80}}}}
        for path, service in (text.split() for text in paths)
    ]  # fmt: skip
    spec: dict[str, Any] = {"rules": [{"host": host, "http": {"paths": items}}]}
    if "class_name" in more:
        spec["ingressClassName"] = more.pop("class_name")
    annotations = {OURS + key.replace("_", "-"): value for key, value in more.items()}
    metadata = {"namespace": "shop", "name": name, "annotations": annotations}
    version = "networking.k8s.io/v1"
    return {"apiVersion": version, "kind": "Ingress", "metadata": metadata, "spec": spec}


def service(name: str) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name}
    spec = {"ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def pods(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": f"{name}-1",
                     "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }  # fmt: skip


OBJECTS = [
    ingress("whole", "/ web", "/a web"),
    ingress("partly", "/b web", "/c gone"),
    ingress("nothing", "/d gone"),
    ingress("foreign", "/e web", class_name="nginx"),
    ingress("hidden", "/ web", host="other.example"),
    ingress("hiding", "/ web", host="other.example", priority="900"),
    ingress("second", "/a web"),
    ingress("guarded", "/f web", auth_type="digest", auth_secret="absent"),
    service("web"),
    pods("web", "10.0.0.1", "10.0.0.2"),
]


@pytest.fixture(params=["files", "several", "standard input", "cluster"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arguments that lead to OBJECTS."""
    settings = tmp_path / "settings.toml"
    text = '[entryPoints.http]\naddress = ":80"\n[entryPoints.https]\naddress = ":443"\n'
    text += "[entryPoints.https.tls]\n"
    if request.param != "cluster":
        settings.write_text(text)
    chosen = ["--configfile", str(settings)]
    if request.param == "cluster":
        with ApiServer() as server:
            for item in OBJECTS:
                server.create(item["kind"], item)
            settings.write_text(f'{text}[kubernetes]\nendpoint = "{server.url}"\n')
            yield chosen
        return
    halves = [OBJECTS[:4], OBJECTS[4:]] if request.param == "several" else [OBJECTS]
    paths = []
    for number, half in enumerate(halves):
        folder = tmp_path / f"m{number}"
        folder.mkdir()
        (folder / "objects.yaml").write_text(yaml.safe_dump_all(half))
        paths.append(str(folder))
    if request.param == "standard input":
        content = (tmp_path / "m0/objects.yaml").read_bytes()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        paths = ["-"]
    yield [*chosen, *(part for path in paths for part in ("--manifests", path))]


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, Any]:
    code = main([*command, "--output", "json"])
    return code, json.loads(capsys.readouterr().out)


# Ingress, exit code, verdict, what the sentence and each path say
EXPLAINED: list[tuple[str, int, str, str, list[dict[str, Any]]]] = [
    ("whole", 0, "served", "2 paths served.",
     [{"route": "shop.example/"}, {"owner": "Ingress shop/second"}]),
    ("partly", 1, "partly", "1 of 2 paths served.",
     [{"served": True}, {"served": False, "reason": "FP102 Service gone does not exist"}]),
    ("nothing", 1, "ignored", "Service gone does not exist", [{"route": ""}]),
    ("foreign", 1, "other_class", "Its class is nginx; served is traefik.", [{"served": False}]),
    ("hidden", 0, "served", "1 path served; 1 of them hidden",
     [{"hiddenBy": "900-other.example/ of Ingress shop/hiding"}]),
    ("hiding", 0, "served", "1 path served.", [{"hiddenBy": ""}]),
    ("guarded", 1, "ignored", "absent", [{"reason": "FP163"}]),
]  # fmt: skip


def test_explain(source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name, code, verdict, sentence, paths in EXPLAINED:
        found = answer(capsys, "explain", "ingress", f"shop/{name}", *source[:2], *source[2:])
        if "-" in source:  # it is read once
            return
        assert (found[0], found[1]["verdict"]) == (code, verdict), name
        assert sentence in found[1]["sentence"]
        for expected, path in zip(paths, found[1]["paths"], strict=True):
            for member, value in expected.items():
                got = path[member]
                assert got.startswith(value) if isinstance(value, str) and value else got == value


def test_one_answer_from_every_source(
    source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, routes = answer(capsys, "routes", *source)
    assert code == 0
    rows = {row["name"]: (row["rule"], row["priority"], row["origin"]) for row in routes}
    assert rows["shop.example/a"] == (
        "Host:shop.example;PathPrefix:/a", 30, "Ingress shop/second",
    )  # fmt: skip
    assert rows["900-other.example/"][1:] == (900, "Ingress shop/hiding")
    assert set(rows) == {
        "shop.example/", "shop.example/a", "shop.example/b", "other.example/", "900-other.example/",
    }  # fmt: skip
    assert routes[0]["endpoints"] == [
        {"url": f"http://10.0.0.{number}:8080", "weight": 1} for number in (1, 2)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "objects"
    path.mkdir()
    (path / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    return path


@pytest.fixture
def files(folder: Path, tmp_path: Path) -> list[str]:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'defaultEntryPoints = ["http", "https"]\n[api]\nentryPoint = "https"\n'
        '[entryPoints.http]\naddress = ":80"\n[entryPoints.https]\naddress = ":8443"\n'
        '[entryPoints.https.tls]\n[entryPoints.inside]\naddress = ":9000"\n'
    )
    return ["--configfile", str(settings), "--manifests", str(folder)]


# arguments, exit code, entry point, route, answer
MATCHED: list[tuple[list[str], int, str, str | None, str]] = [
    (["http://shop.example/"], 0, "http", "shop.example/", "route shop.example/"),
    (["shop.example"], 0, "http", "shop.example/", "route"),
    (["https://SHOP.example:8443/a/x?q=1"], 0, "https", "shop.example/a", "route"),
    (["https://shop.example/x/../b//y"], 0, "https", "shop.example/b", "route"),
    (["http://shop.example/%62"], 0, "http", "shop.example/b", "route"),
    (["http://10.0.0.1/b", "-H", "Host: shop.example"], 0, "http", "shop.example/b", "route"),
    (["http://other.example/"], 0, "http", "900-other.example/", "route"),
    (["http://shop.example:9000/"], 1, "inside", None, "404: no route matches"),
    (["http://unknown.example/"], 1, "http", None, "404: no route matches"),
    (["https://x.example/api/findings"], 0, "https", None, "route /api/findings@api"),
    (["https://x.example/api/findings", "-X", "POST"], 1, "https", None, "404"),
    (["http://shop.example/", "--entry-point", "https"], 0, "https", "shop.example/", "route"),
]


@pytest.mark.parametrize(("asked", "code", "point", "route", "text"), MATCHED)
def test_match(
    files: list[str], capsys: pytest.CaptureFixture[str], asked: list[str], code: int, point: str,
    route: str | None, text: str,
) -> None:  # fmt: skip
    found = answer(capsys, "match", *files, *asked)
    assert found[0] == code
    assert (found[1]["entryPoint"], found[1]["answer"][: len(text)]) == (point, text)
    assert (found[1]["route"] or {}).get("name") == route


def test_match_says_why_not(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, found = answer(capsys, "match", *files, "http://other.example/")
    first, second, *_ = found["candidates"]
    assert (first["route"], first["matches"]) == ("900-other.example/", True)
    assert (second["route"], second["matches"]) == ("other.example/", True)
    _, found = answer(capsys, "match", *files, "http://shop.example:9000/b")
    assert found["elsewhere"] == {"http": "shop.example/b", "https": "shop.example/b"}
    _, found = answer(capsys, "match", *files, "http://unknown.example/b")
    nearest = found["candidates"][0]
    failed = [each["text"] for each in nearest["conditions"] if not each["holds"]]
    assert failed == ["Host:shop.example"] and not nearest["matches"]


REFUSED: list[tuple[list[str], str]] = [
    (["match", "ftp://shop.example/"], "is no URL of HTTP"),
    (["match", "http://shop.example/%zz"], "a worker answers 400"),
    (["match", "http://shop.example/", "-H", "novalue"], "'novalue' is no header"),
    (["match", "http://shop.example/", "--entry-point", "x"], "there is no entry point x; there"),
    (["explain", "ingress", "shop/hole"], "there is no Ingress shop/hole; did you mean shop/whole"),
    (["explain", "ingress", "whole"], "there is no Ingress default/whole"),
]


@pytest.mark.parametrize(("command", "sentence"), REFUSED)
def test_what_cannot_be_asked(
    files: list[str], capsys: pytest.CaptureFixture[str], command: list[str], sentence: str
) -> None:
    assert main([*command, *files]) == 2
    assert sentence in capsys.readouterr().err


TEXTS: list[tuple[list[str], list[str]]] = [
    (["explain", "ingress", "shop/partly"],
     [r"^Ingress shop/partly: partly\. 1 of 2 paths served\.$",
      r"^shop\.example +/b +shop\.example/b *$", r"^shop\.example +/c +none +FP102 Service gone",
      r"all\.yaml:\d+: error   FP102 Ingress shop/partly"]),
    (["match", "http://other.example/x"],
     [r"^GET other\.example/x$", r"entry point http$",
      r"route 900-other\.example/ \(Host:other",
      r"http://10\.0\.0\.1:8080 \(weight 1\)$",
      r"^  other\.example/ \(priority 30\): matches too"]),
    (["match", "http://nowhere.example/x"],
     [r"404: no route matches$", r"\(priority \d+\): fails Host:other\.example$"]),
    (["routes"], [r"^ROUTE +RULE +PRIORITY", r"^shop\.example/ +Host:shop", r"^5 routes$"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "lines"), TEXTS, ids=lambda value: str(value[0]))
def test_text(
    files: list[str], capsys: pytest.CaptureFixture[str], command: list[str], lines: list[str]
) -> None:
    main([*command, *files])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed  # no colour where nobody sees it
    for line in lines:
        assert re.search(line, printed, re.MULTILINE), printed


@pytest.mark.parametrize(
    "command",
    [["explain", "ingress", "shop/partly"], ["routes"], ["match", "http://shop.example/"]],
    ids=lambda command: command[0],
)
def test_the_other_forms(
    files: list[str], capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    code, document = answer(capsys, *command, *files)
    assert main([*command, *files, "-o", "yaml"]) == code
    assert yaml.safe_load(capsys.readouterr().out) == document
    assert main([*command, *files, "-o", "github"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(re.match(r"::(error|warning|notice) .*title=[^:]+::.", x) for x in lines)


def test_annotations_are_escaped() -> None:
    text = str(Annotation("error", "a:b,c%", "first\nsecond: 5%, or so", "x,y.yaml", 3))
    assert text == (
        "::error file=x%2Cy.yaml,line=3,title=a%3Ab%2Cc%25::first%0Asecond: 5%25, or so"
    )


def changed(*objects: Any, without: str = "") -> list[Any]:
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    kept = [
        item for item in OBJECTS
        if (item["kind"], item["metadata"]["name"]) not in names
        and item["metadata"]["name"] != without
    ]  # fmt: skip
    return [*kept, *objects]


# new objects, exit code, kind, name and what of each difference
DIFFERENCES: list[tuple[list[Any], int, list[tuple[str, str, str]]]] = [
    (changed(), 0, []),
    (changed(ingress("unrelated", "/e web", class_name="nginx")), 0,
     [("verdict", "Ingress shop/unrelated", "added")]),
    (changed(ingress("partly", "/b web", "/c web")), 1,
     [("route", "shop.example/c", "added"), ("backend", "shop.example/c", "changed"),
      ("verdict", "Ingress shop/partly", "changed")]),
    (changed(without="whole"), 1,
     [("route", "shop.example/", "removed"), ("backend", "shop.example/", "removed"),
      ("verdict", "Ingress shop/whole", "removed")]),
    (changed(ingress("whole", "/ web", "/a web", whitelist_source_range="10.0.0.0/8")), 1,
     [("route", "shop.example/", "changed")]),
    (changed(pods("web", "10.0.0.1")), 1,
     [("backend", name, "changed") for name in (
         "900-other.example/", "other.example/", "shop.example/", "shop.example/a",
         "shop.example/b")]),
]  # fmt: skip


@pytest.mark.parametrize(("objects", "code", "expected"), DIFFERENCES)
def test_diff(
    files: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    objects: list[Any], code: int, expected: list[tuple[str, str, str]],
) -> None:  # fmt: skip
    new = tmp_path / "new.yaml"
    new.write_text(yaml.safe_dump_all(objects))
    found = answer(capsys, "diff", *files[:2], str(folder), str(new))
    assert found[0] == code
    assert [(each["kind"], each["name"], each["what"]) for each in found[1]] == expected
    assert main(["diff", *files[:2], str(folder), str(new)]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert ("traffic stays as it is" in last) is (code == 0)


def test_diff_shows_no_secret(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither keys of certificates nor values of headers nor users."""
    case = (FOLDER / "vector_09_entry_points_and_tls.yaml").read_text()
    objects = case.partition("\n---\n")[2].partition("\n---\nexpected:")[0]
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(objects)
    marked = ingress("marked", "/x web", custom_request_headers="X-Token:marker")
    other = ingress("marked", "/x web", custom_request_headers="X-Token:merkur")
    old.write_text(yaml.safe_dump_all([marked, service("web")]) + "---\n" + objects)
    new.write_text(yaml.safe_dump_all([other, service("web")]))
    for form in ("text", "json", "yaml", "github"):
        assert main(["diff", *files[:2], str(old), str(new), "-o", form]) == 1
        printed = capsys.readouterr().out
        assert "CustomRequestHeaders#" in printed or "RequestHeaders" in printed
        assert not re.search("marker|merkur|PRIVATE|BEGIN", printed)


def test_standard_input_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "-", "-"]) == 2
    assert "can be read once" in capsys.readouterr().err


POINTS = {
    "http": EntryPoint(":80"),
    "https": EntryPoint(":443", tls=EntryPointTls()),
    "own": EntryPoint("127.0.0.1:8080"),
}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a.example", "http"), ("http://a.example", "http"), ("https://a.example/x", "https"),
        ("http://a.example:8080/", "own"), ("http://a.example:443/", "https"),
        ("https://a.example:9/", "https"), ("http://a.example:9/", "http"),
    ],
)  # fmt: skip
def test_the_entry_point_of_a_url(url: str, expected: str) -> None:
    assert entry_point_of(url, Settings(entry_points=POINTS)) == expected


CANONICAL: list[tuple[bytes, Any]] = [
    (b"GET / HTTP/1.1\r\nHost: A.example.:80\r\n\r\n", (b"GET", b"a.example", b"/", None)),
    (b"PUT /a/./b/../%63?x=%63 HTTP/1.1\r\nHost: a\r\n\r\n", (b"PUT", b"a", b"/a/c", b"x=%63")),
    (b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", (b"GET", b"a", b"/", b"")),
    (
        b"GET http://b.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n",
        (b"GET", b"b.example", b"/x", None),
    ),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n", None),
]


@pytest.mark.parametrize(("head", "expected"), CANONICAL, ids=lambda value: str(value)[:30])
def test_a_request_in_the_form_in_which_workers_compare_it(head: bytes, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert canonical(head) == expected
        return
    with pytest.raises(ValueError) as caught:
        canonical(head)
    assert getattr(caught.value, "status", None) == expected
    assert isinstance(caught.value, Refused) is (expected is not None)


def test_a_host_nobody_can_ask_for() -> None:
    with pytest.raises(Unusable, match="answers 400"):
        request_of("GET", "http://a b/")


def test_candidates_stand_in_the_order_of_the_table(folder: Path) -> None:
    """Each is what takes the request when those before it are gone."""
    router = Router(inspect(case_settings({}), [folder]).view)
    request = request_of("GET", "http://shop.example/a/b")
    found = router.candidates("http", request)
    matching = [candidate.route.name for candidate in found if candidate.matches]
    assert matching == ["shop.example/a", "shop.example/"]
    assert router.route("http", request) == ("shop.example/a", "")
