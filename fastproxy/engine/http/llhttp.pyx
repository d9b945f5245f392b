"""llhttp from the installed httptools: resolve its C symbols and prove they are what we think.

Idea: httptools' compiled module exports llhttp's functions. Its Python classes cannot be used by a
proxy (no pause, no finish, bodies of upgrade requests are skipped), its C code can. At import the
module's own file is opened with `dlopen`, the functions are looked up by name, and a self-test
parses a request and a response with a probe in every callback slot; a changed structure layout
shows up as a callback in the wrong place, and the import fails with a sentence instead of proxying
wrongly.
"""

import httptools
import httptools.parser.parser as _module

from fastproxy.engine.http.methods cimport METHOD_POST
from fastproxy.engine.loop.posix cimport RTLD_NOW, dlopen, dlsym
from libc.string cimport memset

cdef Llhttp _llhttp

REMEDY = "install a version in the range named in pyproject.toml"
OLDEST = (0, 7, 1)  # httptools, as in pyproject.toml
BEYOND = (0, 10)


cdef Llhttp* llhttp() noexcept nogil:
    return &_llhttp


def check(str path, str version):
    """Do with a library file what the import does with httptools: ImportError when the engine could
    not use it."""
    cdef Llhttp functions
    _check_version(version)
    _resolve(&functions, path, version)
    _self_test(&functions, version)


def _check_version(str version):
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if not OLDEST <= numbers < BEYOND:
        oldest, beyond = ".".join(map(str, OLDEST)), ".".join(map(str, BEYOND))
        raise ImportError(
            f"httptools {version} is installed, the engine needs {oldest} or newer, below {beyond}; {REMEDY}"
        )


cdef void* _symbol(void* library, str name, str version) except NULL:
    cdef bytes text = name.encode()
    cdef void* address = dlsym(library, text)
    if address == NULL:
        raise ImportError(f"httptools {version} does not export {name}; {REMEDY}")
    return address


