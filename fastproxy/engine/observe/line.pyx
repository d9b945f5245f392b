# Text of clients in lines of a log. One request is one line, whatever its bytes are: what could end a line
# or a value, and what is no UTF-8, is escaped (operations.md 1.2, 1.3).

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport strlen

cdef enum:
    LONGEST = 8  # bytes that one byte may become


cdef void put_number(Line* line, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <char> (48 + number % 10)
        number //= 10
        if number == 0:
            break
    put(line, digits + at, 20 - at)


cdef void put_signed(Line* line, int64_t number) noexcept nogil:
    if number < 0:
        put_byte(line, c'-')
        put_number(line, <uint64_t> 0 - <uint64_t> number)
    else:
        put_number(line, <uint64_t> number)


cdef void put_ratio(Line* line, double value) noexcept nogil:
    """The shortest text that reads back as the same number."""
    cdef char text[40]
    cdef int digits
    for digits in range(1, 18):
        snprintf(text, sizeof(text), "%.*g", digits, value)
        if strtod(text, NULL) == value:
            break
    put(line, text, strlen(text))


cdef inline size_t _utf8(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes of the character of two or more bytes that begins here; 0: none does (RFC 3629)."""
    cdef uint8_t first = at[0]
    cdef size_t size, i
    if first < 0xC2 or first > 0xF4:
        return 0
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if <size_t> (end - at) < size:
        return 0
    for i in range(1, size):
        if at[i] & 0xC0 != 0x80:
            return 0
    if (first == 0xE0 and at[1] < 0xA0) or (first == 0xED and at[1] > 0x9F):
        return 0
    if (first == 0xF0 and at[1] < 0x90) or (first == 0xF4 and at[1] > 0x8F):
        return 0
    return size


cdef inline bint _full(Line* line) noexcept nogil:
    """Whether a long value has to end here; says so in the line."""
    if line.at + LONGEST <= line.soft:
        return False
    line.cut = 1
    put(line, "...", 3)
    return True


cdef inline void _escape(Line* line, uint8_t byte, const char* form) noexcept nogil:
    cdef const char* digits = "0123456789abcdef"
    put(line, form, strlen(form))
    put_byte(line, digits[byte >> 4])
    put_byte(line, digits[byte & 15])


cdef inline void _clf(Line* line, const char* data, size_t size, bint bare) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    cdef const uint8_t* end = at + size
    cdef size_t whole
    while at < end:
        if _full(line):
            return
        if at[0] >= 0x80:
            whole = _utf8(at, end)
            if whole:
                put(line, <const char*> at, whole)
                at += whole
                continue
            _escape(line, at[0], "\\x")
        elif at[0] < 0x20 or at[0] == 0x7F or (bare and (at[0] == c' ' or at[0] == c'"')):
            _escape(line, at[0], "\\x")
        else:
            if at[0] == c'"' or at[0] == c'\\':
                put_byte(line, c'\\')
            put_byte(line, <char> at[0])
        at += 1


cdef void put_quoted(Line* line, const char* data, size_t size) noexcept nogil:
    """What stands between quotes of a line of the common format."""
    _clf(line, data, size, False)


cdef void put_bare(Line* line, const char* data, size_t size) noexcept nogil:
    """What stands between blanks."""
    _clf(line, data, size, True)


cdef void put_json(Line* line, const char* data, size_t size) noexcept nogil:
    """What stands between the quotes of a JSON string; bytes that are no UTF-8 become U+FFFD, as in Go."""
    cdef const uint8_t* at = <const uint8_t*> data
    cdef const uint8_t* end = at + size
    cdef size_t whole
    while at < end:
        if _full(line):
            return
        if at[0] >= 0x80:
            whole = _utf8(at, end)
            if whole:
                put(line, <const char*> at, whole)
                at += whole
                continue
            put(line, "\\ufffd", 6)
        elif at[0] == c'"' or at[0] == c'\\':
            put_byte(line, c'\\')
            put_byte(line, <char> at[0])
        elif at[0] == c'\n':
            put(line, "\\n", 2)
        elif at[0] == c'\r':
            put(line, "\\r", 2)
        elif at[0] == c'\t':
            put(line, "\\t", 2)
        elif at[0] < 0x20 or at[0] == 0x7F:
            _escape(line, at[0], "\\u00")
        else:
            put_byte(line, <char> at[0])
        at += 1
