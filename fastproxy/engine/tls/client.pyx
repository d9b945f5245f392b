"""TLS towards backends: whom we trust, what we verify, which sessions are resumed."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastproxy.engine.tls.openssl cimport *
from fastproxy.engine.loop.posix cimport AF_INET, AF_INET6, inet_pton
from fastproxy.engine.tls.connection cimport Note, tls_context, tls_free, tls_note, tls_open, tls_trust
from fastproxy.engine.tls.certificates cimport (
    NAME_LIMIT, ServerCertificate, certificate_parse, hash_name, last_error,
)

from fastproxy.settings.tls_options import read_pem

cdef void* tls_connect(
    TlsClient* client, int descriptor, const char* name, size_t size, uint64_t session_key
) noexcept nogil:
    """The client side. `name` is what the certificate must be for and, unless it is an IP address,
    what the server is told. `session_key` names the endpoint whose session may be resumed."""
    cdef SSL* ssl
    cdef Note* note
    cdef X509_VERIFY_PARAM* parameters
    cdef uint8_t address[16]
    cdef size_t address_size = 0
    cdef SSL_SESSION* session
    while size and name[size - 1] == b".":
        size -= 1  # as DNS writes complete names; certificates and the server name do not
    if size > NAME_LIMIT:
        return NULL
    ssl = tls_open(<SSL_CTX*> client.context, descriptor)
    if ssl == NULL:
        return NULL
    note = tls_note(ssl)
    if note == NULL:
        SSL_free(ssl)
        return NULL
    note.client = client
    note.session_key = session_key
    note.name_size = <uint32_t> size
    memcpy(note.name, name, size)
    SSL_set_connect_state(ssl)
    if inet_pton(AF_INET, note.name, address) == 1:
        address_size = 4
    elif inet_pton(AF_INET6, note.name, address) == 1:
        address_size = 16
    elif size and SSL_set_tlsext_host_name(ssl, note.name) != 1:
        tls_free(ssl)
        return NULL
    if not client.insecure:
        parameters = SSL_get0_param(ssl)
        # Go has not looked at the common name since 1.15.
        X509_VERIFY_PARAM_set_hostflags(
            parameters, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
        )
        if address_size:
            X509_VERIFY_PARAM_set1_ip(parameters, address, address_size)
        else:
            X509_VERIFY_PARAM_set1_host(parameters, note.name, size)
    session = _session_of(client, session_key, note.name, note.name_size)
    if session != NULL:
        SSL_set_session(ssl, session)
    ERR_clear_error()
    return ssl


# --- sessions of the client side -------------------------------------------------------------

cdef TlsSession* _session_place(
    TlsClient* client, uint64_t key, const char* name, uint32_t size
) noexcept nogil:
    cdef uint64_t value = (key ^ hash_name(name, size)) * <uint64_t> 0x9E3779B97F4A7C15
    return &client.sessions[(value >> 32) & client.session_mask]


cdef SSL_SESSION* _session_of(
    TlsClient* client, uint64_t key, const char* name, uint32_t size
) noexcept nogil:
    cdef TlsSession* place = _session_place(client, key, name, size)
    if (
        place.session == NULL
        or place.key != key
        or place.name_size != size
        or memcmp(place.name, name, size) != 0
    ):
        return NULL
    return <SSL_SESSION*> place.session


cdef void _forget_session(TlsSession* place) noexcept nogil:
    if place.session != NULL:
        SSL_SESSION_free(<SSL_SESSION*> place.session)
        free(place.name)
    memset(place, 0, sizeof(TlsSession))


cdef int _keep_session(SSL* ssl, SSL_SESSION* session) noexcept nogil:
    """OpenSSL offers a session that could be resumed; 1 keeps its reference."""
    cdef Note* note = <Note*> SSL_get_app_data(ssl)
    cdef TlsSession* place
    cdef char* name
    if note == NULL or note.client == NULL or not SSL_SESSION_is_resumable(session):
        return 0
    name = <char*> malloc(note.name_size + 1)
    if name == NULL:
        return 0
    memcpy(name, note.name, note.name_size)
    place = _session_place(<TlsClient*> note.client, note.session_key, note.name, note.name_size)
    _forget_session(place)
    place.key = note.session_key
    place.session = session
    place.name = name
    place.name_size = note.name_size
    return 1


# --- the context -----------------------------------------------------------------------------

cdef class ClientContext:
    def __cinit__(self, roots=None, *, insecure=False, certificate=None, sessions=1024):
        cdef SSL_CTX* context = tls_context(TLS_client_method())
        cdef ServerCertificate own
        self.client.context = context
        self.client.insecure = insecure
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE if insecure else SSL_VERIFY_PEER, NULL)
        if roots is not None:
            tls_trust(context, [read_pem(source) for source in roots], announce=False)
        elif not insecure:
            SSL_CTX_set_default_verify_paths(context)
        if certificate is not None:
            own = ServerCertificate(certificate)
            if not certificate_parse(&own.certificate) or SSL_CTX_use_cert_and_key(
                context, <X509*> own.certificate.leaf, <EVP_PKEY*> own.certificate.key,
                <STACK_OF_X509*> own.certificate.chain, 1,
            ) != 1:
                raise ValueError(f"the client certificate cannot be used: {last_error()}")
        while self.client.session_mask + 1 < sessions:
            self.client.session_mask = self.client.session_mask * 2 + 1
        self.client.sessions = <TlsSession*> calloc(
            self.client.session_mask + 1, sizeof(TlsSession)
        )
        if self.client.sessions == NULL:
            raise MemoryError
        SSL_CTX_set_session_cache_mode(
            context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
        )
        SSL_CTX_sess_set_new_cb(context, _keep_session)
        ERR_clear_error()

    def __dealloc__(self):
        cdef uint32_t index
        if self.client.sessions != NULL:
            for index in range(self.client.session_mask + 1):
                _forget_session(&self.client.sessions[index])
        free(self.client.sessions)
        SSL_CTX_free(<SSL_CTX*> self.client.context)
