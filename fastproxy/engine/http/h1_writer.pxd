"""THE one writer of heads. See h1_writer.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.h1_parser cimport Field

cdef struct Writer:
    char* data
    size_t size
    size_t capacity
    uint8_t failed

cdef struct Forwarding:
    # What the writer of a request head needs besides the head itself.
    const char* client  # address as text
    uint32_t client_size
    const char* server  # our host name
    uint32_t server_size
    const char* host  # Host to send; NULL = the client's
    uint32_t host_size
    uint8_t tls
    uint8_t expect  # forward Expect: 100-continue
    int64_t content_length  # -2 = as in the head

cdef void write_request(Writer* writer, const Head* head, const Forwarding* forwarding) noexcept nogil
cdef void write_response(
    Writer* writer, const Head* head, uint8_t chunked, uint8_t close, uint8_t http10_keep_alive,
    const char* date, const char* trailer, uint32_t trailer_size
) noexcept nogil
cdef void write_text(Writer* writer, const char* text, size_t size) noexcept nogil
cdef void write_number(Writer* writer, uint64_t number) noexcept nogil
cdef void write_hex(Writer* writer, uint64_t number) noexcept nogil
cdef bint write_field(Writer* writer, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil
cdef bint write_head_field(Writer* writer, const Field* field) noexcept nogil
cdef const char* status_text(int status) noexcept nogil
cdef size_t chunk_line(char* line, size_t size) noexcept nogil
