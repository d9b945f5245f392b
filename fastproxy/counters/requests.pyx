# Counters of requests by owner (an entry point or a backend), code, method and protocol.
#
# Each worker has an arena of its own, a memfd that the parent made, so nothing is shared between those who write:
# plain 64-bit stores by one writer, read by the observer at any time. Who takes a dead worker's number goes on with its
# arena: counters only grow, whoever dies; what was open then is not any more.
#
# A series is found by a hash over the owner's name and the labels. Series and owners are never removed, so a
# reader needs no care; what finds no room is counted under `overflow`.

import os

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.counters.layout cimport word_load, word_store


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int descriptor, long offset)
    int munmap(void* address, size_t size)
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    void* MAP_FAILED

cdef enum:
    STEPS = 64  # places looked at for one series

# The ten of Traefik 3; any other is EXTENSION_METHOD, so that clients cannot make series.
METHODS = (
    "EXTENSION_METHOD", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
)
PROTOCOLS = ("http", "sse", "websocket")
KINDS = {OWNER_ENTRY_POINT: "entrypoint", OWNER_BACKEND: "backend"}


cdef inline uint64_t _size() noexcept nogil:
    return (
        sizeof(RequestsHeader) + INDEX * sizeof(uint32_t) + MOST_OWNERS * sizeof(Owner) + MOST_SERIES * sizeof(Series)
    )


cdef Requests* requests_open(int descriptor) noexcept nogil:
    """Map an arena; NULL when it cannot be."""
    cdef char* base = <char*> mmap(NULL, _size(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    cdef Requests* requests
    if base == MAP_FAILED:
        return NULL
    requests = <Requests*> calloc(1, sizeof(Requests))
    if requests == NULL:
        munmap(base, _size())
        return NULL
    requests.header = <RequestsHeader*> base
    requests.index = <uint32_t*> (base + sizeof(RequestsHeader))
    requests.owners = <Owner*> (base + sizeof(RequestsHeader) + INDEX * sizeof(uint32_t))
    requests.series = <Series*> (<char*> requests.owners + MOST_OWNERS * sizeof(Owner))
    return requests


cdef void requests_close(Requests* requests) noexcept nogil:
    if requests != NULL:
        munmap(requests.header, _size())
        free(requests)


cdef inline uint64_t _hash(int kind, const char* name, size_t size) noexcept nogil:
    """FNV-1a; names are the configuration's, not the clients'."""
    cdef uint64_t value = <uint64_t> 14695981039346656037 ^ <uint64_t> kind
    cdef size_t i
    for i in range(size):
        value = (value ^ <unsigned char> name[i]) * <uint64_t> 1099511628211
    return value


cdef Series* requests_find(
    Requests* requests, int kind, const char* name, size_t size, uint32_t code, uint32_t method, uint32_t protocol
) noexcept nogil:
    """The series of these labels, a new one if need be; NULL: there is no room, which is counted."""
    cdef uint64_t owner = _hash(kind, name, size)
    cdef uint64_t labels = code | <uint64_t> method << 16 | <uint64_t> protocol << 24
    cdef uint64_t place = (owner ^ labels * <uint64_t> 0x9E3779B97F4A7C15) >> 16
    cdef uint32_t step, number
    cdef Series* series
    for step in range(STEPS):
        number = requests.index[(place + step) % INDEX]
        if number == 0:
            break
        series = &requests.series[number - 1]
        if series.owner == owner and series.labels == labels:
            return series
    else:
        requests.header.overflow += 1
        return NULL
    number = <uint32_t> requests.header.series
    if number == MOST_SERIES or not _know(requests, owner, kind, name, size):
        requests.header.overflow += 1
        return NULL
    series = &requests.series[number]
    series.owner = owner
    series.labels = labels
    # In this order: killed between the two, it leaves a series of zeros, and its labels stay its own.
    word_store(&requests.header.series, number + 1)
    requests.index[(place + step) % INDEX] = number + 1
    return series


cdef bint _know(Requests* requests, uint64_t owner, int kind, const char* name, size_t size) noexcept nogil:
    """Keep an owner's name; False when there is no room."""
    cdef uint64_t i
    cdef Owner* known
    for i in range(requests.header.owners):
        if requests.owners[i].hash == owner:
            return True
    if requests.header.owners == MOST_OWNERS:
        return False
    known = &requests.owners[requests.header.owners]
    known.hash = owner
    known.kind = kind
    known.size = <uint32_t> min(size, <size_t> OWNER_TEXT)
    memcpy(known.text, name, known.size)
    word_store(&requests.header.owners, requests.header.owners + 1)
    return True


# Python's view.

def create_requests():
    descriptor = os.memfd_create("fastproxy-requests", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, _size())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def forget_open(int descriptor):
    cdef Requests* requests = requests_open(descriptor)
    cdef uint64_t i
    if requests == NULL:
        raise OSError("cannot map the counters of requests")
    for i in range(word_load(&requests.header.series)):
        requests.series[i].open = 0
    requests_close(requests)


def sum_up(descriptors):
    cdef Requests* requests
    cdef Series* series
    cdef uint64_t i, k
    cdef dict found = {}, names
    cdef list row
    overflow = 0
    for descriptor in descriptors:
        requests = requests_open(descriptor)
        if requests == NULL:
            raise OSError("cannot map the counters of requests")
        try:
            names = {}
            for i in range(word_load(&requests.header.owners)):
                names[requests.owners[i].hash] = (
                    KINDS[requests.owners[i].kind],
                    requests.owners[i].text[:requests.owners[i].size].decode("utf-8", "replace"),
                )
            overflow += requests.header.overflow
            for i in range(word_load(&requests.header.series)):
                series = &requests.series[i]
                key = (
                    *names[series.owner], series.labels & 0xFFFF, METHODS[series.labels >> 16 & 0xFF],
                    PROTOCOLS[series.labels >> 24 & 0xFF],
                )
                row = found.get(key)
                if row is None:
                    row = found[key] = [0, 0, 0, 0, 0, [0] * (MOST_BUCKETS + 1)]
                row[0] += series.nanoseconds
                row[1] += series.retries
                row[2] += series.open
                row[3] += series.received
                row[4] += series.sent
                for k in range(MOST_BUCKETS + 1):
                    if series.counts[k]:
                        row[5][k] += series.counts[k]
        finally:
            requests_close(requests)
    return found, overflow
