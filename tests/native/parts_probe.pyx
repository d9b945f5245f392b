"""Only for tests: the small parts of the engine, call for call."""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from fastproxy.engine.loop.buffers cimport (
    Queue, queue_append, queue_append_rest, queue_clear, queue_consume, queue_vector,
)
from fastproxy.engine.exchange.compress cimport (
    Compressor, compress_begin, compress_free, compress_piece, compress_sniff,
)
from fastproxy.engine.http.head cimport Head, Scratch, head_set, request_head, scratch_keep
from fastproxy.engine.http.h1_writer cimport Forwarding, write_request
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST
from fastproxy.engine.loop.posix cimport iovec, ssize_t
from fastproxy.engine.stream.proxy_protocol cimport proxy_header
from fastproxy.engine.exchange.buffering cimport retry_expression as program_holds
from fastproxy.engine.http.owned_head cimport SavedHead, head_forget, head_save, head_save_again
from fastproxy.engine.stream.stream cimport EntryPoint
from fastproxy.engine.stream.transport cimport TRANSPORT_AGAIN, transport_write
from fastproxy.engine.http.h1_parser cimport WIRE_DONE, Wire, wire_free, wire_head, wire_init
from fastproxy.engine.http.fields cimport Window, window_free, window_new

cdef enum:
    MOST_PIECES = 64
    ROOM = 64 * 1024
    RUBBISH = 0xDB


cdef class QueueProbe:
    """An output queue."""

    cdef Queue queue

    def __dealloc__(self):
        queue_clear(&self.queue)

    @property
    def size(self):
        return self.queue.size

    def append(self, bytes data):
        cdef const char* text = data
        if queue_append(&self.queue, text, len(data)) < 0:
            raise MemoryError

    def append_rest(self, list pieces, size_t skip):
        cdef iovec vector[MOST_PIECES]
        cdef bytes piece
        cdef int count = 0
        if len(pieces) > MOST_PIECES:
            raise ValueError("too many pieces")
        for piece in pieces:
            vector[count].iov_base = <char*> piece
            vector[count].iov_len = len(piece)
            count += 1
        if queue_append_rest(&self.queue, vector, count, skip) < 0:
            raise MemoryError

    def vector(self, int most):
        cdef iovec vector[MOST_PIECES]
        cdef int i, count = queue_vector(&self.queue, vector, min(most, <int> MOST_PIECES))
        return [(<char*> vector[i].iov_base)[:vector[i].iov_len] for i in range(count)]

    def consume(self, size_t size):
        if size > self.queue.size:
            raise ValueError("more than there is")
        queue_consume(&self.queue, size)

    def clear(self):
        queue_clear(&self.queue)

    def write(self, int descriptor):
        """Write once, as connections do; None when the socket takes nothing now."""
        cdef iovec vector[16]
        cdef int count = queue_vector(&self.queue, vector, 16)
        cdef ssize_t written = transport_write(NULL, descriptor, NULL, vector, count)
        if written == TRANSPORT_AGAIN:
            return None
        if written < 0:
            raise ConnectionError
        queue_consume(&self.queue, written)
        return written


