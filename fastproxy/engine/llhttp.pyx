"""llhttp from the installed httptools: resolve its C symbols and prove they are what we think.

Idea: httptools' compiled module exports llhttp's functions. Its Python classes cannot be used by a
proxy (no pause, no finish, bodies of upgrade requests are skipped), its C code can. At import the
module's own file is opened with `dlopen`, the functions are looked up by name, and a self-test
parses one request with a probe in every callback slot; a changed structure layout shows up as a
callback in the wrong place, and the import fails with a sentence instead of proxying wrongly.
"""

import httptools
import httptools.parser.parser as _module

from fastproxy.engine.posix cimport RTLD_NOLOAD, RTLD_NOW, dlopen, dlsym
from libc.string cimport memset

cdef Llhttp _llhttp


cdef Llhttp* llhttp() noexcept nogil:
    return &_llhttp


cdef void* _symbol(void* library, str name) except NULL:
    cdef bytes text = name.encode()
    cdef void* address = dlsym(library, text)
    if address == NULL:
        raise ImportError(
            f"httptools {httptools.__version__} does not export {name}; "
            "install a version in the range named in pyproject.toml"
        )
    return address


cdef int _resolve() except -1:
    cdef bytes path = _module.__file__.encode()
    cdef void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD)
    if library == NULL:
        raise ImportError(f"cannot open {_module.__file__} to find llhttp")
    _llhttp.init = <void (*)(llhttp_t*, int, const llhttp_settings_t*) noexcept nogil> _symbol(library, "llhttp_init")
    _llhttp.reset = <void (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_reset")
    _llhttp.execute = <int (*)(llhttp_t*, const char*, size_t) noexcept nogil> _symbol(library, "llhttp_execute")
    _llhttp.finish = <int (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_finish")
    _llhttp.resume = <void (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_resume")
    _llhttp.resume_after_upgrade = <void (*)(llhttp_t*) noexcept nogil> _symbol(library, "llhttp_resume_after_upgrade")
    _llhttp.should_keep_alive = <int (*)(const llhttp_t*) noexcept nogil> _symbol(library, "llhttp_should_keep_alive")
    return 0


# --- self-test: one chunked request, every callback writes a letter or its span ---

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

cdef int _self_test() except -1:
    cdef llhttp_settings_t settings
    cdef llhttp_t parser
    cdef bytes text = (
        b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: z\r\n\r\nGET"
    )
    cdef const char* data = text
    global _logged
    _logged = 0
    memset(&settings, 0, sizeof(settings))
    memset(&parser, 0, sizeof(parser))
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
    _llhttp.init(&parser, HTTP_REQUEST, &settings)
    parser.data = <void*> data
    cdef int first = _llhttp.execute(&parser, data, len(text))
    cdef size_t head = parser.error_pos - data
    cdef int flags = parser.flags
    cdef int second = -1
    if first == HPE_PAUSED:
        _llhttp.resume(&parser)
        second = _llhttp.execute(&parser, data + head, len(text) - head)
    cdef size_t end = parser.error_pos - data
    seen = _log[:_logged]
    expected = (
        b"begin m=POST u=/u v=1.1 f=Transfer-Encoding w=chunked headers x=e chunk b=abc chunk f=T w=z complete "
    )
    good = (
        first == HPE_PAUSED and second == HPE_PAUSED and seen == expected
        and head == text.index(b"3;e") and end == text.index(b"GET")
        and flags & F_CHUNKED and parser.data == <void*> data
        and parser.method == METHOD_POST and parser.http_minor == 1
    )
    if not good:
        raise ImportError(
            f"llhttp inside httptools {httptools.__version__} behaves differently from what the engine "
            f"was written for (saw {seen!r}, codes {first} {second}, ends {head} {end}); "
            "install a version in the range named in pyproject.toml"
        )
    return 0


_resolve()
_self_test()
