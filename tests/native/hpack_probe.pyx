"""Only for tests, fuzzing and benchmarks: header blocks in and out, call for call."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc

from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.hpack cimport (
    HPACK_BAD, HPACK_DONE, HPACK_NO_MEMORY, HPACK_TOO_MUCH, HpackBlock, HpackField, HpackResult, HpackTable, hpack_block_free,
    hpack_block_new, hpack_decode, hpack_field, hpack_indexed, hpack_start, hpack_status, hpack_table_free, hpack_table_init,
)
from fastproxy.engine.http2.huffman cimport huffman_decode, huffman_encode, huffman_room, huffman_size


class Refused(Exception):
    """The block was not decoded; `reason` is `bad`, `too much` or `no memory`."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


_REASONS = {HPACK_BAD: "bad", HPACK_TOO_MUCH: "too much", HPACK_NO_MEMORY: "no memory"}


cdef class Decoder:
    """What one connection keeps for the header blocks of its peer."""

    cdef HpackTable table
    cdef HpackBlock* block

    def __cinit__(self, uint32_t limit=32768, uint32_t wire_limit=49152):
        hpack_table_init(&self.table)
        self.block = hpack_block_new(limit, wire_limit)
        if self.block == NULL:
            raise MemoryError

    def __dealloc__(self):
        hpack_table_free(&self.table)
        hpack_block_free(self.block)

    def decode(self, bytes data, int rounds=1):
        """Name, value and `never` of each field that was kept."""
        cdef const char* text = data
        cdef size_t size = len(data)
        cdef HpackResult result = HPACK_DONE
        cdef HpackField* field
        cdef uint32_t i
        cdef int _i
        with nogil:
            for _i in range(rounds):
                result = hpack_decode(&self.table, self.block, text, size)
        if result != HPACK_DONE:
            raise Refused(_REASONS[result])
        found = []
        for i in range(self.block.count):
            field = &self.block.fields[i]
            found.append((field.name[:field.name_size], field.value[:field.value_size], bool(field.never)))
        return found

    @property
    def flaws(self):
        """Of each field of the last block."""
        return [self.block.fields[i].flaws for i in range(self.block.count)]

    @property
    def kinds(self):
        return [self.block.fields[i].kind for i in range(self.block.count)]

    @property
    def too_large(self):
        return bool(self.block.too_large)

    @property
    def block_size(self):
        return self.block.size

    @property
    def table_size(self):
        return self.table.size

    @property
    def table_entries(self):
        return self.table.count

    @property
    def memory(self):
        """Bytes allocated for the table."""
        return self.table.capacity + self.table.entries_capacity * 12


def encode(fields, *, bint huffman=False, bint start=False, uint32_t capacity=65536, int rounds=1):
    """The block of `(name, value, never)`; None when a field was refused or has no room."""
    cdef Writer writer
    cdef bint refused = False
    cdef int _i
    cdef bytes name, value
    cdef const char* name_text
    cdef const char* value_text
    cdef size_t name_size, value_size
    cdef bint never
    writer.data = <char*> malloc(capacity)
    writer.size = 0
    writer.capacity = capacity
    writer.failed = 0
    if writer.data == NULL:
        raise MemoryError
    try:
        for _i in range(rounds):
            writer.size = 0
            if start:
                hpack_start(&writer)
            for name, value, never in fields:
                name_text, name_size, value_text, value_size = name, len(name), value, len(value)
                if not hpack_field(&writer, name_text, name_size, value_text, value_size, never, huffman):
                    refused = True
        return None if refused or writer.failed else writer.data[:writer.size]
    finally:
        free(writer.data)


def encode_status(int status):
    cdef Writer writer
    cdef char data[64]
    writer.data = data
    writer.size = writer.failed = 0
    writer.capacity = sizeof(data)
    hpack_status(&writer, status)
    return data[:writer.size]


def encode_indexed(uint32_t index):
    cdef Writer writer
    cdef char data[64]
    writer.data = data
    writer.size = writer.failed = 0
    writer.capacity = sizeof(data)
    hpack_indexed(&writer, index)
    return data[:writer.size]


def huffman(bytes data):
    """The code of a text."""
    cdef size_t size = huffman_size(data, len(data))
    cdef char* out = <char*> malloc(size + 1)
    try:
        return out[:huffman_encode(out, data, len(data))]
    finally:
        free(out)


def text_of(bytes data):
    """The text of a code; None when it is none."""
    cdef char* out = <char*> malloc(huffman_room(len(data)))
    cdef int64_t size
    try:
        size = huffman_decode(out, data, len(data))
        return None if size < 0 else out[:size]
    finally:
        free(out)
