"""Header blocks of HTTP/2 (RFC 7541).

Idea: decoding is a function of bytes and a table, with no allocation but the table's and no output
but a block of fixed room. A block that is larger than it may be is still decoded to its end, without
keeping it, because the table has to stay in step with the peer's; that work has a limit of its own.

What has to be known of a field's bytes (its kind, and whether HTTP allows them) is found out once,
when they arrive as a literal; the table keeps it, so a field that is repeated costs two copies.

We encode without a dynamic table: an encoder's memory per connection buys few bytes of responses,
and it would tell one stream's secrets to another by their size. Only names of the static table are
indexed; what carries credentials is marked never to be indexed by those who come after us.

Invariants
* `used + HPACK_OVERHEAD * count` of the table never exceeds `most`, which never exceeds HPACK_TABLE; all
  entries together therefore fit into `data` at its greatest capacity.
* Bytes of the block are copies, never addresses into the table: a later field of the same block may
  evict what an earlier one has named.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from fastproxy.engine.http.head cimport KIND_AUTHORIZATION, KIND_COOKIE, KIND_PROXY_AUTHORIZATION, KIND_SET_COOKIE, field_kind
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.huffman cimport huffman_decode, huffman_encode, huffman_room, huffman_size

cdef enum:
    STATIC = 61  # entries of the static table, numbered from 1
    LONGEST_STATIC_NAME = 27
    SLOTS = 256
    SMALLEST_TABLE = 1024
    SMALLEST_RING = 16
    BLOCK_FACTOR = 4  # times the limit is what is decoded at all

cdef struct StaticEntry:
    const char* name
    const char* value
    uint8_t name_size
    uint8_t value_size
    uint8_t kind

# Python keeps the bytes alive. RFC 7541, Appendix A.
_STATIC = [
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"),
    (b":path", b"/index.html"), (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"),
    (b":status", b"204"), (b":status", b"206"), (b":status", b"304"), (b":status", b"400"),
    (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""),
    (b"accept", b""), (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""),
    (b"authorization", b""), (b"cache-control", b""), (b"content-disposition", b""),
    (b"content-encoding", b""), (b"content-language", b""), (b"content-length", b""),
    (b"content-location", b""), (b"content-range", b""), (b"content-type", b""), (b"cookie", b""),
    (b"date", b""), (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""),
    (b"host", b""), (b"if-match", b""), (b"if-modified-since", b""), (b"if-none-match", b""),
    (b"if-range", b""), (b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""),
    (b"location", b""), (b"max-forwards", b""), (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""), (b"range", b""), (b"referer", b""), (b"refresh", b""),
    (b"retry-after", b""), (b"server", b""), (b"set-cookie", b""),
    (b"strict-transport-security", b""), (b"transfer-encoding", b""), (b"user-agent", b""),
    (b"vary", b""), (b"via", b""), (b"www-authenticate", b""),
]

cdef StaticEntry _static[STATIC + 1]
cdef uint8_t _static_slots[SLOTS]  # by hash of the name, then the next free one; 0 = free
cdef uint8_t _name_byte[256]  # the byte in lower case, 0 where no name has it
cdef uint8_t _lower_only[256]  # 1 for what a name of HTTP/2 may hold


cdef inline uint32_t _slot(const char* name, size_t size) noexcept nogil:
    return (<uint32_t> size * 37 + <uint8_t> name[0] * 5 + <uint8_t> name[size - 1] * 11 + <uint8_t> name[size >> 1]) & (SLOTS - 1)


cdef int _fill_tables() except -1:
    cdef int i
    cdef uint32_t slot
    for i in range(256):
        _name_byte[i] = _lower_only[i] = 0
    for i in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        _name_byte[i] = i
        _lower_only[i] = 1
    for i in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        _name_byte[i] = i + 32
    for i in range(SLOTS):
        _static_slots[i] = 0
    for i, (name, value) in enumerate(_STATIC, 1):
        _static[i].name = name
        _static[i].value = value
        _static[i].name_size = len(name)
        _static[i].value_size = len(value)
        _static[i].kind = _kind(name, len(name))
        if i > 1 and name == _STATIC[i - 2][0]:
            continue  # the first of several is found by its name
        slot = _slot(name, len(name))
        while _static_slots[slot]:
            slot = (slot + 1) & (SLOTS - 1)
        _static_slots[slot] = i
    return 0


# --- what is known of a field's bytes ---

cdef uint8_t _kind(const char* name, size_t size) noexcept nogil:
    if size == 0 or name[0] != c':':
        return <uint8_t> field_kind(name, size)
    if size == 5 and memcmp(name, ":path", 5) == 0:
        return PSEUDO_PATH
    if size == 7:
        if memcmp(name, ":method", 7) == 0:
            return PSEUDO_METHOD
        if memcmp(name, ":scheme", 7) == 0:
            return PSEUDO_SCHEME
        if memcmp(name, ":status", 7) == 0:
            return PSEUDO_STATUS
    if size == 9 and memcmp(name, ":protocol", 9) == 0:
        return PSEUDO_PROTOCOL
    if size == 10 and memcmp(name, ":authority", 10) == 0:
        return PSEUDO_AUTHORITY
    return PSEUDO_UNKNOWN


cdef uint8_t _name_flaws(const char* name, size_t size) noexcept nogil:
    cdef size_t i = 0
    cdef uint8_t good = 1
    if size and name[0] == c':':  # a pseudo-header; its kind says which
        name += 1
        size -= 1
    if size == 0:
        return FLAW_NAME
    for i in range(size):
        good &= _lower_only[<uint8_t> name[i]]
    if not good:
        return FLAW_NAME
    return FLAW_ALIAS if memchr(name, c'_', size) != NULL else 0


cdef inline bint _is_blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


cdef uint8_t _value_flaws(const char* value, size_t size) noexcept nogil:
    cdef size_t i
    cdef uint8_t bad = 0, byte
    for i in range(size):  # without branches, for the compiler to take many bytes at once
        byte = <uint8_t> value[i]
        bad |= <uint8_t> ((byte < 0x20) & (byte != 9)) | <uint8_t> (byte == 0x7F)
    if bad:
        return FLAW_VALUE
    if size and (_is_blank(value[0]) or _is_blank(value[size - 1])):
        return FLAW_PADDED
    return 0


_fill_tables()


# --- the room for a block ---

cdef HpackBlock* hpack_block_new(uint32_t limit, uint32_t wire_limit) noexcept nogil:
    """Room for blocks of up to `wire_limit` bytes, of which fields of `limit` bytes are kept.

    Both are at most 1 MiB. NULL without memory.
    """
    cdef HpackBlock* block = <HpackBlock*> calloc(1, sizeof(HpackBlock))
    if block == NULL:
        return NULL
    # What is kept, one name copied from the table, and the longest literal a block may hold.
    block.capacity = limit + HPACK_TABLE + <uint32_t> huffman_room(wire_limit)
    block.fields_capacity = limit // HPACK_OVERHEAD + 1
    block.limit = limit
    block.data = <char*> malloc(block.capacity)
    block.fields = <HpackField*> malloc(block.fields_capacity * sizeof(HpackField))
    if block.data == NULL or block.fields == NULL:
        hpack_block_free(block)
        return NULL
    return block


cdef void hpack_block_free(HpackBlock* block) noexcept nogil:
    if block != NULL:
        free(block.data)
        free(block.fields)
        free(block)


# --- the dynamic table ---

cdef void hpack_table_init(HpackTable* table) noexcept nogil:
    memset(table, 0, sizeof(HpackTable))
    table.most = HPACK_TABLE


cdef void hpack_table_free(HpackTable* table) noexcept nogil:
    free(table.data)
    free(table.entries)
    table.data = NULL
    table.entries = NULL


cdef inline HpackEntry* _entry(HpackTable* table, uint32_t age) noexcept nogil:
    """The entry that was added `age` entries before the newest."""
    return &table.entries[(table.newest - age) & (table.entries_capacity - 1)]


cdef inline void _evict(HpackTable* table, uint32_t room) noexcept nogil:
    """Forget the oldest entries until `room` more bytes may be counted."""
    cdef HpackEntry* oldest
    while table.count and table.size + room > table.most:
        oldest = _entry(table, table.count - 1)
        table.size -= oldest.name_size + oldest.value_size + HPACK_OVERHEAD
        table.count -= 1


cdef inline uint32_t _oldest_byte(HpackTable* table) noexcept nogil:
    return _entry(table, table.count - 1).start if table.count else table.end


cdef int _more_entries(HpackTable* table) noexcept nogil:
    """Double the ring, or make the first one; -1 without memory."""
    cdef uint32_t capacity = table.entries_capacity * 2 if table.entries_capacity else SMALLEST_RING
    cdef uint32_t i
    cdef HpackEntry* entries = <HpackEntry*> malloc(capacity * sizeof(HpackEntry))
    if entries == NULL:
        return -1
    for i in range(table.count):
        entries[table.count - 1 - i] = _entry(table, i)[0]
    free(table.entries)
    table.entries = entries
    table.entries_capacity = capacity
    table.newest = table.count - 1
    return 0


cdef int _more_bytes(HpackTable* table, uint32_t room) noexcept nogil:
    """Make `room` bytes free at the end of `data`, by moving or by growing; -1 without memory."""
    cdef uint32_t oldest = _oldest_byte(table), live = table.end - oldest, capacity = table.capacity
    cdef char* data
    if live:
        memmove(table.data, table.data + (oldest - table.base), live)
    table.base = oldest
    if live + room <= capacity:
        return 0
    if capacity == 0:
        capacity = SMALLEST_TABLE
    while capacity < live + room:
        capacity *= 2
    data = <char*> realloc(table.data, capacity)
    if data == NULL:
        return -1
    table.data = data
    table.capacity = capacity
    return 0


cdef int _insert(HpackTable* table, const HpackField* field) noexcept nogil:
    """Add a field as the newest entry (RFC 7541 4.4); -1 without memory."""
    cdef uint32_t size = field.name_size + field.value_size
    cdef HpackEntry* entry
    cdef char* place
    if field.name_size > HPACK_TABLE or field.value_size > HPACK_TABLE or size + HPACK_OVERHEAD > table.most:
        table.count = 0
        table.size = 0
        return 0
    _evict(table, size + HPACK_OVERHEAD)
    if table.count == table.entries_capacity and _more_entries(table) < 0:
        return -1
    if (table.data == NULL or table.end - table.base + size > table.capacity) and _more_bytes(table, size) < 0:
        return -1
    table.newest += 1
    table.count += 1
    table.size += size + HPACK_OVERHEAD
    entry = _entry(table, 0)
    entry.start = table.end
    entry.name_size = <uint16_t> field.name_size
    entry.value_size = <uint16_t> field.value_size
    entry.kind = field.kind
    entry.flaws = field.flaws
    if size:
        place = table.data + (table.end - table.base)
        memcpy(place, field.name, field.name_size)
        memcpy(place + field.name_size, field.value, field.value_size)
    table.end += size
    return 0


# --- decoding ---

cdef int _integer(const uint8_t** next_byte, const uint8_t* end, uint32_t mask, uint32_t* number) noexcept nogil:
    """An integer whose first byte has `mask` as its prefix (RFC 7541 5.1); -1 when it does not end or
    exceeds 32 bits."""
    cdef const uint8_t* at = next_byte[0]
    cdef uint64_t value = at[0] & mask
    cdef uint32_t shift = 0
    cdef uint8_t byte = 0x80
    at += 1
    if value == mask:
        while byte & 0x80:
            if at == end or shift > 28:
                return -1
            byte = at[0]
            value += <uint64_t> (byte & 0x7F) << shift
            shift += 7
            at += 1
        if value >> 32:
            return -1
    number[0] = <uint32_t> value
    next_byte[0] = at
    return 0


cdef HpackResult _string(
    HpackBlock* block, const uint8_t** next_byte, const uint8_t* end, const char** text, uint32_t* size
) noexcept nogil:
    """A string literal (RFC 7541 5.2), copied behind what the block holds."""
    cdef bint huffman
    cdef uint32_t length
    cdef int64_t decoded
    cdef char* place = block.data + block.used
    if next_byte[0] == end:
        return HPACK_BAD
    huffman = next_byte[0][0] & 0x80
    if _integer(next_byte, end, 0x7F, &length) < 0 or length > <size_t> (end - next_byte[0]):
        return HPACK_BAD
    if huffman_room(length) > block.capacity - block.used:
        return HPACK_TOO_MUCH  # the block is longer than the room was made for
    if huffman:
        decoded = huffman_decode(place, <const char*> next_byte[0], length)
        if decoded < 0:
            return HPACK_BAD
        size[0] = <uint32_t> decoded
    else:
        memcpy(place, next_byte[0], length)
        size[0] = length
    next_byte[0] += length
    text[0] = place
    block.used += size[0]
    return HPACK_DONE


cdef HpackResult _copy(HpackBlock* block, const char* data, uint32_t size, const char** text) noexcept nogil:
    if size > block.capacity - block.used:
        return HPACK_TOO_MUCH
    text[0] = block.data + block.used
    if size:
        memcpy(block.data + block.used, data, size)
    block.used += size
    return HPACK_DONE


cdef HpackResult _indexed(HpackTable* table, HpackBlock* block, uint32_t index, HpackField* field, bint with_value) noexcept nogil:
    """The name of a table's entry, and its value if asked for."""
    cdef const StaticEntry* fixed
    cdef const HpackEntry* entry
    cdef const char* data
    cdef HpackResult result
    if index == 0 or index > STATIC + table.count:
        return HPACK_BAD
    if index <= STATIC:
        fixed = &_static[index]
        field.name = fixed.name
        field.name_size = fixed.name_size
        field.kind = fixed.kind
        field.flaws = 0
        if with_value:
            field.value = fixed.value
            field.value_size = fixed.value_size
        return HPACK_DONE
    entry = _entry(table, index - STATIC - 1)
    data = table.data + (entry.start - table.base)
    field.name_size = entry.name_size
    field.kind = entry.kind
    field.flaws = entry.flaws
    if not with_value:
        field.flaws &= FLAW_NAME | FLAW_ALIAS
        return _copy(block, data, entry.name_size, &field.name)
    field.value_size = entry.value_size
    result = _copy(block, data, <uint32_t> entry.name_size + entry.value_size, &field.name)
    field.value = field.name + field.name_size
    return result


