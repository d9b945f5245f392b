"""Operations that change the path (`features.md` 3.5)."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from fastproxy.engine.http.head cimport Head, head_add, merge_path, scratch_keep, sent_path
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_REPLY, error_reply, plain_reply
from fastproxy.engine.stream.stream cimport Stream


cdef enum:
    RAW = 1  # may stand in a path as it is
    UNRESERVED = 2  # and never stands there escaped

cdef uint8_t _class[256]


cdef int _fill_classes() except -1:
    cdef int byte
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~":
        _class[byte] = RAW | UNRESERVED
    for byte in b"!$&'()*+,;=:@/[]|":
        _class[byte] = RAW
    return 0


_fill_classes()


cdef inline int _digit(char byte) noexcept nogil:
    """Of an escape in a normalised path: upper case only."""
    if c'0' <= byte <= c'9':
        return byte - c'0'
    if c'A' <= byte <= c'F':
        return byte - c'A' + 10
    return -256


cdef bint _is_normal(const char* path, size_t size) noexcept nogil:
    """Would normalising leave this path as it is? (http-safety.md 3: after an edit it must.)"""
    cdef size_t i
    cdef int value
    if size == 0 or path[0] != c'/':
        return False
    for i in range(size):
        if path[i] == c'/' and i + 1 < size:
            if path[i + 1] == c'.':
                if i + 2 == size or path[i + 2] == c'/':
                    return False
                if path[i + 2] == c'.' and (i + 3 == size or path[i + 3] == c'/'):
                    return False
        elif path[i] == c'%':
            if i + 2 >= size:
                return False
            value = _digit(path[i + 1]) * 16 + _digit(path[i + 2])
            if value <= 0 or _class[value] & UNRESERVED:
                return False
        elif not _class[<uint8_t> path[i]]:
            return False
    return True


cdef int set_path(Stream* stream, Head* head, const char* path, size_t size) noexcept nogil:
    if path == NULL:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    if not _is_normal(path, size):
        plain_reply(stream.engine, 400, "Bad Request")
        stream.engine.reply.close = 1
        return STEP_REPLY
    if stream.original_path == NULL:
        stream.original_path = sent_path(head, &stream.original_path_size)
    stream.added_size = 0
    head.path = path
    head.path_size = <uint32_t> size
    head.path_changed = 1
    merge_path(head, stream.engine.scratch)
    return STEP_GO_ON


cdef Text _behind(const Head* head, uint32_t size) noexcept nogil:
    """What is forwarded of the path behind its first `size` bytes: empty segments do not count."""
    cdef Text rest
    cdef uint32_t at = 0, whole
    rest.data = sent_path(head, &whole)
    if head.sent == NULL:
        at = size
    else:
        while size:
            if at == 0 or rest.data[at] != c'/' or rest.data[at - 1] != c'/':
                size -= 1
            at += 1
    rest.data += at
    rest.size = whole - at
    return rest


cdef void _tell_replaced(Head* head) noexcept nogil:
    cdef uint32_t size
    cdef const char* path = sent_path(head, &size)
    head_add(head, "X-Replaced-Path", 15, path, size)


cdef int _set_joined(Stream* stream, Head* head, Text one, Text other) noexcept nogil:
    cdef size_t total = <size_t> one.size + other.size
    cdef char* room = scratch_keep(stream.engine.scratch, NULL, total + 1)
    if room == NULL:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    room[0] = c'/'
    memcpy(room + 1, one.data, one.size)
    memcpy(room + 1 + one.size, other.data, other.size)
    if total and room[1] == c'/':
        return set_path(stream, head, room + 1, total)
    return set_path(stream, head, room, total + 1)


cdef int strip_prefixes(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t count = u32(payload), _i
    cdef Text prefix, nothing
    nothing.data = ""
    nothing.size = 0
    for _i in range(count):
        prefix = blob(payload)
        if prefix.size <= head.path_size and memcmp(prefix.data, head.path, prefix.size) == 0:
            head_add(head, "X-Forwarded-Prefix", 18, prefix.data, prefix.size)
            return _set_joined(stream, head, nothing, _behind(head, prefix.size))
    return error_reply(stream.engine, 404, "404 page not found\n")


cdef int add_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef bint alone = stream.original_path == NULL
    cdef uint32_t size = head.path_size
    cdef int code = _set_joined(stream, head, blob(payload), _behind(head, 0))
    if code == STEP_GO_ON and alone:
        stream.added_size = head.path_size - size
    return code


cdef int replace_path(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef Text path = blob(payload)
    cdef Text nothing
    nothing.data = ""
    nothing.size = 0
    _tell_replaced(head)
    return _set_joined(stream, head, path, nothing)


cdef int rewrite_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef Text prefix = blob(payload)
    cdef Text replacement = blob(payload)
    if prefix.size > head.path_size or memcmp(prefix.data, head.path, prefix.size) != 0:
        return STEP_GO_ON
    if replacement.size == 0 and head.path_size == prefix.size:
        replacement.data = "/"
        replacement.size = 1
    _tell_replaced(head)
    return _set_joined(stream, head, replacement, _behind(head, prefix.size))
