"""gzip for responses (entry point option `compress`, `features.md` 5.1).

Idea: an operation notes at request time whether the client takes gzip. When a response comes, its
head decides whether it may be compressed; the first piece of the body whether it is long enough.
Every piece is flushed, so nothing that the endpoint has sent waits here for more; that makes the
rule "a flush of a response of unknown length starts compression at once" (FIX 31) hold by itself.

The output of one piece is written into a buffer of the worker, valid until the next piece of any
response: what the socket does not take at once is copied by the output queue.

Traefik 1.7's library also compresses partial content; we do not (RFC 9110, 15.3.7: the ranges are
those of the unencoded body), nor what says `no-transform`.

What a head says about one encoding of a body is not true of another (RFC 9110 8.8.3.3): with the
encoding the ETag becomes weak, as nginx does it, and digests, Accept-Ranges and the length go; HEAD
and 304 say the same as GET would. All this is decided in one place, `_plan`, for the responses of
endpoints and for our own answers.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from fastproxy.engine.http.head cimport (
    KIND_CONTENT_ENCODING, Head, Scratch, has_token, head_add, head_find, head_remove, same_text, scratch_keep,
)
from fastproxy.engine.http.owned_head cimport head_forget, head_save
from fastproxy.engine.http.writer cimport Writer, write_head_field, write_text
from fastproxy.engine.http.fields cimport Field, Window, window_free, window_new

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        unsigned char* next_in
        unsigned int avail_in
        unsigned char* next_out
        unsigned int avail_out
    enum:
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
        Z_SYNC_FLUSH
        Z_FINISH
        Z_DEFLATED
        Z_DEFAULT_COMPRESSION
        Z_DEFAULT_STRATEGY
    int deflateInit2(z_stream* stream, int level, int method, int window_bits, int memory, int strategy)
    int deflate(z_stream* stream, int flush)
    int deflateEnd(z_stream* stream)
    unsigned long deflateBound(z_stream* stream, unsigned long size)

cdef enum:
    GZIP_WINDOW = 15 + 16  # zlib's way to ask for a gzip header
    MEMORY = 8
    SLACK = 64  # of a sync flush, a gzip head and tail
    ADDED = 128  # to the lines of an answer at most
    LONGEST_TAG = 1024

cdef char* _out = NULL
cdef size_t _capacity = 0


# --- who gets what ---

cdef inline bint _blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


cdef bint _names_gzip(const char* data, size_t size) noexcept nogil:
    """Does one item of Accept-Encoding say gzip with q above 0?"""
    cdef size_t start = 0, end = 0
    while start < size and _blank(data[start]):
        start += 1
    end = start
    while end < size and data[end] != c';' and not _blank(data[end]):
        end += 1
    if not same_text(data + start, end - start, "gzip", 4) and not same_text(
        data + start, end - start, "x-gzip", 6
    ):
        return False
    while end < size and _blank(data[end]):
        end += 1
    if end == size:
        return True
    # `;q=0`, `;q=0.000`: anything with another digit is above 0; another parameter is no matter.
    start = end + 1
    while start < size and _blank(data[start]):
        start += 1
    if size - start < 2 or (data[start] != c'q' and data[start] != c'Q') or data[start + 1] != c'=':
        return True
    start += 2
    while start < size:
        if c'1' <= data[start] <= c'9':
            return True
        start += 1
    return False


cdef bint _takes_gzip(const char* data, size_t size) noexcept nogil:
    cdef size_t start = 0, end
    while start < size:
        end = start
        while end < size and data[end] != c',':
            end += 1
        if _names_gzip(data + start, end - start):
            return True
        start = end + 1
    return False


cdef uint8_t compress_wish(const Head* request) noexcept nogil:
    """What the answer to this request needs: nothing for gRPC, else Vary, and gzip if accepted."""
    cdef Field* field = head_find(request, "Content-Type", 12)
    cdef uint32_t i
    if field != NULL and field.value_size >= 16 and same_text(field.value, 16, "application/grpc", 16):
        return 0
    for i in range(request.count):
        field = <Field*> &request.fields[i]
        if not field.dropped and same_text(field.name, field.name_size, "accept-encoding", 15):
            if _takes_gzip(field.value, field.value_size):
                return WISH_VARY | WISH_GZIP
    return WISH_VARY


cdef bint _holds(const char* data, size_t size, const char* word) noexcept nogil:
    """Is a lower-case word somewhere in a text of any case?"""
    cdef size_t length = strlen(word), i
    for i in range(size - length + 1 if size >= length else 0):
        if same_text(data + i, length, word, length):
            return True
    return False


cdef bint _allowed(const Head* response) noexcept nogil:
    """May a body with this head be compressed? (Its length is another question.)"""
    cdef uint32_t i
    cdef const Field* field
    if response.status < 200 or response.status == 204 or response.status == 206 or response.status == 304:
        return False
    for i in range(response.count):
        field = &response.fields[i]
        if field.dropped:
            continue
        if field.kind == KIND_CONTENT_ENCODING or same_text(
            field.name, field.name_size, "content-range", 13
        ):
            return False
        # A list may come in several lines (RFC 9110 5.3).
        if same_text(field.name, field.name_size, "cache-control", 13) and has_token(
            field.value, field.value_size, "no-transform", 12
        ):
            return False
    return True


cdef void _weaken(Field* field, Scratch* scratch) noexcept nogil:
    """A strong ETag, `"..."`, becomes `W/"..."`."""
    cdef char tag[LONGEST_TAG + 2]
    cdef char* kept
    if field.value_size < 2 or field.value[0] != c'"':
        return
    if field.value_size > LONGEST_TAG:
        field.dropped = 1
        return
    memcpy(tag, <const char*> "W/", 2)
    memcpy(tag + 2, field.value, field.value_size)
    kept = scratch_keep(scratch, tag, field.value_size + 2)
    if kept == NULL:
        field.dropped = 1
        return
    field.value = kept
    field.value_size += 2


cdef void _relabel(Head* head, Scratch* scratch) noexcept nogil:
    """Take out what is not true of the encoded body."""
    cdef uint32_t i
    cdef Field* field
    for i in range(head.count):
        field = &head.fields[i]
        if field.dropped:
            continue
        if same_text(field.name, field.name_size, "etag", 4):
            _weaken(field, scratch)
        elif (
            same_text(field.name, field.name_size, "accept-ranges", 13)
            or same_text(field.name, field.name_size, "content-md5", 11)
            or same_text(field.name, field.name_size, "digest", 6)
            or same_text(field.name, field.name_size, "content-digest", 14)
            or same_text(field.name, field.name_size, "repr-digest", 11)
        ):
            field.dropped = 1


cdef bint _plan(Head* head, Scratch* scratch, int64_t length) noexcept nogil:
    """Will a body of this length (-1 = not known yet) be compressed, as far as its head goes? Then
    the head says so, but for Content-Encoding."""
    if head.status == 304:
        _relabel(head, scratch)
        return False
    if 0 <= length < COMPRESS_MINIMUM or not _allowed(head):
        return False
    _relabel(head, scratch)
    head.content_length = -1
    return True


# --- the type of a body that does not say its own ---

cdef bint _starts(const char* data, size_t size, const char* sign, size_t length) noexcept nogil:
    return size >= length and memcmp(data, sign, length) == 0


cdef const char* compress_sniff(const char* data, size_t size) noexcept nogil:
    """The Content-Type for a body's first bytes: the part of the WHATWG rules that matters to a
    client which is about to render, and text or binary for the rest."""
    cdef size_t i = 0
    cdef uint8_t byte
    if _starts(data, size, "\x89PNG\r\n\x1a\n", 8):
        return "image/png"
    if _starts(data, size, "\xff\xd8\xff", 3):
        return "image/jpeg"
    if _starts(data, size, "GIF87a", 6) or _starts(data, size, "GIF89a", 6):
        return "image/gif"
    if _starts(data, size, "%PDF-", 5):
        return "application/pdf"
    if _starts(data, size, "PK\x03\x04", 4):
        return "application/zip"
    if _starts(data, size, "\x1f\x8b\x08", 3):
        return "application/x-gzip"
    while i < size and (_blank(data[i]) or data[i] == c'\n' or data[i] == c'\r' or data[i] == c'\x0c'):
        i += 1
    if _starts(data + i, size - i, "<?xml", 5):
        return "text/xml; charset=utf-8"
    if size - i >= 5 and (
        _holds(data + i, 5, "<html") or _holds(data + i, 5, "<head") or _holds(data + i, 5, "<body")
        or _holds(data + i, 5, "<!doc") or _holds(data + i, 4, "<!--") or _holds(data + i, 4, "<div")
    ):
        return "text/html; charset=utf-8"
    for i in range(size if size < 512 else 512):
        byte = <uint8_t> data[i]
        if byte < 0x20 and byte != c'\t' and byte != c'\n' and byte != c'\r' and byte != 0x0c and byte != 0x1b:
            return "application/octet-stream"
    return "text/plain; charset=utf-8"


# --- the bytes ---

cdef Compressor* compress_begin() noexcept nogil:
    """NULL when memory is short."""
    cdef Compressor* compressor = <Compressor*> calloc(1, sizeof(Compressor) + sizeof(z_stream))
    if compressor == NULL:
        return NULL
    compressor.zlib = compressor + 1
    if deflateInit2(
        <z_stream*> compressor.zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MEMORY,
        Z_DEFAULT_STRATEGY,
    ) != Z_OK:
        free(compressor)
        return NULL
    return compressor


cdef int compress_piece(
    Compressor* compressor, const char* data, size_t size, uint8_t last, char** out, size_t* out_size
) noexcept nogil:
    """Compress one piece; `out` is valid until the next call for any response. -1 = out of memory."""
    global _out, _capacity
    cdef z_stream* zlib = <z_stream*> compressor.zlib
    cdef size_t needed
    cdef char* room
    cdef int code
    out_size[0] = 0
    if size == 0 and not last:
        return 0
    needed = deflateBound(zlib, size) + SLACK
    if needed > _capacity:
        room = <char*> realloc(_out, needed)
        if room == NULL:
            return -1
        _out = room
        _capacity = needed
    zlib.next_in = <unsigned char*> data
    zlib.avail_in = <unsigned int> size
    zlib.next_out = <unsigned char*> _out
    zlib.avail_out = <unsigned int> _capacity
    code = deflate(zlib, Z_FINISH if last else Z_SYNC_FLUSH)
    if zlib.avail_in or (code != Z_STREAM_END if last else code != Z_OK):
        return -1
    out[0] = _out
    out_size[0] = _capacity - zlib.avail_out
    return 0


cdef void compress_free(Compressor* compressor) noexcept nogil:
    if compressor != NULL:
        deflateEnd(<z_stream*> compressor.zlib)
        free(compressor)


cdef void compress_end(Compression* compression) noexcept nogil:
    """The response is over, or will not come."""
    compress_free(compression.compressor)
    compression.compressor = NULL
    compression.undecided = 0
    head_forget(compression.held)
    compression.held = NULL
    free(compression.lines)
    compression.lines = NULL


# --- one response ---

cdef void compress_plan(
    Compression* compression, uint8_t wish, Head* head, Scratch* scratch, bint bodiless
) noexcept nogil:
    """A body that may be compressed loses its length; the first piece decides."""
    cdef Field* field
    cdef int64_t length = head.content_length
    if head.status == 101:
        return
    head_add(head, "Vary", 4, "Accept-Encoding", 15)
    if not wish & WISH_GZIP or not _plan(head, scratch, length):
        return
    if bodiless:
        if length >= 0:
            head_add(head, "Content-Encoding", 16, "gzip", 4)
        return
    field = head_find(head, "Content-Type", 12)
    compression.head = head
    compression.undecided = 1 if field != NULL else 2
    compression.known_length = length >= 0
    compression.may_hold = field == NULL or not (
        compression.known_length
        or (field.value_size >= 17 and same_text(field.value, 17, "text/event-stream", 17))
    )


cdef bint compress_decide(
    Compression* compression, const Scratch* scratch, const char* data, size_t size, uint8_t last
) noexcept nogil:
    """Complete the head. False when it waits for the first piece of the body: it came alone, and length
    or type cannot be told; it is kept here."""
    cdef Head* head = compression.head
    cdef const char* kind
    cdef bint sniff = compression.undecided == 2 and size
    if size == 0 and not last and compression.may_hold:
        if compression.held == NULL:
            compression.held = head_save(head, scratch, NULL, 0)
        if compression.held != NULL:
            compression.head = &compression.held.head
            return False
    compression.undecided = 0
    if last and size < COMPRESS_MINIMUM and not compression.known_length:
        return True
    if head_add(head, "Content-Encoding", 16, "gzip", 4) < 0:
        return True
    compression.compressor = compress_begin()
    if compression.compressor == NULL:
        head_remove(head, "Content-Encoding", 16)
        return True
    if sniff:
        kind = compress_sniff(data, size)
        head_add(head, "Content-Type", 12, kind, strlen(kind))
    return True


cdef bint compress_answer(
    Compression* compression, Scratch* scratch, int status, const char** lines, size_t* lines_size, char** body,
    size_t* size
) noexcept nogil:
    """An answer of our own in one piece; its complete header lines change with it."""
    cdef Window* window
    cdef Head head
    cdef Writer writer
    cdef bint done = False
    cdef uint32_t i
    if size[0] < COMPRESS_MINIMUM:
        return False
    window = window_new(16, 32)
    if window == NULL:
        return False
    memset(&head, 0, sizeof(head))
    head.window = window
    head.fields = window.fields
    head.status = <uint16_t> status
    writer.capacity = lines_size[0] + ADDED
    writer.data = <char*> malloc(writer.capacity)
    writer.size = 0
    writer.failed = 0
    if writer.data != NULL and _read_lines(&head, lines[0], lines_size[0]) and (
        _plan(&head, scratch, size[0])
    ):
        if compression.compressor == NULL:
            compression.compressor = compress_begin()
        done = compression.compressor != NULL and (
            compress_piece(compression.compressor, body[0], size[0], 1, body, size) == 0
        )
    if done:
        for i in range(head.count):
            if not head.fields[i].dropped:
                write_head_field(&writer, &head.fields[i])
        write_text(&writer, "Content-Encoding: gzip\r\n", 24)
        free(compression.lines)
        compression.lines = writer.data  # until the exchange ends
        lines[0] = writer.data
        lines_size[0] = writer.size
    else:
        free(writer.data)
    window_free(window)
    return done


cdef bint _read_lines(Head* head, const char* lines, size_t size) noexcept nogil:
    """Header lines we have written ourselves, `name: value`, as fields."""
    cdef const char* end
    cdef const char* colon
    while size:
        end = <const char*> memchr(lines, c'\r', size)
        colon = <const char*> memchr(lines, c':', size)
        if end == NULL or colon == NULL or colon + 2 > end or head_add(
            head, lines, colon - lines, colon + 2, end - colon - 2
        ) < 0:
            return False
        size -= end - lines + 2
        lines = end + 2
    return True