cdef HpackResult _field(
    HpackTable* table, HpackBlock* block, const uint8_t** next_byte, const uint8_t* end, HpackField* field
) noexcept nogil:
    """One field representation (RFC 7541 6.1, 6.2)."""
    cdef uint8_t first = next_byte[0][0]
    cdef uint32_t index
    cdef HpackResult result
    field.never = 0
    if first & 0x80:
        if _integer(next_byte, end, 0x7F, &index) < 0:
            return HPACK_BAD
        return _indexed(table, block, index, field, True)
    if _integer(next_byte, end, 0x3F if first & 0x40 else 0x0F, &index) < 0:
        return HPACK_BAD
    if index:
        result = _indexed(table, block, index, field, False)
    else:
        result = _string(block, next_byte, end, &field.name, &field.name_size)
        if result == HPACK_DONE:
            field.kind = _kind(field.name, field.name_size)
            field.flaws = _name_flaws(field.name, field.name_size)
    if result == HPACK_DONE:
        result = _string(block, next_byte, end, &field.value, &field.value_size)
    if result != HPACK_DONE:
        return result
    field.flaws |= _value_flaws(field.value, field.value_size)
    if first & 0x40:
        return HPACK_NO_MEMORY if _insert(table, field) < 0 else HPACK_DONE
    field.never = first >> 4 & 1
    return HPACK_DONE


