# One line for each exchange, written by the worker itself into its ring; the observer only carries it on.
#
# Four calls: the head of a
# request and of a response are there (what the line needs is copied, see notes.pyx), a head goes to the client, and
# the end, where the line is made. Nothing here allocates for most requests, waits, or needs the interpreter.

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr

from fastproxy.counters.layout cimport request_counter
from fastproxy.engine.http.head cimport (
    KIND_AUTHORIZATION, KIND_HOST, KIND_X_FORWARDED_FOR, Head,
)
from fastproxy.engine.http.fields cimport Field
from fastproxy.engine.observe.common cimport write_common
from fastproxy.engine.observe.facts cimport Facts, gather_facts
from fastproxy.engine.observe.json cimport write_json
from fastproxy.engine.observe.line cimport Line, put_number
from fastproxy.engine.observe.notes cimport (
    SECTION_DOWNSTREAM, SECTION_ORIGIN, SECTION_REQUEST, Notes, note, note_field, notes_drop_section, notes_free,
    notes_new,
)
from fastproxy.engine.observe.program cimport (
    AccessLog,     FORMAT_JSON, LONGEST_LINE, MODE_DROP, SOFT_LINE, access_log_free, access_log_new, header_mode,
)
from fastproxy.engine.operations.access cimport trusts
from fastproxy.engine.stream.record cimport Record
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.system.ring cimport ring_publish, ring_room

cdef enum:
    DRAWN = 256  # numbers of requests that a worker draws at once


cdef extern from *:
    """
    static inline uint64_t draw(uint64_t *word, uint64_t count)
    { return __atomic_fetch_add(word, count, __ATOMIC_RELAXED); }
    """
    uint64_t draw(uint64_t* word, uint64_t count) noexcept nogil


cdef int access_log_install(Engine* engine, object options, int ring, int wake, int worker, list entry_points) except -1:
    """Let every exchange leave a line in a ring. Raises OSError, MemoryError."""
    cdef AccessLog* access = access_log_new(options, ring, wake, worker, entry_points)
    access.counter = request_counter(engine.shared)
    engine.access_log = access
    return 0


cdef bint access_log_shows_headers(Engine* engine) noexcept:
    return (<AccessLog*> engine.access_log).with_headers


cdef void access_log_remove(Engine* engine) noexcept:
    access_log_free(<AccessLog*> engine.access_log)
    engine.access_log = NULL


cdef void access_log_begin(Stream* stream, Head* head) noexcept nogil:
    cdef Engine* engine = stream.engine
    cdef AccessLog* access = <AccessLog*> engine.access_log
    cdef Notes* notes = notes_new(&access.free_notes, access.with_headers)
    cdef bint believed = head.has_forwarded and trusts(&engine.entry_points[stream.client.entry_point], stream.client.address)
    cdef Field* field
    cdef uint64_t i
    if notes == NULL:
        return
    if stream.notes != NULL:
        notes_free(&access.free_notes, <Notes*> stream.notes)
    stream.notes = notes
    if access.next_count == access.last_count and access.counter != NULL:
        access.next_count = draw(access.counter, DRAWN)
        access.last_count = access.next_count + DRAWN
    access.next_count += 1
    notes.count = access.next_count
    notes.protocol = stream.codec.protocol
    if head.version_minor == 0:
        notes.protocol = "HTTP/1.0"
    notes.method = note(notes, head.method_text, head.method_size)
    notes.target = note(notes, head.target, head.target_size)
    for i in range(head.count):
        field = &head.fields[i]
        if field.kind == KIND_HOST:
            notes.has_host = 1
            notes.host = note(notes, field.value, field.value_size)
            continue
        if field.kind == KIND_X_FORWARDED_FOR and believed:
            notes.forwarded = note(notes, field.value, field.value_size)
        elif field.kind == KIND_AUTHORIZATION:
            notes.authorization = note(notes, field.value, field.value_size)
        elif access.with_agent and field.name_size == 10 and _is(field, "user-agent"):
            notes.agent = note(notes, field.value, field.value_size)
        elif access.with_referer and field.name_size == 7 and _is(field, "referer"):
            notes.referer = note(notes, field.value, field.value_size)
        if access.with_headers:
            _add(access, notes, SECTION_REQUEST, field.name, field.name_size, field.value, field.value_size)


