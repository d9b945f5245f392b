"""Forward authentication: the authentication server is asked without Python (`features.md` 3.21).

Idea: the operation in front of the filter writes the filter's question from the canonical head, parks
the client's stream and sends the question on a stream of its own. An answer of 2xx edits the saved
head, and the client's stream goes on behind the filter. Any other answer is collected and handed to
the filter, which makes the reply of it (`Filter.on_refusal`). What is unusual before anything was
sent - no address yet, no memory, an Exchange that already holds the head - is left to the filter,
which then asks by itself.

Invariants
* A question belongs to the client's stream and ends with its exchange, whoever ends that: what was
  copied from the answer, and the head saved for it, live as long as the exchange.
* The server is asked once for a request, except when an idle connection turns out to be dead.
* A question that is over holds no connection, no pool and no deadline.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy

from fastproxy.engine.loop.buffers cimport queue_clear
from fastproxy.engine.stream.complaint cimport (
    WHY_AUTH_TIMEOUT, WHY_AUTH_TOO_LONG, complain_about, complain_failure,
)
from fastproxy.engine.http.spool cimport GATHERED, Gather, gather_add, gather_free, gather_new
from fastproxy.engine.http.head cimport (
    KIND_AUTHORIZATION, KIND_CONDITION, KIND_CONTENT_LENGTH, KIND_EXPECT, KIND_HOST, KIND_OTHER,
    KIND_X_FORWARDED_FOR,
    KIND_X_FORWARDED_HOST, KIND_X_FORWARDED_METHOD, KIND_X_FORWARDED_PROTO, KIND_X_FORWARDED_URI, Head,
    field_alias, head_add, head_find_kind, head_remove, same_text,
)
from fastproxy.engine.http.writer cimport Writer, write_head_field, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.loop.reactor cimport DEADLINE_QUESTION, Source, deadline_clear, deadline_set
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_OVER, STEP_PARK, plain_reply
from fastproxy.engine.http.owned_head cimport SavedHead, head_forget, head_save
from fastproxy.engine.stream.stream cimport FAIL_REFUSED, Engine, Pool, Stream, StreamOwner
from fastproxy.engine.upstream.h1_request cimport stream_forget_head, upstream_abort, upstream_begin
from fastproxy.engine.http.fields cimport Field

cdef enum:
    LIMIT = 1 << 20  # bytes of an answer, as in features/auth/forward.py

cdef struct Question:
    Stream stream  # first: the one on which the server is asked
    Source clock  # never in the epoll set: it carries the deadline for everything
    Stream* client
    Question* older  # of the same exchange: an entry point asks, and then the route
    SavedHead* saved  # of the client; the stream's when an error page may need it
    Gather* answer  # one that refuses
    char* copied  # values of the answer, for the saved head
    char* original_path
    const char* names  # payload: the header fields to copy
    uint64_t received  # bytes of the answer's body
    uint32_t slot  # of the filter
    uint8_t broken  # no memory for the answer
    uint8_t lent  # `saved` is the stream's

cdef StreamOwner _owner


# --- the question ---

cdef bint _clean(const char* data, size_t size) noexcept nogil:
    return not size or (
        memchr(data, c'\r', size) == NULL and memchr(data, c'\n', size) == NULL
        and memchr(data, 0, size) == NULL
    )


cdef bint _is_left_out(const Field* field) noexcept nogil:
    """What is not copied: spoken for below, in any spelling, or only about the client's message."""
    if field.kind == KIND_OTHER:
        if field.name_size == 8 and same_text(field.name, 8, "trailers", 8):
            return True
        return memchr(field.name, c'_', field.name_size) != NULL and (
            field_alias(field, "x-forwarded-for", 15) or field_alias(field, "x-forwarded-method", 18)
            or field_alias(field, "x-forwarded-proto", 17) or field_alias(field, "x-forwarded-host", 16)
            or field_alias(field, "x-forwarded-uri", 15)
        )
    return (
        field.kind == KIND_HOST or field.kind == KIND_CONTENT_LENGTH or field.kind == KIND_EXPECT
        or field.kind == KIND_X_FORWARDED_FOR or field.kind == KIND_X_FORWARDED_METHOD
        or field.kind == KIND_X_FORWARDED_PROTO or field.kind == KIND_X_FORWARDED_HOST
        or field.kind == KIND_X_FORWARDED_URI or field.kind == KIND_CONDITION
    )


