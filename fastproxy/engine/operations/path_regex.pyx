"""Operations that run a regular expression over the path or the URL (`features.md` 3.5, 3.7).

The expression is compiled when a worker prepares a generation, the replacement is parsed when the
configuration is built (`templates.py`): what is left is to search and to join pieces. A slow twin
in Python stands in `tests/support/literal_regex.py`.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from fastproxy.engine.stream.complaint cimport WHY_NO_URL, complain
from fastproxy.engine.http.head cimport Head, head_add, head_find, sent_path
from fastproxy.engine.http.writer cimport Writer, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.operations.re2 cimport View, regex_search
from fastproxy.engine.stream.replies cimport (
    STEP_GO_ON, plain_reply, redirect_status, redirect_to, reply_lines,
)
from fastproxy.engine.operations.paths cimport set_path
from fastproxy.engine.operations.redirects cimport seems_https
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.fields cimport Field

cdef enum:
    # the same numbers as in operations.py; a test compares them
    PIECE_TEXT = 0
    PIECE_GROUP = 1
    PIECE_HOST = 2
    PIECE_METHOD = 3
    PIECE_PATH = 4
    PIECE_HEADER = 5

cdef enum:
    ROOM = 3 * 8192  # as much as a path can have
    MOST_GROUPS = 513

cdef enum:
    # classes of bytes
    IN_PATH = 1  # stands raw in a normalised path, as does `%`
    IN_LOCATION = 2  # stands raw in a Location
    IN_USER = 4  # of an authority, in front of the @
    IN_HOST = 8
    IN_BRACKETS = 16
    CONTROL = 32

cdef uint8_t _class[256]


cdef int _fill_classes() except -1:
    cdef int byte
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    unreserved = letters + b"0123456789-._~"
    for members, kind in (
        (unreserved + b"!$&'()*+,;=:@/[]|%", IN_PATH),
        (unreserved + b"!#$%&'()*+,/:;=?@[]", IN_LOCATION),
        (unreserved + b":!$&'()*+,;=%@", IN_USER),
        (b"0123456789ABCDEFabcdef:.%_~-" + letters, IN_BRACKETS),
        (bytes(range(0x20)) + b"\x7f", CONTROL),
    ):
        for byte in members:
            _class[byte] |= <uint8_t> kind
    for byte in range(0x21, 256):
        if byte not in b"\"#/<>?@[\\]^`{|}:%":
            _class[byte] |= IN_HOST
    return 0


_fill_classes()


cdef inline bint _all(const char* text, size_t size, int kind) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if not _class[<uint8_t> text[i]] & kind:
            return False
    return True


cdef void _put_escaped(Writer* writer, const char* text, size_t size, int kind) noexcept nogil:
    """Bytes of the class as they are, the others percent-encoded."""
    cdef size_t start = 0, i
    cdef char escape[3]
    escape[0] = c'%'
    for i in range(size):
        if _class[<uint8_t> text[i]] & kind:
            continue
        write_text(writer, text + start, i - start)
        escape[1] = "0123456789ABCDEF"[<uint8_t> text[i] >> 4]
        escape[2] = "0123456789ABCDEF"[<uint8_t> text[i] & 15]
        write_text(writer, escape, 3)
        start = i + 1
    write_text(writer, text + start, size - start)


# --- replacing ---

cdef inline size_t _width(const char* text, size_t size, size_t position) noexcept nogil:
    """Bytes of the UTF-8 character at `position`; 1 for anything else."""
    cdef uint8_t first
    cdef size_t width, i
    if position >= size:
        return 1
    first = <uint8_t> text[position]
    if first < 0xC2 or first > 0xF4:
        return 1
    width = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if position + width > size:
        return 1
    for i in range(1, width):
        if <uint8_t> text[position + i] & 0xC0 != 0x80:
            return 1
    if first == 0xE0 and <uint8_t> text[position + 1] < 0xA0:
        return 1
    if first == 0xED and <uint8_t> text[position + 1] > 0x9F:
        return 1
    if first == 0xF0 and <uint8_t> text[position + 1] < 0x90:
        return 1
    if first == 0xF4 and <uint8_t> text[position + 1] > 0x8F:
        return 1
    return width


cdef void _expand(Writer* writer, const Head* head, Payload pieces, uint32_t count, const View* groups) noexcept nogil:
    """Write the replacement for one match."""
    cdef uint32_t kind, number, _i
    cdef Text text
    for _i in range(count):
        kind = u32(&pieces)
        number = u32(&pieces)
        text = blob(&pieces)
        if kind == PIECE_GROUP:
            write_text(writer, groups[number].data, groups[number].size)
        elif kind == PIECE_TEXT:
            write_text(writer, text.data, text.size)
        else:
            _put_field(writer, head, kind, text)


cdef void _put_field(Writer* writer, const Head* head, uint32_t kind, Text name) noexcept nogil:
    """A placeholder: part of the request, never looked at for what it holds."""
    cdef Field* field
    if kind == PIECE_HOST:
        write_text(writer, head.host, head.host_size)
    elif kind == PIECE_METHOD:
        write_text(writer, head.method_text, head.method_size)
    elif kind == PIECE_PATH:
        write_text(writer, head.path, head.path_size)
    else:
        field = head_find(head, name.data, name.size)
        if field != NULL:
            write_text(writer, field.value, field.value_size)


cdef Outcome replace_all(
    Writer* writer, const void* regex, const Head* head, const char* text, size_t size, Payload* payload
) noexcept nogil:
    """Go's `ReplaceAllString`. The payload: how many groups are needed, the pieces."""
    cdef uint32_t needed = u32(payload)
    cdef uint32_t count = u32(payload)
    cdef View groups[MOST_GROUPS]
    cdef size_t end = 0, position = 0, start, stop
    if needed > MOST_GROUPS or not regex_search(regex, text, size, 0, groups, needed):
        return NOT_FOUND
    while True:
        start = groups[0].data - text
        stop = start + groups[0].size
        write_text(writer, text + end, start - end)
        # An empty match right behind another match is none (Go's regexp.replaceAll).
        if stop > end or start == 0:
            _expand(writer, head, payload[0], count, groups)
        end = stop
        position += _width(text, size, position)
        if stop > position:
            position = stop
        if position > size or not regex_search(regex, text, size, position, groups, needed):
            break
    write_text(writer, text + end, size - end)
    return TOO_LONG if writer.failed else REPLACED


