"""The canonical request and response head.

Idea: a request is parsed once into one canonical `Head`; router, operations, logs and the upstream
side look at it and at nothing else, and what goes upstream is always written from it. So there is no
second opinion about where a header ends, what the path is, or how long the body is.

`request_head` turns what llhttp accepted into the canonical form or into a status: it is the place
for every rule of `http-safety.md` 2 which concerns a head and which llhttp does not enforce.

Invariants
* Hop-by-hop fields and the fields named by `Connection` are dropped here, before any feature sees
  the head.
* `path` is normalised (RFC 3986 6.2.2): unreserved characters decoded, other escapes upper-case,
  dot segments and double slashes resolved. Routing and every feature see it. What is forwarded is
  `sent`, the same with its empty segments kept: URLs inside paths and keys of object stores have
  them. Merging the slashes of `sent` always gives `path`, so an endpoint that merges them sees what
  was authorised; `sent` is NULL when there is no difference, as in nearly every request.

What we do not like: the tables below are filled at import by loops, because Cython has no constant
arrays; they are read-only afterwards.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from fastproxy.engine.http.methods cimport METHOD_CONNECT, METHOD_GET, METHOD_OPTIONS, METHOD_PRI
from fastproxy.engine.http.llhttp cimport (
    F_CONNECTION_CLOSE, F_CONNECTION_KEEP_ALIVE, F_CONTENT_LENGTH, llhttp,
)
from fastproxy.engine.http.h1_parser cimport Wire
from fastproxy.engine.http.fields cimport Field, Window

cdef enum:
    STATUS_EXPECTATION = 417
    STATUS_UPGRADE_REQUIRED = 426
    MOST_COMPARISONS = 65536  # of names in Connection with those of fields; 0.1 ms

# Bits of what a byte may be, by position.
cdef enum:
    IN_TARGET = 1  # may stand raw in a request target
    PLAIN_PATH = 2  # needs no look at all in a path
    UNRESERVED = 4
    HEX = 8
    IN_HOST = 16

cdef uint8_t _class[256]
cdef uint8_t _lower[256]
cdef uint8_t _hex[256]

cdef struct KnownField:
    const char* name
    uint8_t size
    uint8_t kind

cdef enum:
    KNOWN_FIELDS = 64
    LONGEST_NAME = 40

cdef KnownField _known[KNOWN_FIELDS]
cdef uint8_t _known_first[LONGEST_NAME + 2]  # by length: index of the first known field

# Python keeps the bytes of the names alive.
_NAMES = sorted(
    [
        (b"connection", KIND_CONNECTION), (b"keep-alive", KIND_KEEP_ALIVE),
        (b"proxy-connection", KIND_PROXY_CONNECTION),
        (b"proxy-authenticate", KIND_PROXY_AUTHENTICATE),
        (b"proxy-authorization", KIND_PROXY_AUTHORIZATION), (b"te", KIND_TE),
        (b"trailer", KIND_TRAILER), (b"transfer-encoding", KIND_TRANSFER_ENCODING),
        (b"upgrade", KIND_UPGRADE), (b"http2-settings", KIND_HTTP2_SETTINGS), (b"host", KIND_HOST),
        (b"content-length", KIND_CONTENT_LENGTH), (b"expect", KIND_EXPECT),
        (b"x-forwarded-for", KIND_X_FORWARDED_FOR), (b"x-forwarded-proto", KIND_X_FORWARDED_PROTO),
        (b"x-forwarded-host", KIND_X_FORWARDED_HOST), (b"x-forwarded-port", KIND_X_FORWARDED_PORT),
        (b"x-forwarded-server", KIND_X_FORWARDED_SERVER),
        (b"x-forwarded-uri", KIND_X_FORWARDED_URI),
        (b"x-forwarded-method", KIND_X_FORWARDED_METHOD), (b"x-real-ip", KIND_X_REAL_IP),
        (b"authorization", KIND_AUTHORIZATION), (b"cookie", KIND_COOKIE), (b"date", KIND_DATE),
        (b"server", KIND_SERVER), (b"location", KIND_LOCATION),
        (b"content-type", KIND_CONTENT_TYPE), (b"content-encoding", KIND_CONTENT_ENCODING),
        (b"accept-encoding", KIND_ACCEPT_ENCODING), (b"set-cookie", KIND_SET_COOKIE),
        (b"x-forwarded-tls-client-cert", KIND_TLS_CLIENT),
        (b"x-forwarded-tls-client-cert-infos", KIND_TLS_CLIENT),
        (b"x-forwarded-prefix", KIND_X_FORWARDED_PREFIX),
        (b"x-replaced-path", KIND_X_REPLACED_PATH), (b"sec-websocket-key", KIND_WEBSOCKET),
        (b"sec-websocket-version", KIND_WEBSOCKET), (b"sec-websocket-extensions", KIND_WEBSOCKET),
        (b"sec-websocket-accept", KIND_WEBSOCKET), (b"range", KIND_CONDITION),
        (b"if-range", KIND_CONDITION), (b"if-match", KIND_CONDITION),
        (b"if-none-match", KIND_CONDITION), (b"if-modified-since", KIND_CONDITION),
        (b"if-unmodified-since", KIND_CONDITION),
    ],
    key=lambda row: (len(row[0]), row[0]),
)


cdef int _fill_tables() except -1:
    cdef int i
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    for i in range(256):
        _lower[i] = i + 32 if 65 <= i <= 90 else i
        _hex[i] = 255
        _class[i] = 0
        if 0x21 <= i <= 0x7E and i != c'#':
            _class[i] |= IN_TARGET
            if i not in b"%./?" and i not in b'"<>\\^{}`':
                _class[i] |= PLAIN_PATH
        if i in unreserved:
            _class[i] |= UNRESERVED | IN_HOST
        if i in b"!$&'()*+,;=:[]%":
            _class[i] |= IN_HOST
    for i in range(16):
        _hex[b"0123456789abcdef"[i]] = i
        _hex[b"0123456789ABCDEF"[i]] = i
    _class[<uint8_t> c','] &= ~IN_HOST
    for i, (name, kind) in enumerate(_NAMES):
        _known[i].name = <const char*> name
        _known[i].size = len(name)
        _known[i].kind = kind
    for i in range(LONGEST_NAME + 2):
        _known_first[i] = sum(1 for name, _ in _NAMES if len(name) < i)
    return 0


_fill_tables()


# --- small text functions ---

cdef bint same_text(const char* one, size_t one_size, const char* other, size_t other_size) noexcept nogil:
    """Equality without regard to ASCII case."""
    cdef size_t i
    if one_size != other_size:
        return False
    for i in range(one_size):
        if _lower[<uint8_t> one[i]] != _lower[<uint8_t> other[i]]:
            return False
    return True


cdef inline size_t _list_item(const char* value, size_t size, size_t* start, size_t* stop) noexcept nogil:
    """Narrow `start` and `stop` to the item that begins at `start` of a comma-separated list,
    without blanks around it; returns where its comma is (or `size`)."""
    cdef size_t end = start[0]
    while end < size and value[end] != c',':
        end += 1
    stop[0] = end
    while start[0] < stop[0] and (value[start[0]] == c' ' or value[start[0]] == c'\t'):
        start[0] += 1
    while stop[0] > start[0] and (value[stop[0] - 1] == c' ' or value[stop[0] - 1] == c'\t'):
        stop[0] -= 1
    return end


cdef bint has_token(const char* value, size_t size, const char* token, size_t token_size) noexcept nogil:
    """Is `token` an item of a comma-separated list?"""
    cdef size_t start = 0, end, stop
    while start < size:
        end = _list_item(value, size, &start, &stop)
        if same_text(value + start, stop - start, token, token_size):
            return True
        start = end + 1
    return False


cdef int field_kind(const char* name, size_t size) noexcept nogil:
    cdef uint32_t i
    cdef size_t j
    cdef const char* known
    if size > LONGEST_NAME:
        return KIND_OTHER
    for i in range(_known_first[size], _known_first[size + 1]):
        known = _known[i].name
        j = 0
        while j < size and _lower[<uint8_t> name[j]] == <uint8_t> known[j]:
            j += 1
        if j == size:
            return _known[i].kind
    return KIND_OTHER


cdef bint _is_alias(const char* name, size_t size) noexcept nogil:
    """`Transfer_Encoding` and the like: a managed name to servers that fold `_` into `-`."""
    cdef char folded[LONGEST_NAME]
    cdef size_t i
    cdef int kind
    if size > LONGEST_NAME or memchr(name, c'_', size) == NULL:
        return False
    for i in range(size):
        folded[i] = c'-' if name[i] == c'_' else name[i]
    kind = field_kind(folded, size)
    return KIND_OTHER < kind < KIND_LAST_MANAGED or kind == KIND_AUTHORIZATION


cdef inline bint _high_bytes(const char* data, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if <uint8_t> data[i] >= 0x80:
            return True
    return False


# --- the request head ---

cdef inline void _trim(Field* field) noexcept nogil:
    while field.value_size and (
        field.value[field.value_size - 1] == c' ' or field.value[field.value_size - 1] == c'\t'
    ):
        field.value_size -= 1


cdef void _settle_fields(Head* head, Wire* wire) noexcept nogil:
    """Offsets become addresses, and every field gets its kind."""
    cdef Window* window = wire.window
    cdef Field* field = window.fields
    cdef Field* end = field + window.count
    while field < end:
        field.name = window.data + <uintptr_t> field.name
        if field.value == NULL:
            field.value = field.name + field.name_size
        else:
            field.value = window.data + <uintptr_t> field.value
        _trim(field)
        field.kind = <uint8_t> field_kind(field.name, field.name_size)
        field.dropped = 0
        field.added = 0
        field += 1
    head.window = window
    head.fields = window.fields
    head.count = window.count


cdef int _request_line(Head* head, Wire* wire, uint32_t limit) noexcept nogil:
    """Exactly one blank between the parts, at most one CRLF before them (RFC 9112 2.2, 3)."""
    cdef Window* window = wire.window
    cdef const char* data = window.data
    cdef uint32_t start = 0, target = window.target_start, end = window.target_start + window.target_size
    if data[0] == c'\r':
        if data[1] != c'\n':
            return 400
        start = 2
    if data[start] == c'\r' or data[start] == c'\n':
        return 400
    if end + 9 - start > limit:  # with the version, without the line's end
        return 414
    if wire.parser.http_major != 1 or wire.parser.http_minor > 1:
        return 505 if wire.parser.http_major else 400
    if target < start + 2 or data[target - 1] != c' ':
        return 400
    head.method_text = data + start
    head.method_size = target - 1 - start
    if memchr(head.method_text, c' ', head.method_size) != NULL:
        return 400
    if window.head_size < end + 11 or memcmp(data + end, " HTTP/1.", 8) != 0 or data[end + 9] != c'\r':
        return 400
    head.method = wire.parser.method
    head.version_minor = wire.parser.http_minor
    if head.method == METHOD_CONNECT:
        return 501
    if head.method == METHOD_PRI:
        return 505
    if 33 < head.method < 46:  # RTSP's methods and llhttp's own FLUSH are not HTTP's
        return 501
    head.target = data + target
    head.target_size = window.target_size
    return 0


cdef int _connection_names(Head* head, const char* value, size_t size, int64_t* budget) noexcept nogil:
    """Drop the fields which `Connection` names (RFC 9110 7.6.1); -1 when that takes more comparisons
    than are left: thousands of names are no honest message."""
    cdef size_t start = 0, end, stop
    cdef uint32_t i
    cdef Field* field
    while start < size:
        end = _list_item(value, size, &start, &stop)
        if stop > start and not (
            same_text(value + start, stop - start, "close", 5)
            or same_text(value + start, stop - start, "keep-alive", 10)
            or same_text(value + start, stop - start, "upgrade", 7)
        ):
            budget[0] -= head.count
            if budget[0] < 0:
                return -1
            for i in range(head.count):
                field = &head.fields[i]
                if (
                    field.kind != KIND_HOST and field.kind != KIND_CONTENT_LENGTH
                    and same_text(field.name, field.name_size, value + start, stop - start)
                ):
                    field.dropped = 1
        start = end + 1
    return 0


cdef int _absolute_form(Head* head, const char** authority, uint32_t* authority_size) noexcept nogil:
    """`http://host[:port]/path` becomes origin form; the authority must equal Host."""
    cdef const char* target = head.target
    cdef uint32_t size = head.target_size, start, end
    if size > 7 and same_text(target, 7, "http://", 7):
        start = 7
    elif size > 8 and same_text(target, 8, "https://", 8):
        start = 8
    else:
        return 400
    end = start
    while end < size and target[end] != c'/' and target[end] != c'?' and target[end] != c'#':
        end += 1
    if end == start or memchr(target + start, c'@', end - start) != NULL:
        return 400
    authority[0] = target + start
    authority_size[0] = end - start
    if end < size and target[end] == c'#':
        return 400
    if end == size or target[end] == c'?':
        # An empty path is `/`: the authority moves one byte forward, over the scheme, to make room.
        memmove(<char*> target + start - 1, target + start, end - start)
        authority[0] = target + start - 1
        (<char*> target)[end - 1] = c'/'
        head.target = target + end - 1
        head.target_size = size - end + 1
    else:
        head.target = target + end
        head.target_size = size - end
    return 0


cdef uint32_t _bare_name(const char* text, uint32_t size, uint32_t* port) noexcept nogil:
    """The size of the name in `name[:port]`, without a last dot; a port that is named is set."""
    cdef uint32_t name = size, i
    while name and c'0' <= text[name - 1] <= c'9':
        name -= 1
    if name and text[name - 1] == c':':
        if name < size:
            port[0] = 0
            for i in range(name, size):
                port[0] = port[0] * 10 + <uint32_t> (text[i] - c'0')
                if port[0] > 65535:
                    port[0] = 65536  # no port at all, and equal to none that is one
        name -= 1
    else:
        name = size
    return name - 1 if name > 1 and text[name - 1] == c'.' else name


cdef bint _same_authority(
    const char* one, uint32_t one_size, const char* other, uint32_t other_size, uint32_t default
) noexcept nogil:
    """Equal as authorities: case, the scheme's port and a last dot do not count (RFC 9110 4.2.3)."""
    cdef uint32_t one_port = default, other_port = default
    if one_size > 300 or other_size > 300:
        return False
    return same_text(
        one, _bare_name(one, one_size, &one_port), other, _bare_name(other, other_size, &other_port)
    ) and one_port == other_port


