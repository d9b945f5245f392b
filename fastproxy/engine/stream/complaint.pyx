"""Why a request could not be served, counted for the log.

Idea: the part that meets a failure says what it was (`reason_is`, `reason_text`) just before it
reports the failure; whoever decides the answer turns it into a complaint, in the same call. Equal
complaints are counted in a small table, without the interpreter. The engine's tick, ten times a
second, wakes Python if the table holds anything (`fastproxy/system/complaints.py`).

So an answer that fails costs a few comparisons, and nothing is written on the way of a request.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy, memset, strlen

from fastproxy.engine.stream.stream cimport (
    FAIL_INTERNAL, FAIL_MALFORMED, FAIL_TRUNCATED, Engine, Pool, Stream,
)

cdef enum:
    MOST = 32  # complaints between two ticks
    NAME = 200  # bytes of a name that are kept
    DETAIL = 160


cdef struct Complaint:
    # All of it but `count` says what it is about, so that two can be compared as bytes.
    int why
    int status
    int error
    int spare  # no gap between the members: they are compared as bytes
    char route[NAME]
    char backend[NAME]
    char endpoint[NAME]
    char detail[DETAIL]
    uint64_t count


cdef struct Complaints:
    Complaint rows[MOST]


cdef int complaints_install(Engine* engine) except -1:
    engine.complaints = calloc(1, sizeof(Complaints))
    if engine.complaints == NULL:
        raise MemoryError
    return 0


cdef void reason_is(Engine* engine, int why, int error) noexcept nogil:
    """What the failure that is reported next was; `error` is an errno, or 0."""
    engine.reason.why = why
    engine.reason.error = error
    engine.reason.text[0] = 0


cdef void reason_text(Engine* engine, int why, const char* text) noexcept nogil:
    cdef size_t size = strlen(text)
    if size >= sizeof(engine.reason.text):
        size = sizeof(engine.reason.text) - 1
    reason_is(engine, why, 0)
    memcpy(engine.reason.text, text, size)
    engine.reason.text[size] = 0


cdef inline void _copy(char* target, size_t room, const char* data, size_t size) noexcept nogil:
    memcpy(target, data, size if size < room else room)


cdef void _add(Engine* engine, const Stream* stream, const Pool* pool, int why, int status) noexcept nogil:
    cdef Complaints* complaints = <Complaints*> engine.complaints
    cdef Complaint row
    cdef uint32_t i
    if complaints == NULL:
        return
    memset(&row, 0, sizeof(row))
    row.why = why
    row.status = status
    row.error = engine.reason.error
    _copy(row.detail, DETAIL, engine.reason.text, strlen(engine.reason.text))
    reason_is(engine, WHY_UNKNOWN, 0)
    if stream != NULL and stream.table != NULL and stream.route != NULL:
        _copy(row.route, NAME, stream.table.block + stream.route.name.offset, stream.route.name.size)
        _copy(
            row.backend, NAME, stream.table.block + stream.route.backend_name.offset,
            stream.route.backend_name.size,
        )
    if pool != NULL:
        _copy(row.endpoint, NAME, pool.url, pool.url_size)
    for i in range(engine.complaint_count):
        if memcmp(&complaints.rows[i], &row, sizeof(row) - sizeof(row.count)) == 0:
            complaints.rows[i].count += 1
            return
    if engine.complaint_count == MOST:
        # Too many kinds at once: the last one stands for all that are not told.
        complaints.rows[MOST - 1].count += 1
        return
    row.count = 1
    complaints.rows[engine.complaint_count] = row
    engine.complaint_count += 1


cdef void complain_failure(const Stream* stream, const Pool* pool, int failure, int status) noexcept nogil:
    """An endpoint has failed; `status` is what the client is answered, or CUT."""
    cdef Engine* engine = stream.engine
    cdef int why = engine.reason.why
    if failure == FAIL_TRUNCATED or status == CUT:
        why = WHY_TRUNCATED
        status = 0
    elif failure == FAIL_MALFORMED and why != WHY_TOO_LONG:
        why = WHY_MALFORMED
    elif failure == FAIL_INTERNAL and why != WHY_TLS:
        why = WHY_UNKNOWN
    if why == WHY_TRUNCATED or why == WHY_MALFORMED:
        reason_is(engine, why, 0)
    _add(engine, stream, pool, why, status)


cdef void complain(const Stream* stream, int why, int status) noexcept nogil:
    """No endpoint is to blame."""
    complain_about(stream, NULL, why, status)


cdef void complain_about(const Stream* stream, const Pool* pool, int why, int status) noexcept nogil:
    reason_is(stream.engine, why, 0)
    _add(stream.engine, stream, pool, why, status)


cdef void complain_plainly(Engine* engine, int why) noexcept nogil:
    """It concerns no request."""
    reason_is(engine, why, 0)
    _add(engine, NULL, NULL, why, 0)


cdef str _text(const char* data, size_t room):
    cdef size_t size = 0
    while size < room and data[size]:
        size += 1
    return data[:size].decode("utf-8", "replace")


cdef list complaints_take(Engine* engine):
    """Rows of (why, status, error, route, backend, endpoint, detail), each with its count."""
    cdef Complaints* complaints = <Complaints*> engine.complaints
    cdef Complaint* row
    cdef uint32_t i
    found = []
    for i in range(engine.complaint_count):
        row = &complaints.rows[i]
        found.append((
            (
                row.why, row.status, row.error, _text(row.route, NAME), _text(row.backend, NAME),
                _text(row.endpoint, NAME), _text(row.detail, DETAIL),
            ),
            row.count,
        ))
    engine.complaint_count = 0
    return found