cdef bint _speak(
    Writer* writer, const Head* head, bint trust, int kind, Text name, const char* value, size_t size
) noexcept nogil:
    """One of X-Forwarded-*: what a trusted client says, or the request's own `value`."""
    cdef const Field* field = head_find_kind(head, kind) if trust else NULL
    if field != NULL:
        value = field.value
        size = field.value_size
        if not _clean(value, size):
            return False
    elif size == 0:
        return True
    write_text(writer, name.data, name.size)
    write_text(writer, value, size)
    write_text(writer, "\r\n", 2)
    return True


cdef inline Text _text(const char* data, uint32_t size) noexcept nogil:
    cdef Text text
    text.data = data
    text.size = size
    return text


cdef bint _sources(Writer* writer, const Stream* stream, const Head* head, bint trust) noexcept nogil:
    cdef const Field* field
    cdef uint32_t i
    write_text(writer, "X-Forwarded-For: ", 17)
    if trust:
        for i in range(head.count):
            field = &head.fields[i]
            if field.kind == KIND_X_FORWARDED_FOR and not field.dropped:
                if not _clean(field.value, field.value_size):
                    return False
                write_text(writer, field.value, field.value_size)
                write_text(writer, ", ", 2)
    write_text(writer, stream.client.text, stream.client.size)
    write_text(writer, "\r\n", 2)
    return True


cdef bint write_question(
    Writer* writer, const Stream* stream, const Head* head, Payload* payload
) noexcept nogil:
    """Write what the filter would send (`request_headers` in features/auth/forward.py); False when
    that cannot be sent. Reads of the payload: u32 trust, blob request line and Host, blob
    Authorization of the URL."""
    cdef bint trust = u32(payload)
    cdef Text start = blob(payload)
    cdef Text credentials = blob(payload)
    cdef const char* scheme = "https" if stream.client.tls else "http"
    cdef const Field* field
    cdef uint32_t i
    write_text(writer, start.data, start.size)
    for i in range(head.count):
        field = &head.fields[i]
        if not field.dropped and not _is_left_out(field) and not write_head_field(writer, field):
            return False
    if not (
        _sources(writer, stream, head, trust)
        and _speak(
            writer, head, trust, KIND_X_FORWARDED_METHOD, _text("X-Forwarded-Method: ", 20),
            head.method_text, head.method_size,
        )
        and _speak(
            writer, head, trust, KIND_X_FORWARDED_PROTO, _text("X-Forwarded-Proto: ", 19),
            scheme, 5 if stream.client.tls else 4,
        )
        and _speak(
            writer, head, trust, KIND_X_FORWARDED_HOST, _text("X-Forwarded-Host: ", 18),
            head.host, head.host_size,
        )
        and _speak(  # as received, not as rewritten (FIX 20)
            writer, head, trust, KIND_X_FORWARDED_URI, _text("X-Forwarded-Uri: ", 17),
            head.target, head.target_size,
        )
    ):
        return False
    if credentials.size and head_find_kind(head, KIND_AUTHORIZATION) == NULL:
        write_text(writer, "Authorization: ", 15)
        write_text(writer, credentials.data, credentials.size)
        write_text(writer, "\r\n", 2)
    write_text(writer, "\r\n", 2)
    return not writer.failed