cdef int _host_name(Head* head, Scratch* scratch) noexcept nogil:
    """Check `host[:port]` and keep the bare lower-case name."""
    cdef const char* host = head.host
    cdef uint32_t size = head.host_size, i, name = size, digits, port = 0
    if size > 300:
        return 400
    for i in range(size):
        if not (_class[<uint8_t> host[i]] & IN_HOST):
            return 400
    if host[0] == c'[':
        i = 1
        while i < size and host[i] != c']':
            if not (_hex[<uint8_t> host[i]] != 255 or host[i] == c':' or host[i] == c'.'):
                return 400
            i += 1
        if i == size or i < 3:
            return 400
        name = i + 1
    else:
        for i in range(size):
            if host[i] == c'[' or host[i] == c']':
                return 400
            if host[i] == c':':
                name = i
                break
        if name == 0:
            return 400
    if name < size:
        if host[name] != c':' or size - name > 6:
            return 400
        digits = name + 1
        while digits < size:
            if not c'0' <= host[digits] <= c'9':
                return 400
            port = port * 10 + <uint32_t> (host[digits] - c'0')
            digits += 1
        if port > 65535:
            return 400
    for i in range(name):
        scratch.name[i] = <char> _lower[<uint8_t> host[i]]
    if name > 1 and scratch.name[name - 1] == c'.':
        name -= 1
    head.name = scratch.name
    head.name_size = name
    return 0


