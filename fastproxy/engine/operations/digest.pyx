"""Digest authentication with nonces that were right before (`features.md` 3.21).

Idea: a client uses a nonce for many requests, and only the first one has to show what the nonce is:
whose it is, when and by whom it was issued. The Python filter finds that out and leaves it here; the
operation in front of the filter checks the next requests itself: two MD5 and the count, which all
workers share. It never refuses. Whatever is not exactly what clients send, or is not right, goes to
the filter, which knows all the rules and answers.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen
from libc.time cimport time

from fastproxy.counters.nonces cimport nonce_advance
from fastproxy.engine.http.head cimport KIND_AUTHORIZATION, Head, head_find_kind, same_text
from fastproxy.engine.http.writer cimport Writer, write_text
from fastproxy.engine.operations.credentials cimport credential_find, credential_keep
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON
from fastproxy.engine.operations.users cimport admit_user
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.fields cimport Field

cdef extern from * nogil:
    # libcrypto's; its header calls it deprecated
    """
    unsigned char *MD5(const unsigned char *data, size_t size, unsigned char *digest);
    """
    uint8_t* MD5(const uint8_t* data, size_t size, uint8_t* digest)

cdef enum:
    # parameters, by their place in _names
    USERNAME
    NONCE
    URI
    RESPONSE
    OPAQUE
    ALGORITHM
    QOP
    NC
    CNONCE
    PARAMETERS

cdef enum:
    LONGEST = 2048  # of what is hashed; longer requests are for the filter

cdef const char* _names[9]
_names[:] = [
    "username", "nonce", "uri", "response", "opaque", "algorithm", "qop", "nc", "cnonce",
]


# --- the header ---

cdef inline bint _blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


cdef bint _parameters(const char* at, const char* end, Text* found) noexcept nogil:
    """`name=token` and `name="text without escapes"`, each at most once; False for anything else."""
    cdef const char* start
    cdef const char* stop
    cdef uint32_t i
    cdef size_t name_size
    while True:
        while at < end and _blank(at[0]):
            at += 1
        start = at
        while at < end and c'a' <= (at[0] | 0x20) <= c'z':
            at += 1
        name_size = at - start
        if name_size == 0 or at == end or at[0] != c'=':
            return False
        at += 1
        for i in range(PARAMETERS):
            if same_text(start, name_size, _names[i], strlen(_names[i])):
                break
        else:
            i = PARAMETERS
        if at < end and at[0] == c'"':
            start = at + 1
            stop = <const char*> memchr(start, c'"', end - start)
            if stop == NULL or memchr(start, c'\\', stop - start) != NULL:
                return False
            at = stop + 1
        else:
            start = at
            while at < end and at[0] != c',' and at[0] != c'"' and not _blank(at[0]):
                at += 1
            stop = at
        if i < PARAMETERS:
            if found[i].data != NULL:
                return False
            found[i].data = start
            found[i].size = <uint32_t> (stop - start)
        while at < end and _blank(at[0]):
            at += 1
        if at == end:
            return True
        if at[0] != c',':
            return False
        at += 1


cdef inline bint _is(Text text, const char* wanted, size_t size) noexcept nogil:
    return text.data != NULL and text.size == size and memcmp(text.data, wanted, size) == 0


cdef uint32_t _count(Text text) noexcept nogil:
    """Up to eight hexadecimal digits; 0 for anything else (no count is 0)."""
    cdef uint32_t count = 0, i
    cdef char byte
    if text.data == NULL or text.size > 8:
        return 0
    for i in range(text.size):
        byte = text.data[i]
        if c'0' <= byte <= c'9':
            count = count << 4 | <uint32_t> (byte - c'0')
        elif c'a' <= byte <= c'f':
            count = count << 4 | <uint32_t> (byte - c'a' + 10)
        elif c'A' <= byte <= c'F':
            count = count << 4 | <uint32_t> (byte - c'A' + 10)
        else:
            return 0
    return count


# --- the digest ---

cdef void _md5_hex(const char* data, size_t size, char* out) noexcept nogil:
    cdef uint8_t digest[16]
    cdef int i
    MD5(<const uint8_t*> data, size, digest)
    for i in range(16):
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4]
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15]


cdef inline void _next(Writer* writer, Text text) noexcept nogil:
    write_text(writer, ":", 1)
    write_text(writer, text.data, text.size)


cdef bint _right(const Proof* proof, const Head* head, const Text* found) noexcept nogil:
    """MD5(HA1:nonce:nc:cnonce:auth:MD5(method:uri)), compared in constant time."""
    cdef char data[LONGEST]
    cdef char hashed[32]
    cdef char expected[32]
    cdef Writer writer
    cdef uint8_t difference = 0
    cdef int i
    writer.data = data
    writer.capacity = LONGEST
    writer.size = 0
    writer.failed = 0
    write_text(&writer, head.method_text, head.method_size)
    write_text(&writer, ":", 1)
    write_text(&writer, found[URI].data, found[URI].size)
    if writer.failed:
        return False
    _md5_hex(data, writer.size, hashed)
    writer.size = 0
    write_text(&writer, proof.secret, 32)
    _next(&writer, found[NONCE])
    _next(&writer, found[NC])
    _next(&writer, found[CNONCE])
    write_text(&writer, ":auth:", 6)
    write_text(&writer, hashed, 32)
    if writer.failed:
        return False
    _md5_hex(data, writer.size, expected)
    for i in range(32):
        difference |= <uint8_t> expected[i] ^ <uint8_t> found[RESPONSE].data[i]
    return difference == 0


cdef int remembered_nonce(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The operation: u32 filter slot, u32 whether Authorization is removed, u32 seconds a nonce
    lives, blob header field."""
    cdef uint32_t slot = u32(payload)
    cdef uint32_t remove = u32(payload)
    cdef int64_t lifetime = u32(payload)
    cdef int64_t now
    cdef Text name = blob(payload)
    cdef Text found[9]
    cdef const Proof* proof
    cdef const char* user
    cdef uint32_t size
    cdef uint32_t count
    cdef Field* field = head_find_kind(head, KIND_AUTHORIZATION)
    if field == NULL or field.value_size < 7 or memcmp(field.value, <const char*> "Digest ", 7) != 0:
        return STEP_GO_ON
    memset(found, 0, sizeof(found))
    if not _parameters(field.value + 7, field.value + field.value_size, found):
        return STEP_GO_ON
    count = _count(found[NC])
    if (
        count == 0 or found[NONCE].data == NULL or found[CNONCE].data == NULL
        or found[RESPONSE].data == NULL or found[RESPONSE].size != 32 or not _is(found[QOP], "auth", 4)
        or (found[ALGORITHM].data != NULL and not _is(found[ALGORITHM], "MD5", 3))
        or not _is(found[URI], head.target, head.target_size)
    ):
        return STEP_GO_ON
    proof = <const Proof*> credential_find(stream, slot, found[NONCE].data, found[NONCE].size, &size)
    if proof == NULL:
        return STEP_GO_ON
    user = <const char*> (proof + 1)
    if (
        not _is(found[USERNAME], user, proof.name_size)
        or not _is(found[OPAQUE], user + proof.name_size, proof.opaque_size)
        or not _right(proof, head, found)
    ):
        return STEP_GO_ON
    now = <int64_t> time(NULL)
    if not -lifetime <= now - proof.issued <= lifetime or not nonce_advance(
        stream.engine.shared, found[NONCE].data, found[NONCE].size, count, proof.issued, lifetime, now
    ):
        return STEP_GO_ON
    return admit_user(stream, head, remove, name, user, proof.name_size)


cdef void remember_nonce(
    Stream* stream, uint32_t slot, bytes nonce, bytes user, bytes secret, bytes opaque, int64_t issued
):
    """What the filter knows of a nonce which a request has just been admitted with."""
    cdef size_t room = sizeof(Proof) + len(user) + len(opaque)
    cdef Proof* proof = NULL
    if len(secret) == 32:
        proof = <Proof*> credential_keep(stream, slot, nonce, len(nonce), room)
    if proof == NULL:
        return
    proof.issued = issued
    proof.name_size = <uint32_t> len(user)
    proof.opaque_size = <uint32_t> len(opaque)
    memcpy(proof.secret, <const char*> secret, 32)
    memcpy(proof + 1, <const char*> user, len(user))
    memcpy(<char*> (proof + 1) + len(user), <const char*> opaque, len(opaque))