cdef HpackResult hpack_decode(HpackTable* table, HpackBlock* block, const char* data, size_t size) noexcept nogil:
    """Decode a complete block into `block`, whose earlier fields are forgotten.

    After anything but HPACK_DONE the table is of no use and the connection has to be closed.
    """
    cdef const uint8_t* next_byte = <const uint8_t*> data
    cdef const uint8_t* end = next_byte + size
    cdef HpackField* field
    cdef HpackField spare
    cdef HpackResult result
    cdef uint32_t start, number
    block.used = 0
    block.count = 0
    block.size = 0
    block.seen = 0
    block.too_large = 0
    # Changes of the table's size come first (RFC 7541 4.2).
    while next_byte < end and next_byte[0] & 0xE0 == 0x20:
        if _integer(&next_byte, end, 0x1F, &number) < 0 or number > HPACK_TABLE:
            return HPACK_BAD
        table.most = number
        _evict(table, 0)
    while next_byte < end:
        if next_byte[0] & 0xE0 == 0x20:
            return HPACK_BAD
        start = block.used
        field = &spare if block.too_large else &block.fields[block.count]
        result = _field(table, block, &next_byte, end, field)
        if result != HPACK_DONE:
            return result
        block.seen += 1
        block.size += <uint64_t> field.name_size + field.value_size + HPACK_OVERHEAD
        if block.size > <uint64_t> block.limit * BLOCK_FACTOR or block.seen > HPACK_MOST_FIELDS:
            return HPACK_TOO_MUCH
        if block.size > block.limit:
            block.too_large = 1
            block.used = start
        else:
            block.count += 1
    return HPACK_DONE