cdef int _path_and_query(Head* head, Scratch* scratch) noexcept nogil:
    cdef const char* target = head.target
    cdef uint32_t size = head.target_size, i = 0, path
    cdef uint8_t byte, previous = 0, plain = 1
    if size == 0 or target[0] != c'/':
        return 400
    while i < size:
        byte = <uint8_t> target[i]
        if not (_class[byte] & PLAIN_PATH):
            if byte == c'?':
                break
            if not (_class[byte] & IN_TARGET):
                return 400
            if (byte != c'/' and byte != c'.') or previous == c'/':
                plain = 0
        previous = byte
        i += 1
    path = i
    head.path_changed = 0
    head.sent = NULL
    if i < size:
        head.has_query = 1
        head.query = target + i + 1
        head.query_size = size - i - 1
        i += 1
        while i < size:
            byte = <uint8_t> target[i]
            if not (_class[byte] & IN_TARGET):
                return 400
            # NUL is never data; a lone `%` is, as browsers send it (http-safety.md 22, 22a).
            if byte == c'%' and i + 2 < size and target[i + 1] == c'0' and target[i + 2] == c'0':
                return 400
            i += 1
    else:
        head.has_query = 0
        head.query = NULL
        head.query_size = 0
    if plain:
        head.path = target
        head.path_size = path
        return 0
    return normalise_path(head, scratch, target, path)


