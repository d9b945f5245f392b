"""TLS with clients: one context for each entry point, and what it decides in a handshake.

Certificates are not contexts: the server-name callback looks the name up in a hash table and lends
that connection a certificate and a key (2 us, where a context for each certificate takes 107 us to
make; see certificates.pyx).

Certificates change with the generation: `ServerContext.activate` replaces the table. A connection
that has shaken hands holds its own references, one that is shaking hands looks the name up once;
neither notices. Tickets stay valid, because the context stays.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, strlen

from fastproxy.engine.tls.openssl cimport *
from fastproxy.engine.loop.posix cimport (
    AF_INET, AF_INET6, EINTR, errno, getsockname, inet_ntop, inet_pton, recv, sockaddr, sockaddr_in, sockaddr_in6,
    sockaddr_storage, socklen_t, ssize_t,
)
from fastproxy.engine.tls.connection cimport (
    TLS_FAILURE_INTERNAL, TLS_FAILURE_NO_NAME, tls_context, tls_descriptor, tls_explain, tls_open, tls_trust,
)
from fastproxy.engine.tls.certificates cimport (
    NAME_LIMIT, CertificateSet, ServerCertificate, TlsCertificate, best_certificate, canonical_name,
    certificate_parse,
)

import os
from hashlib import sha256

from fastproxy.engine.tls.certificates import load_certificate
from fastproxy.settings.tls_options import CIPHER_SUITES, VERSIONS, read_pem, self_signed

cdef extern from "sys/socket.h" nogil:
    enum: MSG_PEEK

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char*, const char*, size_t)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum: POLLRDHUP
    int poll(pollfd*, unsigned long, int)

cdef extern from "sys/ioctl.h" nogil:
    int ioctl(int, unsigned long, ...)
    enum: FIONREAD

cdef enum:
    HANDSHAKE_RECORD = 22    # first byte of every TLS connection
    RECORD_HEADER = 5        # bytes before what a record carries
    CLIENT_HELLO = 1         # first byte of that message
    CHANGE_CIPHER_SPEC_RECORD = 20
    CHANGE_CIPHER_SPEC = 6   # bytes of it
    LATER = 12               # bytes that tell a ClientHello, after the first one
    MOST_PEEKED = 20000      # more is no record: let OpenSSL say so
    SERVER_NAME_EXTENSION = 0
    SERVER_NAME_AT = 5       # behind the sizes of list and name, and the kind of name
    TICKET_KEY_SIZE = 80
    TICKET_LIFETIME = 7200   # seconds; with client certificates also how long one is not re-checked
    TICKET_CHAIN_LIMIT = 32768

cdef EVP_CIPHER* _ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)
if _ticket_cipher == NULL:
    raise ImportError("OpenSSL cannot encrypt tickets")


cdef int tls_greeting(int descriptor, bint begun) noexcept nogil:
    """What has arrived of a handshake: GREETING_*. `begun`: there is an SSL already.

    Until the client's first record is complete a connection needs no SSL: 10,000 clients that
    connect and dawdle would cost 70 KB each. Their bytes stay in the kernel.
    """
    cdef uint8_t header[2048]  # nearly always the whole record, so that nobody else need be asked
    cdef ssize_t count, size
    cdef int waiting = 0
    while True:
        count = recv(descriptor, header, LATER if begun else sizeof(header), MSG_PEEK)
        if count >= 0 or errno != EINTR:
            break
    if begun:
        return GREETING_HELLO if _is_hello(header, count) else GREETING_OTHER
    if count <= 0:
        return GREETING_NONE  # also of one that was reset: an event tells of that
    if header[0] != HANDSHAKE_RECORD:
        return GREETING_OTHER
    if count < RECORD_HEADER:
        return GREETING_NONE
    size = RECORD_HEADER + (header[3] << 8 | header[4])
    if count < size and size <= MOST_PEEKED and (
        count < <ssize_t> sizeof(header) or (ioctl(descriptor, FIONREAD, &waiting) == 0 and waiting < size)
    ):
        return GREETING_NONE
    return GREETING_HELLO if _is_hello(header, count) else GREETING_OTHER


cdef bint _is_hello(const uint8_t* data, ssize_t count) noexcept nogil:
    """Whether a ClientHello comes next, perhaps behind the change_cipher_spec of RFC 8446 D.4."""
    if count >= CHANGE_CIPHER_SPEC and data[0] == CHANGE_CIPHER_SPEC_RECORD:
        data += CHANGE_CIPHER_SPEC
        count -= CHANGE_CIPHER_SPEC
    return count > RECORD_HEADER and data[0] == HANDSHAKE_RECORD and data[RECORD_HEADER] == CLIENT_HELLO


cdef bint tls_left(int descriptor) noexcept nogil:
    """Whether the peer has ended its half of the connection, or all of it."""
    cdef pollfd asked
    asked.fd = descriptor
    asked.events = POLLRDHUP
    asked.revents = 0
    return poll(&asked, 1, 0) > 0


cdef void* tls_accept(TlsServer* server, int descriptor) noexcept nogil:
    """The server side of TLS on a connected, non-blocking socket; NULL when memory is short."""
    cdef SSL* ssl = tls_open(<SSL_CTX*> server.context, descriptor)
    if ssl != NULL:
        SSL_set_accept_state(ssl)
    return ssl


cdef size_t _local_address(SSL* ssl, char* text, size_t room) noexcept nogil:
    """The address the client connected to, as certificates name it."""
    cdef sockaddr_storage storage
    cdef socklen_t size = sizeof(storage)
    cdef const uint8_t* address
    cdef int family
    if getsockname(tls_descriptor(ssl), <sockaddr*> &storage, &size):
        return 0
    family = storage.ss_family
    if family == AF_INET:
        address = <const uint8_t*> &(<sockaddr_in*> &storage).sin_addr
    elif family == AF_INET6:
        address = <const uint8_t*> &(<sockaddr_in6*> &storage).sin6_addr
    else:
        return 0
    return _address_text(family, address, text, room)


cdef size_t _address_text(int family, const uint8_t* address, char* text, size_t room) noexcept nogil:
    """An address as certificates name it; room for 46 bytes is enough."""
    if family == AF_INET6 and memcmp(address, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
        address += 12
        family = AF_INET
    if inet_ntop(family, address, text, <socklen_t> room) == NULL:
        return 0
    return strlen(text)


cdef bint _canonical_address(char* name, size_t* size) noexcept nogil:
    """Rewrite a terminated name that is an address; whether it is one."""
    cdef uint8_t address[16]
    cdef int family = AF_INET
    if inet_pton(AF_INET, name, address) != 1:
        family = AF_INET6
        if inet_pton(AF_INET6, name, address) != 1:
            return False
    size[0] = _address_text(family, address, name, NAME_LIMIT)
    return True


# --- what a name gets ------------------------------------------------------------------------

cdef TlsCertificate* _certificate_of(
    const TlsServer* server, const char* name, size_t size
) noexcept nogil:
    """What a handshake that asks for this canonical name is shown; NULL: it is refused."""
    cdef TlsCertificate* certificate = best_certificate(server.index, name, size)
    if certificate == NULL and not server.sni_strict and server.index != NULL:
        return server.index.default_certificate
    return certificate


cdef const void* _options_of(const TlsServer* server, const char* name, size_t size) noexcept nogil:
    """The identity of a name's TLS options: names with the same one may share a connection. NULL:
    none, no handshake with this name succeeds.

    All names that an entry point admits have its options. Whoever gives names options of their own
    has to return them here, and to keep the connection's in `tls_misdirected`.
    """
    return server if _certificate_of(server, name, size) != NULL else NULL


cdef bint tls_options_vary(const TlsServer* server) noexcept nogil:
    """Whether two names of this entry point can differ in their options."""
    return server.sni_strict


cdef bint _is_asked(const char* asked, const char* host, size_t size) noexcept nogil:
    """Whether the server name is `host`, which is lower-case and without trailing dot."""
    cdef size_t index
    cdef char byte
    for index in range(size):
        byte = asked[index]
        if (byte + 32 if b"A" <= byte <= b"Z" else byte) != host[index]:
            return False
    return asked[size] == 0 or (asked[size] == b"." and asked[size + 1] == 0)


cdef bint tls_misdirected(void* connection, const char* host, size_t size) noexcept nogil:
    """Whether a request for `host` (lower-case, without port) came over a connection that was
    opened under other TLS options than a handshake for `host` gets now: 421 (`http-safety.md` 5).

    A request for the name that was asked for is never misdirected, even if its certificate has
    gone since: it was admitted. Nor is one that names no host. Clients ask for no name when they
    connect to an address, and are then admitted by the address they have reached; so is a request
    for an address.
    """
    cdef SSL* ssl = <SSL*> connection
    cdef const TlsServer* server = <const TlsServer*> SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))
    cdef const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef char name[NAME_LIMIT + 1]
    cdef bint is_address
    if size == 0 or (asked != NULL and _is_asked(asked, host, size)):
        return False
    if host[0] == b"[" and host[size - 1] == b"]":
        host += 1
        size -= 2
    size = canonical_name(host, size, name, NAME_LIMIT)
    name[size] = 0
    is_address = _canonical_address(name, &size)
    if _options_of(server, name, size) == <const void*> server:
        return False
    if is_address:
        size = _local_address(ssl, name, sizeof(name))
        return _options_of(server, name, size) != <const void*> server
    return True


# --- callbacks -------------------------------------------------------------------------------

cdef bint _lend(SSL* ssl, TlsCertificate* certificate) noexcept nogil:
    return certificate_parse(certificate) and SSL_use_cert_and_key(
        ssl, <X509*> certificate.leaf, <EVP_PKEY*> certificate.key,
        <STACK_OF_X509*> certificate.chain, 1,
    ) == 1


cdef int _choose(SSL* ssl, int* alert, void* argument) noexcept nogil:
    """The server-name callback: OpenSSL calls it also when the client names nobody."""
    cdef TlsServer* server = <TlsServer*> argument
    cdef const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef char name[NAME_LIMIT + 1]
    cdef size_t size
    cdef TlsCertificate* certificate
    if asked != NULL and asked[0] != 0:
        size = canonical_name(asked, strlen(asked), name, NAME_LIMIT)
    else:
        size = _local_address(ssl, name, sizeof(name))
    certificate = _certificate_of(server, name, size)
    if certificate == NULL:
        _make_printable(name, size)
        tls_explain(ssl, TLS_FAILURE_NO_NAME, "no certificate for", name)
        alert[0] = SSL_AD_UNRECOGNIZED_NAME
        return SSL_TLSEXT_ERR_ALERT_FATAL
    if SSL_session_reused(ssl):
        return SSL_TLSEXT_ERR_OK
    if not _lend(ssl, certificate):
        tls_explain(ssl, TLS_FAILURE_INTERNAL, "the certificate cannot be used", NULL)
        alert[0] = SSL_AD_INTERNAL_ERROR
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK


cdef void _make_printable(char* name, size_t size) noexcept nogil:
    """The client may ask for anything, but not write lines of its own into our log."""
    cdef size_t index
    for index in range(size):
        if not b" " < name[index] < 127:
            name[index] = b"?"
    name[size] = 0


cdef int _choose_protocol(
    SSL* ssl,
    const unsigned char** chosen,
    unsigned char* chosen_size,
    const unsigned char* offered,
    unsigned int offered_size,
    void* argument,
) noexcept nogil:
    """Our order decides. Without a common protocol the handshake ends with the alert
    no_application_protocol (RFC 7301 3.2): whoever offers only others would misread what we say."""
    cdef TlsServer* server = <TlsServer*> argument
    cdef uint32_t ours = 0, theirs
    while ours < server.protocols_size:
        theirs = 0
        while theirs < offered_size:
            if server.protocols[ours] == offered[theirs] and memcmp(
                server.protocols + ours + 1, offered + theirs + 1, offered[theirs]
            ) == 0:
                chosen[0] = offered + theirs + 1
                chosen_size[0] = offered[theirs]
                return SSL_TLSEXT_ERR_OK
            theirs += 1 + offered[theirs]
        ours += 1 + server.protocols[ours]
    return SSL_TLSEXT_ERR_ALERT_FATAL if server.protocols_size else SSL_TLSEXT_ERR_NOACK


cdef int _ticket_key(
    SSL* ssl,
    unsigned char* name,
    unsigned char* vector,
    EVP_CIPHER_CTX* cipher,
    EVP_MAC_CTX* mac,
    int encrypting,
) noexcept nogil:
    """1: this key; 2: this key, but give out a new ticket; 0: no ticket; -1: failure."""
    cdef TlsServer* server = <TlsServer*> SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))
    cdef uint8_t* key = server.ticket_keys
    cdef uint32_t index = 0
    cdef OSSL_PARAM parameters[3]
    if server.ticket_key_count == 0:
        return 0
    if encrypting:
        memcpy(name, key, 16)
        if RAND_bytes(vector, 16) != 1:
            return -1
    else:
        while memcmp(name, key, 16) != 0:
            index += 1
            key += TICKET_KEY_SIZE
            if index == server.ticket_key_count:
                return 0
    parameters[0] = OSSL_PARAM_construct_octet_string("key", key + 48, 32)
    parameters[1] = OSSL_PARAM_construct_utf8_string("digest", "SHA256", 0)
    parameters[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, parameters) != 1:
        return -1
    if encrypting:
        return 1 if EVP_EncryptInit_ex(cipher, _ticket_cipher, NULL, key + 16, vector) == 1 else -1
    if EVP_DecryptInit_ex(cipher, _ticket_cipher, NULL, key + 16, vector) != 1:
        return -1
    # A TLS 1.3 ticket is used once (RFC 8446 C.4): hand out the next one.
    return 1 if index == 0 and SSL_version(ssl) < TLS1_3_VERSION else 2


cdef int _fill_ticket(SSL* ssl, void* argument) noexcept nogil:
    """A ticket carries the client's own certificate by itself; add those it sent with it."""
    cdef STACK_OF_X509* chain = SSL_get_peer_cert_chain(ssl)
    cdef unsigned char* data
    cdef unsigned char* at
    cdef int index, size = 0
    if chain == NULL or SSL_session_reused(ssl):
        return 1
    for index in range(sk_X509_num(chain)):
        size += i2d_X509(sk_X509_value(chain, index), NULL)
    if size == 0 or size > TICKET_CHAIN_LIMIT:
        return 1
    data = <unsigned char*> malloc(size)
    if data == NULL:
        return 0
    at = data
    for index in range(sk_X509_num(chain)):
        i2d_X509(sk_X509_value(chain, index), &at)
    index = SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), data, size)
    free(data)
    return index


