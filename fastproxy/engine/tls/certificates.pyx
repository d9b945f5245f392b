"""Certificates as a server holds them: which names they have, and which one a name gets.

Idea. Names of all certificates stand in one hash table for each entry point and generation. A
certificate stays PEM text until the first handshake that chooses it: reading 2,000 keys takes
OpenSSL two seconds, indexing their names one millisecond. What was read stays with the
`ServerCertificate`, which outlives generations for as long as its value is equal.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastproxy.engine.tls.openssl cimport *
from fastproxy.engine.loop.posix cimport AF_INET, AF_INET6, socklen_t

import os

from fastproxy.model.configuration import Certificate

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int, const void*, char*, socklen_t)

cdef uint32_t _hash_seed = int.from_bytes(os.urandom(4), "little")


# --- names -----------------------------------------------------------------------------------

cdef size_t canonical_name(const char* name, size_t size, char* target, size_t room) noexcept nogil:
    cdef size_t index
    cdef char byte
    while size and name[size - 1] == b".":
        size -= 1
    if size > room:
        return 0
    for index in range(size):
        byte = name[index]
        target[index] = byte + 32 if b"A" <= byte <= b"Z" else byte
    return size


cdef uint32_t hash_name(const char* data, size_t size) noexcept nogil:
    """FNV-1a; seeded, because the names come from everybody who may create a Secret."""
    cdef uint32_t value = 2166136261u ^ _hash_seed
    cdef size_t index
    for index in range(size):
        value = (value ^ <uint8_t> data[index]) * 16777619u
    return value ^ (value >> 15)


cdef TlsName* _place(TlsIndex* index, const char* data, size_t size) noexcept nogil:
    """Where a name is, or would be."""
    cdef uint32_t value = hash_name(data, size)
    cdef uint32_t at = value & index.mask
    while index.places[at].data != NULL:
        if (
            index.places[at].hash == value
            and index.places[at].size == size
            and memcmp(index.places[at].data, data, size) == 0
        ):
            break
        at = (at + 1) & index.mask
    return &index.places[at]


cdef bint _greater(
    const char* one, size_t size, const char* other, size_t other_size
) noexcept nogil:
    cdef int order = memcmp(one, other, min(size, other_size))
    return order > 0 or (order == 0 and size > other_size)


cdef TlsCertificate* best_certificate(
    TlsIndex* index, const char* name, size_t size
) noexcept nogil:
    """The certificate of the lexicographically greatest certificate name that matches: equal, or
    equal to `name` with its first labels replaced by `*` (`provider.md` 2.3).

    The candidates are few (one per label), so each is looked up. `text` holds the current one at
    its end: replacing a label never moves what follows it.
    """
    cdef char text[2 * NAME_LIMIT + 4]
    cdef char* end = text + sizeof(text)
    cdef char* rest = end - size      # the labels not yet replaced
    cdef char* start = rest           # the candidate
    cdef const TlsName* found
    cdef const TlsName* best = NULL
    cdef size_t stars = 0, star
    if index == NULL or index.places == NULL or size == 0 or size > NAME_LIMIT:
        return NULL
    memcpy(rest, name, size)
    while True:
        found = _place(index, start, end - start)
        if found.data != NULL and (
            best == NULL or _greater(found.data, found.size, best.data, best.size)
        ):
            best = found
        if rest == end:
            return NULL if best == NULL else best.certificate
        while rest < end and rest[0] != b".":
            rest += 1
        stars += 1
        start = rest
        for star in range(stars):
            start -= 1
            start[0] = b"*"
            if star + 1 < stars:
                start -= 1
                start[0] = b"."
        if rest < end:
            rest += 1


# --- reading ---------------------------------------------------------------------------------

cdef int _no_password(char* data, int size, int writing, void* argument) noexcept nogil:
    """Without this OpenSSL would ask on the terminal."""
    return -1


cdef bint certificate_parse(TlsCertificate* certificate) noexcept nogil:
    """Make OpenSSL's objects of a certificate; false, for good, if that fails."""
    cdef BIO* bio
    cdef X509* part
    if certificate.leaf != NULL or certificate.broken:
        return not certificate.broken
    certificate.broken = True
    bio = BIO_new_mem_buf(certificate.key_data, <int> certificate.key_size)
    if bio == NULL:
        return False
    certificate.key = PEM_read_bio_PrivateKey(bio, NULL, _no_password, NULL)
    BIO_free(bio)
    bio = BIO_new_mem_buf(certificate.chain_data, <int> certificate.chain_size)
    if bio == NULL:
        return False
    certificate.leaf = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
    while certificate.leaf != NULL:
        part = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
        if part == NULL:
            break
        if certificate.chain == NULL:
            certificate.chain = sk_X509_new_null()
        if certificate.chain == NULL or not sk_X509_push(<STACK_OF_X509*> certificate.chain, part):
            X509_free(part)
            break
    BIO_free(bio)
    ERR_clear_error()
    certificate.broken = certificate.key == NULL or certificate.leaf == NULL
    return not certificate.broken