cdef int normalise_path(Head* head, Scratch* scratch, const char* path, uint32_t size) noexcept nogil:
    """Set `head.path` to the normal form of `path`; 400 for what has none.

    Unreserved characters are decoded, other escapes get upper-case digits (so `%2f` and `%5c` stay
    encoded and are no separators), what may not stand raw is escaped, then `.` and `..` are
    resolved; `..` takes the segment before it with the empty ones between, and stops at the root. A
    trailing slash is kept (RFC 3986 6.2.2, http-safety.md 3).
    """
    cdef char* out = scratch.path
    cdef uint32_t i = 0, used = 0
    cdef uint8_t byte, high, low
    if size > sizeof(scratch.path):
        return 414
    while i < size:
        byte = <uint8_t> path[i]
        if byte == c'%':
            if i + 2 >= size:
                return 400
            high = _hex[<uint8_t> path[i + 1]]
            low = _hex[<uint8_t> path[i + 2]]
            if high == 255 or low == 255 or high * 16 + low == 0:
                return 400
            byte = <uint8_t> (high * 16 + low)
            if _class[byte] & UNRESERVED:
                out[used] = <char> byte
                used += 1
            else:
                _escape(out + used, byte)
                used += 3
            i += 3
        elif _class[byte] & PLAIN_PATH or byte == c'/' or byte == c'.':
            out[used] = <char> byte
            used += 1
            i += 1
        else:
            if used + 2 + size - i > sizeof(scratch.path):
                return 414
            _escape(out + used, byte)
            used += 3
            i += 1
    used = _resolve_dots(out, used)
    head.path = out
    head.path_size = used
    head.path_changed = 1
    merge_path(head, scratch)
    return 0


