"""Operations that run a regular expression. See path_regex.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef enum Outcome:
    NOT_FOUND
    REPLACED
    TOO_LONG

cdef int rewrite_regex(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int redirect_regex(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef Outcome replace_all(
    Writer* writer, const void* regex, const Head* head, const char* text, size_t size, Payload* payload
) noexcept nogil
