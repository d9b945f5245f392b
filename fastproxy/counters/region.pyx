# Counters in memory shared by every process of one proxy.
#
# A limit of 50 connections means 50 for the proxy, not 50 per worker. So the parent makes one
# memfd, every process maps it, and all counters live in it at fixed places:
#
#     header          magic, version, the secret of the key hash
#     tickets         per worker: which counts the requests in progress hold
#     connections     per slot: a hash table  key -> requests in progress
#     rate            per slot: a hash table  key -> token buckets
#     breaker         per slot: state, windows of answers, histograms of latencies
#     quality         per backend slot: weights, and windows of answers per endpoint
#     nonces          one hash table  nonce of digest authentication -> highest count
#
# Each has a module of its own, `connections` and so on; this one opens the region.
#
# The file is sparse: every place has the full size it may ever need, and only pages that were
# touched cost memory. Slots are handed out by the publisher and cleared by punching a hole.
#
# Three ideas carry everything else:
#
# * Any process may be killed between any two instructions, and no one ever waits. Therefore every
#   change is one compare-and-swap of one 64-bit word, and whatever takes several steps can be
#   finished by whoever comes next.
# * Nothing is ever swept. A word carries the time it is valid for (its second, its period) and the
#   *epoch* or *generation* of its owner; a word with another stamp counts as zero. Restarting a
#   rate limit entry or forgetting all answers of a breaker is one store.
# * Keys come from clients, so they are placed by SipHash with a secret, and a table has no chains
#   that a client could make long: a key lives in one of 32 places. A table starts with two sets of
#   32 places; when a set is full, new keys go to the next level (16, 256, 4096 sets), and old
#   ones are found by looking into the lower levels too.
#
# What is approximate, and how far:
#
# * "Evict the entry expiring first" is done within the 32 places of the key, so with far fewer
#   than 131072 keys nothing is evicted, and a limiter holds up to 139840 keys instead of 65536.
# * Two workers that evict for the same new key in the same instant may both create it; both look
#   for a twin afterwards and one withdraws, so that at most one burst is granted twice.
# * A worker killed within the few nanoseconds between noting a connection and counting it makes
#   that key's count one too low until the key is idle once; never too high.

import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastproxy.counters.breaker cimport breaker_admit, breaker_record, breaker_state
from fastproxy.counters.connections cimport (
    connections_release, connections_take, region_forget_worker,
)
from fastproxy.counters.layout cimport (
    BREAKER_STRIDE, CONNECTION_STRIDE, ENDPOINTS, FASTPROXY_MAGIC, FASTPROXY_SHARED_MEMORY,
    MAXIMUM_BUCKETS, NO_WORKER_NUMBER, QUALITY_STRIDE, RATE_STRIDE, SLOTS, TICKETS, WORKERS,
    Region, beats_at, breaker_at, connections_at, quality_at, rate_at, region_size, word_load,
)
from fastproxy.counters.nonces cimport nonce_advance
from fastproxy.counters.quality cimport quality_record, quality_reset, quality_weights
from fastproxy.counters.rate cimport rate_take


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int descriptor, long offset)
    int munmap(void* address, size_t size)
    int madvise(void* address, size_t size, int advice)
    int PROT_READ
    int PROT_WRITE
    int MADV_DONTDUMP
    void* MAP_FAILED


cdef extern from "<fcntl.h>" nogil:
    int fallocate(int descriptor, int mode, long offset, long size)


cdef extern from "<linux/falloc.h>" nogil:
    int FALLOC_FL_PUNCH_HOLE
    int FALLOC_FL_KEEP_SIZE

_PLACES = {
    "connections": (connections_at(), CONNECTION_STRIDE),
    "rate": (rate_at(), RATE_STRIDE),
    "breaker": (breaker_at(), BREAKER_STRIDE),
    "quality": (quality_at(), QUALITY_STRIDE),
}
KINDS = tuple(_PLACES)
MAXIMUM_WORKERS = WORKERS
NO_WORKER = <uint32_t>NO_WORKER_NUMBER
STATE_NAMES = ("standby", "tripped", "recovering")  # of a circuit breaker, by number


