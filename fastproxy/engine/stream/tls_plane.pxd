"""TLS of one worker; see tls_plane.pyx."""

from libc.stdint cimport uint64_t

from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.tls.client cimport ClientContext


cdef class TlsPlane:
    cdef object _settings
    cdef dict _servers  # entry point -> ServerContext
    cdef object _clients  # what `client` is asked for -> ClientContext, while a pool uses it
    cdef dict _certificates  # slot -> (value, ServerCertificate)
    cdef object _staged
    cdef int install(self, Engine* engine, list names) except -1
    cdef void* _new_server(self, str name, options) except NULL
    cdef ClientContext client(self, key)

cdef tuple client_certificates(void* ssl)