cdef int _resolve(Llhttp* into, str path, str version) except -1:
    cdef bytes text = path.encode()
    cdef void* library = dlopen(text, RTLD_NOW)
    if library == NULL:
        raise ImportError(f"cannot open {path} to find llhttp of httptools {version}; {REMEDY}")
    into.init = <void (*)(llhttp_t*, int, const llhttp_settings_t*) noexcept nogil> _symbol(
        library, "llhttp_init", version
    )
    into.reset = <void (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_reset", version)
    into.execute = <int (*)(llhttp_t*, const char*, size_t) noexcept nogil> _symbol(
        library, "llhttp_execute", version
    )
    into.finish = <int (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_finish", version)
    into.resume = <void (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_resume", version)
    into.resume_after_upgrade = <void (*)(llhttp_t*) noexcept nogil> _symbol(
        library, "llhttp_resume_after_upgrade", version
    )
    into.should_keep_alive = <int (*)(const llhttp_t*) noexcept nogil> _symbol(
        library, "llhttp_should_keep_alive", version
    )
    return 0


# --- self-test: every callback writes its name or its span ---

cdef char _log[512]
cdef size_t _logged

cdef void _note(const char* data, size_t size) noexcept nogil:
    global _logged
    cdef size_t i
    for i in range(size):
        if _logged < sizeof(_log):
            _log[_logged] = data[i]
            _logged += 1

cdef void _span(char tag, const char* data, size_t size) noexcept nogil:
    _note(&tag, 1)
    _note("=", 1)
    _note(data, size)
    _note(" ", 1)

cdef int _t_begin(llhttp_t* p) noexcept nogil:
    _note("begin ", 6)
    return 0
cdef int _t_url(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"u", data, size)
    return 0
cdef int _t_method(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"m", data, size)
    return 0
cdef int _t_version(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"v", data, size)
    return 0
cdef int _t_field(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"f", data, size)
    return 0
cdef int _t_value(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"w", data, size)
    return 0
cdef int _t_extension(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"x", data, size)
    return 0
cdef int _t_headers(llhttp_t* p) noexcept nogil:
    _note("headers ", 8)
    return HPE_PAUSED
cdef int _t_body(llhttp_t* p, const char* data, size_t size) noexcept nogil:
    _span(b"b", data, size)
    return 0
cdef int _t_complete(llhttp_t* p) noexcept nogil:
    _note("complete ", 9)
    return HPE_PAUSED
cdef int _t_chunk(llhttp_t* p) noexcept nogil:
    _note("chunk ", 6)
    return 0

cdef void _settings(llhttp_settings_t* settings) noexcept:
    global _logged
    _logged = 0
    memset(settings, 0, sizeof(llhttp_settings_t))
    settings.on_message_begin = _t_begin
    settings.on_url = _t_url
    settings.on_method = _t_method
    settings.on_version = _t_version
    settings.on_header_field = _t_field
    settings.on_header_value = _t_value
    settings.on_chunk_extension_name = _t_extension
    settings.on_headers_complete = _t_headers
    settings.on_body = _t_body
    settings.on_message_complete = _t_complete
    settings.on_chunk_header = _t_chunk


cdef struct Room:
    llhttp_t parser
    unsigned char behind[256]  # of a parser that is larger than we think


cdef bint _kept_within(const Room* room) noexcept:
    cdef size_t i
    for i in range(sizeof(room.behind)):
        if room.behind[i] != 0xA5:
            return False
    return True


cdef int _self_test(const Llhttp* functions, str version) except -1:
    # A library that fails the first must not be asked further: it may write where it should not.
    name, strange = "request", _request(functions)
    if not strange:
        name, strange = "response", _response(functions)
    if strange:
        raise ImportError(
            f"llhttp inside httptools {version} behaves differently from what the engine was "
            f"written for (a {name}: {strange}); {REMEDY}"
        )
    return 0


cdef _request(const Llhttp* functions):
    """One chunked request, with a pause behind its head and one behind its end."""
    cdef llhttp_settings_t settings
    cdef Room room
    cdef llhttp_t* parser = &room.parser
    cdef bytes text = (
        b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: z\r\n\r\nGET"
    )
    cdef const char* data = text
    cdef int first, second = -1
    cdef Py_ssize_t head, end
    memset(&room, 0xA5, sizeof(room))
    _settings(&settings)
    functions.init(parser, HTTP_REQUEST, &settings)
    if not _kept_within(&room):
        return "its parser is larger"
    parser.data = <void*> data
    first = functions.execute(parser, data, len(text))
    head = parser.error_pos - data
    flags = parser.flags
    if first == HPE_PAUSED and 0 <= head <= len(text):
        functions.resume(parser)
        second = functions.execute(parser, data + head, len(text) - head)
    end = parser.error_pos - data
    seen = _log[:_logged]
    expected = (
        b"begin m=POST u=/u v=1.1 f=Transfer-Encoding w=chunked headers x=e chunk b=abc chunk f=T w=z complete "
    )
    if (
        first == HPE_PAUSED and second == HPE_PAUSED and seen == expected
        and head == text.index(b"3;e") and end == text.index(b"GET")
        and flags & F_CHUNKED and parser.data == <void*> data
        and parser.method == METHOD_POST and parser.http_minor == 1 and _kept_within(&room)
    ):
        return None
    return f"saw {seen!r}, codes {first} {second}, ends {head} {end}"


cdef _response(const Llhttp* functions):
    """A response that ends too early, and after a reset one that is whole."""
    cdef llhttp_settings_t settings
    cdef llhttp_t parser
    cdef bytes text = b"HTTP/1.0 404 N\r\nContent-Length: 5\r\n\r\nab"
    cdef bytes empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    cdef const char* data = text
    cdef int early
    memset(&parser, 0, sizeof(parser))
    _settings(&settings)
    settings.on_headers_complete = NULL
    functions.init(&parser, HTTP_RESPONSE, &settings)
    seen = [functions.execute(&parser, data, len(text)), parser.status_code, parser.http_minor]
    seen += [parser.content_length, bool(parser.flags & F_CONTENT_LENGTH)]
    seen += [functions.should_keep_alive(&parser)]
    early = functions.finish(&parser)
    functions.reset(&parser)
    data = empty
    seen += [functions.execute(&parser, data, len(empty)), parser.status_code]
    seen += [functions.should_keep_alive(&parser)]
    if seen == [HPE_OK, 404, 0, 3, True, 0, HPE_PAUSED, 200, 1] and early != HPE_OK:
        return None
    return f"saw {seen}, {early} at an early end"


_check_version(httptools.__version__)
_resolve(&_llhttp, _module.__file__, httptools.__version__)
_self_test(&_llhttp, httptools.__version__)