cdef Region* region_open(int descriptor, uint32_t worker) noexcept nogil:
    cdef void* base = mmap(
        NULL, region_size(), PROT_READ | PROT_WRITE, FASTPROXY_SHARED_MEMORY, descriptor, 0
    )
    if base == MAP_FAILED:
        return NULL
    madvise(base, region_size(), MADV_DONTDUMP)
    cdef Region* region = <Region*>calloc(1, sizeof(Region))
    if region != NULL and worker < WORKERS:
        region.ticket_next = <uint32_t*>calloc(TICKETS, sizeof(uint32_t))
    if region != NULL:
        region.quality_seen = <uint32_t*>calloc(SLOTS, sizeof(uint32_t))
    if (
        region == NULL
        or region.quality_seen == NULL
        or (worker < WORKERS and region.ticket_next == NULL)
        or word_load(<uint64_t*>base) != FASTPROXY_MAGIC
    ):
        munmap(base, region_size())
        if region != NULL:
            free(region.ticket_next)
            free(region.quality_seen)
            free(region)
        return NULL
    region.base = <unsigned char*>base
    region.worker = worker
    region_forget_worker(region, worker)
    return region


cdef void region_close(Region* region) noexcept nogil:
    if region == NULL:
        return
    munmap(region.base, region_size())
    free(region.ticket_next)
    free(region.quality_seen)
    free(region)


# Python's view.

def create_region():
    descriptor = os.memfd_create("fastproxy-counters", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, region_size())
        secret = os.urandom(16)
        os.pwrite(descriptor, bytes(8) + bytes(8) + secret, 0)
        os.pwrite(descriptor, (<uint64_t>FASTPROXY_MAGIC).to_bytes(8, "little"), 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def slot_count(kind):
    return SLOTS if _PLACES[kind] else 0


def slot_size(kind):
    return _PLACES[kind][1]


def beats_of(uint32_t worker):
    return beats_at(worker)


def clear_slot(descriptor, kind, slot):
    start, stride = _PLACES[kind]
    if not 0 <= slot < SLOTS:
        raise ValueError(f"there is no slot {slot} of kind {kind!r}")
    cdef long offset = start + slot * stride
    if fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, stride) != 0:
        raise OSError("cannot punch a hole into the shared region")


cdef class SharedRegion:
    cdef Region* _region

    def __init__(self, int descriptor, worker=NO_WORKER):
        self.close()
        self._region = region_open(descriptor, <uint32_t>worker)
        if self._region == NULL:
            raise OSError("cannot map the shared region")

    def __dealloc__(self):
        region_close(self._region)

    def close(self):
        region_close(self._region)
        self._region = NULL

    def forget_worker(self, uint32_t worker):
        if self._region != NULL:
            region_forget_worker(self._region, worker)

    def connections_take(self, uint32_t slot, bytes key, int64_t amount):
        cdef uint64_t ticket = 0
        result = connections_take(self._region, slot, key, len(key), amount, &ticket)
        return result, ticket

    def connections_release(self, uint64_t ticket):
        connections_release(self._region, ticket)

    def rate_take(self, uint32_t slot, bytes key, buckets, int64_t lifetime, int64_t now):
        cdef int64_t[64] pairs
        cdef uint32_t index
        if len(buckets) > MAXIMUM_BUCKETS:
            raise ValueError(f"more than {MAXIMUM_BUCKETS} buckets")
        for index in range(<uint32_t>len(buckets)):
            pairs[2 * index], pairs[2 * index + 1] = buckets[index]
        return rate_take(
            self._region, slot, key, len(key), pairs, <uint32_t>len(buckets), lifetime, now
        )

    def breaker_admit(self, uint32_t slot, int64_t now):
        return breaker_admit(self._region, slot, now) == 1

    def breaker_record(
        self, uint32_t slot, int status, int64_t latency, bytes program, int64_t now
    ):
        breaker_record(self._region, slot, status, latency, program, len(program), now)

    def breaker_state(self, uint32_t slot):
        return STATE_NAMES[<int>breaker_state(self._region, slot)]

    def quality_reset(self, uint32_t slot, uint64_t fingerprint):
        quality_reset(self._region, slot, fingerprint)

    def quality_record(self, uint32_t slot, uint32_t endpoint, int status, int64_t now):
        quality_record(self._region, slot, endpoint, status, now)

    def quality_weights(self, uint32_t slot, original, int64_t now):
        cdef int64_t[1024] given
        cdef int64_t[1024] weights
        cdef uint32_t index, count = <uint32_t>len(original)
        if count > ENDPOINTS:
            return None
        for index in range(count):
            given[index] = original[index]
        if not quality_weights(self._region, slot, count, given, weights, now):
            return None
        return tuple([weights[index] for index in range(count)])

    def nonce_advance(
        self, bytes nonce, uint32_t count, int64_t issued, int64_t lifetime, int64_t now
    ):
        return nonce_advance(self._region, nonce, len(nonce), count, issued, lifetime, now)