cdef inline void _escape(char* out, uint8_t byte) noexcept nogil:
    out[0] = c'%'
    out[1] = "0123456789ABCDEF"[byte >> 4]
    out[2] = "0123456789ABCDEF"[byte & 15]


cdef uint32_t _resolve_dots(char* out, uint32_t used) noexcept nogil:
    """Resolve `.` and `..` in place; the new size. `i` reads, `kept` is where the kept path ends."""
    cdef uint32_t i = 0, kept = 0, end, size
    while i < used:
        # out[i] is a slash
        end = i + 1
        while end < used and out[end] != c'/':
            end += 1
        size = end - i - 1
        if size == 1 and out[i + 1] == c'.':
            size = 0 if end == used else 1
        elif size == 2 and out[i + 1] == c'.' and out[i + 2] == c'.':
            while kept and out[kept - 1] == c'/':
                kept -= 1
            while kept and out[kept - 1] != c'/':
                kept -= 1
            if kept:
                kept -= 1
            size = 0 if end == used else 2
        else:
            memmove(out + kept, out + i, size + 1)
            kept += size + 1
            i = end
            continue
        if size == 0:  # the last segment: its slash stays
            out[kept] = c'/'
            kept += 1
        i = end
    if kept == 0:
        out[0] = c'/'
        kept = 1
    return kept


cdef void merge_path(Head* head, Scratch* scratch) noexcept nogil:
    """Where `head.path` has empty segments: it becomes `sent`, and the path has them no more."""
    cdef const char* path = head.path
    cdef uint32_t size = head.path_size, i, used = 1
    head.sent = NULL
    i = 1
    while i < size and not (path[i] == c'/' and path[i - 1] == c'/'):
        i += 1
    if i >= size or size > sizeof(scratch.merged):
        return
    head.sent = path
    head.sent_size = size
    scratch.merged[0] = c'/'
    for i in range(1, size):
        if path[i] != c'/' or path[i - 1] != c'/':
            scratch.merged[used] = path[i]
            used += 1
    head.path = scratch.merged
    head.path_size = used