# --- encoding ---

cdef inline void _put_integer(Writer* writer, uint8_t pattern, uint32_t mask, uint64_t number) noexcept nogil:
    cdef char* out
    if writer.capacity - writer.size < 11:
        writer.failed = 1
        return
    out = writer.data + writer.size
    if number < mask:
        out[0] = <char> (pattern | number)
        writer.size += 1
        return
    out[0] = <char> (pattern | mask)
    writer.size += 1
    number -= mask
    while number >= 0x80:
        writer.data[writer.size] = <char> (number | 0x80)
        writer.size += 1
        number >>= 7
    writer.data[writer.size] = <char> number
    writer.size += 1


cdef void _put_string(Writer* writer, const char* data, size_t size, bint huffman) noexcept nogil:
    cdef size_t coded = huffman_size(data, size) if huffman else size
    if coded >= size:
        huffman = False
        coded = size
    _put_integer(writer, 0x80 if huffman else 0, 0x7F, coded)
    if writer.failed or coded > writer.capacity - writer.size:
        writer.failed = 1
        return
    if huffman:
        huffman_encode(writer.data + writer.size, data, size)
    elif size:
        memcpy(writer.data + writer.size, data, size)
    writer.size += coded


cdef uint32_t _static_name(const char* name, size_t size) noexcept nogil:
    """The static table's index of a lower-case name; 0 when it has none."""
    cdef uint32_t slot, index
    if size == 0 or size > LONGEST_STATIC_NAME:
        return 0
    slot = _slot(name, size)
    while _static_slots[slot]:
        index = _static_slots[slot]
        if _static[index].name_size == size and memcmp(_static[index].name, name, size) == 0:
            return index
        slot = (slot + 1) & (SLOTS - 1)
    return 0


