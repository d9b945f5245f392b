"""The canonical request and response head. See head.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.http.h1_parser cimport Wire
from fastproxy.engine.http.fields cimport Field, Window

cdef enum FieldKind:
    KIND_OTHER
    # hop-by-hop, never forwarded as they came
    KIND_CONNECTION
    KIND_KEEP_ALIVE
    KIND_PROXY_CONNECTION
    KIND_PROXY_AUTHENTICATE
    KIND_PROXY_AUTHORIZATION
    KIND_TE
    KIND_TRAILER
    KIND_TRANSFER_ENCODING
    KIND_UPGRADE
    KIND_HTTP2_SETTINGS
    KIND_LAST_HOP  # everything up to here is hop-by-hop
    # rebuilt by us
    KIND_HOST
    KIND_CONTENT_LENGTH
    KIND_EXPECT
    KIND_X_FORWARDED_FOR
    KIND_X_FORWARDED_PROTO
    KIND_X_FORWARDED_HOST
    KIND_X_FORWARDED_PORT
    KIND_X_FORWARDED_SERVER
    KIND_X_FORWARDED_URI
    KIND_X_FORWARDED_METHOD
    KIND_X_FORWARDED_PREFIX
    KIND_X_REPLACED_PATH
    KIND_TLS_CLIENT  # X-Forwarded-Tls-Client-Cert and -Infos
    KIND_X_REAL_IP
    KIND_LAST_MANAGED
    # looked at
    KIND_AUTHORIZATION
    KIND_COOKIE
    KIND_DATE
    KIND_SERVER
    KIND_LOCATION
    KIND_CONTENT_TYPE
    KIND_CONTENT_ENCODING
    KIND_ACCEPT_ENCODING
    KIND_SET_COOKIE
    KIND_WEBSOCKET  # Sec-WebSocket-Key, -Version, -Extensions, -Accept
    KIND_CONDITION  # Range and If-*: about the representation that was asked for

cdef enum UpgradeKind:
    UPGRADE_NONE
    UPGRADE_WEBSOCKET
    UPGRADE_OTHER

cdef struct Head:
    Window* window
    Field* fields  # the window's
    uint32_t count
    # request
    uint8_t method  # Method, or another number of llhttp
    uint8_t version_minor
    uint8_t keep_alive
    uint8_t chunked
    uint8_t expect_continue
    uint8_t te_trailers
    uint8_t upgrade  # UpgradeKind
    uint8_t has_query
    uint8_t has_forwarded  # some X-Forwarded-* or X-Real-Ip came in
    uint8_t path_changed  # by an operation: the original target may not be forwarded as it is
    uint8_t has_date
    uint8_t has_server
    int64_t content_length  # -1 = none
    const char* method_text
    uint32_t method_size
    const char* target  # as received, origin form
    uint32_t target_size
    const char* path  # normalised
    uint32_t path_size
    uint32_t sent_size
    const char* sent  # the path with its empty segments, which is forwarded; NULL: it has none
    const char* query  # without `?`
    uint32_t query_size
    const char* host  # as sent
    uint32_t host_size
    const char* name  # of the host: lower-case, without port and trailing dot
    uint32_t name_size
    const char* upgrade_value
    uint32_t upgrade_size
    uint32_t upgrade_hash  # of the lower-case name of the only protocol, 0 = none or several
    # response
    uint16_t status
    const char* reason
    uint32_t reason_size

cdef struct Scratch:
    # Room for what a head is rewritten into; one per worker, valid until the next head.
    char path[8192 * 3]
    char merged[8192 * 3]  # the path without empty segments, if it had any
    char name[512]
    char extra[16384]  # values made by operations
    uint32_t extra_used

cdef int request_head(Head* head, Wire* wire, Scratch* scratch, uint32_t request_line) noexcept nogil
cdef int response_head(Head* head, Wire* wire, bint is_head) noexcept nogil
cdef int normalise_path(Head* head, Scratch* scratch, const char* path, uint32_t size) noexcept nogil

cdef void merge_path(Head* head, Scratch* scratch) noexcept nogil

cdef inline const char* sent_path(const Head* head, uint32_t* size) noexcept nogil:
    """The path that is forwarded."""
    if head.sent == NULL:
        size[0] = head.path_size
        return head.path
    size[0] = head.sent_size
    return head.sent

cdef int field_kind(const char* name, size_t size) noexcept nogil
cdef Field* head_find(const Head* head, const char* name, size_t size) noexcept nogil
cdef Field* head_find_kind(const Head* head, int kind) noexcept nogil
cdef int head_remove(Head* head, const char* name, size_t size) noexcept nogil
cdef int head_add(Head* head, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil
cdef int head_set(Head* head, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil
cdef char* scratch_keep(Scratch* scratch, const char* data, size_t size) noexcept nogil
cdef bint field_alias(const Field* field, const char* name, size_t size) noexcept nogil
cdef bint same_text(const char* one, size_t one_size, const char* other, size_t other_size) noexcept nogil
cdef bint has_token(const char* value, size_t size, const char* token, size_t token_size) noexcept nogil

cdef inline str head_text(const char* data, size_t size):
    return data[:size].decode("latin-1")


cdef inline list head_fields(const Head* head):
    """Name and value of each field, as text."""
    cdef uint32_t i
    cdef list found = []
    for i in range(head.count):
        if not head.fields[i].dropped:
            found.append((
                head_text(head.fields[i].name, head.fields[i].name_size),
                head_text(head.fields[i].value, head.fields[i].value_size),
            ))
    return found
