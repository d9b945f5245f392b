"""Body bytes from socket to socket inside the kernel. See splice.pyx."""

from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.http.h1_parser cimport Wire

cdef bint splice_worthwhile(Engine* engine, const Wire* wire) noexcept nogil
cdef ssize_t splice_body(Engine* engine, Wire* wire, int source, int target, ssize_t* moved) noexcept nogil
cdef ssize_t splice_rest(Engine* engine, ssize_t left) noexcept nogil
