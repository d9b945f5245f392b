"""The Huffman code of HPACK (RFC 7541 5.2, Appendix B).

Idea: the code is canonical (symbols of one length are numbered in their order), so the lengths are
all there is to know. Decoding looks at 11 bits at once: that is one symbol of up to 11 bits or two
that fit into them together, which is every character of ordinary text. Longer codes are rare and
found by their length.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    LOOK = 11  # bits
    LONGEST = 30
    END_OF_STRING = 256

cdef struct Step:
    uint8_t first
    uint8_t second
    uint8_t first_bits  # 0: the code is longer than the look
    uint8_t bits  # of both; equal to `first_bits` where there is no second symbol

cdef Step _steps[1 << LOOK]
cdef uint32_t _codes[256]
cdef uint8_t _bits[256]
# By length: the first code, the number of codes, and where their symbols start in `_symbols`.
cdef uint32_t _first[LONGEST + 1]
cdef uint32_t _count[LONGEST + 1]
cdef uint32_t _start[LONGEST + 1]
cdef uint32_t _symbols[257]

# What has fewer than 30 bits and no length here would be missing: the test counts them.
_LENGTHS = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: (
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4"
        b"\xc6\xe4\xe8\xe9"
    ),
    23: (
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4"
        b"\xb6\xb7\xbc\xbf\xc5\xe7\xef"
    ),
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: (
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b"
        b"\x1c\x1d\x1e\x1f\x7f\xdc\xf9"
    ),
    30: b"\n\r\x16",  # and END_OF_STRING
}


cdef int _fill_tables() except -1:
    cdef uint32_t code = 0, used = 0, i, length, at, first, second, first_bits
    for length in range(1, LONGEST + 1):
        code <<= 1
        symbols = list(_LENGTHS.get(length, b""))
        if length == LONGEST:
            symbols.append(END_OF_STRING)
        _first[length] = code
        _count[length] = <uint32_t> len(symbols)
        _start[length] = used
        for symbol in symbols:
            _symbols[used] = symbol
            used += 1
            if symbol != END_OF_STRING:
                _codes[symbol] = code
                _bits[symbol] = <uint8_t> length
            code += 1
    for i in range(1 << LOOK):
        _steps[i].first_bits = _steps[i].bits = _steps[i].first = _steps[i].second = 0
        first_bits = _find(i, LOOK, &first)
        if first_bits:
            _steps[i].first = <uint8_t> first
            _steps[i].first_bits = _steps[i].bits = <uint8_t> first_bits
            at = _find(i, LOOK - first_bits, &second)
            if at:
                _steps[i].second = <uint8_t> second
                _steps[i].bits = <uint8_t> (first_bits + at)
    return 0


cdef uint32_t _find(uint64_t bits, uint32_t available, uint32_t* symbol) noexcept nogil:
    """The length of the code that the lowest `available` bits start with; 0 when it is longer."""
    cdef uint32_t length, code
    for length in range(5, min(available, <uint32_t> LONGEST) + 1):
        code = <uint32_t> ((bits >> (available - length)) & ((<uint64_t> 1 << length) - 1))
        # Codes below the first of their length belong to shorter ones, which were tried.
        if code - _first[length] < _count[length]:
            symbol[0] = _symbols[_start[length] + code - _first[length]]
            return length
    return 0


_fill_tables()


cdef int64_t huffman_decode(char* out, const char* data, size_t size) noexcept nogil:
    """Decode into `out`, which has `huffman_room(size)` bytes; the size of the text, or -1.

    Wrong are the code for the end of the string, padding of 8 bits and more, and padding that is not
    all ones (RFC 7541 5.2).
    """
    cdef const uint8_t* next_byte = <const uint8_t*> data
    cdef const uint8_t* end = next_byte + size
    cdef char* text = out
    cdef uint64_t window = 0  # its lowest `bits` bits are still to be decoded
    cdef uint32_t bits = 0, symbol, length
    cdef Step step
    while True:
        if bits < 32:
            if end - next_byte >= 4:
                window = (window << 32) | (
                    <uint64_t> next_byte[0] << 24 | <uint64_t> next_byte[1] << 16
                    | <uint64_t> next_byte[2] << 8 | next_byte[3]
                )
                next_byte += 4
                bits += 32
            else:
                while next_byte < end:
                    window = (window << 8) | next_byte[0]
                    next_byte += 1
                    bits += 8
        if bits < LOOK:
            break
        step = _steps[(window >> (bits - LOOK)) & ((1 << LOOK) - 1)]
        if step.first_bits:
            text[0] = <char> step.first
            text[1] = <char> step.second
            text += 1 + (step.bits != step.first_bits)
            bits -= step.bits
            continue
        length = _find(window, bits, &symbol)
        if length == 0 or symbol == END_OF_STRING:
            return -1
        text[0] = <char> symbol
        text += 1
        bits -= length
    while bits >= 5:
        length = _find(window, bits, &symbol)
        if length == 0:
            break
        text[0] = <char> symbol
        text += 1
        bits -= length
    if bits >= 8 or (window & ((1 << bits) - 1)) != <uint64_t> ((1 << bits) - 1):
        return -1
    return text - out


cdef size_t huffman_size(const char* data, size_t size) noexcept nogil:
    """Bytes that `huffman_encode` will write."""
    cdef size_t bits = 0, i
    for i in range(size):
        bits += _bits[<uint8_t> data[i]]
    return (bits + 7) // 8


cdef size_t huffman_encode(char* out, const char* data, size_t size) noexcept nogil:
    """Encode into `out`, which has `huffman_size` bytes; returns that size."""
    cdef char* place = out
    cdef uint64_t window = 0
    cdef uint32_t bits = 0
    cdef size_t i
    for i in range(size):
        window = (window << _bits[<uint8_t> data[i]]) | _codes[<uint8_t> data[i]]
        bits += _bits[<uint8_t> data[i]]
        while bits >= 8:
            bits -= 8
            place[0] = <char> (window >> bits)
            place += 1
    if bits:
        place[0] = <char> (window << (8 - bits) | ((1 << (8 - bits)) - 1))
        place += 1
    return place - out