# --- paths ---

cdef inline int _digit(char byte) noexcept nogil:
    if c'0' <= byte <= c'9':
        return byte - c'0'
    if c'A' <= byte <= c'F':
        return byte - c'A' + 10
    if c'a' <= byte <= c'f':
        return byte - c'a' + 10
    return -1


cdef Text _decoded(const char* path, uint32_t path_size, char* room) noexcept nogil:
    """A path as the expression sees it. `%2F`, `%5C` and `%25` stay encoded, so that a rewrite
    never turns data into separators or escapes (`http-safety.md` 3)."""
    cdef Text text
    cdef uint32_t i = 0, used = 0
    cdef int value
    text.data = path
    text.size = path_size
    if path_size > ROOM or memchr(path, c'%', path_size) == NULL:
        return text
    while i < path_size:
        room[used] = path[i]
        if path[i] == c'%' and i + 2 < path_size:
            value = _digit(path[i + 1]) * 16 + _digit(path[i + 2])
            if value != c'/' and value != c'\\' and value != c'%':
                room[used] = <char> value
                i += 2
        used += 1
        i += 1
    text.data = room
    text.size = used
    return text


cdef Writer _writer(char* room, size_t size) noexcept nogil:
    cdef Writer writer
    writer.data = room
    writer.capacity = size
    writer.size = 0
    writer.failed = 0
    return writer


