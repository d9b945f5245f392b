"""HTTP/1.1 as a client's codec: how responses look. See h1_response.pyx."""

from fastproxy.engine.stream.stream cimport ClientCodec, Stream

cdef ClientCodec downstream_codec

cdef void downstream_ask_body(Stream* stream) noexcept nogil
