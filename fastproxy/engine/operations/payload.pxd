"""Reading the payload of an operation (byte form: operations.py)."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

cdef struct Text:
    const char* data
    uint32_t size

cdef struct Payload:
    const char* at

cdef inline uint32_t u32(Payload* payload) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, payload.at, 4)
    payload.at += 4
    return value

cdef inline int64_t i64(Payload* payload) noexcept nogil:
    cdef int64_t value
    memcpy(&value, payload.at, 8)
    payload.at += 8
    return value

cdef inline Text blob(Payload* payload) noexcept nogil:
    cdef Text text
    text.size = u32(payload)
    text.data = payload.at
    payload.at += text.size
    return text
