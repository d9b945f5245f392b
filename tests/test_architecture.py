"""Imports go one way, for the Cython sources too, and features do not know each other.

The layers are those of import-linter in pyproject.toml. import-linter sees only Python files; this
test reads the import and cimport lines of `.pyx` and `.pxd` files as well.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fastproxy", "controller")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# `from a.b cimport c`, `from . import c`, `cimport a.b`, `import a.b as c`
CYTHON_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([\w\s,]*)", re.MULTILINE)
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+([\w.]+)", re.MULTILINE)


def layers() -> list[list[str]]:
    """The lines of the contract, highest first, each as the modules it names."""
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [re.findall(r"[\w.]+", line) for line in contract["layers"]]


def sources() -> list[Path]:
    found = [p for package in PACKAGES for p in (ROOT / package).rglob("*.p*")]
    return sorted(p.relative_to(ROOT) for p in found if p.suffix in (".py", ".pyx", ".pxd"))


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
    for match in CYTHON_FROM.finditer(text):
        base, names = match.groups()
        joint = "" if base.endswith(".") else "."
        for name in re.split(r"[\s,]+", names.strip()):
            yield f"{base}{joint}{name}" if name else base
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


def feature_of(name: str) -> str | None:
    match = re.match(r"fastproxy\.features\.(\w+)", name)
    return match[1] if match and not match[1].startswith("_") else None


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


def test_every_module_has_a_layer() -> None:
    homeless = [
        str(path)
        for path in sources()
        if layer_of(module_name(path)) is None and module_name(path) != "fastproxy"
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
    ("fastproxy/model.py", "from fastproxy.rules import Matcher", 0),
    ("fastproxy/model.py", "import fastproxy.feature", 1),
    ("fastproxy/model.py", "from fastproxy import feature", 1),
    ("fastproxy/model.py", "def f():\n    from .feature import Filter", 1),
    ("fastproxy/model.py", "if TYPE_CHECKING:\n    import controller", 0),
    ("fastproxy/worker.py", "import controller.loop", 1),
    ("controller/loop.py", "from fastproxy.compile import table", 0),
    ("controller/loop.py", "from fastproxy.cli import main", 1),
    ("fastproxy/_core.pyx", "from fastproxy.engine.head cimport Head", 1),
    ("fastproxy/_core.pyx", "from fastproxy.engine cimport head, buffers", 2),
    ("fastproxy/_core.pyx", "cimport fastproxy.engine.head", 1),
    ("fastproxy/_core.pyx", "from libc.string cimport memcpy\nfrom fastproxy.rules import A", 0),
    ("fastproxy/engine/head.pyx", "from ..feature import Filter", 1),
    ("fastproxy/engine/head.pxd", "from .buffers cimport Queue", 0),
]


@pytest.mark.parametrize(("path", "text", "expected"), EXAMPLES)
def test_the_test_sees_what_it_should(path: str, text: str, expected: int) -> None:
    assert len(violations(Path(path), text)) == expected
