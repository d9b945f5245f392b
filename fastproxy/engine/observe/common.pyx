# HOST - USER [DATE] "METHOD TARGET PROTO" STATUS SIZE REFERER AGENT COUNT FRONTEND URL MSms
#
# operations.md 1.2; what is dropped or missing prints as its column there says. `genericCLF` ends behind AGENT.

from libc.stdint cimport int64_t
from libc.string cimport strlen

from fastproxy.engine.observe.clock cimport set_local, set_utc
from fastproxy.engine.observe.facts cimport Span
from fastproxy.engine.observe.line cimport put, put_bare, put_byte, put_number, put_quoted
from fastproxy.engine.observe.notes cimport Note
from fastproxy.engine.observe.program cimport (
    FIELD_BACKEND_URL, FIELD_CLIENT_HOST, FIELD_CLIENT_USERNAME, FIELD_DURATION, FIELD_FRONTEND_NAME,
    FIELD_ORIGIN_CONTENT_SIZE, FIELD_ORIGIN_STATUS, FIELD_REQUEST_COUNT, FIELD_REQUEST_METHOD,
    FIELD_REQUEST_PATH, FIELD_REQUEST_PROTOCOL, FIELD_START_LOCAL, FIELD_START_UTC, FORMAT_CLF, MODE_DROP,
    MODE_REDACT, wants,
)

cdef enum:
    SECOND = 1000000000
    MILLISECOND = 1000000


cdef inline void _bare(Line* line, bint wanted, Span text) noexcept nogil:
    if wanted and text.size:
        put_bare(line, text.data, text.size)
    else:
        put_byte(line, c'-')


cdef inline void _header(Line* line, const Notes* notes, Note value, int mode) noexcept nogil:
    put(line, " \"", 2)
    if mode == MODE_DROP or notes == NULL or value.size == 0:
        put_byte(line, c'-')
    elif mode == MODE_REDACT:
        put(line, "REDACTED", 8)
    else:
        put_quoted(line, notes.data + value.at, value.size)
    put_byte(line, c'"')


cdef void write_common(AccessLog* access, Stream* stream, const Notes* notes, const Facts* facts, Line* line) noexcept nogil:
    cdef const char* date = NULL
    _bare(line, wants(access, FIELD_CLIENT_HOST), facts.client_host)
    put(line, " - ", 3)
    _bare(line, wants(access, FIELD_CLIENT_USERNAME), facts.user)
    if wants(access, FIELD_START_UTC):
        set_utc(access, facts.start // SECOND)
        date = access.date
    elif wants(access, FIELD_START_LOCAL):
        set_local(access, facts.start // SECOND)
        date = access.local_date
    put(line, " [", 2)
    if date != NULL:
        put(line, date, strlen(date))
    else:
        put_byte(line, c'-')
    put(line, "] \"", 3)
    _quoted(line, wants(access, FIELD_REQUEST_METHOD), facts.method)
    put_byte(line, c' ')
    _quoted(line, wants(access, FIELD_REQUEST_PATH), facts.target)
    put_byte(line, c' ')
    if notes != NULL and wants(access, FIELD_REQUEST_PROTOCOL):
        put(line, notes.protocol, 8)
    else:
        put_byte(line, c'-')
    put(line, "\" ", 2)
    _number(line, wants(access, FIELD_ORIGIN_STATUS), facts.origin_status)
    put_byte(line, c' ')
    _number(line, wants(access, FIELD_ORIGIN_CONTENT_SIZE), stream.record.origin_body)
    if notes != NULL:
        _header(line, notes, notes.referer, access.referer_mode)
        _header(line, notes, notes.agent, access.agent_mode)
    else:
        put(line, " \"-\" \"-\"", 8)
    if access.format == FORMAT_CLF:
        return
    put_byte(line, c' ')
    _number(line, notes != NULL and wants(access, FIELD_REQUEST_COUNT), notes.count if notes != NULL else 0)
    put_byte(line, c' ')
    if wants(access, FIELD_FRONTEND_NAME) and facts.frontend.size:
        put_byte(line, c'"')
        put(line, facts.step.data, facts.step.size)
        put(line, facts.entry_point.data, facts.entry_point.size)
        put_quoted(line, facts.frontend.data, facts.frontend.size)
        put_byte(line, c'"')
    else:
        put_byte(line, c'-')
    put_byte(line, c' ')
    if wants(access, FIELD_BACKEND_URL) and facts.has_url:
        put_byte(line, c'"')
        put_quoted(line, facts.url.data, facts.url.size)
        put_byte(line, c'"')
    else:
        put_byte(line, c'-')
    put_byte(line, c' ')
    put_number(line, facts.duration // MILLISECOND if wants(access, FIELD_DURATION) else 0)
    put(line, "ms", 2)


cdef inline void _quoted(Line* line, bint wanted, Span text) noexcept nogil:
    if wanted and text.size:
        put_quoted(line, text.data, text.size)
    else:
        put_byte(line, c'-')


cdef inline void _number(Line* line, bint wanted, int64_t number) noexcept nogil:
    if wanted:
        put_number(line, number)
    else:
        put_byte(line, c'-')