cdef bint _is_of_name(SSL* ssl, const SSL_SESSION* session) noexcept nogil:
    """Whether the ClientHello at hand asks for the server name the session was made for (RFC 6066 3).
    TLS 1.3 asks again in each handshake, which is answered for the name asked for now."""
    cdef const char* name = SSL_SESSION_get0_hostname(session)
    cdef const unsigned char* asked
    cdef size_t size, length = strlen(name) if name != NULL else 0
    if SSL_version(ssl) >= TLS1_3_VERSION:
        return True
    if SSL_client_hello_get0_ext(ssl, SERVER_NAME_EXTENSION, &asked, &size) != 1 or size < SERVER_NAME_AT:
        return length == 0
    return size - SERVER_NAME_AT == length and strncasecmp(<const char*> asked + SERVER_NAME_AT, name, length) == 0


cdef SSL_TICKET_RETURN _use_ticket(
    SSL* ssl,
    SSL_SESSION* session,
    const unsigned char* key_name,
    size_t key_name_size,
    SSL_TICKET_STATUS status,
    void* argument,
) noexcept nogil:
    if session != NULL and not _is_of_name(ssl, session):
        return SSL_TICKET_RETURN_IGNORE_RENEW
    if status == SSL_TICKET_SUCCESS:
        return SSL_TICKET_RETURN_USE
    if status == SSL_TICKET_SUCCESS_RENEW:
        return SSL_TICKET_RETURN_USE_RENEW
    return SSL_TICKET_RETURN_IGNORE_RENEW