cdef int request_head(Head* head, Wire* wire, Scratch* scratch, uint32_t request_line) noexcept nogil:
    """Make the canonical request of a complete head; 0, or the status to answer (and close)."""
    cdef Field* field
    cdef Field* end
    cdef Field* connection = NULL
    cdef Field* upgrade = NULL
    cdef uint32_t hosts = 0, encodings = 0, default
    cdef int64_t budget = MOST_COMPARISONS
    cdef int status
    cdef bint upgrade_named = False
    cdef const char* authority = NULL
    cdef uint32_t authority_size = 0
    scratch.extra_used = 0
    status = _request_line(head, wire, request_line)
    if status:
        return status
    _settle_fields(head, wire)
    head.content_length = -1
    head.chunked = 0
    head.expect_continue = 0
    head.te_trailers = 0
    head.upgrade = UPGRADE_NONE
    head.upgrade_hash = 0
    head.has_forwarded = 0
    head.host = NULL
    head.host_size = 0
    head.name = ""
    head.name_size = 0
    field = head.fields
    end = field + head.count
    while field < end:
        if field.kind == KIND_OTHER:
            if memchr(field.name, c'_', field.name_size) != NULL and _is_alias(field.name, field.name_size):
                field.dropped = 1
        elif field.kind < KIND_LAST_HOP:
            field.dropped = 1
            if field.kind == KIND_CONNECTION:
                connection = field
                if has_token(field.value, field.value_size, "upgrade", 7):
                    upgrade_named = True
            elif field.kind == KIND_UPGRADE:
                if upgrade != NULL:
                    return 400
                upgrade = field
            elif field.kind == KIND_TRANSFER_ENCODING:
                encodings += 1
                if not same_text(field.value, field.value_size, "chunked", 7):
                    return 501
            elif field.kind == KIND_TE:
                if has_token(field.value, field.value_size, "trailers", 8):
                    head.te_trailers = 1
        elif field.kind < KIND_LAST_MANAGED:
            if field.kind == KIND_HOST:
                field.dropped = 1
                hosts += 1
                head.host = field.value
                head.host_size = field.value_size
            elif field.kind == KIND_CONTENT_LENGTH:
                field.dropped = 1
            elif field.kind == KIND_EXPECT:
                field.dropped = 1
                if head.version_minor:
                    if not same_text(field.value, field.value_size, "100-continue", 12):
                        return STATUS_EXPECTATION
                    head.expect_continue = 1
            else:
                head.has_forwarded = 1
        elif field.kind == KIND_AUTHORIZATION and _high_bytes(field.value, field.value_size):
            return 400
        field += 1
    # framing
    if encodings:
        if encodings > 1 or head.version_minor == 0 or wire.parser.flags & F_CONTENT_LENGTH:
            return 400
        head.chunked = 1
    elif wire.parser.flags & F_CONTENT_LENGTH:
        if wire.parser.content_length >= <uint64_t> 1 << 63:
            return 413
        head.content_length = <int64_t> wire.parser.content_length
    # host
    if hosts > 1 or (hosts == 0 and head.version_minor) or (hosts and head.host_size == 0):
        return 400
    if head.target_size and head.target[0] != c'/':
        if head.target_size == 1 and head.target[0] == c'*':
            if head.method != METHOD_OPTIONS:
                return 400
        else:
            default = 443 if head.target_size > 4 and _lower[<uint8_t> head.target[4]] == c's' else 80
            status = _absolute_form(head, &authority, &authority_size)
            if status:
                return status
            if hosts == 0:
                head.host = authority
                head.host_size = authority_size
            elif not _same_authority(authority, authority_size, head.host, head.host_size, default):
                return 400
    if head.host_size:
        status = _host_name(head, scratch)
        if status:
            return status
    if head.target[0] == c'*':
        head.path = head.target
        head.path_size = 1
        head.sent = NULL
        head.has_query = 0
        head.query_size = 0
    else:
        status = _path_and_query(head, scratch)
        if status:
            return status
    head.keep_alive = llhttp().should_keep_alive(&wire.parser) != 0
    if head.version_minor == 0 and head.keep_alive:
        head.keep_alive = _asks_to_keep_alive(head)
    if connection != NULL:
        for field in head.fields[:head.count]:
            if field.kind == KIND_CONNECTION and _connection_names(
                head, field.value, field.value_size, &budget
            ) < 0:
                return 431
    if upgrade != NULL and upgrade_named and head.version_minor:
        return _upgrade(head, upgrade)
    return 0


