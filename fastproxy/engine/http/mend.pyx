"""Response heads which llhttp refuses and a proxy has to understand.

What is an attack in a request is often just an old server in a response: RFC 9112 5.1 obliges a
proxy to remove blanks between the name of a field and its colon, and a response that cannot have a
body (to HEAD, 1xx, 204, 304) is not misread because its framing fields contradict each other; there
they are judged one by one (http-safety.md 24a, 40).

Idea: nothing of this costs a good response anything. Only when llhttp has refused a head is it read
again, line by line, with what may be mended put right in the window; from then on only whole lines
of this head reach llhttp. Everything is looked at once, so the work stays linear however the bytes
arrive.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memmove

from fastproxy.engine.http.head cimport same_text
from fastproxy.engine.http.llhttp cimport llhttp
from fastproxy.engine.http.h1_parser cimport Wire, wire_head
from fastproxy.engine.http.fields cimport Window

cdef enum:
    STATUS_AT = 9  # behind `HTTP/1.1 `
    LONGEST_LENGTH = 18  # digits that fit into 63 bits


cdef inline bint _blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


cdef bint _bodiless(const Window* window, uint32_t begin, bint is_head) noexcept nogil:
    cdef const char* status = window.data + begin + STATUS_AT
    if is_head:
        return True
    if window.used < begin + STATUS_AT + 3:
        return False
    return status[0] == c'1' or (
        status[1] == c'0' and status[2] == c'4' and (status[0] == c'2' or status[0] == c'3')
    )


cdef bint _is_length(const char* value, uint32_t size) noexcept nogil:
    """Digits and blanks around them?"""
    cdef uint32_t i
    while size and (_blank(value[size - 1]) or value[size - 1] == c'\r' or value[size - 1] == c'\n'):
        size -= 1
    while size and _blank(value[0]):
        value += 1
        size -= 1
    for i in range(size):
        if not c'0' <= value[i] <= c'9':
            return False
    return 0 < size <= LONGEST_LENGTH


cdef uint32_t _mend_line(Wire* wire, char* line, uint32_t size, bint bodiless) noexcept nogil:
    """Put one line right in place; its size then, 0 when it goes."""
    cdef uint32_t name = 0, colon
    while name < size and line[name] != c':' and line[name] > c' ':
        name += 1
    colon = name
    while colon < size and _blank(line[colon]):
        colon += 1
    if name == 0 or colon == size or line[colon] != c':':
        return size
    if colon > name:
        memmove(line + name, line + colon, size - colon)
        size -= colon - name
    if bodiless:
        if same_text(line, name, "transfer-encoding", 17):
            return 0
        if same_text(line, name, "content-length", 14):
            if wire.mended_length or not _is_length(line + name + 1, size - name - 1):
                return 0
            wire.mended_length = 1
    return size


cdef int mend_head(Wire* wire, uint32_t begin, bint is_head) noexcept nogil:
    """Parse a response head that llhttp has refused once more, mended; what `wire_head` answers.

    `begin` is where the head begins in the window. Called again when more of the head has come.
    """
    cdef Window* window = wire.window
    cdef char* data = window.data
    cdef bint bodiless = _bodiless(window, begin, is_head)
    cdef uint32_t start, kept, size, whole
    cdef const char* end
    cdef bint empty
    cdef int code
    if not wire.mending:
        llhttp().reset(&wire.parser)
        wire.mending = 1
        wire.mended_length = 0
        wire.mended = begin
        wire.error = 0
        window.count = 0
    start = kept = wire.mended
    while start < window.used:
        end = <const char*> memchr(data + start, c'\n', window.used - start)
        if end == NULL:
            break
        whole = <uint32_t> (end - (data + start)) + 1
        empty = whole == 2 and data[start] == c'\r'
        size = whole if start == begin else _mend_line(wire, data + start, whole, bodiless)
        memmove(data + kept, data + start, size)
        kept += size
        start += whole
        if empty:
            break  # what follows is not the head's
    memmove(data + kept, data + start, window.used - start)
    window.used -= start - kept
    whole = window.used
    window.used = kept
    code = wire_head(wire, wire.mended)
    window.used = whole
    wire.mended = kept
    return code
