"""What a client's codec tells an exchange. See request.pyx; the beginning and the end are in end.pxd."""

from libc.stdint cimport uint8_t

from fastproxy.engine.exchange.answer cimport send_more
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.upstream.h1_request cimport (
    upstream_full, upstream_raw, upstream_resume, upstream_shutdown, upstream_tunnel, upstream_waits,
)

cdef void exchange_request(Stream* stream, Head* head, char* data, size_t size, uint8_t last) noexcept nogil
cdef void exchange_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil
cdef void exchange_spliced(Stream* stream, size_t count, size_t moved) noexcept nogil
cdef void exchange_unspliced(Stream* stream, const char* data, size_t size) noexcept nogil

cdef inline bint exchange_full(Stream* stream) noexcept nogil:
    """Whether nothing more of the request is wanted for now: `ClientCodec.resume` follows."""
    return not stream.buffering.collecting and upstream_full(stream)

cdef inline void exchange_writable(Stream* stream) noexcept nogil:
    """The client has taken everything that was sent."""
    if stream.rest_size:
        send_more(stream)
    else:
        upstream_resume(stream)

cdef inline int exchange_raw(Stream* stream) noexcept nogil:
    """The socket to which body bytes of the request may now go past `exchange_body`; -1: none."""
    return -1 if stream.buffering.collecting else upstream_raw(stream)

cdef inline bint exchange_waits(Stream* stream) noexcept nogil:
    """Whether anything of the client's is still on its way to the endpoint; `resume` follows then."""
    return upstream_waits(stream)

cdef inline void exchange_tunnel(Stream* stream, const char* data, size_t size) noexcept nogil:
    """Bytes of the other protocol, after an upgrade."""
    upstream_tunnel(stream, data, size)

cdef inline void exchange_tunnel_ended(Stream* stream) noexcept nogil:
    """The client has ended its half of a tunnel."""
    upstream_shutdown(stream)
