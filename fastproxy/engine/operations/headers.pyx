"""Operations that edit heads (`features.md` 3.10, and the response part of 3.11)."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, strlen

from fastproxy.engine.http.head cimport (
    KIND_LOCATION, Head, head_add, head_find_kind, head_remove, same_text,
)
from fastproxy.engine.http.writer cimport Writer, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_OVER, reply_lines
from fastproxy.engine.stream.stream cimport Remembered, Stream
from fastproxy.engine.http.fields cimport Field

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* data, size_t size, unsigned int flags)


cdef int edit_request(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t count = u32(payload), _i
    cdef Text name, value
    for _i in range(count):
        name = blob(payload)
        value = blob(payload)
        head_remove(head, name.data, name.size)
        if value.size:
            head_add(head, name.data, name.size, value.data, value.size)
    return STEP_GO_ON


cdef void edit_response(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t only_ssl = u32(payload)
    cdef uint32_t count = u32(payload), _i
    cdef Text name, value
    if only_ssl and not stream.ssl:
        return
    for _i in range(count):
        name = blob(payload)
        value = blob(payload)
        head_remove(head, name.data, name.size)
        if same_text(name.data, name.size, "Server", 6):
            head.has_server = 1  # whoever deletes it does not want ours instead
        if value.size == 0:
            continue
        if memchr(value.data, 1, value.size) != NULL:
            value = _with_nonce(stream, value)
        head_add(head, name.data, name.size, value.data, value.size)


cdef uint8_t _random[4096]
cdef uint32_t _random_left = 0

cdef Text _with_nonce(Stream* stream, Text value) noexcept nogil:
    """Replace each byte 1 by this request's nonce: base64 of 16 random bytes, without padding."""
    cdef Writer writer = reply_lines(stream.engine)
    cdef char nonce[24]
    cdef uint8_t* source
    cdef uint32_t i, bits = 0, have = 0, used = 0
    cdef Text result
    global _random_left
    if _random_left < 16:
        if getrandom(_random, sizeof(_random), 0) == sizeof(_random):
            _random_left = sizeof(_random)
        else:
            result.data = ""
            result.size = 0
            return result
    _random_left -= 16
    source = _random + _random_left
    for i in range(16):
        bits = (bits << 8) | source[i]
        have += 8
        while have >= 6:
            have -= 6
            nonce[used] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(bits >> have) & 63]
            used += 1
    nonce[used] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(bits << (6 - have)) & 63]
    used += 1
    for i in range(value.size):
        if value.data[i] == 1:
            write_text(&writer, nonce, used)
        else:
            write_text(&writer, value.data + i, 1)
    stream.engine.scratch.extra_used += <uint32_t> writer.size
    result.data = writer.data
    result.size = 0 if writer.failed else <uint32_t> writer.size
    return result


cdef void fix_location(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """`http://HOST` of our own host becomes https when the exchange is (`features.md` 3.11.7)."""
    cdef Text host = blob(payload)
    cdef Field* field = head_find_kind(head, KIND_LOCATION)
    cdef Writer writer
    if field == NULL or not (stream.ssl or (stream.pool != NULL and stream.pool.tls)):
        return
    if field.value_size < 7 + host.size or memcmp(field.value, <const char*> "http://", 7) != 0:
        return
    if memcmp(field.value + 7, host.data, host.size) != 0:
        return
    if field.value_size > 7 + host.size and field.value[7 + host.size] != c'/':
        return
    writer = reply_lines(stream.engine)
    write_text(&writer, "https", 5)
    write_text(&writer, field.value + 4, field.value_size - 4)
    if not writer.failed:
        stream.engine.scratch.extra_used += <uint32_t> writer.size
        field.value = writer.data
        field.value_size = <uint32_t> writer.size


cdef int remembered_headers(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef const Remembered* found = stream.client.remembered
    cdef const char* name
    cdef const char* value
    cdef const char* end
    if (
        found == NULL or found.slot != u32(payload)
        or found.generation != stream.table.header.generation
    ):
        return STEP_GO_ON
    name = found.lines
    end = name + found.size
    while name < end:
        value = name + strlen(name) + 1
        head_add(head, name, strlen(name), value, strlen(value))
        name = value + strlen(value) + 1
    return STEP_OVER
