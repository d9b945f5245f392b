"""Operations that count: rate, connections, circuit breaker (`features.md` 3.15, 3.16, 3.19)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.counters.breaker cimport breaker_admit
from fastproxy.counters.connections cimport connections_take
from fastproxy.counters.rate cimport rate_take
from fastproxy.engine.operations.attempts cimport another_attempt
from fastproxy.engine.stream.complaint cimport WHY_BREAKER, complain
from fastproxy.engine.http.head cimport KIND_X_FORWARDED_FOR, KIND_X_REAL_IP, Head, field_kind, head_find
from fastproxy.engine.http.writer cimport Writer, write_number, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob, i64, u32
from fastproxy.engine.loop.reactor cimport clock_ns
from fastproxy.engine.stream.replies cimport STEP_GO_ON, because, plain_reply, reply_lines
from fastproxy.engine.operations.access cimport trusts
from fastproxy.engine.stream.record cimport RECORD_BREAKER, RECORD_CONNECTION_LIMIT, RECORD_RATE_LIMIT
from fastproxy.engine.stream.stream cimport Engine, Stream
from fastproxy.engine.http.fields cimport Field


cdef enum:
    EXTRACT_CLIENT = 0
    EXTRACT_HOST = 1
    EXTRACT_HEADER = 2


cdef Text _key(const Stream* stream, const Head* head, uint32_t extractor, Text header) noexcept nogil:
    """What a limit counts by (`features.md` 3.15)."""
    cdef Text key
    cdef Field* field
    key.data = <const char*> stream.client.address
    key.size = 16
    if extractor == EXTRACT_CLIENT:
        return key
    if extractor == EXTRACT_HOST:
        key.data = head.host
        key.size = head.host_size
    else:
        field = head_find(head, header.data, header.size)
        if field != NULL:
            key.data = field.value
            key.size = field.value_size
        elif not _stands_for_itself(stream, header):
            key.data = ""
            key.size = 0
    return key


cdef bint _stands_for_itself(const Stream* stream, Text header) noexcept nogil:
    """Is the field one that names the client, and the peer not trusted to name another?"""
    cdef int kind = field_kind(header.data, header.size)
    return (kind == KIND_X_FORWARDED_FOR or kind == KIND_X_REAL_IP) and not trusts(
        &stream.engine.entry_points[stream.client.entry_point], stream.client.address
    )


cdef int max_connections(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t slot = u32(payload)
    cdef uint32_t extractor = u32(payload)
    cdef int64_t amount = i64(payload)
    cdef Text key
    cdef Writer writer
    cdef Engine* engine = stream.engine
    u32(payload)
    key = _key(stream, head, extractor, blob(payload))
    if engine.shared == NULL or stream.limits.ticket:
        return STEP_GO_ON
    while True:
        if connections_take(engine.shared, slot, key.data, key.size, amount, &stream.limits.ticket) != 0:
            return STEP_GO_ON
        stream.limits.ticket = 0
        if not another_attempt(stream):
            break
    writer = reply_lines(engine)
    write_text(&writer, "max connections reached: ", 25)
    write_number(&writer, <uint64_t> amount)
    plain_reply(engine, 429, "")
    engine.reply.body = writer.data
    engine.reply.body_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size
    return because(engine, RECORD_CONNECTION_LIMIT)


cdef void write_duration(Writer* writer, int64_t nanoseconds) noexcept nogil:
    """Go's way to write a duration (`features.md` 3.3)."""
    cdef int64_t unit, seconds
    if nanoseconds == 0:
        write_text(writer, "0s", 2)
        return
    if nanoseconds < 1000000000:
        unit = 1 if nanoseconds < 1000 else 1000 if nanoseconds < 1000000 else 1000000
        _write_fraction(writer, nanoseconds // unit, nanoseconds % unit, unit)
        if unit == 1:
            write_text(writer, "ns", 2)
        elif unit == 1000:
            write_text(writer, "\xc2\xb5s", 3)
        else:
            write_text(writer, "ms", 2)
        return
    seconds = nanoseconds // 1000000000
    if seconds >= 3600:
        write_number(writer, <uint64_t> (seconds // 3600))
        write_text(writer, "h", 1)
    if seconds >= 60:
        write_number(writer, <uint64_t> (seconds // 60 % 60))
        write_text(writer, "m", 1)
    _write_fraction(writer, seconds % 60, nanoseconds % 1000000000, 1000000000)
    write_text(writer, "s", 1)


cdef void _write_fraction(Writer* writer, int64_t whole, int64_t rest, int64_t unit) noexcept nogil:
    cdef char digits[9]
    cdef int count = 0
    write_number(writer, <uint64_t> whole)
    while rest:
        rest *= 10
        digits[count] = <char> (c'0' + rest // unit)
        rest %= unit
        count += 1
    if count:
        write_text(writer, ".", 1)
        write_text(writer, digits, count)


cdef int rate_limit(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef const char* start = payload.at
    cdef uint32_t extractor
    cdef uint32_t count
    cdef Text key
    u32(payload)
    extractor = u32(payload)
    i64(payload)
    u32(payload)
    count = u32(payload)
    payload.at += count * 16
    key = _key(stream, head, extractor, blob(payload))
    if stream.route.retry_attempts > 1 or stream.buffering.attempt:
        _remember(stream, start, extractor, key)
    return _take_token(stream, start, key)


cdef void _remember(Stream* stream, const char* start, uint32_t extractor, Text key) noexcept nogil:
    """Each retry takes a token too, when the head is gone already."""
    stream.limits.rate = start
    free(stream.limits.rate_key)
    stream.limits.rate_key = NULL
    if extractor == EXTRACT_CLIENT:
        return
    stream.limits.rate_key = <char*> malloc(key.size + 1)
    stream.limits.rate_key_size = key.size
    if stream.limits.rate_key == NULL:
        stream.limits.rate = NULL
    else:
        memcpy(stream.limits.rate_key, key.data, key.size)


cdef int retry_limit(Stream* stream) noexcept nogil:
    cdef Text key
    if stream.limits.rate == NULL:
        return STEP_GO_ON
    if stream.limits.rate_key != NULL:
        key.data = stream.limits.rate_key
        key.size = stream.limits.rate_key_size
    else:
        key.data = <const char*> stream.client.address
        key.size = 16
    return _take_token(stream, stream.limits.rate, key)


cdef int _take_token(Stream* stream, const char* start, Text key) noexcept nogil:
    cdef Payload payload
    cdef uint32_t slot, count
    cdef int64_t lifetime, delay, now
    cdef int64_t buckets[64]
    cdef Engine* engine = stream.engine
    payload.at = start
    slot = u32(&payload)
    u32(&payload)
    lifetime = i64(&payload)
    u32(&payload)
    count = u32(&payload)
    if count > 32:
        count = 32
    memcpy(buckets, payload.at, count * 16)
    if engine.shared == NULL:
        return STEP_GO_ON
    now = engine.reactor.now_ns
    while True:
        delay = rate_take(engine.shared, slot, key.data, key.size, buckets, count, lifetime, now)
        if delay <= 0:
            return STEP_GO_ON
        if not another_attempt(stream):
            return _rate_reply(engine, delay)
        now = clock_ns()  # a token may have come meanwhile


cdef int _rate_reply(Engine* engine, int64_t delay) noexcept nogil:
    """429 with Retry-After (whole seconds, half to even), X-Retry-In and a body that says both."""
    cdef Writer lines = reply_lines(engine)
    cdef Writer body
    cdef int64_t seconds = delay // 1000000000, rest = delay % 1000000000
    if rest > 500000000 or (rest == 500000000 and seconds % 2):
        seconds += 1
    write_text(&lines, "Retry-After: ", 13)
    write_number(&lines, <uint64_t> seconds)
    write_text(&lines, "\r\nX-Retry-In: ", 14)
    write_duration(&lines, delay)
    write_text(&lines, "\r\n", 2)
    engine.scratch.extra_used += <uint32_t> lines.size
    body = reply_lines(engine)
    write_text(&body, "max rate reached: retry-in ", 27)
    write_duration(&body, delay)
    engine.scratch.extra_used += <uint32_t> body.size
    plain_reply(engine, 429, "")
    engine.reply.lines = lines.data
    engine.reply.lines_size = lines.size
    engine.reply.body = body.data
    engine.reply.body_size = body.size
    return because(engine, RECORD_RATE_LIMIT)


cdef int circuit_breaker(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef const char* start = payload.at
    cdef uint32_t slot = u32(payload)
    cdef Engine* engine = stream.engine
    if engine.shared == NULL:
        return STEP_GO_ON
    if not breaker_admit(engine.shared, slot, engine.reactor.now_ns):
        complain(stream, WHY_BREAKER, 503)
        plain_reply(engine, 503, "Service Unavailable")
        return because(engine, RECORD_BREAKER)
    stream.limits.breaker = start
    stream.limits.started_ns = engine.reactor.now_ns
    return STEP_GO_ON
