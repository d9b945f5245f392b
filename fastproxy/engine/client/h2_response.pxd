"""The second client codec. See h2_response.pyx."""

from fastproxy.engine.stream.stream cimport ClientCodec

cdef ClientCodec http2_codec