cdef int ask_server(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The operation: u32 filter slot, what `write_question` reads, u32 count and blobs: names of the
    header fields to copy."""
    cdef Engine* engine = stream.engine
    cdef uint32_t slot = u32(payload)
    cdef Pool* pool = stream.table.servers[slot] if slot < stream.table.filter_count else NULL
    cdef Question* question
    cdef Writer writer
    if pool == NULL or pool.address_count == 0 or stream.exchange != NULL or stream.buffering.operation != NULL:
        return STEP_GO_ON
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    if not write_question(&writer, stream, head, payload):
        return STEP_GO_ON
    question = _new_question(stream, head)
    if question == NULL:
        return STEP_GO_ON
    question.slot = slot
    question.names = payload.at
    question.stream.pool = pool
    pool.references += 1
    if upstream_begin(&question.stream, writer.data, writer.size, NULL, 0, 1):
        complain_failure(stream, pool, FAIL_REFUSED, 500)
        _settle(question)
        return plain_reply(engine, 500, "")
    deadline_set(&question.clock, &question.clock.deadline, DEADLINE_QUESTION)
    return STEP_PARK


cdef Question* _new_question(Stream* stream, const Head* head) noexcept nogil:
    """A question of this exchange, with everything that must outlive the buffers of the head."""
    cdef Question* question = <Question*> calloc(1, sizeof(Question))
    if question == NULL:
        return NULL
    question.saved = head_save(head, stream.engine.scratch, stream.arrived, stream.arrived_size)
    question.original_path = <char*> malloc(stream.original_path_size + 1)
    if question.saved == NULL or question.original_path == NULL:
        head_forget(question.saved)
        free(question.original_path)
        free(question)
        return NULL
    if stream.original_path != NULL:
        memcpy(question.original_path, stream.original_path, stream.original_path_size)
        stream.original_path = question.original_path
    if stream.saved_head != NULL:
        # A page is asked for with what the answer has made of the head, not with what the client sent.
        question.saved.older = <SavedHead*> stream.saved_head
        stream.saved_head = question.saved
        question.lent = 1
    question.client = stream
    question.older = <Question*> stream.question
    stream.question = question
    question.stream.owner = &_owner
    question.stream.engine = stream.engine
    question.stream.is_safe = 1
    question.clock.reactor = stream.engine.reactor
    question.clock.on_deadline = _on_deadline
    return question


# --- its end ---

cdef void _settle(Question* question) noexcept nogil:
    """Give back what belongs to the engine; safe to call again."""
    cdef Stream* stream = &question.stream
    upstream_abort(stream)
    deadline_clear(stream.engine.reactor, &question.clock.deadline)
    stream_forget_head(stream)
    queue_clear(&stream.unsent)
    free(stream.trailers)
    stream.trailers = NULL
    if stream.pool != NULL:
        stream.pool.references -= 1
        stream.pool = NULL


cdef void forget_questions(Stream* stream) noexcept nogil:
    """The client's exchange is over, or its client has left."""
    cdef Question* question = <Question*> stream.question
    cdef Question* older
    stream.question = NULL
    while question != NULL:
        older = question.older
        _settle(question)
        if not question.lent:
            head_forget(question.saved)
        gather_free(question.answer)
        free(question.copied)
        free(question.original_path)
        free(question)
        question = older


cdef void _reply(Question* question) noexcept nogil:
    """Answer the client: what the filter makes of a refusal, or that asking has failed."""
    cdef Stream* stream = question.client
    cdef SavedHead* saved = question.saved
    cdef int code
    _settle(question)
    if question.answer != NULL and not question.broken:
        code = stream.engine.refuse(stream, question.slot, question.answer)
    else:
        code = plain_reply(stream.engine, 500, "")
    stream.owner.resume(stream, &saved.head, saved.body, saved.body_size, code)


cdef void _fail(Question* question) noexcept nogil:
    question.broken = 1
    _reply(question)


cdef void _admit(Question* question) noexcept nogil:
    cdef Stream* stream = question.client
    cdef SavedHead* saved = question.saved
    _settle(question)
    stream.owner.resume(stream, &saved.head, saved.body, saved.body_size, STEP_OVER)


cdef int _keep_fields(Question* question, const Head* answer) noexcept nogil:
    """What the answer says about each named field, until it is complete: u32 count and blobs for
    each name. -1 without memory."""
    cdef Payload payload
    cdef const Field* field
    cdef char* at
    cdef uint32_t i, _i, count, found
    cdef size_t total = 0
    cdef Text name
    payload.at = question.names
    count = u32(&payload)
    if count == 0:
        return 0
    for _i in range(count):
        name = blob(&payload)
        total += sizeof(uint32_t)
        for i in range(answer.count):
            if _is_named(&answer.fields[i], name):
                total += sizeof(uint32_t) + answer.fields[i].value_size
    at = question.copied = <char*> malloc(total)
    if at == NULL:
        return -1
    payload.at = question.names + sizeof(uint32_t)
    for _i in range(count):
        name = blob(&payload)
        found = 0
        for i in range(answer.count):
            found += _is_named(&answer.fields[i], name)
        memcpy(at, &found, sizeof(uint32_t))
        at += sizeof(uint32_t)
        for i in range(answer.count):
            field = &answer.fields[i]
            if _is_named(field, name):
                memcpy(at, &field.value_size, sizeof(uint32_t))
                memcpy(at + sizeof(uint32_t), field.value, field.value_size)
                at += sizeof(uint32_t) + field.value_size
    return 0


cdef int _copy_fields(Question* question) noexcept nogil:
    """Each named field becomes what the answer said, whatever the client says; -1 without memory."""
    cdef Head* head = &question.saved.head
    cdef Payload names, values
    cdef uint32_t _i, _j, count
    cdef Text name, value
    names.at = question.names
    values.at = question.copied
    count = u32(&names)
    for _i in range(count):
        name = blob(&names)
        head_remove(head, name.data, name.size)
        for _j in range(u32(&values)):
            value = blob(&values)
            if head_add(head, name.data, name.size, value.data, value.size) < 0:
                return -1
    return 0


cdef inline bint _is_named(const Field* field, Text name) noexcept nogil:
    return not field.dropped and same_text(field.name, field.name_size, name.data, name.size)


# --- what the upstream side and the clock report ---

cdef void _on_head(Stream* stream, Head* head) noexcept nogil:
    cdef Question* question = <Question*> stream
    if 200 <= head.status < 300:
        question.broken = _keep_fields(question, head) < 0
    else:
        question.answer = gather_new(head, stream.engine.scratch)
        question.broken = question.answer == NULL


cdef void _on_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil:
    """Of an answer that admits only the length counts."""
    cdef Question* question = <Question*> stream
    question.received += size
    if question.received > LIMIT:
        complain_about(question.client, stream.pool, WHY_AUTH_TOO_LONG, 500)
        _fail(question)
        return
    if question.answer != NULL and gather_add(question.answer, data, size, 0, 0) != GATHERED:
        question.broken = 1
    if not last:
        return
    if question.answer != NULL or question.broken or _copy_fields(question) < 0:
        _reply(question)
    else:
        _admit(question)


cdef void _on_failed(Stream* stream, int failure) noexcept nogil:
    cdef Question* question = <Question*> stream
    complain_failure(question.client, stream.pool, failure, 500)
    _fail(question)


cdef void _on_deadline(Source* clock, int kind) noexcept nogil:
    cdef Question* question = <Question*> (<char*> clock - <size_t> &(<Question*> NULL).clock)
    complain_about(question.client, question.stream.pool, WHY_AUTH_TIMEOUT, 500)
    _fail(question)


cdef void _nothing(Stream* stream) noexcept nogil:
    pass


cdef void _on_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    pass


cdef int _raw(Stream* stream) noexcept nogil:
    return -1


_owner.on_head = _on_head
_owner.on_body = _on_body
_owner.on_failed = _on_failed
_owner.on_writable = _nothing
_owner.on_continue = _nothing
_owner.on_upgraded = _on_upgraded
_owner.raw = _raw