cdef bytes certificate_der(X509* certificate):
    cdef unsigned char* data = NULL
    cdef int size = i2d_X509(certificate, &data)
    if size <= 0:
        raise MemoryError
    try:
        return (<const char*> data)[:size]
    finally:
        OPENSSL_free(data)


cdef str last_error():
    cdef const char* text = ERR_reason_error_string(ERR_peek_last_error())
    reason = text.decode() if text != NULL else "unknown"
    ERR_clear_error()
    return reason


cdef list read_certificates(bytes pem):
    """The DER of every certificate in a PEM text; other blocks are skipped, as in Go."""
    cdef BIO* bio = BIO_new_mem_buf(<const char*> pem, <int> len(pem))
    cdef X509* certificate
    found = []
    if bio == NULL:
        raise MemoryError
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, _no_password, NULL)
            if certificate == NULL:
                if ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE:
                    raise ValueError(f"a certificate cannot be read: {last_error()}")
                ERR_clear_error()
                return found
            try:
                found.append(certificate_der(certificate))
            finally:
                X509_free(certificate)
    finally:
        BIO_free(bio)


cdef str _address_text(const uint8_t* data, int size):
    cdef char text[64]
    if size == 16 and memcmp(data, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
        data += 12
        size = 4
    if size not in (4, 16):
        return ""
    if inet_ntop(AF_INET if size == 4 else AF_INET6, data, text, sizeof(text)) == NULL:
        return ""
    return (<bytes> text).decode()


cdef str _name_text(const char* data, size_t size):
    """A name as it is registered; names that no client can ask for are left out."""
    cdef char text[NAME_LIMIT]
    size = canonical_name(data, size, text, sizeof(text))
    try:
        return text[:size].decode()
    except UnicodeDecodeError:
        return ""


cdef str _common_name(X509* certificate):
    """The last one, as Go's `Subject.CommonName`."""
    cdef X509_NAME* subject = X509_get_subject_name(certificate)
    cdef int position = -1, following
    cdef unsigned char* data = NULL
    cdef int size
    while True:
        following = X509_NAME_get_index_by_NID(subject, NID_commonName, position)
        if following < 0:
            break
        position = following
    if position < 0:
        return ""
    size = ASN1_STRING_to_UTF8(
        &data, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, position))
    )
    if size < 0:
        ERR_clear_error()
        return ""
    try:
        return _name_text(<const char*> data, size)
    finally:
        OPENSSL_free(data)


cdef tuple _names(X509* certificate):
    cdef GENERAL_NAMES* alternatives
    cdef ASN1_STRING* value
    cdef int index, kind
    found = [_common_name(certificate)]
    alternatives = <GENERAL_NAMES*> X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL)
    if alternatives != NULL:
        for index in range(sk_GENERAL_NAME_num(alternatives)):
            value = <ASN1_STRING*> GENERAL_NAME_get0_value(
                sk_GENERAL_NAME_value(alternatives, index), &kind
            )
            if kind == GEN_DNS:
                found.append(_name_text(
                    <const char*> ASN1_STRING_get0_data(value), ASN1_STRING_length(value)
                ))
            elif kind == GEN_IPADD:
                found.append(_address_text(ASN1_STRING_get0_data(value), ASN1_STRING_length(value)))
        GENERAL_NAMES_free(alternatives)
    ERR_clear_error()
    return tuple(dict.fromkeys(name for name in found if name))


