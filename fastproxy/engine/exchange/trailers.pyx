"""Which trailers may pass, in either direction (RFC 9110 6.5.1, http-safety.md 28).

A receiver may merge trailers into the header fields. So nothing passes that frames, routes, modifies
or authenticates a message, describes its content, or that the proxy sets or removes itself: what was
taken out of the head must not come back behind the body.

Idea: trailers are rare, so nothing is prepared for them. The names that a route manages are read
from its operations when trailers have come; where a filter in Python decides about fields, nobody
can tell, and none pass.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memmove

from fastproxy.tables.block cimport OperationRecord
from fastproxy.engine.http.head cimport field_alias
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.fields cimport Field, Trailers

cdef enum:
    # the numbers of operations.py; a test compares them
    EDIT_REQUEST_HEADERS = 8
    EDIT_RESPONSE_HEADERS = 14
    SCRIPTED = 17
    REMEMBERED_HEADERS = 23
    REMEMBERED_USER = 24
    REMEMBERED_NONCE = 25
    ASK_SERVER = 26

cdef enum:
    LONGEST_NAME = 64

# Beginnings of names, `_` read as `-`; those that end in a blank are whole names. Python keeps them.
_PREFIXES = (
    b"accept", b"access-control-", b"age ", b"allow ", b"alt-svc ", b"authorization ",
    b"cache-control ", b"clear-site-data ", b"connection ", b"content-", b"cookie", b"date ",
    b"early-data ", b"expect", b"expires ", b"forwarded ", b"host ", b"http2-settings ", b"if-",
    b"keep-alive ", b"location ", b"max-forwards ", b"origin ", b"pragma ", b"proxy-", b"range ",
    b"referer ", b"refresh ", b"retry-after ", b"sec-", b"server ", b"set-cookie", b"strict-transport-",
    b"te ", b"trailer ", b"trailers ", b"transfer-encoding ", b"upgrade", b"user-agent ", b"vary ",
    b"via ", b"warning ", b"www-authenticate ", b"x-content-type-options ", b"x-forwarded-",
    b"x-frame-options ", b"x-http-method", b"x-method-override ", b"x-original-", b"x-real-ip ",
    b"x-replaced-path ", b"x-rewrite-url ", b"x-xss-protection ",
)
_DIGESTS = (b"content-digest ", b"content-md5 ")  # made for trailers
cdef const char* _never[64]
cdef const char* _made_for[2]


cdef int _fill() except -1:
    cdef int i
    for i, text in enumerate(_PREFIXES):
        _never[i] = text
    for i, text in enumerate(_DIGESTS):
        _made_for[i] = text
    return 0


_fill()


cdef bint _begins(const char* name, uint32_t size, const char* prefix) noexcept nogil:
    """`name` is folded, and a blank stands behind it."""
    cdef uint32_t i = 0
    while prefix[i]:
        if i > size or name[i] != prefix[i]:
            return False
        i += 1
    return True


cdef bint _never_passes(const Field* field) noexcept nogil:
    cdef char name[LONGEST_NAME + 1]
    cdef uint32_t i, size = field.name_size
    if size > LONGEST_NAME:
        size = LONGEST_NAME
    for i in range(size):
        name[i] = field.name[i]
        if c'A' <= name[i] <= c'Z':
            name[i] += 32
        elif name[i] == c'_':
            name[i] = c'-'
    name[size] = c' ' if size == field.name_size else c'*'
    for i in range(sizeof(_made_for) // sizeof(_made_for[0])):
        if _begins(name, size, _made_for[i]):
            return False
    i = 0
    while _never[i] != NULL:
        if _begins(name, size, _never[i]):
            return True
        i += 1
    return False


cdef bint _is_managed(const Field* field, const Stream* stream, bint request) noexcept nogil:
    """Does an operation of the route set or remove this field?"""
    cdef const char* at = stream.table.block
    cdef const char* end
    cdef const OperationRecord* record
    cdef Payload payload
    cdef Text name
    cdef uint32_t count, _i
    if request:
        at += stream.route.request.offset
        end = at + stream.route.request.size
    else:
        at += stream.route.response.offset
        end = at + stream.route.response.size
    while at < end:
        record = <const OperationRecord*> at
        payload.at = at + sizeof(OperationRecord)
        at = payload.at + ((record.size + 7) & ~<uint32_t> 7)
        if record.code == EDIT_REQUEST_HEADERS or record.code == EDIT_RESPONSE_HEADERS:
            if record.code == EDIT_RESPONSE_HEADERS:
                u32(&payload)
            count = u32(&payload)
            for _i in range(count):
                name = blob(&payload)
                blob(&payload)
                if field_alias(field, name.data, name.size):
                    return True
        elif record.code == ASK_SERVER:
            u32(&payload)
            u32(&payload)
            blob(&payload)
            blob(&payload)
            count = u32(&payload)
            for _i in range(count):
                name = blob(&payload)
                if field_alias(field, name.data, name.size):
                    return True
        elif record.code == SCRIPTED or REMEMBERED_HEADERS <= record.code <= REMEMBERED_NONCE:
            return True
    return False


cdef uint32_t pass_trailers(Trailers* trailers, const Stream* stream, bint request) noexcept nogil:
    """Leave only those trailers that may pass to the endpoint (`request`) or the client; how many
    bytes of lines that are."""
    cdef uint32_t start = 0, kept = 0, end, colon
    cdef Field field
    while start < trailers.size:
        end = start
        while trailers.data[end] != c'\n':
            end += 1
        end += 1
        colon = start
        while trailers.data[colon] != c':' and colon < end:
            colon += 1
        field.name = trailers.data + start
        field.name_size = colon - start
        if not _never_passes(&field) and (
            stream.table == NULL or stream.route == NULL or not _is_managed(&field, stream, request)
        ):
            memmove(trailers.data + kept, trailers.data + start, end - start)
            kept += end - start
        start = end
    trailers.size = kept
    return kept
