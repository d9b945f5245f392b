"""Forward authentication of admitted requests. See forward_auth.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int ask_server(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef bint write_question(
    Writer* writer, const Stream* stream, const Head* head, Payload* payload
) noexcept nogil
cdef void forget_questions(Stream* stream) noexcept nogil