# --- the context -----------------------------------------------------------------------------

cdef class ServerContext:
    def __cinit__(self, options):
        cdef SSL_CTX* context = tls_context(TLS_server_method())
        self.server.context = context
        self._options = options
        self.warnings = ()
        if options.problems:
            raise ValueError("; ".join(options.problems))
        self._set_versions_and_ciphers(options)
        self._set_clients(options)
        self._protocols = b"".join(bytes([len(p)]) + p for p in options.protocols)
        self.server.protocols = self._protocols
        self.server.protocols_size = <uint32_t> len(self._protocols)
        self.server.sni_strict = options.sni_strict
        SSL_CTX_set_app_data(context, &self.server)
        SSL_CTX_set_tlsext_servername_callback(context, _choose)
        SSL_CTX_set_tlsext_servername_arg(context, &self.server)
        SSL_CTX_set_alpn_select_cb(context, _choose_protocol, &self.server)
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_timeout(context, TICKET_LIFETIME)
        SSL_CTX_set_num_tickets(context, 1)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, _ticket_key)
        SSL_CTX_set_session_ticket_cb(context, _fill_ticket, _use_ticket, NULL)
        self.set_ticket_keys([os.urandom(TICKET_KEY_SIZE)])
        self._load()
        self.activate(self.prepare(()))

    cdef int _set_versions_and_ciphers(self, options) except -1:
        cdef SSL_CTX* context = <SSL_CTX*> self.server.context
        version = VERSIONS.get(options.minimum_version, 0)
        # Hardware does AES-128-GCM fastest and SHA-256 shortens the handshake: Go's order, too.
        SSL_CTX_set_ciphersuites(
            context,
            b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
        )
        SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_min_proto_version(context, version)
        if version and version < VERSIONS["VersionTLS12"]:
            # Their handshakes are signed with SHA-1, which OpenSSL 3 allows at level 0 only.
            SSL_CTX_set_security_level(context, 0)
        known = []
        for name in options.cipher_suites:
            suite = CIPHER_SUITES[name]
            if not suite:
                continue
            if SSL_CTX_set_cipher_list(context, suite.encode()) == 1:
                known.append(suite)
            else:
                self.warnings += (f"cipher suite {name} is not available and left out",)
            ERR_clear_error()
        if known:
            SSL_CTX_set_cipher_list(context, ":".join(known).encode())
        elif any(CIPHER_SUITES[name] for name in options.cipher_suites):
            raise ValueError("none of the cipher suites is available")
        return 0

    cdef int _set_clients(self, options) except -1:
        cdef SSL_CTX* context = <SSL_CTX*> self.server.context
        cdef int verify = SSL_VERIFY_PEER
        authorities = [read_pem(source) for source in options.client_ca_files]
        # A ticket is good only where the same client certificates would be.
        identity = sha256(b"".join([b"%d" % options.client_ca_optional, *authorities])).digest()
        SSL_CTX_set_session_id_context(context, identity, <unsigned int> len(identity))
        if not authorities:
            return 0
        tls_trust(context, authorities, announce=True)
        if not options.client_ca_optional:
            verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_CTX_set_verify(context, verify, NULL)
        self.server.requests_certificate = True
        return 0

    cdef int _load(self) except -1:
        """The certificates of the settings: what cannot be loaded is left out with a warning."""
        options = self._options
        default = None
        self._static = []
        for pair in options.certificates:
            loaded = self._load_pair(pair)
            if loaded is not None:
                self._static.append(loaded)
        fetched = [self._load_pair(pair) for pair in options.fetched]
        self._fetched = [loaded for loaded in fetched if loaded is not None]
        if options.default_certificate is not None:
            default = self._load_pair(options.default_certificate)
        elif self._static:
            default = self._static[0]
        if default is None:
            default = ServerCertificate(load_certificate("default", *self_signed()))
        self._default = default
        return 0

    def _load_pair(self, pair):
        name = pair.certificate if "-----BEGIN" not in pair.certificate else "inline PEM"
        try:
            return ServerCertificate(
                load_certificate(name, read_pem(pair.certificate), read_pem(pair.key))
            )
        except (OSError, ValueError) as error:
            self.warnings += (f"certificate {name} is not used: {error}",)
            return None

    def __dealloc__(self):
        SSL_CTX_free(<SSL_CTX*> self.server.context)
        self._forget_ticket_keys()

    cdef void _forget_ticket_keys(self) noexcept:
        if self.server.ticket_keys != NULL:
            OPENSSL_cleanse(
                self.server.ticket_keys, self.server.ticket_key_count * TICKET_KEY_SIZE
            )
        free(self.server.ticket_keys)
        self.server.ticket_keys = NULL

    @property
    def own_certificate(self):
        options = self._options
        for pair in (*options.certificates, options.default_certificate):
            try:
                if pair is not None:
                    return load_certificate("own", read_pem(pair.certificate), read_pem(pair.key))
            except (OSError, ValueError):
                continue
        return None

    def prepare(self, certificates):
        return CertificateSet([*self._static, *certificates, *self._fetched], self._default)

    def activate(self, CertificateSet prepared not None):
        self._active = prepared
        self.server.index = &prepared.index

    def set_ticket_keys(self, keys):
        cdef bytes joined = b"".join(keys)
        cdef uint8_t* copy
        if any(len(key) != TICKET_KEY_SIZE for key in keys):
            raise ValueError(f"a ticket key has {TICKET_KEY_SIZE} bytes")
        copy = <uint8_t*> malloc(max(1, len(joined)))
        if copy == NULL:
            raise MemoryError
        memcpy(copy, <const char*> joined, len(joined))
        self._forget_ticket_keys()
        self.server.ticket_keys = copy
        self.server.ticket_key_count = <uint32_t> len(keys)
        if keys:
            SSL_CTX_clear_options(<SSL_CTX*> self.server.context, SSL_OP_NO_TICKET)
        else:
            SSL_CTX_set_options(<SSL_CTX*> self.server.context, SSL_OP_NO_TICKET)