cdef inline bint _is(const Field* field, const char* name) noexcept nogil:
    cdef uint64_t i
    for i in range(field.name_size):
        if (field.name[i] | 32) != (name[i] | 32):
            return False
    return True


cdef inline void _add(
    AccessLog* access, Notes* notes, int section, const char* name, size_t name_size, const char* value, size_t value_size
) noexcept nogil:
    cdef int mode = header_mode(access, name, name_size)
    if mode != MODE_DROP:
        note_field(notes, section, mode, name, name_size, value, value_size)


cdef void access_log_response(Stream* stream, Head* head) noexcept nogil:
    """An endpoint's, before anything is done to it; of several attempts the last one counts."""
    cdef AccessLog* access = <AccessLog*> stream.engine.access_log
    cdef Notes* notes = <Notes*> stream.notes
    cdef char digits[20]
    cdef Line number
    cdef uint64_t i
    if notes == NULL:
        return
    notes_drop_section(notes, SECTION_ORIGIN)
    if head.content_length >= 0:  # it is no field of the head any more
        number.at = digits
        number.soft = number.end = digits + sizeof(digits)
        put_number(&number, head.content_length)
        _add(access, notes, SECTION_ORIGIN, "Content-Length", 14, digits, number.at - digits)
    for i in range(head.count):
        if not head.fields[i].dropped:
            _add(
                access, notes, SECTION_ORIGIN, head.fields[i].name, head.fields[i].name_size,
                head.fields[i].value, head.fields[i].value_size,
            )


cdef void access_log_sent(Stream* stream, const char* head, size_t size) noexcept nogil:
    """Header lines as they go to the client, behind the status line."""
    cdef AccessLog* access = <AccessLog*> stream.engine.access_log
    cdef Notes* notes = <Notes*> stream.notes
    cdef const char* end = head + size
    cdef const char* stop
    cdef const char* colon
    if notes == NULL:
        return
    notes_drop_section(notes, SECTION_DOWNSTREAM)
    head = <const char*> memchr(head, c'\n', size)
    while head != NULL and head + 1 < end:
        head += 1
        stop = <const char*> memchr(head, c'\r', end - head)
        if stop == NULL or stop == head:
            return
        colon = <const char*> memchr(head, c':', stop - head)
        if colon != NULL:
            _add(
                access, notes, SECTION_DOWNSTREAM, head, colon - head, colon + 2,
                stop - colon - 2 if stop > colon + 2 else 0,
            )
        head = stop + 1


cdef bint _kept(const AccessLog* access, const Record* record, int64_t duration) noexcept nogil:
    """Filters: whatever one of them wants (operations.md 1.1)."""
    cdef uint64_t i
    if not access.filtered:
        return True
    if access.filter_retries and record.retries:
        return True
    if access.longer_than >= 0 and duration > access.longer_than:
        return True
    for i in range(access.range_count):
        if access.ranges[i].first <= record.status <= access.ranges[i].last:
            return True
    return False


cdef void access_log_end(Engine* engine, Stream* stream, bint internal) noexcept nogil:
    """Make the line; `internal`: one of our own paths, which has none."""
    cdef AccessLog* access = <AccessLog*> engine.access_log
    cdef Notes* notes = <Notes*> stream.notes
    cdef Facts facts
    cdef Line line
    cdef char user[256]
    cdef char* place
    stream.notes = NULL
    if not internal and (notes != NULL or access.invalid):
        gather_facts(access, stream, notes, &facts, user)
        if _kept(access, &stream.record, facts.duration):
            place = ring_room(access.ring, LONGEST_LINE)
            if place == NULL:
                access.ring.header.lost += 1
            else:
                line.at = place
                line.soft = place + SOFT_LINE
                line.end = place + LONGEST_LINE - 1
                line.cut = 0
                if access.format == FORMAT_JSON:
                    write_json(access, stream, notes, &facts, &line)
                else:
                    write_common(access, stream, notes, &facts, &line)
                line.at[0] = c'\n'
                access.ring.header.cut += line.cut
                ring_publish(access.ring, line.at + 1 - place)
    if notes != NULL:
        notes_free(&access.free_notes, notes)
