"""TLS of one worker: a server context for each entry point, client contexts, live certificates.

The engine calls OpenSSL through the few function pointers installed here, so that its parts know
nothing of TLS. Certificates are given out by slot, as backends are: what a generation does not
mention keeps its object, and with it whatever OpenSSL has made of it.
"""

import logging
from weakref import WeakValueDictionary

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastproxy.engine.stream.complaint cimport WHY_TLS, reason_text
from fastproxy.engine.stream.stream cimport (
    FAIL_CLOSED, FAIL_INTERNAL, FAIL_REFUSED, FAIL_UNTRUSTED, Engine, EntryPoint, Upstream,
)
from fastproxy.engine.tls.connection cimport (
    TLS_FAILURE_ALERT, TLS_FAILURE_INTERNAL, TLS_FAILURE_PLAIN_HTTP, TLS_FAILURE_RESET,
    TLS_FAILURE_TRUNCATED,
    tls_error, tls_failure, tls_free, tls_handshake, tls_peer_chain, tls_pending, tls_protocol, tls_read,
    tls_shutdown, tls_writev,
)
from fastproxy.engine.tls.certificates cimport ServerCertificate
from fastproxy.engine.tls.client cimport ClientContext, TlsClient, tls_connect
from fastproxy.engine.tls.server cimport (
    ServerContext, TlsServer, tls_accept, tls_greeting, tls_left, tls_misdirected, tls_options_vary,
)
from fastproxy.engine.tls.certificates import load_certificate
from fastproxy.system import logs
from fastproxy.settings.tls_options import TlsOptions, read_pem

log = logging.getLogger("fastproxy.tls")

cdef bint _debugging = False


cdef int _level():
    """Of what every worker finds: one of them tells it."""
    return logging.ERROR if logs.speaks_for_all() else logging.DEBUG


cdef void* _accept(void* server, int descriptor) noexcept nogil:
    return tls_accept(<TlsServer*> server, descriptor)


cdef void* _connect(
    void* client, int descriptor, const char* name, size_t size, uint64_t session_key
) noexcept nogil:
    return tls_connect(<TlsClient*> client, descriptor, name, size, session_key)


cdef bint _cut(void* ssl) noexcept nogil:
    return tls_failure(ssl) == TLS_FAILURE_TRUNCATED


cdef bint _plain_http(void* ssl) noexcept nogil:
    return tls_failure(ssl) == TLS_FAILURE_PLAIN_HTTP


cdef bint _http2(void* ssl) noexcept nogil:
    cdef uint32_t size
    cdef const uint8_t* protocol = tls_protocol(ssl, &size)
    return size == 2 and protocol[0] == c'h' and protocol[1] == c'2'


cdef void _refused(void* ssl, const char* client) noexcept nogil:
    """Clients fail all the time, and anybody may: only for those who debug."""
    if _debugging:
        _tell(ssl, client)


cdef void _tell(void* ssl, const char* client) noexcept with gil:
    reason = "left during the handshake" if ssl == NULL else tls_error(ssl).decode("latin-1")
    log.debug("TLS with client %s failed: %s", client.decode("latin-1"), reason)


cdef int _failed(Upstream* upstream) noexcept nogil:
    """Why a backend's handshake failed, for the answer to the client (`features.md` 1.2)."""
    cdef int failure = tls_failure(upstream.ssl)
    reason_text(upstream.engine, WHY_TLS, tls_error(upstream.ssl))
    if failure == TLS_FAILURE_RESET:
        return FAIL_REFUSED
    if failure == TLS_FAILURE_ALERT:
        return FAIL_CLOSED
    if failure == TLS_FAILURE_INTERNAL:
        return FAIL_INTERNAL
    return FAIL_UNTRUSTED