cdef class SavedProbe:
    """A request head that is edited and saved; what it was read from is overwritten."""

    cdef Wire wire
    cdef Window* window
    cdef Scratch* scratch
    cdef Head read
    cdef Head* head
    cdef SavedHead* saved

    def __cinit__(self, bytes data):
        self.window = window_new(ROOM, 256)
        self.scratch = <Scratch*> calloc(1, sizeof(Scratch))
        if self.window == NULL or self.scratch == NULL:
            raise MemoryError
        wire_init(&self.wire, HTTP_REQUEST)
        self.wire.window = self.window
        if len(data) > ROOM:
            raise ValueError("the head is too large for the probe")
        memcpy(self.window.data, <const char*> data, len(data))
        self.window.used = <uint32_t> len(data)
        if wire_head(&self.wire, 0) != WIRE_DONE or request_head(&self.read, &self.wire, self.scratch, 8192):
            raise ValueError("not a whole good head")
        self.head = &self.read

    def __dealloc__(self):
        head_forget(self.saved)
        wire_free(&self.wire)
        window_free(self.window)
        free(self.scratch)

    def edit(self, bytes name, bytes value):
        """Set a field to bytes in scratch memory, as operations do."""
        cdef char* kept_name = scratch_keep(self.scratch, <const char*> name, len(name))
        cdef char* kept = scratch_keep(self.scratch, <const char*> value, len(value))
        if kept_name == NULL or kept == NULL or head_set(self.head, kept_name, len(name), kept, len(value)) < 0:
            raise MemoryError

    def set_path(self, bytes path):
        self.head.path = scratch_keep(self.scratch, <const char*> path, len(path))
        self.head.path_size = <uint32_t> len(path)
        self.head.path_changed = 1
        self.head.sent = NULL
        if self.head.path == NULL:
            raise MemoryError

    def save(self, bytes body=b""):
        """Save it, again if it was saved; then overwrite all it was made from."""
        cdef SavedHead* newer
        if self.saved == NULL:
            newer = head_save(self.head, self.scratch, body, len(body))
        else:
            newer = head_save_again(self.saved, self.scratch)
        if newer == NULL:
            raise MemoryError
        self.saved = newer
        self.head = &newer.head
        self._overwrite()

    cdef void _overwrite(self) noexcept:
        memset(self.scratch, RUBBISH, sizeof(Scratch))
        self.scratch.extra_used = 0
        memset(self.window.data, RUBBISH, self.window.capacity)

    @property
    def body(self):
        return self.saved.body[:self.saved.body_size]

    def write(self):
        """The head as an endpoint gets it."""
        cdef Forwarding forwarding
        cdef Writer writer
        cdef bytearray out = bytearray(ROOM)
        memset(&forwarding, 0, sizeof(forwarding))
        forwarding.client = "192.0.2.1"
        forwarding.client_size = 9
        forwarding.server = "proxy"
        forwarding.server_size = 5
        forwarding.content_length = -2
        writer.data = <char*> out
        writer.size = 0
        writer.capacity = ROOM
        writer.failed = 0
        write_request(&writer, self.head, &forwarding)
        return None if writer.failed else bytes(out[:writer.size])


def read_proxy_header(int descriptor, bytes address, bytes trusted=b"", bint insecure=False):
    """(1 = go on, 0 = wait, -1 = close; the client's address), both as 16 bytes. `trusted`: rows of
    16 bytes and the prefix bits."""
    cdef EntryPoint entry_point
    cdef uint8_t found[16]
    memset(&entry_point, 0, sizeof(entry_point))
    entry_point.proxy_protocol = 2 if insecure else 1
    entry_point.proxy_trusted = <uint8_t*> trusted
    entry_point.proxy_trusted_count = <uint32_t> (len(trusted) // 17)
    memcpy(found, <const char*> address, 16)
    code = proxy_header(descriptor, &entry_point, found)
    return code, (<char*> found)[:16]


def gzip(list pieces):
    """What each piece becomes; the last one ends the body."""
    cdef Compressor* compressor = compress_begin()
    cdef bytes piece
    cdef char* out = NULL
    cdef size_t size
    if compressor == NULL:
        raise MemoryError
    found = []
    try:
        for number, piece in enumerate(pieces, 1):
            if compress_piece(compressor, piece, len(piece), number == len(pieces), &out, &size) < 0:
                raise MemoryError
            found.append(out[:size] if size else b"")
    finally:
        compress_free(compressor)
    return found


def sniff(bytes data):
    """The type of a body that begins so. The bytes stand at the end of a block of their size."""
    cdef char* exact = <char*> malloc(max(len(data), 1))
    if exact == NULL:
        raise MemoryError
    memcpy(exact, <const char*> data, len(data))
    kind = compress_sniff(exact, len(data))
    free(exact)
    return kind.decode()


def retry_expression(bytes program, uint32_t attempt, int status, bytes method):
    cdef const char* text = program
    cdef const char* name = method
    return bool(program_holds(text, <uint32_t> len(program), attempt, status, name, len(method)))
