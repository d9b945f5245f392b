"""llhttp's C API, taken from the installed httptools (see llhttp.pyx)."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t

cdef enum:
    HTTP_REQUEST = 1
    HTTP_RESPONSE = 2

    HPE_OK = 0
    HPE_CLOSED_CONNECTION = 5
    HPE_INVALID_METHOD = 6
    HPE_INVALID_VERSION = 9
    HPE_INVALID_CONSTANT = 8
    HPE_PAUSED = 21
    HPE_PAUSED_UPGRADE = 22
    HPE_PAUSED_H2_UPGRADE = 23
    HPE_USER = 24

    F_CONNECTION_KEEP_ALIVE = 0x1
    F_CONNECTION_CLOSE = 0x2
    F_CONNECTION_UPGRADE = 0x4
    F_CHUNKED = 0x8
    F_UPGRADE = 0x10
    F_CONTENT_LENGTH = 0x20
    F_SKIPBODY = 0x40
    F_TRAILING = 0x80
    F_TRANSFER_ENCODING = 0x200

    LENIENT_SPACES_AFTER_CHUNK_SIZE = 0x200

cdef struct llhttp_t:
    int32_t _index
    void* _span_pos0
    void* _span_cb0
    int32_t error
    const char* reason
    const char* error_pos
    void* data
    void* _current
    uint64_t content_length
    uint8_t type
    uint8_t method
    uint8_t http_major
    uint8_t http_minor
    uint8_t header_state
    uint16_t lenient_flags
    uint8_t upgrade
    uint8_t finish
    uint16_t flags
    uint16_t status_code
    uint8_t initial_message_completed
    void* settings

ctypedef int (*llhttp_event)(llhttp_t*) noexcept nogil
ctypedef int (*llhttp_span)(llhttp_t*, const char*, size_t) noexcept nogil

cdef struct llhttp_settings_t:
    llhttp_event on_message_begin
    llhttp_span on_protocol
    llhttp_span on_url
    llhttp_span on_status
    llhttp_span on_method
    llhttp_span on_version
    llhttp_span on_header_field
    llhttp_span on_header_value
    llhttp_span on_chunk_extension_name
    llhttp_span on_chunk_extension_value
    llhttp_event on_headers_complete
    llhttp_span on_body
    llhttp_event on_message_complete
    llhttp_event on_protocol_complete
    llhttp_event on_url_complete
    llhttp_event on_status_complete
    llhttp_event on_method_complete
    llhttp_event on_version_complete
    llhttp_event on_header_field_complete
    llhttp_event on_header_value_complete
    llhttp_event on_chunk_extension_name_complete
    llhttp_event on_chunk_extension_value_complete
    llhttp_event on_chunk_header
    llhttp_event on_chunk_complete
    llhttp_event on_reset
    void* spare[16]

cdef struct Llhttp:
    void (*init)(llhttp_t*, int, const llhttp_settings_t*) noexcept nogil
    void (*reset)(llhttp_t*) noexcept nogil
    int (*execute)(llhttp_t*, const char*, size_t) noexcept nogil
    int (*finish)(llhttp_t*) noexcept nogil
    void (*resume)(llhttp_t*) noexcept nogil
    void (*resume_after_upgrade)(llhttp_t*) noexcept nogil
    int (*should_keep_alive)(const llhttp_t*) noexcept nogil

cdef Llhttp* llhttp() noexcept nogil