cdef class TlsPlane:
    def __cinit__(self, settings):
        self._settings = settings
        self._servers = {}
        self._clients = WeakValueDictionary()
        self._certificates = {}
        self._staged = None

    cdef int install(self, Engine* engine, list names) except -1:
        """Make the contexts of all entry points; `names` are in the order of their indices."""
        global _debugging
        cdef EntryPoint* row
        cdef uint32_t index
        engine.tls.greeting = tls_greeting
        engine.tls.left = tls_left
        engine.tls.accept = _accept
        engine.tls.connect = _connect
        engine.tls.handshake = tls_handshake
        engine.tls.read = tls_read
        engine.tls.writev = tls_writev
        engine.tls.shutdown = tls_shutdown
        engine.tls.free = tls_free
        engine.tls.pending = tls_pending
        engine.tls.misdirected = tls_misdirected
        engine.tls.plain_http = _plain_http
        engine.tls.http2 = _http2
        engine.tls.cut = _cut
        engine.tls.refused = _refused
        _debugging = log.isEnabledFor(logging.DEBUG)
        engine.tls.failed = _failed
        for index, name in enumerate(names):
            point = self._settings.entry_points[name]
            row = &engine.entry_points[index]
            if point.tls is None:
                row.http2 = point.http2.enabled
                continue
            row.tls = 1
            row.tls_server = self._new_server(name, TlsOptions.of(point.tls, point.http2.enabled))
            row.tls_varies = tls_options_vary(<TlsServer*> row.tls_server)
        return 0

    cdef void* _new_server(self, str name, options) except NULL:
        cdef ServerContext server = ServerContext(options)  # the parent has told its warnings
        self._servers[name] = server
        return &server.server

    cdef ClientContext client(self, key):
        """The context towards an https endpoint.

        `key` is "" for backends; the name of an entry point whose certificate is offered and whose
        client authorities are trusted (pass-tls-cert, `features.md` 3.18); a `settings.ClientTls`,
        or None for its defaults, for servers that are no backends (forward authentication). Whoever
        names no authorities trusts those of `rootCAs` (FIX 27).
        Raises OSError and ValueError for a `ClientTls` that cannot be used.
        """
        cdef ClientContext context = self._clients.get(key)
        if context is None:
            context = self._new_client(key)
            self._clients[key] = context
        return context

    def _new_client(self, key):
        insecure = self._settings.insecure_skip_verify
        if key is None:  # `insecureSkipVerify` is about backends, as in 1.7
            return ClientContext(self._roots())
        if key == "":
            return ClientContext(self._roots(), insecure=insecure)
        if isinstance(key, str):
            roots = TlsOptions.of(self._settings.entry_points[key].tls).client_ca_files
            own = self._servers[key].own_certificate
            return ClientContext(roots or None, insecure=insecure, certificate=own)
        certificate = None
        if key.cert or key.key:
            certificate = load_certificate("client", read_pem(key.cert), read_pem(key.key))
        return ClientContext(
            (key.ca,) if key.ca else self._roots(),
            insecure=key.insecure_skip_verify,
            certificate=certificate,
        )

    def _roots(self):
        """None for the system's. What cannot be read is not trusted; the others are."""
        good = []
        for source in self._settings.root_cas:
            try:
                ClientContext([source])
            except (OSError, ValueError) as error:
                log.log(_level(), "rootCAs: %s", error)
            else:
                good.append(source)
        return good if self._settings.root_cas else None

    def set_ticket_keys(self, keys):
        for server in self._servers.values():
            server.set_ticket_keys(keys)

    def prepare(self, change):
        """Stage the certificates of a generation."""
        self._staged = None
        if not self._servers or not (change.certificates or change.removed_certificates):
            return
        certificates = dict(self._certificates)
        for slot in change.removed_certificates:
            certificates.pop(slot, None)
        for slot, value in change.certificates.items():
            try:
                certificates[slot] = (value, ServerCertificate(value))
            except (ValueError, IndexError) as error:
                log.log(_level(), "certificate %s is not used: %s", value.name, error)
                certificates.pop(slot, None)
        ordered = sorted(certificates.values(), key=lambda pair: pair[0].name)
        sets = {}
        for name, server in self._servers.items():
            wanted = []
            for value, certificate in ordered:
                if name in (value.entry_points or self._settings.default_entry_points):
                    wanted.append(certificate)
            sets[name] = server.prepare(wanted)
        self._staged = (certificates, sets)

    def activate(self):
        if self._staged is None:
            return
        self._certificates, sets = self._staged
        self._staged = None
        for name, prepared in sets.items():
            self._servers[name].activate(prepared)

    def discard(self):
        self._staged = None


cdef tuple client_certificates(void* ssl):
    """What the client has presented, DER, its own certificate first; () without TLS or any."""
    return () if ssl == NULL else tuple(tls_peer_chain(ssl))
