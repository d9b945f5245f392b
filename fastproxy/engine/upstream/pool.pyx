"""The pool of one endpoint's URL, held by Python: made, resolved, retired."""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, malloc
from libc.string cimport memcpy, memset

from fastproxy.engine.loop.posix cimport AF_INET, AF_INET6, htons, inet_pton, sockaddr_in, sockaddr_in6
from fastproxy.engine.stream.stream cimport MAX_ADDRESSES, Pool
from fastproxy.engine.tls.client cimport ClientContext
from fastproxy.engine.upstream.connect cimport pool_resolved
from fastproxy.engine.upstream.connection cimport pool_close_idle, pool_free

cdef enum:
    DEFAULT_PORT_HTTP = 80
    DEFAULT_PORT_HTTPS = 443


cdef class PoolHandle:
    """Keeps one pool; `pool.references` counts who uses it."""

    cdef void use_tls(self, ClientContext context):
        self.tls = context
        self.pool.tls_client = &context.client

    def __cinit__(self, endpoint):
        cdef bytes url = endpoint.url.encode()
        cdef bytes name = endpoint.host.encode()
        cdef bytes shown = url.split(b"://", 1)[1]
        cdef const char* data = url
        self.pool = <Pool*> calloc(1, sizeof(Pool))
        if self.pool == NULL:
            raise MemoryError
        self.waiting = []
        self.url = endpoint.url
        self.host = endpoint.host
        self.port = endpoint.port
        self.pool.tls = endpoint.scheme == "https"
        self.pool.url = <char*> malloc(len(url) + 1)
        memcpy(self.pool.url, data, len(url))
        self.pool.url_size = len(url)
        default = DEFAULT_PORT_HTTPS if endpoint.scheme == "https" else DEFAULT_PORT_HTTP
        if endpoint.port == default:
            shown = shown.rsplit(b":", 1)[0]
        self.pool.host = self.pool.url + len(url) - len(url.split(b"://", 1)[1])
        self.pool.host_size = len(shown)
        data = name
        self.pool.name = <char*> malloc(len(name) + 1)
        memcpy(self.pool.name, data, len(name))
        self.pool.name_size = len(name)

    def looked_up(self, loop):
        """A future that is done when the first lookup of the name has ended."""
        future = loop.create_future()
        self.waiting.append(future)
        return future

    def set_addresses(self, addresses):
        """Replace the addresses (text) that the name stands for; requests may wait for them."""
        cdef sockaddr_in* four
        cdef sockaddr_in6* six
        cdef bytes text
        cdef uint32_t count = 0
        for address in addresses:
            if count == MAX_ADDRESSES:
                break
            text = address.encode()
            memset(&self.pool.addresses[count], 0, sizeof(self.pool.addresses[count]))
            if b":" in text:
                six = <sockaddr_in6*> &self.pool.addresses[count]
                six.sin6_family = AF_INET6
                six.sin6_port = htons(<uint16_t> self.port)
                if inet_pton(AF_INET6, text.split(b"%")[0], &six.sin6_addr) != 1:
                    continue
                self.pool.address_sizes[count] = sizeof(sockaddr_in6)
            else:
                four = <sockaddr_in*> &self.pool.addresses[count]
                four.sin_family = AF_INET
                four.sin_port = htons(<uint16_t> self.port)
                if inet_pton(AF_INET, text, &four.sin_addr) != 1:
                    continue
                self.pool.address_sizes[count] = sizeof(sockaddr_in)
            count += 1
        self.pool.address_count = count
        self.pool.preferred = 0
        pool_resolved(self.pool)
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def close(self):
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        if self.pool != NULL:
            self.pool.retired = 1
            pool_close_idle(self.pool)

    @property
    def unused(self):
        return self.pool == NULL or self.pool.references == 0

    @property
    def closed(self):
        return self.pool == NULL or self.pool.connections == 0

    def __dealloc__(self):
        if self.pool != NULL and self.pool.connections == 0:
            pool_free(self.pool)