cdef int rewrite_regex(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """ReplacePathRegex: all occurrences in the decoded path, the old path in X-Replaced-Path.

    Empty segments are kept where the expression lets them be; one that sees the path only without
    them replaces that one, so that they are no way past it.
    """
    cdef const void* regex = stream.table.expressions[u32(payload)]
    cdef char before[ROOM]
    cdef char after[ROOM]
    cdef uint32_t size
    cdef const char* old = sent_path(head, &size)
    cdef Text text = _decoded(old, size, before)
    cdef Writer found = _writer(after, ROOM)
    cdef Writer path
    cdef Payload again = payload[0]
    cdef Outcome outcome = replace_all(&found, regex, head, text.data, text.size, payload)
    if outcome == NOT_FOUND and head.sent != NULL:
        text = _decoded(head.path, head.path_size, before)
        found = _writer(after, ROOM)
        outcome = replace_all(&found, regex, head, text.data, text.size, &again)
    if outcome == NOT_FOUND:
        return STEP_GO_ON
    head_add(head, "X-Replaced-Path", 15, old, size)
    path = reply_lines(stream.engine)
    if found.size == 0 or after[0] != c'/':
        write_text(&path, "/", 1)
    _put_escaped(&path, after, found.size, IN_PATH)
    if path.failed or outcome == TOO_LONG:
        return set_path(stream, head, NULL, 0)
    stream.engine.scratch.extra_used += <uint32_t> path.size
    return set_path(stream, head, path.data, path.size)


# --- redirects ---

cdef struct Url:
    # of a URL: where its path stands
    size_t path
    size_t path_end


cdef bint _split(const char* text, size_t size, Url* url) noexcept nogil:
    """Find the path of a URL; False for what Go's url.Parse refuses (`fastproxy/model/urls.py`)."""
    cdef size_t at = 0, end, i
    cdef bint scheme = False, authority = False
    for i in range(size):
        if _class[<uint8_t> text[i]] & CONTROL:
            return False
    if size and (c'A' <= text[0] <= c'Z' or c'a' <= text[0] <= c'z'):
        while at < size and (c'0' <= text[at] <= c'9' or c'A' <= text[at] <= c'Z' or c'a' <= text[at] <= c'z' or (
            text[at] == c'+' or text[at] == c'-' or text[at] == c'.'
        )):
            at += 1
        scheme = at < size and text[at] == c':'
        at = at + 1 if scheme else 0
    if at + 2 <= size and text[at] == c'/' and text[at + 1] == c'/':
        authority = True
        at += 2
        end = at
        while end < size and text[end] != c'/' and text[end] != c'?' and text[end] != c'#':
            end += 1
        if not _is_authority(text + at, end - at):
            return False
        at = end
    url.path = at
    while at < size and text[at] != c'?' and text[at] != c'#':
        if text[at] == c'%' and (
            at + 2 >= size or _digit(text[at + 1]) < 0 or _digit(text[at + 2]) < 0
        ):
            return False
        at += 1
    url.path_end = at
    if not scheme and not authority:
        for i in range(url.path, url.path_end):
            if text[i] == c'/':
                break
            if text[i] == c':':
                return False  # "first path segment in URL cannot contain colon"
    return True


cdef bint _is_authority(const char* text, size_t size) noexcept nogil:
    """[user@]host[:port], the host a name or an address in brackets."""
    cdef size_t start = size, end
    while start and text[start - 1] != c'@':
        start -= 1
    if start and not _all(text, start - 1, IN_USER):
        return False
    end = start
    if start < size and text[start] == c'[':
        while end < size and text[end] != c']':
            end += 1
        if end == size or not _all(text + start + 1, end - start - 1, IN_BRACKETS):
            return False
        end += 1
    else:
        while end < size and _class[<uint8_t> text[end]] & IN_HOST:
            end += 1
    if end == size:
        return True
    if text[end] != c':':
        return False
    for start in range(end + 1, size):
        if not c'0' <= text[start] <= c'9':
            return False
    return True


cdef Writer _put_url(
    const Stream* stream, const Head* head, const char* path, size_t path_size, char* room, size_t size
) noexcept nogil:
    """The URL as the client wrote it, with a path as it is by now."""
    cdef Writer url = _writer(room, size)
    if seems_https(stream, head):
        write_text(&url, "https://", 8)
    else:
        write_text(&url, "http://", 7)
    write_text(&url, head.host, head.host_size)
    write_text(&url, path, path_size)
    if head.has_query:
        write_text(&url, "?", 1)
        write_text(&url, head.query, head.query_size)
    return url


cdef int redirect_regex(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """As in `rewrite_regex` the path is looked at with its empty segments first, unless that made a
    Location `//...`: it would name another host."""
    cdef const void* regex = stream.table.expressions[u32(payload)]
    cdef uint32_t permanent = u32(payload)
    cdef uint32_t size
    cdef const char* path = sent_path(head, &size)
    cdef char before[ROOM]
    cdef char after[ROOM]
    cdef Writer old = _put_url(stream, head, path, size, before, ROOM)
    cdef Writer new = _writer(after, ROOM)
    cdef Payload again = payload[0]
    cdef Outcome outcome
    cdef Url url
    if old.failed:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    outcome = replace_all(&new, regex, head, old.data, old.size, payload)
    if head.sent != NULL and (outcome == NOT_FOUND or (new.size and after[0] == c'/')):
        old = _put_url(stream, head, head.path, head.path_size, before, ROOM)
        new = _writer(after, ROOM)
        outcome = replace_all(&new, regex, head, old.data, old.size, &again)
    if outcome == NOT_FOUND:
        return STEP_GO_ON
    if outcome == TOO_LONG:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    if not _split(after, new.size, &url):
        complain(stream, WHY_NO_URL, 502)
        return plain_reply(stream.engine, 502, "Bad Gateway")
    if new.size == old.size and memcmp(after, before, new.size) == 0:
        return STEP_GO_ON
    return _location(stream, head, &new, url, redirect_status(head, permanent))


cdef void _put_without(
    Writer* writer, const char* path, size_t size, const char* prefix, size_t prefix_size
) noexcept nogil:
    """The path without the first occurrence of the prefix."""
    cdef size_t at
    for at in range(size):
        if size - at >= prefix_size and memcmp(path + at, prefix, prefix_size) == 0:
            _put_escaped(writer, path, at, IN_LOCATION)
            _put_escaped(writer, path + at + prefix_size, size - at - prefix_size, IN_LOCATION)
            return
    _put_escaped(writer, path, size, IN_LOCATION)


cdef int _location(Stream* stream, Head* head, const Writer* new, Url url, int status) noexcept nogil:
    cdef Writer writer = reply_lines(stream.engine)
    cdef uint32_t size
    cdef const char* path = sent_path(head, &size)
    if stream.original_path != NULL and not (
        stream.original_path_size == size and memcmp(stream.original_path, path, size) == 0
    ):
        # 1.7 puts the path from before the path operations back (`features.md` 3.7, step 5).
        _put_escaped(&writer, new.data, url.path, IN_LOCATION)
        if stream.added_size:
            _put_without(&writer, new.data + url.path, url.path_end - url.path, path, stream.added_size)
        else:
            path = stream.original_path
            size = stream.original_path_size
            while url.path == 0 and size > 1 and path[1] == c'/':  # never another host
                path += 1
                size -= 1
            _put_escaped(&writer, path, size, IN_LOCATION)
        _put_escaped(&writer, new.data + url.path_end, new.size - url.path_end, IN_LOCATION)
    else:
        _put_escaped(&writer, new.data, new.size, IN_LOCATION)
    return redirect_to(stream, head, &writer, status)