cdef X509* read_certificate(bytes der) except NULL:
    cdef const unsigned char* data = der
    cdef X509* leaf = d2i_X509(NULL, &data, <long> len(der))
    if leaf == NULL:
        raise ValueError(f"the certificate cannot be read: {last_error()}")
    return leaf


def load_certificate(str name, bytes chain, bytes key):
    cdef X509* leaf
    cdef EVP_PKEY* private
    cdef BIO* bio
    ERR_clear_error()
    certificates = read_certificates(chain)
    if not certificates:
        raise ValueError("there is no certificate in the certificate's PEM text")
    bio = BIO_new_mem_buf(<const char*> key, <int> len(key))
    private = PEM_read_bio_PrivateKey(bio, NULL, _no_password, NULL)
    BIO_free(bio)
    if private == NULL:
        raise ValueError(f"the private key cannot be read: {last_error()}")
    leaf = read_certificate(certificates[0])
    try:
        if X509_check_private_key(leaf, private) != 1:
            raise ValueError(f"key and certificate do not belong together: {last_error()}")
        return Certificate(name, (), chain, key, _names(leaf))
    finally:
        X509_free(leaf)
        EVP_PKEY_free(private)


cdef class ServerCertificate:
    def __cinit__(self, certificate):
        cdef X509* leaf
        self.name = certificate.name
        self.names = certificate.names
        self._chain = certificate.chain
        self._key = certificate.key
        self.certificate.chain_data = self._chain
        self.certificate.chain_size = len(self._chain)
        self.certificate.key_data = self._key
        self.certificate.key_size = len(self._key)
        if not self.names:
            leaf = read_certificate(read_certificates(self._chain)[0])
            self.names = _names(leaf)
            X509_free(leaf)

    def __dealloc__(self):
        X509_free(<X509*> self.certificate.leaf)
        sk_X509_pop_free(<STACK_OF_X509*> self.certificate.chain, X509_free)
        EVP_PKEY_free(<EVP_PKEY*> self.certificate.key)

    @property
    def parsed(self):
        return self.certificate.leaf != NULL


cdef class CertificateSet:
    def __cinit__(self, certificates, ServerCertificate default=None):
        cdef ServerCertificate certificate
        cdef TlsName* place
        cdef bytes name
        cdef uint32_t places = 4
        names = [
            (text.encode(), certificate)
            for certificate in certificates
            for text in certificate.names
        ]
        while places < 2 * len(names):
            places *= 2
        self._kept = [default]
        self.index.places = <TlsName*> calloc(places, sizeof(TlsName))
        if self.index.places == NULL:
            raise MemoryError
        self.index.mask = places - 1
        for name, certificate in names:
            place = _place(&self.index, name, len(name))
            if place.data != NULL:
                continue  # the first certificate with a name keeps it
            place.data = name
            place.size = <uint32_t> len(name)
            place.hash = hash_name(name, len(name))
            place.certificate = &certificate.certificate
            self.index.count += 1
            self._kept.append((name, certificate))
        if default is not None:
            self.index.default_certificate = &default.certificate

    def __dealloc__(self):
        free(self.index.places)

    def __len__(self):
        return self.index.count

    def choose(self, str name):
        cdef bytes asked = name.encode()
        cdef char text[NAME_LIMIT]
        cdef size_t size = canonical_name(asked, len(asked), text, sizeof(text))
        cdef TlsCertificate* found = best_certificate(&self.index, text, size)
        if found == NULL:
            return None
        return next(c for _, c in self._kept[1:] if &(<ServerCertificate?> c).certificate == found)
