"""RE2 without Python: the library inside google-re2, called by its own symbols.

Idea: the Python classes of google-re2 cost microseconds and need the GIL; the C++ library in its
compiled module costs a fraction and exports its functions. As with llhttp they are found by name
(ADR 0006); the C++ types in their signatures are two: `std::string_view`, which the calling
conventions pass like the structure `View`, and objects of which we know no more than that they fit
into the room they get. At import a self-test proves all three, or the import fails with a sentence.
"""

from importlib.metadata import version

import re2._re2 as _module

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from fastproxy.engine.loop.posix cimport RTLD_NOLOAD, RTLD_NOW, dlopen, dlsym

cdef enum:
    ROOM = 1024  # for one RE2; the self-test allows half of it
    OPTIONS_ROOM = 256
    QUIET = 3  # RE2::Quiet, which logs nothing
    UNANCHORED = 0
    MOST_GROUPS = 513  # of a pattern of 1,024 bytes, and the whole match

cdef int64_t DEFAULT_MEMORY = 8 << 20  # what the first word of RE2's options holds at first
cdef int64_t MEMORY = 4 << 20  # bytes for one expression, as `templates.Pattern` allows

cdef struct Library:
    void (*set_options)(void*, int) noexcept nogil
    void (*create)(void*, View, const void*) noexcept nogil
    void (*destroy)(void*) noexcept nogil
    int (*program_size)(const void*) noexcept nogil
    uint8_t (*match)(const void*, View, size_t, size_t, int, View*, int) noexcept nogil

cdef Library _library


cdef bint regex_search(
    const void* compiled, const char* text, size_t size, size_t start, View* groups, int count
) noexcept nogil:
    """Find the leftmost match at or behind `start`; fills `count` groups, the first is the whole.
    A group that took no part has no data."""
    cdef View whole
    whole.data = text
    whole.size = size
    return _library.match(compiled, whole, start, size, UNANCHORED, groups, count) != 0


cdef class Regex:
    def __cinit__(self, bytes pattern):
        cdef char options[OPTIONS_ROOM]
        cdef View text
        self.pattern = pattern
        text.data = <const char*> pattern
        text.size = len(pattern)
        _options(options)
        self.compiled = malloc(ROOM)
        if self.compiled == NULL:
            raise MemoryError
        _library.create(self.compiled, text, options)
        if _library.program_size(self.compiled) < 0:
            raise ValueError(f"{pattern[:60]!r} is not a regular expression in RE2 syntax")

    def __dealloc__(self):
        if self.compiled != NULL:
            _library.destroy(self.compiled)
            free(self.compiled)

    def search(self, bytes text, size_t start=0, int groups=1):
        cdef View found[MOST_GROUPS]
        cdef const char* data = text
        cdef int i
        if not 0 <= groups <= MOST_GROUPS:
            raise ValueError(f"{groups} is no number of groups")
        if start > <size_t> len(text) or not regex_search(
            self.compiled, data, len(text), start, found, groups
        ):
            return None
        spans = []
        for i in range(groups):
            if found[i].data == NULL:
                spans.append((-1, -1))
            else:
                start = found[i].data - data
                spans.append((start, start + found[i].size))
        return spans


cdef int _options(void* options) noexcept:
    memset(options, 0, OPTIONS_ROOM)
    _library.set_options(options, QUIET)
    (<int64_t*> options)[0] = MEMORY
    return 0


cdef void* _symbol(void* library, str name) except NULL:
    cdef bytes text = name.encode()
    cdef void* address = dlsym(library, text)
    if address == NULL:
        raise ImportError(
            f"google-re2 {version('google-re2')} does not export {name}; "
            "install a version in the range named in pyproject.toml"
        )
    return address


cdef int _resolve() except -1:
    cdef bytes path = _module.__file__.encode()
    cdef void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD)
    if library == NULL:
        raise ImportError(f"cannot open {_module.__file__} to find RE2")
    view = "St17basic_string_viewIcSt11char_traitsIcEE"
    _library.set_options = <void (*)(void*, int) noexcept nogil> _symbol(
        library, "_ZN3re23RE27OptionsC1ENS0_13CannedOptionsE"
    )
    _library.create = <void (*)(void*, View, const void*) noexcept nogil> _symbol(
        library, f"_ZN3re23RE2C1E{view}RKNS0_7OptionsE"
    )
    _library.destroy = <void (*)(void*) noexcept nogil> _symbol(library, "_ZN3re23RE2D1Ev")
    _library.program_size = <int (*)(const void*) noexcept nogil> _symbol(
        library, "_ZNK3re23RE211ProgramSizeEv"
    )
    _library.match = <uint8_t (*)(const void*, View, size_t, size_t, int, View*, int) noexcept nogil> _symbol(
        library, f"_ZNK3re23RE25MatchE{view}mmNS0_6AnchorEPS4_i"
    )
    return 0


cdef int _self_test() except -1:
    cdef char options[OPTIONS_ROOM]
    cdef uint8_t* room = <uint8_t*> calloc(1, ROOM)
    cdef bytes pattern = rb"(?P<one>b+)(x)?(c*)$"
    cdef View text
    cdef size_t i
    cdef bint clean = True
    if room == NULL:
        raise MemoryError
    memset(options, 0, OPTIONS_ROOM)
    _library.set_options(options, QUIET)
    if (<int64_t*> options)[0] != DEFAULT_MEMORY:
        free(room)
        raise ImportError(_strange("its options begin otherwise"))
    for i in range(OPTIONS_ROOM // 2, OPTIONS_ROOM):
        clean = clean and options[i] == 0
    memset(room, 0xA5, ROOM)
    text.data = <const char*> pattern
    text.size = len(pattern)
    _library.create(room, text, options)
    for i in range(ROOM // 2, ROOM):
        clean = clean and room[i] == 0xA5
    _library.destroy(room)
    free(room)
    if not clean:
        raise ImportError(_strange("its objects are larger"))
    tested = Regex(pattern)
    seen = tested.search(b"abbc abc", 1, 4), tested.search(b"abbc abc", 7, 4), tested.search(b"bcd")
    if seen != ([(6, 8), (6, 7), (-1, -1), (7, 8)], None, None):
        raise ImportError(_strange(f"a search found {seen}"))
    try:
        Regex(b"(")
    except ValueError:
        return 0
    raise ImportError(_strange("it accepts a broken pattern"))


def _strange(what):
    return (
        f"RE2 inside google-re2 {version('google-re2')} is not what the engine was written for "
        f"({what}); install a version in the range named in pyproject.toml"
    )


_resolve()
_self_test()
