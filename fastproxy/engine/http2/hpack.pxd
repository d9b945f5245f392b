"""Header blocks of HTTP/2. See hpack.pyx."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.http.writer cimport Writer

cdef enum:
    HPACK_TABLE = 4096  # bytes; SETTINGS_HEADER_TABLE_SIZE which the peer's encoder may use
    HPACK_MOST_FIELDS = 4096  # in a block, those not kept too
    HPACK_OVERHEAD = 32  # counted for each field besides its bytes (RFC 7541 4.1)

cdef enum HpackResult:
    HPACK_DONE
    HPACK_BAD  # COMPRESSION_ERROR: the tables of both sides differ from now on
    HPACK_TOO_MUCH  # beyond what is decoded at all: ENHANCE_YOUR_CALM
    HPACK_NO_MEMORY

# What is known of a field's bytes; none of these bits is set in a field that may be passed on.
cdef enum:
    FLAW_NAME = 1  # empty, or a byte that no lower-case name has (RFC 9113 8.2.1)
    FLAW_VALUE = 2  # a control character (RFC 9110 5.5)
    FLAW_PADDED = 4  # a blank at an end of the value
    FLAW_ALIAS = 8  # `_` in the name

# Besides `FieldKind` of http/head.pxd; every name that starts with `:` has one of these.
cdef enum:
    PSEUDO_METHOD = 200
    PSEUDO_SCHEME
    PSEUDO_AUTHORITY
    PSEUDO_PATH
    PSEUDO_STATUS
    PSEUDO_PROTOCOL
    PSEUDO_UNKNOWN

cdef struct HpackField:
    const char* name
    const char* value
    uint32_t name_size
    uint32_t value_size
    uint8_t kind
    uint8_t flaws
    uint8_t never  # its sender asks that nobody indexes it (RFC 7541 7.1.3)

cdef struct HpackBlock:
    # The room for a decoded block, one per worker: its fields are valid until the next block.
    char* data
    HpackField* fields
    uint32_t capacity
    uint32_t fields_capacity
    uint32_t used
    uint32_t count
    uint64_t size  # of all fields of the block, kept or not, with HPACK_OVERHEAD each
    uint32_t seen  # fields, kept or not
    uint32_t limit  # of `size`; what is beyond is decoded but not kept
    uint8_t too_large  # some field was not kept

cdef struct HpackEntry:
    uint32_t start  # counted from the first byte ever; see `HpackTable.base`
    uint16_t name_size
    uint16_t value_size
    uint8_t kind
    uint8_t flaws

cdef struct HpackTable:
    # The dynamic table of a peer's encoder; nothing is allocated before its first entry.
    char* data
    HpackEntry* entries  # a ring
    uint32_t capacity
    uint32_t entries_capacity  # a power of two
    uint32_t base  # what `data` starts with
    uint32_t end  # behind the newest entry's bytes
    uint32_t newest  # its place in the ring
    uint32_t count
    uint32_t size  # as RFC 7541 4.1 counts it
    uint32_t most  # the size the encoder has chosen

cdef HpackBlock* hpack_block_new(uint32_t limit, uint32_t wire_limit) noexcept nogil
cdef void hpack_block_free(HpackBlock* block) noexcept nogil
cdef void hpack_table_init(HpackTable* table) noexcept nogil
cdef void hpack_table_free(HpackTable* table) noexcept nogil
cdef HpackResult hpack_decode(HpackTable* table, HpackBlock* block, const char* data, size_t size) noexcept nogil

cdef void hpack_start(Writer* writer) noexcept nogil
cdef void hpack_indexed(Writer* writer, uint32_t index) noexcept nogil
cdef void hpack_status(Writer* writer, int status) noexcept nogil
cdef bint hpack_field(
    Writer* writer, const char* name, size_t name_size, const char* value, size_t value_size, bint never, bint huffman
) noexcept nogil
