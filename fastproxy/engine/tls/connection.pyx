"""TLS on the socket, by OpenSSL: one connection, whichever side of it we are.

Idea. A connection is an `SSL*` on a small BIO of ours that calls `recv` and `send` on the
descriptor. The engine owns the descriptor and its readiness; here nothing waits, allocates Python
objects or takes the GIL. Two things make it cheap:

* Read-ahead: a record's header and body come in one `recv`. The BIO remembers that a `recv` came
  back short, so the socket is empty (`DRAINED`): a read that has something to return already does
  not ask again. One that has nothing must ask, because the end of the stream may have come with
  those bytes, and with edge-triggered readiness nobody will say so again.
* The BIO also follows where records begin. Whether a stream has ended between two of them decides
  what is a whole response, and what OpenSSL tells about its own place there differs between
  versions: since 3.2 a close_notify that was read counts as pending.
* Buffers are released whenever they are empty, so that an idle connection holds none.

What a server decides about a handshake is in server.pyx, what a client remembers in
client.pyx.

Invariants. After `TLS_WANT_WRITE` the caller offers at least the same bytes again (they may have
moved). OpenSSL's error queue is empty between two calls. A failure is explained once, when it
happens, in the `Note` of the connection; connections that do not fail and are not ours towards a
backend have none.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

from fastproxy.engine.tls.openssl cimport *
from fastproxy.engine.loop.posix cimport EAGAIN, EINTR, MSG_NOSIGNAL, errno, iovec, recv, send, ssize_t
from fastproxy.engine.tls.certificates cimport (
    canonical_name, certificate_der, last_error, read_certificate, read_certificates,
)


cdef enum:
    DRAINED = 0x10000        # flag of our BIO: the last recv came back short
    SATISFIED = 0x40000      # flag of our BIO: this read has something to return already
    ENDED = 0x20000          # flag of our BIO: recv met the end of the stream
    HEADER = 5               # bytes of a record's header; its last two are the length of the rest
    RECORD = 16384           # bytes of plaintext in one TLS record
    FRUITLESS = 65536        # bytes of records without data that one read puts up with
    ENDLESS = 0x40000000     # a handshake is limited by OpenSSL and its deadline

cdef struct Socket:
    int descriptor
    uint16_t rest            # bytes of the record under way that have not come
    uint8_t begun            # bytes of its header that have come; 0: between two records
    uint8_t high             # the header's byte but last

cdef BIO_METHOD* _socket_method = NULL
cdef char _gather[RECORD]
cdef ssize_t _allowance = 0  # bytes the call under way may receive before it finds data


# --- the socket ------------------------------------------------------------------------------

cdef inline Socket* _socket(BIO* bio) noexcept nogil:
    return <Socket*> BIO_get_data(bio)


cdef void _follow(Socket* at, const uint8_t* data, ssize_t size) noexcept nogil:
    """Find out where in a record these bytes end."""
    cdef ssize_t step
    while size:
        if at.begun < HEADER:
            at.begun += 1
            if at.begun == HEADER - 1:
                at.high = data[0]
            elif at.begun == HEADER:
                at.rest = <uint16_t> (at.high << 8 | data[0])
            step = 1
        else:
            step = min(size, <ssize_t> at.rest)
            at.rest -= <uint16_t> step
        data += step
        size -= step
        if at.begun == HEADER and at.rest == 0:
            at.begun = 0


cdef int _receive(BIO* bio, char* data, int size) noexcept nogil:
    global _allowance
    cdef ssize_t received
    BIO_clear_retry_flags(bio)
    if _allowance < 0:
        return -1
    if BIO_test_flags(bio, DRAINED) and BIO_test_flags(bio, SATISFIED):
        BIO_set_retry_read(bio)
        return -1
    while True:
        received = recv(_socket(bio).descriptor, data, size, 0)
        if received >= 0:
            _allowance -= received
            _follow(_socket(bio), <const uint8_t*> data, received)
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
        sent = send(_socket(bio).descriptor, data, size, MSG_NOSIGNAL)
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


cdef int _create(BIO* bio) noexcept nogil:
    BIO_set_data(bio, calloc(1, sizeof(Socket)))
    return BIO_get_data(bio) != NULL


cdef int _destroy(BIO* bio) noexcept nogil:
    free(BIO_get_data(bio))
    return 1


cdef int tls_descriptor(SSL* ssl) noexcept nogil:
    return _socket(SSL_get_rbio(ssl)).descriptor


cdef SSL* tls_open(SSL_CTX* context, int descriptor) noexcept nogil:
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
    _socket(bio).descriptor = descriptor
    BIO_set_init(bio, 1)
    SSL_set_bio(ssl, bio, bio)
    return ssl


# --- failures --------------------------------------------------------------------------------

cdef Note* tls_note(SSL* ssl) noexcept nogil:
    cdef Note* note = <Note*> SSL_get_app_data(ssl)
    if note == NULL:
        note = <Note*> calloc(1, sizeof(Note))
        if note != NULL and SSL_set_app_data(ssl, note) != 1:
            free(note)
            note = NULL
    return note


cdef int tls_explain(SSL* ssl, int failure, const char* text, const char* detail) noexcept nogil:
    """Keep the first reason: what follows a failure only says that it failed before."""
    cdef Note* note = tls_note(ssl)
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
        return tls_explain(
            ssl, TLS_FAILURE_UNTRUSTED, text,
            X509_verify_cert_error_string(SSL_get_verify_result(ssl)),
        )
    if reason == SSL_R_HTTP_REQUEST:
        return tls_explain(ssl, TLS_FAILURE_PLAIN_HTTP, "not TLS", text)
    if reason in (SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTPS_PROXY_REQUEST):
        return tls_explain(ssl, TLS_FAILURE_NOT_TLS, "not TLS", text)
    if reason > SSL_AD_REASON_OFFSET and reason < SSL_AD_REASON_OFFSET + 256:
        return tls_explain(ssl, TLS_FAILURE_ALERT, "refused by the peer", text)
    return tls_explain(ssl, TLS_FAILURE_PROTOCOL, text, NULL)


cdef int _closed(SSL* ssl, bint shaking) noexcept nogil:
    """The stream has ended, with close_notify or without.

    Many servers close without; between two records that counts as an end, as in Go and nginx. A
    client that does so is gone, and what it has sent last may be missing.
    """
    cdef BIO* bio = SSL_get_rbio(ssl)
    if shaking:
        return tls_explain(ssl, TLS_FAILURE_RESET, "closed during the handshake", NULL)
    if not BIO_test_flags(bio, ENDED):
        return TLS_CLOSED
    if _socket(bio).begun:
        return tls_explain(ssl, TLS_FAILURE_TRUNCATED, "closed in the middle of a record", NULL)
    if SSL_is_server(ssl):
        return tls_explain(ssl, TLS_FAILURE_TRUNCATED, "closed without close_notify", NULL)
    return TLS_CLOSED


cdef int _outcome(SSL* ssl, int result, bint shaking) noexcept nogil:
    """The code for a call of OpenSSL that did not succeed."""
    cdef int number = errno
    cdef int kind = SSL_get_error(ssl, result)
    if tls_failure(ssl) != TLS_FAILURE_NONE:
        # Asked again. What OpenSSL says then differs: 3.5 wants to read after a failed handshake.
        ERR_clear_error()
        return TLS_FAILED
    if kind == SSL_ERROR_WANT_READ:
        return TLS_WANT_READ
    if kind == SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE
    if kind == SSL_ERROR_ZERO_RETURN:
        return _closed(ssl, shaking)
    if kind == SSL_ERROR_SYSCALL:
        return tls_explain(ssl, TLS_FAILURE_RESET, "connection reset", _error_text(number))
    return _explain_protocol(ssl, shaking)


cdef extern from "string.h" nogil:
    const char* _error_text "strerror"(int)


cdef inline void tls_fresh() noexcept nogil:
    """OpenSSL reads its error queue to interpret results: others may have left something there."""
    if ERR_peek_error() != 0:
        ERR_clear_error()


# --- one connection --------------------------------------------------------------------------

cdef int tls_handshake(void* connection) noexcept nogil:
    """TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE or TLS_FAILED."""
    global _allowance
    cdef SSL* ssl = <SSL*> connection
    cdef int result
    tls_fresh()
    _allowance = ENDLESS
    BIO_clear_flags(SSL_get_rbio(ssl), DRAINED | SATISFIED)
    result = SSL_do_handshake(ssl)
    if result == 1:
        return TLS_DONE
    return _outcome(ssl, result, True)


cdef ssize_t tls_read(void* connection, char* data, size_t size) noexcept nogil:
    """As many bytes as there are, up to `size`; else TLS_CLOSED, TLS_WANT_READ, TLS_FAILED.

    A result below `size` means that the socket is empty, unless `tls_pending` or the event says
    that the peer has closed: then call again, until the result is not positive.

    OpenSSL reads on until there is data, and answers or skips everything else: a peer that sends
    nothing but such records, faster than they are read, would have the worker for itself."""
    global _allowance
    cdef SSL* ssl = <SSL*> connection
    cdef BIO* bio = SSL_get_rbio(ssl)
    cdef size_t done = 0
    cdef int result, outcome
    tls_fresh()
    BIO_clear_flags(bio, DRAINED | SATISFIED)
    _allowance = FRUITLESS
    while True:
        result = SSL_read(ssl, data + done, <int> min(size - done, <size_t> 0x7FFFFFFF))
        if result <= 0:
            if _allowance < 0:
                outcome = tls_explain(
                    ssl, TLS_FAILURE_PROTOCOL, "nothing but records without data", NULL
                )
            else:
                outcome = _outcome(ssl, result, False)
            if done == 0:
                return outcome
            # The bytes first. An end or a failure is left for the next call, which nothing but
            # `tls_pending` will ask for: it may have come with the last bytes.
            if outcome != TLS_WANT_READ:
                BIO_clear_flags(bio, DRAINED)
            return <ssize_t> done
        done += result
        _allowance = FRUITLESS
        BIO_set_flags(bio, SATISFIED)
        if done == size or (BIO_test_flags(bio, DRAINED) and not SSL_has_pending(ssl)):
            return <ssize_t> done


cdef int tls_pending(void* connection) noexcept nogil:
    """Whether `tls_read` may find something without the socket becoming readable first."""
    cdef SSL* ssl = <SSL*> connection
    return SSL_has_pending(ssl) or not BIO_test_flags(SSL_get_rbio(ssl), DRAINED)


cdef ssize_t tls_write(void* connection, const char* data, size_t size) noexcept nogil:
    """How many bytes were taken; TLS_WANT_WRITE when none. Then offer at least those again."""
    cdef SSL* ssl = <SSL*> connection
    cdef size_t done = 0
    cdef int result
    cdef int outcome
    if size == 0:
        return 0
    tls_fresh()
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
    """Tell the peer that nothing follows, unless the connection has failed: TLS_DONE,
    TLS_WANT_WRITE or TLS_FAILED."""
    cdef SSL* ssl = <SSL*> connection
    cdef int result
    if SSL_in_init(ssl) or tls_failure(connection) != TLS_FAILURE_NONE:
        return TLS_DONE
    tls_fresh()
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
    tls_fresh()


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


# --- contexts --------------------------------------------------------------------------------

cdef SSL_CTX* tls_context(const SSL_METHOD* method) except NULL:
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
    # We judge ourselves (see _closed): OpenSSL would answer a peer that is gone with an alert.
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF)
    SSL_CTX_set_read_ahead(context, 1)
    # The distribution's openssl.cnf may ask for more: behaviour would depend on the image, and
    # certificates with RSA-1024, which Traefik 1.7 serves, would be refused at the handshake.
    SSL_CTX_set_min_proto_version(context, 0)
    SSL_CTX_set_security_level(context, 1)
    return context


cdef int tls_trust(SSL_CTX* context, sources, bint announce) except -1:
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


cdef int _initialise() except -1:
    global _socket_method
    _socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fastproxy socket")
    if _socket_method == NULL:
        raise ImportError("OpenSSL cannot be initialised")
    BIO_meth_set_read(_socket_method, _receive)
    BIO_meth_set_write(_socket_method, _send)
    BIO_meth_set_ctrl(_socket_method, _control)
    BIO_meth_set_create(_socket_method, _create)
    BIO_meth_set_destroy(_socket_method, _destroy)
    return 0


_initialise()