cdef bint _asks_to_keep_alive(const Head* head) noexcept nogil:
    """HTTP/1.0 persists by `Connection: keep-alive` only; llhttp takes Proxy-Connection for it too."""
    cdef uint32_t i
    for i in range(head.count):
        if head.fields[i].kind == KIND_CONNECTION and has_token(
            head.fields[i].value, head.fields[i].value_size, "keep-alive", 10
        ):
            return True
    return False


cdef uint32_t _protocol_hash(const char* value, uint32_t size) noexcept nogil:
    """FNV-1a of one lower-case protocol name; 0 for a list."""
    cdef uint32_t hash = 2166136261, i
    for i in range(size):
        if value[i] == c',':
            return 0
        hash = (hash ^ _lower[<uint8_t> value[i]]) * 16777619
    return hash


cdef int _upgrade(Head* head, Field* upgrade) noexcept nogil:
    """Which upgrade this is, if it may be one at all (http-safety.md 30 to 34)."""
    cdef Field* key
    cdef Field* version
    cdef uint32_t i, keys = 0
    if has_token(upgrade.value, upgrade.value_size, "h2c", 3):
        return 0
    if head.chunked:
        return 0
    head.upgrade_value = upgrade.value
    head.upgrade_size = upgrade.value_size
    if not has_token(upgrade.value, upgrade.value_size, "websocket", 9):
        head.upgrade_hash = _protocol_hash(upgrade.value, upgrade.value_size)
        head.upgrade = UPGRADE_OTHER if head.upgrade_hash else UPGRADE_NONE
        return 0
    if head.method != METHOD_GET:
        return 400
    key = head_find(head, "Sec-WebSocket-Key", 17)
    version = head_find(head, "Sec-WebSocket-Version", 21)
    if key == NULL or key.value_size != 24:
        return 400
    if version == NULL or not (version.value_size == 2 and memcmp(version.value, "13", 2) == 0):
        return STATUS_UPGRADE_REQUIRED
    for i in range(head.count):
        keys += same_text(head.fields[i].name, head.fields[i].name_size, "Sec-WebSocket-Key", 17)
        keys += same_text(head.fields[i].name, head.fields[i].name_size, "Sec-WebSocket-Version", 21)
    if keys != 2:
        return 400
    head.upgrade = UPGRADE_WEBSOCKET
    head.upgrade_value = "websocket"
    head.upgrade_size = 9
    head.upgrade_hash = _protocol_hash("websocket", 9)
    return 0


# --- the response head ---

cdef int response_head(Head* head, Wire* wire, bint is_head) noexcept nogil:
    """Make the canonical response (to HEAD, if `is_head`) of a complete head; 0, or 502."""
    cdef bint bodiless
    cdef Field* field
    cdef Field* end
    cdef Field* connection = NULL
    cdef uint32_t encodings = 0, lengths = 0
    cdef int64_t budget = MOST_COMPARISONS
    _settle_fields(head, wire)
    head.status = wire.parser.status_code
    head.version_minor = wire.parser.http_minor
    head.content_length = -1
    head.chunked = 0
    head.has_date = 0
    head.has_server = 0
    head.upgrade = UPGRADE_NONE
    head.upgrade_size = 0
    head.upgrade_hash = 0
    if wire.parser.http_major != 1 or head.status < 100 or head.status > 599:
        return 502
    bodiless = is_head or head.status == 204 or head.status == 304 or head.status < 200
    field = head.fields
    end = field + head.count
    while field < end:
        if field.kind == KIND_OTHER:
            pass
        elif field.kind < KIND_LAST_HOP:
            field.dropped = 1
            if field.kind == KIND_CONNECTION:
                connection = field
            elif field.kind == KIND_UPGRADE:
                head.upgrade_hash = (
                    _protocol_hash(field.value, field.value_size) if head.upgrade == UPGRADE_NONE else 0
                )
                head.upgrade = UPGRADE_OTHER
                head.upgrade_value = field.value
                head.upgrade_size = field.value_size
            elif field.kind == KIND_TRANSFER_ENCODING:
                if same_text(field.value, field.value_size, "chunked", 7):
                    encodings += 1
                elif not bodiless:
                    return 502
        elif field.kind == KIND_CONTENT_LENGTH:
            field.dropped = 1
            lengths += 1
        elif field.kind == KIND_DATE:
            head.has_date = 1
        elif field.kind == KIND_SERVER:
            head.has_server = 1
        field += 1
    if encodings and not bodiless:
        if encodings > 1 or lengths or head.version_minor == 0:
            return 502
        head.chunked = 1
    elif lengths == 0:
        head.chunked = encodings == 1 and head.version_minor
    elif lengths == 1 and wire.parser.content_length < <uint64_t> 1 << 63:
        head.content_length = <int64_t> wire.parser.content_length
    elif not bodiless:
        return 502
    head.keep_alive = head.version_minor and not (wire.parser.flags & F_CONNECTION_CLOSE) or (
        head.version_minor == 0 and wire.parser.flags & F_CONNECTION_KEEP_ALIVE
    )
    if connection != NULL:
        for field in head.fields[:head.count]:
            if field.kind == KIND_CONNECTION and _connection_names(
                head, field.value, field.value_size, &budget
            ) < 0:
                return 502
    return 0


