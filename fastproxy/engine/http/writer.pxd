"""Writing text into a buffer: lines, numbers, header fields. See writer.pyx."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastproxy.engine.http.fields cimport Field

cdef struct Writer:
    char* data
    size_t size
    size_t capacity
    uint8_t failed

cdef void write_text(Writer* writer, const char* text, size_t size) noexcept nogil
cdef void write_number(Writer* writer, uint64_t number) noexcept nogil
cdef void write_hex(Writer* writer, uint64_t number) noexcept nogil
cdef bint write_field(Writer* writer, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil
cdef bint write_head_field(Writer* writer, const Field* field) noexcept nogil
cdef const char* status_text(int status) noexcept nogil

cdef inline void put(Writer* writer, const char* data, size_t size) noexcept nogil:
    if writer.size + size > writer.capacity:
        writer.failed = 1
        return
    if size:  # what is absent has no address
        memcpy(writer.data + writer.size, data, size)
        writer.size += size


cdef inline void copy_field(Writer* writer, const Field* field) noexcept nogil:
    cdef char* out
    cdef size_t size = field.name_size + field.value_size + 4
    if field.added:
        write_field(writer, field.name, field.name_size, field.value, field.value_size)
        return
    if writer.size + size > writer.capacity:
        writer.failed = 1
        return
    out = writer.data + writer.size
    memcpy(out, field.name, field.name_size)
    out += field.name_size
    out[0] = c':'
    out[1] = c' '
    memcpy(out + 2, field.value, field.value_size)
    out += 2 + field.value_size
    out[0] = c'\r'
    out[1] = c'\n'
    writer.size += size
