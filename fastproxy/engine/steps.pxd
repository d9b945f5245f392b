"""What happens to a request between its head and its endpoint. See steps.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastproxy.engine.head cimport Head
from fastproxy.engine.stream cimport Engine, EntryPoint, Pool, Reply, Stream

cdef enum:
    STEP_GO_ON = 0
    STEP_REPLY = 1  # engine.reply holds the answer
    STEP_PARK = 2  # Python goes on with the stream later

cdef int route_request(Stream* stream, Head* head) noexcept nogil
cdef int request_steps(Stream* stream, Head* head, uint32_t start) noexcept nogil
cdef int pick_endpoint(Stream* stream, Head* head) noexcept nogil
cdef void response_steps(Stream* stream, Head* head) noexcept nogil
cdef void end_steps(Stream* stream) noexcept nogil
cdef int plain_reply(Engine* engine, int status, const char* body) noexcept nogil
cdef int failure_reply(Engine* engine, int failure) noexcept nogil
cdef bint trusts(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil
cdef int set_path(Stream* stream, Head* head, const char* path, size_t size) noexcept nogil
cdef int backend_steps(Stream* stream, Head* head) noexcept nogil
cdef bint page_wanted(const Stream* stream, int status) noexcept nogil