# --- edits, used by operations and filters ---

cdef Field* head_find(const Head* head, const char* name, size_t size) noexcept nogil:
    """The first field of that name which is not dropped."""
    cdef uint32_t i
    for i in range(head.count):
        if not head.fields[i].dropped and same_text(head.fields[i].name, head.fields[i].name_size, name, size):
            return &head.fields[i]
    return NULL


cdef Field* head_find_kind(const Head* head, int kind) noexcept nogil:
    cdef uint32_t i
    for i in range(head.count):
        if head.fields[i].kind == kind and not head.fields[i].dropped:
            return &head.fields[i]
    return NULL


cdef bint field_alias(const Field* field, const char* name, size_t size) noexcept nogil:
    """The same name to servers that fold `_` into `-`?"""
    cdef size_t i
    cdef uint8_t one, other
    if field.name_size != size:
        return False
    for i in range(size):
        one = _lower[<uint8_t> field.name[i]]
        other = _lower[<uint8_t> name[i]]
        if one != other and not ((one == c'_' or one == c'-') and (other == c'_' or other == c'-')):
            return False
    return True


cdef int head_remove(Head* head, const char* name, size_t size) noexcept nogil:
    """Drop every field of that name, in every spelling; returns how many."""
    cdef uint32_t i
    cdef int count = 0
    for i in range(head.count):
        if not head.fields[i].dropped and field_alias(&head.fields[i], name, size):
            head.fields[i].dropped = 1
            count += 1
    return count


cdef int head_add(Head* head, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil:
    """Append a field; the bytes must live until the head is written. -1 without memory."""
    cdef Window* window = head.window
    cdef Field* fields
    cdef Field* field
    if window.count == window.fields_capacity:
        fields = <Field*> realloc(window.fields, (window.fields_capacity + 32) * sizeof(Field))
        if fields == NULL:
            return -1
        window.fields = fields
        window.fields_capacity += 32
        head.fields = fields
    field = &window.fields[window.count]
    window.count += 1
    head.count = window.count
    field.name = <char*> name
    field.name_size = <uint32_t> name_size
    field.value = <char*> value
    field.value_size = <uint32_t> value_size
    field.kind = <uint8_t> field_kind(name, name_size)
    field.dropped = KIND_OTHER < field.kind < KIND_LAST_HOP
    field.added = 1
    if KIND_X_FORWARDED_FOR <= field.kind <= KIND_X_REAL_IP:
        head.has_forwarded = 1
    elif field.kind == KIND_HOST or field.kind == KIND_CONTENT_LENGTH:
        field.dropped = 1
    elif field.kind == KIND_DATE:
        head.has_date = 1
    elif field.kind == KIND_SERVER:
        head.has_server = 1
    return 0


cdef int head_set(Head* head, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil:
    head_remove(head, name, name_size)
    return head_add(head, name, name_size, value, value_size)


cdef char* scratch_keep(Scratch* scratch, const char* data, size_t size) noexcept nogil:
    """Room for bytes an operation made, valid until the head is written; NULL when full."""
    cdef char* kept = scratch.extra + scratch.extra_used
    if size > sizeof(scratch.extra) - scratch.extra_used:
        return NULL
    if data != NULL:
        memcpy(kept, data, size)
    scratch.extra_used += <uint32_t> size
    return kept
