"""TLS on the socket, by OpenSSL, for clients and for backends.

Idea. A connection is an `SSL*` on a small BIO of ours that calls `recv` and `send` on the
descriptor. The engine owns the descriptor and its readiness; here nothing waits, allocates Python
objects or takes the GIL. Three things make it cheap:

* Read-ahead: a record's header and body come in one `recv`. The BIO remembers that a `recv` came
  back short, so the socket is empty (`DRAINED`): a read that has something to return already does
  not ask again. One that has nothing must ask, because the end of the stream may have come with
  those bytes, and with edge-triggered readiness nobody will say so again.
* Buffers are released whenever they are empty, so that an idle connection holds none.
* One `SSL_CTX` for each entry point. Certificates are not contexts: the server-name callback looks
  the name up in a hash table and lends that connection a certificate and a key (2 us, where a
  context for each certificate takes 107 us to make; see tls_certificates.pyx).

Certificates change with the generation: `ServerContext.activate` replaces the table. A connection
that has shaken hands holds its own references, one that is shaking hands looks the name up once;
neither notices. Tickets stay valid, because the context stays.

Invariants. After `TLS_WANT_WRITE` the caller offers at least the same bytes again (they may have
moved). OpenSSL's error queue is empty between two calls. A failure is explained once, when it
happens, in the `Note` of the connection; connections that do not fail and are not ours towards a
backend have none.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

from fastproxy.engine.openssl cimport *
from fastproxy.engine.posix cimport (
    AF_INET,
    AF_INET6,
    EAGAIN,
    EINTR,
    MSG_NOSIGNAL,
    errno,
    iovec,
    sockaddr,
    sockaddr_storage,
    socklen_t,
    ssize_t,
)
from fastproxy.engine.tls_certificates cimport (
    NAME_LIMIT,
    CertificateSet,
    ServerCertificate,
    TlsCertificate,
    best_certificate,
    canonical_name,
    certificate_der,
    certificate_parse,
    hash_name,
    last_error,
    read_certificate,
    read_certificates,
)

import os
from hashlib import sha256

from fastproxy.engine.tls_certificates import load_certificate
from fastproxy.tls_options import (
    CIPHER_SUITES,
    VERSIONS,
    read_pem,
    self_signed,
)

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    int getsockname(int, sockaddr*, socklen_t*)
    enum: MSG_PEEK

cdef extern from "sys/ioctl.h" nogil:
    int ioctl(int, unsigned long, ...)
    enum: FIONREAD

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in:
        in_addr sin_addr
    struct sockaddr_in6:
        in6_addr sin6_addr

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int, const void*, char*, socklen_t)
    int inet_pton(int, const char*, void*)


cdef enum:
    DRAINED = 0x10000        # flag of our BIO: the last recv came back short
    SATISFIED = 0x40000      # flag of our BIO: this read has something to return already
    ENDED = 0x20000          # flag of our BIO: recv met the end of the stream
    HANDSHAKE_RECORD = 22    # first byte of every TLS connection
    MOST_PEEKED = 20000      # more is no record: let OpenSSL say so
    RECORD = 16384           # bytes of plaintext in one TLS record
    TICKET_KEY_SIZE = 80
    TICKET_LIFETIME = 7200   # seconds; with client certificates also how long one is not re-checked
    TICKET_CHAIN_LIMIT = 32768

cdef struct Note:
    # What a connection needs beside its SSL: towards a backend always, else only after a failure.
    TlsClient* client
    uint64_t session_key
    int failure
    char text[176]
    uint32_t name_size
    char name[NAME_LIMIT + 1]

cdef BIO_METHOD* _socket_method = NULL
cdef EVP_CIPHER* _ticket_cipher = NULL
cdef char _gather[RECORD]


# --- the socket ------------------------------------------------------------------------------

cdef int _receive(BIO* bio, char* data, int size) noexcept nogil:
    cdef ssize_t received
    BIO_clear_retry_flags(bio)
    if BIO_test_flags(bio, DRAINED) and BIO_test_flags(bio, SATISFIED):
        BIO_set_retry_read(bio)
        return -1
    while True:
        received = recv(<int> <uintptr_t> BIO_get_data(bio), data, size, 0)
        if received >= 0:
            if received == 0:
                BIO_set_flags(bio, ENDED)
            elif received < size:
                BIO_set_flags(bio, DRAINED)
            return <int> received
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            BIO_set_flags(bio, DRAINED)
            BIO_set_retry_read(bio)
        return -1


cdef int _send(BIO* bio, const char* data, int size) noexcept nogil:
    cdef ssize_t sent
    BIO_clear_retry_flags(bio)
    while True:
        sent = send(<int> <uintptr_t> BIO_get_data(bio), data, size, MSG_NOSIGNAL)
        if sent >= 0:
            return <int> sent
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            BIO_set_retry_write(bio)
        return -1


cdef long _control(BIO* bio, int command, long number, void* pointer) noexcept nogil:
    if command == BIO_CTRL_EOF:
        return BIO_test_flags(bio, ENDED) != 0
    return 1 if command == BIO_CTRL_FLUSH else 0


cdef SSL* _open(SSL_CTX* context, int descriptor) noexcept nogil:
    cdef SSL* ssl = SSL_new(context)
    cdef BIO* bio
    if ssl == NULL:
        ERR_clear_error()
        return NULL
    bio = BIO_new(_socket_method)
    if bio == NULL:
        SSL_free(ssl)
        ERR_clear_error()
        return NULL
    BIO_set_data(bio, <void*> <uintptr_t> descriptor)
    BIO_set_init(bio, 1)
    SSL_set_bio(ssl, bio, bio)
    return ssl


# --- failures --------------------------------------------------------------------------------

cdef Note* _note(SSL* ssl) noexcept nogil:
    cdef Note* note = <Note*> SSL_get_app_data(ssl)
    if note == NULL:
        note = <Note*> calloc(1, sizeof(Note))
        if note != NULL and SSL_set_app_data(ssl, note) != 1:
            free(note)
            note = NULL
    return note


cdef int _explain(SSL* ssl, int failure, const char* text, const char* detail) noexcept nogil:
    """Keep the first reason: what follows a failure only says that it failed before."""
    cdef Note* note = _note(ssl)
    if note != NULL and note.failure == TLS_FAILURE_NONE:
        note.failure = failure
        if detail != NULL:
            snprintf(note.text, sizeof(note.text), "%s: %s", text, detail)
        else:
            snprintf(note.text, sizeof(note.text), "%s", text)
    ERR_clear_error()
    return TLS_FAILED


cdef int _explain_protocol(SSL* ssl, bint shaking) noexcept nogil:
    cdef unsigned long code = ERR_peek_error()
    cdef int reason = ERR_GET_REASON(code)
    cdef const char* text = ERR_reason_error_string(code)
    if text == NULL:
        text = "TLS failure without a reason"
    if reason == SSL_R_CERTIFICATE_VERIFY_FAILED:
        return _explain(
            ssl, TLS_FAILURE_UNTRUSTED, text,
            X509_verify_cert_error_string(SSL_get_verify_result(ssl)),
        )
    if reason == SSL_R_UNEXPECTED_EOF_WHILE_READING:
        if shaking:
            return _explain(ssl, TLS_FAILURE_RESET, "connection closed during the handshake", NULL)
        return _explain(ssl, TLS_FAILURE_TRUNCATED, "connection closed without close_notify", NULL)
    if reason == SSL_R_HTTP_REQUEST:
        return _explain(ssl, TLS_FAILURE_PLAIN_HTTP, "not TLS", text)
    if reason in (SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTPS_PROXY_REQUEST):
        return _explain(ssl, TLS_FAILURE_NOT_TLS, "not TLS", text)
    if reason > SSL_AD_REASON_OFFSET and reason < SSL_AD_REASON_OFFSET + 256:
        return _explain(ssl, TLS_FAILURE_ALERT, "refused by the peer", text)
    return _explain(ssl, TLS_FAILURE_PROTOCOL, text, NULL)


cdef int _outcome(SSL* ssl, int result, bint shaking) noexcept nogil:
    """The code for a call of OpenSSL that did not succeed."""
    cdef int number = errno
    cdef int kind = SSL_get_error(ssl, result)
    if kind == SSL_ERROR_WANT_READ:
        return TLS_WANT_READ
    if kind == SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE
    if kind == SSL_ERROR_ZERO_RETURN:
        if shaking:
            return _explain(ssl, TLS_FAILURE_RESET, "closed during the handshake", NULL)
        if SSL_has_pending(ssl) or SSL_rstate_string(ssl)[1] != b"H":  # not "reading a header"
            return _explain(ssl, TLS_FAILURE_TRUNCATED, "closed in the middle of a record", NULL)
        return TLS_CLOSED
    if kind == SSL_ERROR_SYSCALL:
        return _explain(ssl, TLS_FAILURE_RESET, "connection reset", _error_text(number))
    return _explain_protocol(ssl, shaking)


cdef extern from "string.h" nogil:
    const char* _error_text "strerror"(int)


cdef inline void _fresh() noexcept nogil:
    """OpenSSL reads its error queue to interpret results: others may have left something there."""
    if ERR_peek_error() != 0:
        ERR_clear_error()


# --- one connection --------------------------------------------------------------------------

cdef bint tls_greeted(int descriptor) noexcept nogil:
    """Whether the client's first record has arrived, or something that is none, or the end.

    Until then a connection needs no SSL: 10,000 clients that connect and dawdle would cost 70 KB
    each. Their bytes stay in the kernel.
    """
    cdef uint8_t header[5]
    cdef ssize_t count
    cdef int waiting = 0
    while True:
        count = recv(descriptor, header, sizeof(header), MSG_PEEK)
        if count >= 0 or errno != EINTR:
            break
    if count < 0:
        return errno != EAGAIN
    if count == 0 or header[0] != HANDSHAKE_RECORD:
        return True
    if count < <ssize_t> sizeof(header):
        return False
    count = sizeof(header) + (header[3] << 8 | header[4])
    return count > MOST_PEEKED or ioctl(descriptor, FIONREAD, &waiting) < 0 or waiting >= count


cdef void* tls_accept(TlsServer* server, int descriptor) noexcept nogil:
    """The server side of TLS on a connected, non-blocking socket; NULL when memory is short."""
    cdef SSL* ssl = _open(<SSL_CTX*> server.context, descriptor)
    if ssl != NULL:
        SSL_set_accept_state(ssl)
    return ssl


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
    if size > NAME_LIMIT:
        return NULL
    ssl = _open(<SSL_CTX*> client.context, descriptor)
    if ssl == NULL:
        return NULL
    note = _note(ssl)
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


cdef int tls_handshake(void* connection) noexcept nogil:
    """TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE or TLS_FAILED."""
    cdef SSL* ssl = <SSL*> connection
    cdef int result
    _fresh()
    BIO_clear_flags(SSL_get_rbio(ssl), DRAINED | SATISFIED)
    result = SSL_do_handshake(ssl)
    if result == 1:
        return TLS_DONE
    return _outcome(ssl, result, True)


cdef ssize_t tls_read(void* connection, char* data, size_t size) noexcept nogil:
    """As many bytes as there are, up to `size`; else TLS_CLOSED, TLS_WANT_READ, TLS_FAILED.

    A result below `size` means that the socket is empty, unless `tls_pending` or the event says
    that the peer has closed: then call again, until the result is not positive."""
    cdef SSL* ssl = <SSL*> connection
    cdef BIO* bio = SSL_get_rbio(ssl)
    cdef size_t done = 0
    cdef int result
    _fresh()
    BIO_clear_flags(bio, DRAINED | SATISFIED)
    while True:
        result = SSL_read(ssl, data + done, <int> min(size - done, <size_t> 0x7FFFFFFF))
        if result <= 0:
            if done == 0:
                return _outcome(ssl, result, False)
            # The bytes first: a failure is explained now and reported by the next call.
            _outcome(ssl, result, False)
            return <ssize_t> done
        done += result
        BIO_set_flags(bio, SATISFIED)
        if done == size or (BIO_test_flags(bio, DRAINED) and not SSL_has_pending(ssl)):
            return <ssize_t> done


cdef int tls_pending(void* connection) noexcept nogil:
    """Whether `tls_read` may find something without the socket becoming readable first."""
    cdef SSL* ssl = <SSL*> connection
    return (
        SSL_has_pending(ssl)
        or not BIO_test_flags(SSL_get_rbio(ssl), DRAINED)
        # An end or a failure that came with the last bytes was met by that read and not yet told.
        or SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN
        or tls_failure(connection) != TLS_FAILURE_NONE
    )


cdef ssize_t tls_write(void* connection, const char* data, size_t size) noexcept nogil:
    """How many bytes were taken; TLS_WANT_WRITE when none. Then offer at least those again."""
    cdef SSL* ssl = <SSL*> connection
    cdef size_t done = 0
    cdef int result
    cdef int outcome
    if size == 0:
        return 0
    _fresh()
    while done < size:
        result = SSL_write(ssl, data + done, <int> min(size - done, <size_t> RECORD))
        if result <= 0:
            outcome = _outcome(ssl, result, False)
            if done:
                return <ssize_t> done
            # A peer's close_notify does not stop us from writing; OpenSSL reports it nowhere here.
            return TLS_FAILED if outcome == TLS_CLOSED else outcome
        done += result
    return <ssize_t> done


cdef ssize_t tls_writev(void* connection, const iovec* pieces, int count) noexcept nogil:
    """As `tls_write` for pieces in a row: small ones share a record (and so a packet)."""
    cdef size_t done = 0, offset = 0, filled, length, skip
    cdef ssize_t written
    cdef int index = 0, ahead
    cdef const char* data
    while True:
        while index < count and offset >= pieces[index].iov_len:
            offset -= pieces[index].iov_len
            index += 1
        if index == count:
            return <ssize_t> done
        filled = pieces[index].iov_len - offset
        data = <const char*> pieces[index].iov_base + offset
        if filled >= RECORD:
            filled -= filled % RECORD
        elif index < count - 1:
            data = _gather
            filled = 0
            ahead = index
            skip = offset
            while ahead < count and filled < RECORD:
                length = min(pieces[ahead].iov_len - skip, RECORD - filled)
                memcpy(_gather + filled, <const char*> pieces[ahead].iov_base + skip, length)
                filled += length
                skip = 0
                ahead += 1
        written = tls_write(connection, data, filled)
        if written < 0:
            return <ssize_t> done if done else written
        done += written
        if <size_t> written < filled:
            return <ssize_t> done
        offset += written


cdef int tls_shutdown(void* connection) noexcept nogil:
    """Tell the peer that nothing follows: TLS_DONE, TLS_WANT_WRITE or TLS_FAILED."""
    cdef SSL* ssl = <SSL*> connection
    cdef int result
    if SSL_in_init(ssl):
        return TLS_DONE
    _fresh()
    result = SSL_shutdown(ssl)
    if result >= 0:
        return TLS_DONE
    result = _outcome(ssl, result, False)
    return TLS_DONE if result in (TLS_WANT_READ, TLS_CLOSED) else result


cdef void tls_free(void* connection) noexcept nogil:
    """Forget the connection; the socket stays open."""
    cdef Note* note
    if connection == NULL:
        return
    note = <Note*> SSL_get_app_data(<SSL*> connection)
    if note != NULL and note.failure == TLS_FAILURE_NONE:
        # Otherwise OpenSSL takes a connection dropped from the pool for an attack and makes its
        # session useless.
        SSL_set_shutdown(<SSL*> connection, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
    SSL_free(<SSL*> connection)
    free(note)
    _fresh()


# --- what is known about a connection --------------------------------------------------------

cdef int tls_failure(void* connection) noexcept nogil:
    """One of TLS_FAILURE_*."""
    cdef Note* note = <Note*> SSL_get_app_data(<SSL*> connection)
    return TLS_FAILURE_NONE if note == NULL else note.failure


cdef const char* tls_error(void* connection) noexcept nogil:
    """The reason of the failure for the log; empty without one. Valid until `tls_free`."""
    cdef Note* note = <Note*> SSL_get_app_data(<SSL*> connection)
    if note == NULL:
        return b""
    return note.text


cdef int tls_status(void* connection) noexcept nogil:
    """The HTTP status for a failure towards a backend (`features.md` 1.2)."""
    cdef int failure = tls_failure(connection)
    if failure in (TLS_FAILURE_RESET, TLS_FAILURE_TRUNCATED, TLS_FAILURE_ALERT):
        return 502
    return 500


cdef size_t tls_server_name(void* connection, char* data, size_t size) noexcept nogil:
    """Write the name the client asked for, lower-case and without trailing dot; its length, 0
    without one or if it does not fit."""
    cdef const char* name = SSL_get_servername(<SSL*> connection, TLSEXT_NAMETYPE_host_name)
    return 0 if name == NULL else canonical_name(name, strlen(name), data, size)


cdef const uint8_t* tls_protocol(void* connection, uint32_t* size) noexcept nogil:
    """The protocol agreed by ALPN; size 0 without one."""
    cdef const unsigned char* data = NULL
    cdef unsigned int length = 0
    SSL_get0_alpn_selected(<SSL*> connection, &data, &length)
    size[0] = length
    return data


cdef const char* tls_version(void* connection) noexcept nogil:
    return SSL_get_version(<SSL*> connection)


cdef const char* tls_cipher(void* connection) noexcept nogil:
    return SSL_CIPHER_get_name(SSL_get_current_cipher(<SSL*> connection))


cdef bint tls_resumed(void* connection) noexcept nogil:
    return SSL_session_reused(<SSL*> connection)


cdef list tls_peer_chain(void* connection):
    """The certificates the peer presented, DER, its own first; also after a resumption."""
    cdef SSL* ssl = <SSL*> connection
    cdef X509* leaf = SSL_get0_peer_certificate(ssl)
    cdef STACK_OF_X509* chain = SSL_get_peer_cert_chain(ssl)
    cdef void* data = NULL
    cdef size_t size = 0
    cdef int index
    if leaf == NULL:
        return []
    result = [certificate_der(leaf)]
    if SSL_session_reused(ssl):
        SSL_SESSION_get0_ticket_appdata(SSL_get_session(ssl), &data, &size)
        return result + _split_der((<const char*> data)[:size])
    for index in range(sk_X509_num(chain) if chain != NULL else 0):
        der = certificate_der(sk_X509_value(chain, index))
        if der != result[0]:
            result.append(der)
    return result


def _split_der(bytes data):
    """Certificates written one after the other (each a DER SEQUENCE with a long length)."""
    result = []
    while len(data) > 4:
        width = data[1] & 0x7F if data[1] & 0x80 else 0
        size = 2 + width + (int.from_bytes(data[2 : 2 + width], "big") if width else data[1])
        result.append(data[:size])
        data = data[size:]
    return result


cdef size_t _local_address(SSL* ssl, char* text, size_t room) noexcept nogil:
    """The address the client connected to, as certificates name it."""
    cdef sockaddr_storage storage
    cdef socklen_t size = sizeof(storage)
    cdef const uint8_t* address
    cdef int family
    if getsockname(<int> <uintptr_t> BIO_get_data(SSL_get_rbio(ssl)), <sockaddr*> &storage, &size):
        return 0
    family = storage.ss_family
    if family == AF_INET:
        address = <const uint8_t*> &(<sockaddr_in*> &storage).sin_addr
    elif family == AF_INET6:
        address = (<sockaddr_in6*> &storage).sin6_addr.s6_addr
        if memcmp(address, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
            address += 12
            family = AF_INET
    else:
        return 0
    if inet_ntop(family, address, text, <socklen_t> room) == NULL:
        return 0
    return strlen(text)


# --- callbacks of the server side ------------------------------------------------------------

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
    certificate = best_certificate(server.index, name, size)
    if certificate == NULL:
        if server.sni_strict:
            name[size] = 0
            _explain(ssl, TLS_FAILURE_NO_NAME, "no certificate for", name)
            alert[0] = SSL_AD_UNRECOGNIZED_NAME
            return SSL_TLSEXT_ERR_ALERT_FATAL
        certificate = server.index.default_certificate if server.index != NULL else NULL
    if SSL_session_reused(ssl):
        return SSL_TLSEXT_ERR_OK
    if certificate == NULL or not _lend(ssl, certificate):
        _explain(ssl, TLS_FAILURE_INTERNAL, "the certificate cannot be used", NULL)
        alert[0] = SSL_AD_INTERNAL_ERROR
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK


cdef int _choose_protocol(
    SSL* ssl,
    const unsigned char** chosen,
    unsigned char* chosen_size,
    const unsigned char* offered,
    unsigned int offered_size,
    void* argument,
) noexcept nogil:
    """Our order decides. Without a common protocol the handshake goes on, as in Go 1.16."""
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
    return SSL_TLSEXT_ERR_NOACK


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


cdef SSL_TICKET_RETURN _use_ticket(
    SSL* ssl,
    SSL_SESSION* session,
    const unsigned char* key_name,
    size_t key_name_size,
    SSL_TICKET_STATUS status,
    void* argument,
) noexcept nogil:
    if status == SSL_TICKET_SUCCESS:
        return SSL_TICKET_RETURN_USE
    if status == SSL_TICKET_SUCCESS_RENEW:
        return SSL_TICKET_RETURN_USE_RENEW
    return SSL_TICKET_RETURN_IGNORE_RENEW


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
    place = _session_place(note.client, note.session_key, note.name, note.name_size)
    _forget_session(place)
    place.key = note.session_key
    place.session = session
    place.name = name
    place.name_size = note.name_size
    return 1


# --- contexts --------------------------------------------------------------------------------

cdef SSL_CTX* _new_context(const SSL_METHOD* method) except NULL:
    cdef SSL_CTX* context = SSL_CTX_new(method)
    if context == NULL:
        raise MemoryError(last_error())
    SSL_CTX_set_mode(
        context,
        SSL_MODE_ENABLE_PARTIAL_WRITE
        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | SSL_MODE_RELEASE_BUFFERS,
    )
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_SSLv3)
    SSL_CTX_set_read_ahead(context, 1)
    # The distribution's openssl.cnf may ask for more: behaviour would depend on the image, and
    # certificates with RSA-1024, which Traefik 1.7 serves, would be refused at the handshake.
    SSL_CTX_set_min_proto_version(context, 0)
    SSL_CTX_set_security_level(context, 1)
    return context


cdef int _trust(SSL_CTX* context, sources, bint announce) except -1:
    """Make every certificate of the sources a trust anchor, as Go does."""
    cdef X509_STORE* store = SSL_CTX_get_cert_store(context)
    cdef X509* authority
    for source in sources:
        found = read_certificates(source)
        if not found:
            raise ValueError("there is no certificate in a file of certification authorities")
        for der in found:
            authority = read_certificate(der)
            X509_STORE_add_cert(store, authority)
            if announce:
                SSL_CTX_add_client_CA(context, authority)
            X509_free(authority)
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN)
    ERR_clear_error()
    return 0


cdef class ServerContext:
    def __cinit__(self, options):
        cdef SSL_CTX* context = _new_context(TLS_server_method())
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
        _trust(context, authorities, announce=True)
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
        free(self.server.ticket_keys)

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
        return CertificateSet([*self._static, *certificates], self._default)

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
        free(self.server.ticket_keys)
        self.server.ticket_keys = copy
        self.server.ticket_key_count = <uint32_t> len(keys)
        if keys:
            SSL_CTX_clear_options(<SSL_CTX*> self.server.context, SSL_OP_NO_TICKET)
        else:
            SSL_CTX_set_options(<SSL_CTX*> self.server.context, SSL_OP_NO_TICKET)


cdef class ClientContext:
    def __cinit__(self, roots=None, *, insecure=False, certificate=None, sessions=1024):
        cdef SSL_CTX* context = _new_context(TLS_client_method())
        cdef ServerCertificate own
        self.client.context = context
        self.client.insecure = insecure
        # Many servers close without close_notify. Between two records that counts as an end, as in
        # Go and nginx (see _outcome for the middle of a record).
        SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF)
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE if insecure else SSL_VERIFY_PEER, NULL)
        if roots is not None:
            _trust(context, [read_pem(source) for source in roots], announce=False)
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


cdef int _initialise() except -1:
    global _socket_method, _ticket_cipher
    _socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fastproxy socket")
    _ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)
    if _socket_method == NULL or _ticket_cipher == NULL:
        raise ImportError("OpenSSL cannot be initialised")
    BIO_meth_set_read(_socket_method, _receive)
    BIO_meth_set_write(_socket_method, _send)
    BIO_meth_set_ctrl(_socket_method, _control)
    return 0


_initialise()