cdef void hpack_start(Writer* writer) noexcept nogil:
    """What the first block of a connection starts with: a table of size 0, since we use none."""
    _put_integer(writer, 0x20, 0x1F, 0)


cdef void hpack_indexed(Writer* writer, uint32_t index) noexcept nogil:
    """A field of the static table as it stands there (2 is `:method: GET`)."""
    _put_integer(writer, 0x80, 0x7F, index)


cdef void hpack_status(Writer* writer, int status) noexcept nogil:
    """`:status`, which has three digits."""
    cdef uint32_t index
    cdef char digits[3]
    digits[0] = c'0' + <char> (status // 100)
    digits[1] = c'0' + <char> (status // 10 % 10)
    digits[2] = c'0' + <char> (status % 10)
    for index in range(8, 15):
        if memcmp(_static[index].value, digits, 3) == 0:
            hpack_indexed(writer, index)
            return
    _put_integer(writer, 0, 0x0F, 8)
    _put_string(writer, digits, 3, False)


cdef bint hpack_field(
    Writer* writer, const char* name, size_t name_size, const char* value, size_t value_size, bint never, bint huffman
) noexcept nogil:
    """One field without indexing, its name in lower case; refuses what no field may hold.

    `never` marks a field that nobody may index; credentials are marked whatever it says. `huffman`
    says whether values are worth the time to shorten them.
    """
    cdef char* lower
    cdef size_t i
    cdef uint32_t index
    cdef uint8_t kind
    cdef size_t start = writer.size
    # A byte for the representation, at most ten for the size, then the name, which may turn out to be
    # in the static table.
    if name_size + 11 > writer.capacity - writer.size:
        writer.failed = 1
        return True
    lower = writer.data + writer.size + 11
    for i in range(name_size):
        lower[i] = <char> _name_byte[<uint8_t> name[i]]
        if lower[i] == 0 and not (i == 0 and name[0] == c':' and name_size > 1):
            return False
    if name_size and name[0] == c':':
        lower[0] = c':'
    if name_size == 0 or _value_flaws(value, value_size) == FLAW_VALUE:
        return False
    kind = _kind(lower, name_size)
    if kind == KIND_AUTHORIZATION or kind == KIND_COOKIE or kind == KIND_SET_COOKIE or kind == KIND_PROXY_AUTHORIZATION:
        never = True
    index = _static_name(lower, name_size)
    _put_integer(writer, 0x10 if never else 0, 0x0F, index)
    if index == 0:
        _put_integer(writer, 0, 0x7F, name_size)
        memmove(writer.data + writer.size, lower, name_size)
        writer.size += name_size
    _put_string(writer, value, value_size, huffman)
    if writer.failed:
        writer.size = start
    return True
