"""The import of llhttp refuses every library that is not what the engine was written for."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import httptools
import httptools.parser.parser as module
import pytest

from fastproxy.engine.http.llhttp import check
from tests.support.processes import ROOT
from tests.support.sanitized import PLAIN, SANITIZED

COMPILER = shutil.which("cc") or shutil.which("gcc")
VERSION = httptools.__version__
REMEDY = "install a version in the range named in pyproject.toml"

# A library that passes every call on to the real one, with a fault. `parser` is a llhttp_t as the
# engine declares it; only the members the faults touch are named.
SOURCE = r"""
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
typedef struct {
    int32_t index; void *span, *callback; int32_t error; const char *reason, *error_pos;
    void *data, *current; uint64_t content_length; uint8_t type, method, major, minor, header_state;
    uint16_t lenient; uint8_t upgrade, finish; uint16_t flags, status;
} parser_t;
static void *real(const char *name) {
    static void *library;
    if (!library) library = dlopen(REAL, RTLD_NOW);
    return dlsym(library, name);
}
#define CALL(type, name) ((type) real("llhttp_" #name))
void llhttp_init(parser_t *p, int kind, void *settings) {
    CALL(void (*)(parser_t *, int, void *), init)(p, kind, settings);
    INIT
}
int llhttp_execute(parser_t *p, const char *data, size_t size) {
    int code = 0;
    BEFORE
    code = CALL(int (*)(parser_t *, const char *, size_t), execute)(p, data, size);
    AFTER
    return code;
}
void llhttp_reset(parser_t *p) { RESET CALL(void (*)(parser_t *), reset)(p); }
FINISH
void llhttp_resume(parser_t *p) { CALL(void (*)(parser_t *), resume)(p); }
void llhttp_resume_after_upgrade(parser_t *p) {
    CALL(void (*)(parser_t *), resume_after_upgrade)(p);
}
int llhttp_should_keep_alive(const parser_t *p) {
    return CALL(int (*)(const parser_t *), should_keep_alive)(p) KEEP;
}
"""
USUAL = {
    "INIT": "", "BEFORE": "", "AFTER": "", "RESET": "", "KEEP": "",
    "FINISH": "int llhttp_finish(parser_t *p) { return CALL(int (*)(parser_t *), finish)(p); }",
}  # fmt: skip

# An older llhttp: the settings have no on_protocol, so every callback behind it sits one lower.
SHIFTED = """
static void *shifted[40];
memcpy(shifted, settings, sizeof(void *));
memcpy(shifted + 1, (void **) settings + 2, 38 * sizeof(void *));
CALL(void (*)(parser_t *, int, void *), init)(p, kind, shifted);
"""
FAULTS = [
    # what is otherwise, and what the error says about it
    ({"INIT": "memset(p + 1, 0, 64);"}, "a request: its parser is larger"),
    ({"INIT": SHIFTED}, "a request: saw"),
    ({"BEFORE": "return 0;"}, "a request: saw b'', codes 0 -1"),
    ({"AFTER": "if (code == 21) code = 22;"}, "codes 22 -1"),
    ({"AFTER": "p->error_pos++;"}, "a request: saw"),
    ({"AFTER": "p->error_pos = data + 100000;"}, "codes 21 -1"),
    ({"AFTER": "p->method++;"}, "a request: saw"),
    ({"AFTER": "p->flags &= ~8;"}, "a request: saw"),
    ({"AFTER": "p->data = 0;"}, "a request: saw"),
    ({"AFTER": "memset((char *) (p + 1) + 40, 1, 8);"}, "a request: saw"),
    ({"AFTER": "p->status++;"}, "a response: saw [0, 405,"),
    ({"AFTER": "p->content_length = 5;"}, "a response: saw [0, 404, 0, 5,"),
    ({"KEEP": "^ 1"}, "a response: saw"),
    ({"RESET": "return;"}, "a response: saw"),
    ({"FINISH": "int llhttp_finish(parser_t *p) { return 0; }"}, "0 at an early end"),
    ({"FINISH": ""}, "does not export llhttp_finish"),
]


def test_the_installed_one_passes() -> None:
    check(module.__file__, VERSION)


@pytest.fixture
def built(tmp_path: Path):
    """Compile the library with some of its words replaced; the path of the file."""

    def build(words: dict[str, str]) -> str:
        if COMPILER is None:
            pytest.skip("needs a C compiler")
        text = SOURCE
        for word, code in (USUAL | words | {"REAL": f'"{module.__file__}"'}).items():
            text = text.replace(word, code)
        source, library = tmp_path / "other.c", tmp_path / "other.so"
        source.write_text(text)
        command = [COMPILER, "-shared", "-fPIC", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True, env=PLAIN)
        return str(library)

    return build


def test_a_library_without_a_fault_passes(built) -> None:
    """So the faults below are refused for what they are."""
    check(built({}), VERSION)


@pytest.mark.skipif(SANITIZED, reason="these libraries reach outside of memory on purpose")
@pytest.mark.parametrize(("words", "what"), FAULTS)
def test_a_library_with_a_fault_is_refused(built, words: dict[str, str], what: str) -> None:
    with pytest.raises(ImportError) as caught:
        check(built(words), VERSION)
    text = str(caught.value)
    assert f"httptools {VERSION}" in text
    assert what in text
    assert text.endswith(REMEDY)


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.so", tmp_path / "text.so"):
        with pytest.raises(ImportError, match=f"cannot open {path}.*httptools {VERSION}; {REMEDY}"):
            check(str(path), VERSION)
        (tmp_path / "text.so").write_text("no library")


@pytest.mark.parametrize(
    ("version", "good"),
    [("0.7.1", True), ("0.9.0", True), ("0.9.12", True), ("0.8", True),
     ("0.7.0", False), ("0.6.4", False), ("0.10.0", False), ("0.10", False), ("1.0", False),
     ("", False)],
)  # fmt: skip
def test_versions(version: str, good: bool) -> None:
    if good:
        check(module.__file__, version)
        return
    message = f"httptools {version} is installed, .* 0.7.1 or newer, below 0.10; {REMEDY}"
    with pytest.raises(ImportError, match=message):
        check(module.__file__, version)


def test_the_range_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "httptools>=0.7.1,<0.10" in project["dependencies"]
