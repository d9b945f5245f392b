"""The operation of error pages (`features.md` 3.9): which statuses a page of another backend replaces."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON
from fastproxy.engine.http.owned_head cimport head_save
from fastproxy.engine.stream.stream cimport Stream


cdef int error_pages(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    if not stream.sub_request and _keep_request(stream, head) == 0:
        stream.pages = payload.at
    return STEP_GO_ON


cdef int _keep_request(Stream* stream, Head* head) noexcept nogil:
    """The head is needed once more if the response is replaced. Python has its own copy already
    when a filter came before."""
    if stream.exchange != NULL:
        return stream.engine.keep_head(stream, head)
    stream.saved_head = head_save(head, stream.engine.scratch, NULL, 0)
    return 0 if stream.saved_head != NULL else -1


cdef bint page_wanted(const Stream* stream, int status) noexcept nogil:
    """Does an error page replace this status? (The payload is filter slot, count, ranges.)"""
    cdef Payload payload
    cdef uint32_t count, _i, low, high
    if stream.pages == NULL or status == 101:
        return False
    payload.at = stream.pages + 4
    count = u32(&payload)
    for _i in range(count):
        low = u32(&payload)
        high = u32(&payload)
        if low <= <uint32_t> status <= high:
            return True
    return False
