"""Who may come in, and who is believed: white lists and trusted peers (`features.md` 3.8, 4.2).

Trust is asked once for each request, before anything looks at it: what a peer that is not trusted
says in X-Forwarded-* and X-Real-Ip is dropped from the canonical head. So no feature can believe it.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from fastproxy.engine.http.head cimport KIND_X_FORWARDED_FOR, KIND_X_REAL_IP, Head
from fastproxy.engine.operations.payload cimport Payload, u32
from fastproxy.engine.loop.posix cimport AF_INET, AF_INET6, inet_pton
from fastproxy.engine.stream.proxy_protocol cimport inside
from fastproxy.engine.stream.replies cimport STEP_GO_ON, because, plain_reply
from fastproxy.engine.stream.record cimport RECORD_WHITELIST
from fastproxy.engine.stream.stream cimport EntryPoint, Stream
from fastproxy.engine.http.fields cimport Field


cdef bint trusts(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil:
    """May this peer supply X-Forwarded-*? (`features.md` 4.2)"""
    return entry_point.trust_all or inside(entry_point.trusted, entry_point.trusted_count, address)


cdef void drop_claims(Head* head) noexcept nogil:
    """What a peer that is not trusted says about others; what operations add later stays."""
    cdef uint32_t i
    for i in range(head.count):
        if KIND_X_FORWARDED_FOR <= head.fields[i].kind <= KIND_X_REAL_IP:
            head.fields[i].dropped = 1
    head.has_forwarded = 0


cdef bint _in_networks(const char* rows, uint32_t count, const uint8_t* address) noexcept nogil:
    """Rows of 16 address bytes and u32 prefix bits."""
    cdef uint32_t i, bits, whole
    cdef const uint8_t* row
    for i in range(count):
        row = <const uint8_t*> rows + i * 20
        memcpy(&bits, row + 16, 4)
        whole = bits // 8
        if memcmp(row, address, whole) == 0 and (
            bits % 8 == 0 or (row[whole] ^ address[whole]) >> (8 - bits % 8) == 0
        ):
            return True
    return False


cdef bint _parse_address(const char* data, size_t size, uint8_t* address) noexcept nogil:
    """An IP address, optionally with `:port`, as 16 bytes."""
    cdef char text[64]
    cdef size_t i, colons = 0
    while size and (data[0] == c' ' or data[0] == c'\t'):
        data += 1
        size -= 1
    while size and (data[size - 1] == c' ' or data[size - 1] == c'\t'):
        size -= 1
    if size == 0 or size >= sizeof(text):
        return False
    if data[0] == c'[':
        i = 1
        while i < size and data[i] != c']':
            i += 1
        if i == size:
            return False
        data += 1
        size = i - 1
    else:
        for i in range(size):
            colons += data[i] == c':'
        if colons == 1:
            for i in range(size):
                if data[i] == c':':
                    size = i
                    break
    memcpy(text, data, size)
    text[size] = 0
    memset(address, 0, 16)
    if inet_pton(AF_INET, text, address + 12) == 1:
        address[10] = 0xFF
        address[11] = 0xFF
        return True
    return inet_pton(AF_INET6, text, address) == 1


cdef int _forwarded_for_allows(const Head* head, const char* rows, uint32_t count) noexcept nogil:
    """1 = an address of X-Forwarded-For is inside, -1 = one is no address, 0 = none is inside."""
    cdef uint32_t i
    cdef size_t start, end
    cdef uint8_t address[16]
    cdef const Field* field
    for i in range(head.count):
        field = &head.fields[i]
        if field.kind != KIND_X_FORWARDED_FOR or field.dropped:
            continue
        start = 0
        while start <= field.value_size:
            end = start
            while end < field.value_size and field.value[end] != c',':
                end += 1
            if not _parse_address(field.value + start, end - start, address):
                return -1
            if _in_networks(rows, count, address):
                return 1
            start = end + 1
    return 0


cdef int allow_networks(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t use_forwarded = u32(payload)
    cdef uint32_t count = u32(payload)
    cdef int allowed = 0
    if use_forwarded:
        allowed = _forwarded_for_allows(head, payload.at, count)
    if allowed == 0:
        allowed = _in_networks(payload.at, count, stream.client.address)
    if allowed > 0:
        return STEP_GO_ON
    plain_reply(stream.engine, 403, "Forbidden")
    return because(stream.engine, RECORD_WHITELIST)
