"""THE one writer of heads. See h1_writer.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer

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
cdef size_t chunk_line(char* line, size_t size) noexcept nogil
