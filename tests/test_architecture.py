"""Imports go one way and never in a circle, in Cython too; features do not know each other.

The layers are those of import-linter in pyproject.toml, and those of the engine below them.
import-linter sees only Python files; this test reads the import and cimport lines of `.pyx`, `.pxd`
and `.pxi` files as well.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fastproxy", "controller")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# `from a.b cimport c`, `from . import c`, `cimport a.b`, `import a.b as c`
CYTHON_FROM = re.compile(
    r"^[ \t]*from\s+([\w.]+)\s+c?import[ \t]+(?:\(([^)]*)\)|([^(\n]*))", re.MULTILINE
)
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+([\w.]+)", re.MULTILINE)


def layers() -> list[list[str]]:
    """The lines of the contract, highest first, each as the modules it names."""
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [re.findall(r"[\w.]+", line) for line in contract["layers"]]


def sources() -> list[Path]:
    found = [p for package in PACKAGES for p in (ROOT / package).rglob("*.p*")]
    return sorted(p.relative_to(ROOT) for p in found if p.suffix in (".py", ".pyx", ".pxd", ".pxi"))


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(name: str, importer: Path) -> str:
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    package = importer.parts[: len(importer.parts) - dots]
    return ".".join([*package, *filter(None, [name[dots:]])])


def is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test).endswith("TYPE_CHECKING")


def python_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and is_type_checking(node):
            for branch in node.orelse:
                yield from python_imports(ast.Module([branch], []))
        else:
            yield from python_imports(node)


def cython_imports(text: str) -> Iterator[str]:
    for match in CYTHON_FROM.finditer(text.replace("\\\n", " ")):
        base, names = match[1], match[2] or match[3] or ""
        joint = "" if base.endswith(".") else "."
        for entry in re.split(r"[\n,]", re.sub(r"#.*", "", names)):
            if entry.strip():
                yield f"{base}{joint}{entry.split()[0]}"  # the name before `as`
    yield from CYTHON_IMPORT.findall(text)


def imports(path: Path, text: str) -> set[str]:
    """Everything of ours that a file imports, as dotted names (module, or module.attribute)."""
    found = python_imports(ast.parse(text)) if path.suffix == ".py" else cython_imports(text)
    names = (absolute(name, path) for name in found)
    return {name for name in names if name.split(".")[0] in PACKAGES}


def inside(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def layer_of(name: str) -> int | None:
    """The line of the contract a dotted name belongs to; the longest matching module wins."""
    hits = [
        (len(module), index)
        for index, line in enumerate(layers())
        for module in line
        if inside(name, module)
    ]
    return max(hits)[1] if hits else None


def violations(path: Path, text: str) -> list[str]:
    own = layer_of(module_name(path))
    if own is None:
        return []
    return [
        f"{path} imports {name}, which stands higher"
        for name in sorted(imports(path, text))
        if (layer := layer_of(name)) is not None and layer < own
    ]


def engine_layer_of(name: str) -> int | None:
    """The line of `engine-layers` on which the package a module of the engine belongs to stands."""
    match = re.match(r"fastproxy\.engine\.(\w+)", name)
    lines = PROJECT["tool"]["fastproxy"]["engine-layers"]
    return next(
        (i for i, line in enumerate(lines) if match and match[1] in line.split(" : ")), None
    )


def engine_violations(path: Path, text: str) -> list[str]:
    own = engine_layer_of(module_name(path))
    if own is None:
        return []
    return [
        f"{path} imports {name}, which stands higher in the engine"
        for name in sorted(imports(path, text))
        if (layer := engine_layer_of(name)) is not None and layer < own
    ]


def graph(texts: Iterable[tuple[Path, str]]) -> dict[str, set[str]]:
    """Which module imports which; `.pyx` and `.pxd` of one name are one module."""
    found = list(texts)
    modules = {module_name(path) for path, _ in found}
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for path, text in found:
        own = module_name(path)
        for name in imports(path, text):
            while name not in modules and "." in name:
                name = name.rpartition(".")[0]  # an attribute of that module
            if name in modules and name != own:
                edges[own].add(name)
    return edges


def circle(texts: Iterable[tuple[Path, str]]) -> list[str]:
    try:
        TopologicalSorter(graph(texts)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def feature_of(name: str) -> str | None:
    match = re.match(r"fastproxy\.features\.(\w+)", name)
    return match[1] if match and not match[1].startswith("_") else None


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_inside_the_engine_go_one_way(path: Path) -> None:
    assert engine_violations(path, (ROOT / path).read_text()) == []


def test_no_module_imports_itself_through_others() -> None:
    assert circle((path, (ROOT / path).read_text()) for path in sources()) == []


def test_every_module_of_the_engine_has_a_layer() -> None:
    modules = {module_name(path) for path in sources()}
    inner = {name for name in modules if name.startswith("fastproxy.engine.")}
    assert {name for name in inner if engine_layer_of(name) is None} == set()


def test_every_module_has_a_layer() -> None:
    homeless = [
        str(path)
        for path in sources()
        if layer_of(module_name(path)) is None and module_name(path) not in PACKAGES
    ]
    assert homeless == [], (
        "name them in the layers of pyproject.toml (optional ones in parentheses)"
    )


def test_features_do_not_know_each_other() -> None:
    names = {p.stem for p in (ROOT / "fastproxy/features").glob("*") if p.stem[0] != "_"}
    for path in sources():
        own = feature_of(module_name(path))
        others = {
            other
            for name in imports(path, (ROOT / path).read_text())
            if own and (other := feature_of(name)) and other != own and other in names
        }
        assert not others, f"{path} imports the features {others}"


# importer, text, expected
EXAMPLES = [
    ("fastproxy/model/configuration.py", "from fastproxy.model.matchers import Matcher", 0),
    ("fastproxy/model/configuration.py", "import fastproxy.feature", 1),
    ("fastproxy/model/configuration.py", "from fastproxy import feature", 1),
    ("fastproxy/model/configuration.py", "def f():\n    from ..feature import Filter", 1),
    ("fastproxy/model/configuration.py", "if TYPE_CHECKING:\n    import controller", 0),
    ("fastproxy/processes/worker.py", "import controller.loop", 1),
    ("controller/loop.py", "from fastproxy.publish.compiler import table", 0),
    ("controller/loop.py", "from fastproxy.cli import main", 1),
    ("fastproxy/_core.pyx", "from fastproxy.engine.http.head cimport Head", 1),
    ("fastproxy/_core.pyx", "from fastproxy.engine cimport head, buffers", 2),
    ("fastproxy/_core.pyx", "cimport fastproxy.engine.http.head", 1),
    (
        "fastproxy/_core.pyx",
        "from libc.math cimport a\nfrom fastproxy.engine.http.head cimport b",
        1,
    ),
    ("fastproxy/_core.pyx", "from fastproxy.engine.http.head cimport (\n    a, b as c,  # d\n)", 2),
    ("fastproxy/_core.pyx", "from fastproxy.engine cimport head, \\\n    buffers", 2),
    (
        "fastproxy/_core.pyx",
        "from libc.string cimport memcpy\nfrom fastproxy.model.matchers import A",
        0,
    ),
    ("fastproxy/engine/http/head.pyx", "from ...feature import Filter", 1),
    ("fastproxy/engine/http/head.pxd", "from ..loop.buffers cimport Queue", 0),
]


@pytest.mark.parametrize(("path", "text", "expected"), EXAMPLES)
def test_the_test_sees_what_it_should(path: str, text: str, expected: int) -> None:
    assert len(violations(Path(path), text)) == expected


# The listener may take a connection from an endpoint's pool when descriptors are short.
SPEAKS_TO_ENDPOINTS = {"fastproxy/engine/client/listener.pyx"}


def test_a_client_speaks_to_endpoints_through_its_exchange() -> None:
    found = {
        str(path)
        for path in sorted(Path("fastproxy/engine/client").glob("*.p*"))
        if path.suffix in (".pyx", ".pxd")
        if any(inside(n, "fastproxy.engine.upstream") for n in imports(path, path.read_text()))
    }
    assert found == SPEAKS_TO_ENDPOINTS


# Until requests travel to the endpoint's side as heads, an exchange has them written.
WRITES_REQUESTS = {"fastproxy/engine/exchange/request.pyx"}


def test_what_clients_speak_is_their_codecs_business() -> None:
    http1 = [
        f"fastproxy.engine.http.{name}" for name in ("h1_parser", "h1_writer", "llhttp", "mend")
    ]
    found = {
        str(path)
        for package in ("exchange", "observe", "operations", "python")
        for path in sorted(Path("fastproxy/engine", package).glob("*.p*"))
        if path.suffix in (".pyx", ".pxd")
        if any(inside(n, m) for n in imports(path, path.read_text()) for m in http1)
    }
    assert found == WRITES_REQUESTS


ENGINE_EXAMPLES = [
    ("exchange/run.pyx", "from fastproxy.engine.operations.paths cimport add_prefix", 0),
    ("exchange/run.pyx", "from fastproxy.engine.exchange.end cimport exchange_end", 0),
    ("exchange/run.pyx", "from fastproxy.engine.client.answer cimport reply", 1),
    ("operations/users.pyx", "from fastproxy.engine.exchange.run cimport request_steps", 1),
    ("upstream/h1.pxd", "from fastproxy.engine cimport client, stream", 1),
    ("http/head.pxi", "from fastproxy.engine.stream.stream cimport Stream", 1),
    ("data_plane.pyx", "from fastproxy.engine.client.h1 cimport x", 0),
    ("client/h1.pyx", "from fastproxy.engine.data_plane import x", 1),
]


@pytest.mark.parametrize(("path", "text", "expected"), ENGINE_EXAMPLES)
def test_the_test_sees_what_it_should_in_the_engine(path: str, text: str, expected: int) -> None:
    assert len(engine_violations(Path("fastproxy/engine", path), text)) == expected


CIRCLES = [
    ({"a.pyx": "b", "b.pxd": "c", "c.pyx": "a"}, True),
    ({"a.pyx": "b", "b.pxd": "c", "c.pyx": "d", "d.pxd": "e"}, False),
    ({"a.pyx": "b", "a.pxd": "c", "b.pyx": "c", "c.pxd": "c"}, False),
    ({"a.py": "b", "b.pxi": "a"}, True),
]


@pytest.mark.parametrize(("files", "expected"), CIRCLES)
def test_a_circle_is_seen(files: dict[str, str], expected: bool) -> None:
    texts = [
        (Path("fastproxy/engine", name), f"from fastproxy.engine.{other} import x")
        for name, other in files.items()
    ]
    assert bool(circle(texts)) is expected
