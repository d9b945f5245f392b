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

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy._core_balance cimport drr_adjust


cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/mman.h>

    static inline uint64_t word_load(const uint64_t *word)
    { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
    static inline void word_store(uint64_t *word, uint64_t value)
    { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
    static inline int word_swap(uint64_t *word, uint64_t expected, uint64_t desired)
    { return __atomic_compare_exchange_n(word, &expected, desired, 0, __ATOMIC_SEQ_CST,
                                         __ATOMIC_ACQUIRE); }
    static inline void word_or(uint64_t *word, uint64_t bits)
    { __atomic_fetch_or(word, bits, __ATOMIC_RELAXED); }
    static inline void word_add(uint64_t *word, uint64_t amount)
    { __atomic_fetch_add(word, amount, __ATOMIC_SEQ_CST); }
    static inline uint32_t bit_length(uint64_t value)
    { return value ? 64 - (uint32_t)__builtin_clzll(value) : 0; }
    static inline uint32_t lowest_bit(uint64_t value)
    { return (uint32_t)__builtin_ctzll(value); }

    #define FASTPROXY_MAGIC 0x3153544e554f4346ULL   /* "FCOUNTS1" */
    #define FASTPROXY_SHARED_MEMORY (MAP_SHARED | MAP_NORESERVE)
    #define FASTPROXY_TIME_MASK ((1ULL << 58) - 1)

    #define SIP_ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
    #define SIP_ROUND                                                             \\
        do {                                                                      \\
            a += b; b = SIP_ROTATE(b, 13); b ^= a; a = SIP_ROTATE(a, 32);         \\
            c += d; d = SIP_ROTATE(d, 16); d ^= c;                                \\
            a += d; d = SIP_ROTATE(d, 21); d ^= a;                                \\
            c += b; b = SIP_ROTATE(b, 17); b ^= c; c = SIP_ROTATE(c, 32);         \\
        } while (0)

    /* SipHash-1-3 with 128 bits of result (Aumasson, Bernstein, 2012): a keyed hash, so that a
       client cannot choose keys that share a place. */
    static inline void keyed_hash(const uint64_t *secret, const char *data, size_t size,
                                  uint64_t *low, uint64_t *high)
    {
        uint64_t a = secret[0] ^ 0x736f6d6570736575ULL;
        uint64_t b = secret[1] ^ 0x646f72616e646f6dULL ^ 0xee;
        uint64_t c = secret[0] ^ 0x6c7967656e657261ULL;
        uint64_t d = secret[1] ^ 0x7465646279746573ULL;
        uint64_t last = (uint64_t)size << 56, block;
        size_t rest = size & 7, i;
        for (i = 0; i + 8 <= size; i += 8) {
            memcpy(&block, data + i, 8);
            d ^= block; SIP_ROUND; a ^= block;
        }
        block = 0;
        if (rest) memcpy(&block, data + i, rest);
        last |= block;
        d ^= last; SIP_ROUND; a ^= last;
        c ^= 0xee;
        SIP_ROUND; SIP_ROUND; SIP_ROUND;
        *low = a ^ b ^ c ^ d;
        b ^= 0xdd;
        SIP_ROUND; SIP_ROUND; SIP_ROUND;
        *high = a ^ b ^ c ^ d;
    }
    """
    uint64_t word_load(const uint64_t* word) noexcept nogil
    void word_store(uint64_t* word, uint64_t value) noexcept nogil
    bint word_swap(uint64_t* word, uint64_t expected, uint64_t desired) noexcept nogil
    void word_or(uint64_t* word, uint64_t bits) noexcept nogil
    void word_add(uint64_t* word, uint64_t amount) noexcept nogil
    uint32_t bit_length(uint64_t value) noexcept nogil
    uint32_t lowest_bit(uint64_t value) noexcept nogil
    void keyed_hash(
        const uint64_t* secret, const char* data, size_t size, uint64_t* low, uint64_t* high
    ) noexcept nogil
    const uint64_t FASTPROXY_MAGIC
    const int FASTPROXY_SHARED_MEMORY
    const uint64_t TIME_MASK "FASTPROXY_TIME_MASK"


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


# ---------------------------------------------------------------------------------------------
# Layout. Every start and stride is a multiple of the page size, so that slots can be punched out.

cdef enum:
    PAGE = 4096
    WORKERS = 1024
    SLOTS = 8192                     # per kind
    TICKETS = 262144                 # requests in progress per worker that hold a count
    TICKET_STRIDE = PAGE + TICKETS * 16

    WAYS = 32                        # places a key may stand in
    TOP_LEVEL = 3
    TABLE_SETS = 4384                # of all levels, rounded up to whole pages
    TABLE_HEADER = 64
    CONNECTION_STRIDE = PAGE + TABLE_SETS * WAYS * 8
    RATE_SET = WAYS * 4              # words: tags, creation times, two buckets for each way
    RATE_STRIDE = PAGE + TABLE_SETS * RATE_SET * 8
    MAXIMUM_BUCKETS = 32

    CODES = 900                      # status 100..999
    WINDOW = 10                      # seconds
    LATENCIES = 3328                 # values of a histogram of 2 significant digits, 1 us .. 1 h
    PERIODS = 6                      # histograms of 10 s
    BREAKER_CODES = PAGE
    BREAKER_LATENCIES = PAGE + 18 * PAGE
    BREAKER_STRIDE = BREAKER_LATENCIES + 39 * PAGE

    ENDPOINTS = 1024                 # per backend
    ENDPOINT_WORDS = 24
    QUALITY_STRIDE = 51 * PAGE

    NO_WORKER_NUMBER = 0xFFFFFFFF

cdef uint64_t TICKETS_AT = PAGE
cdef uint64_t CONNECTIONS_AT = PAGE + <uint64_t>WORKERS * TICKET_STRIDE
cdef uint64_t RATE_AT = CONNECTIONS_AT + <uint64_t>SLOTS * CONNECTION_STRIDE
cdef uint64_t BREAKER_AT = RATE_AT + <uint64_t>SLOTS * RATE_STRIDE
cdef uint64_t QUALITY_AT = BREAKER_AT + <uint64_t>SLOTS * BREAKER_STRIDE
cdef uint64_t REGION_SIZE = QUALITY_AT + <uint64_t>SLOTS * QUALITY_STRIDE

cdef uint32_t[4] LEVEL_SETS = [2, 16, 256, 4096]
cdef uint32_t[4] LEVEL_START = [0, 2, 18, 274]

_PLACES = {
    "connections": (CONNECTIONS_AT, CONNECTION_STRIDE),
    "rate": (RATE_AT, RATE_STRIDE),
    "breaker": (BREAKER_AT, BREAKER_STRIDE),
    "quality": (QUALITY_AT, QUALITY_STRIDE),
}
KINDS = tuple(_PLACES)
MAXIMUM_WORKERS = WORKERS
NO_WORKER = <uint32_t>NO_WORKER_NUMBER


cdef Region* region_open(int descriptor, uint32_t worker) noexcept nogil:
    cdef void* base = mmap(
        NULL, REGION_SIZE, PROT_READ | PROT_WRITE, FASTPROXY_SHARED_MEMORY, descriptor, 0
    )
    if base == MAP_FAILED:
        return NULL
    madvise(base, REGION_SIZE, MADV_DONTDUMP)
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
        munmap(base, REGION_SIZE)
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
    munmap(region.base, REGION_SIZE)
    free(region.ticket_next)
    free(region.quality_seen)
    free(region)


# ---------------------------------------------------------------------------------------------
# Maximum connections.
#
# A table of words  tag:44 count:20.  A word whose count is zero is free for another key. The tag
# and the 12 bits that choose the set are independent bits of the keyed hash.

cdef enum:
    COUNT_BITS = 20
    COUNT_MASK = (1 << 20) - 1
    WITHDRAWN = 1                    # the tag of a word given up by its creator


cdef inline uint64_t* tickets_of(Region* region, uint32_t worker) noexcept nogil:
    return <uint64_t*>(region.base + TICKETS_AT + <uint64_t>worker * TICKET_STRIDE)


cdef inline uint64_t* ticket_row(Region* region, uint32_t worker, uint32_t index) noexcept nogil:
    # a row: offset of the counted word in the region (0 = free), tag of the key
    return tickets_of(region, worker) + PAGE // 8 + 2 * <uint64_t>index


cdef uint32_t ticket_new(Region* region) noexcept nogil:
    cdef uint32_t number = region.ticket_free
    if number != 0:
        region.ticket_free = region.ticket_next[number - 1]
        return number
    if region.ticket_high == TICKETS:
        return 0
    region.ticket_high += 1
    word_store(tickets_of(region, region.worker), region.ticket_high)
    return region.ticket_high


cdef inline void ticket_free(Region* region, uint32_t number) noexcept nogil:
    word_store(ticket_row(region, region.worker, number - 1), 0)
    region.ticket_next[number - 1] = region.ticket_free
    region.ticket_free = number


cdef void connection_decrement(Region* region, uint64_t offset, uint64_t tag) noexcept nogil:
    cdef uint64_t* word = <uint64_t*>(region.base + offset)
    cdef uint64_t value = word_load(word)
    while value >> COUNT_BITS == tag and value & COUNT_MASK:
        if word_swap(word, value, value - 1):
            return
        value = word_load(word)


cdef void region_forget_worker(Region* region, uint32_t worker) noexcept nogil:
    cdef uint64_t used, offset
    cdef uint64_t* row
    cdef uint32_t index
    if worker >= WORKERS:
        return
    used = word_load(tickets_of(region, worker))
    for index in range(<uint32_t>min(used, <uint64_t>TICKETS)):
        row = ticket_row(region, worker, index)
        offset = word_load(row)
        if offset != 0:
            connection_decrement(region, offset, word_load(row + 1))
            word_store(row, 0)
    if used:
        word_store(tickets_of(region, worker), 0)


cdef uint64_t* connection_find(
    uint64_t* sets, uint32_t level, uint64_t tag, uint64_t place, uint64_t* skip, uint64_t** room
) noexcept nogil:
    # `room`: the first word of the largest size that is free for a new key, or NULL
    cdef uint64_t value
    cdef uint64_t* ways
    cdef uint64_t* word
    cdef uint32_t way, home = (place >> 32) & (WAYS - 1)
    cdef bint top = True
    room[0] = NULL
    while True:
        ways = sets + (LEVEL_START[level] + (place & (LEVEL_SETS[level] - 1))) * WAYS
        for way in range(<uint32_t>WAYS):
            word = &ways[(home + way) & (WAYS - 1)]
            value = word_load(word)
            if value >> COUNT_BITS == tag and word != skip:
                return word
            if top and value & COUNT_MASK == 0 and room[0] == NULL:
                room[0] = word
            if value == 0:
                break
        if level == 0:
            return NULL
        level -= 1
        top = False


cdef int connections_take(
    Region* region, uint32_t slot, const char* key, size_t size, int64_t amount, uint64_t* ticket
) noexcept nogil:
    cdef uint64_t low, high, tag, value, level, offset
    cdef uint64_t* header
    cdef uint64_t* sets
    cdef uint64_t* word
    cdef uint64_t* room
    cdef uint64_t* unused
    cdef uint64_t* row
    cdef uint32_t number, _attempt
    ticket[0] = 0
    if region == NULL or slot >= SLOTS or region.worker >= WORKERS:
        return -1
    number = ticket_new(region)
    if number == 0:
        return -1
    keyed_hash(<uint64_t*>region.base + 2, key, size, &low, &high)
    tag = (low >> COUNT_BITS) | 2    # never 0 or WITHDRAWN
    amount = min(amount, <int64_t>COUNT_MASK)
    row = ticket_row(region, region.worker, number - 1)
    header = <uint64_t*>(region.base + CONNECTIONS_AT + <uint64_t>slot * CONNECTION_STRIDE)
    sets = header + TABLE_HEADER // 8
    for _attempt in range(64):
        level = min(word_load(header), <uint64_t>TOP_LEVEL)
        word = connection_find(sets, <uint32_t>level, tag, high, NULL, &room)
        if word == NULL and room == NULL:
            if level == TOP_LEVEL:
                break
            word_swap(header, level, level + 1)
            continue
        # The row stands before the count changes, see "what is approximate" on top.
        if word != NULL:
            value = word_load(word)
            offset = <uint64_t>(<unsigned char*>word - region.base)
            word_store(row + 1, tag)
            while value >> COUNT_BITS == tag:
                if <int64_t>(value & COUNT_MASK) >= amount:
                    ticket_free(region, number)
                    return 0
                word_store(row, offset)
                if word_swap(word, value, value + 1):
                    ticket[0] = number
                    return 1
                word_store(row, 0)
                value = word_load(word)
            continue
        if amount <= 0:
            ticket_free(region, number)
            return 0
        value = word_load(room)
        if value & COUNT_MASK:
            continue
        offset = <uint64_t>(<unsigned char*>room - region.base)
        word_store(row + 1, tag)
        word_store(row, offset)
        if word_swap(room, value, tag << COUNT_BITS | 1):
            level = min(word_load(header), <uint64_t>TOP_LEVEL)
            if connection_find(sets, <uint32_t>level, tag, high, room, &unused) == NULL:
                ticket[0] = number
                return 1
            if not word_swap(room, tag << COUNT_BITS | 1, <uint64_t>WITHDRAWN << COUNT_BITS):
                connection_decrement(region, offset, tag)
        word_store(row, 0)
    ticket_free(region, number)
    return -1


cdef void connections_release(Region* region, uint64_t ticket) noexcept nogil:
    cdef uint64_t* row
    cdef uint64_t offset
    if region == NULL or ticket == 0 or ticket > region.ticket_high:
        return
    row = ticket_row(region, region.worker, <uint32_t>ticket - 1)
    offset = word_load(row)
    if offset == 0:
        return
    connection_decrement(region, offset, word_load(row + 1))
    ticket_free(region, <uint32_t>ticket)


# ---------------------------------------------------------------------------------------------
# Rate limit.
#
# An entry is a tag, a creation word  generation:6 time:58  and two buckets
# generation:6 used:u last:l.  `used` = burst - tokens, `last` counts from the creation, so that
# a zero word is a full bucket and
# one swap of the creation word restarts the entry. u is as wide as the burst needs; should the
# rest not hold the lifetime in nanoseconds (burst 800: 78 hours), `last` is kept in units of
# 2, 4, ... ns. Further buckets of a key stand in entries of their own.

cdef enum:
    TIME_BITS = 58
    MAXIMUM_BURST = 0x7FFFFFFF

cdef struct Entry:
    uint64_t* tag
    uint64_t* created
    uint64_t* buckets


cdef struct Room:
    Entry entry
    uint64_t tag
    uint64_t created


cdef inline void entry_at(uint64_t* ways, uint32_t way, Entry* entry) noexcept nogil:
    entry.tag = ways + way
    entry.created = ways + WAYS + way
    entry.buckets = ways + 2 * WAYS + 2 * way


cdef inline bint rate_expired(uint64_t created, int64_t lifetime, int64_t now) noexcept nogil:
    cdef int64_t time = <int64_t>(created & TIME_MASK)
    return time != 0 and now - time >= lifetime


cdef bint rate_find(
    uint64_t* sets, uint32_t level, uint64_t tag, uint64_t place, int64_t lifetime, int64_t now,
    uint64_t* skip, Entry* found, Room* room
) noexcept nogil:
    # `room` is the place for a new key: the first one never used, else the first one expired, else
    # the one expiring first; `room.tag` tells which (0 and WITHDRAWN: unused).
    cdef uint64_t value, created, oldest = 0
    cdef uint64_t* ways
    cdef uint32_t way, step, home = (place >> 32) & (WAYS - 1)
    cdef bint top = True, settled = False
    room.entry.tag = NULL
    while True:
        ways = sets + (LEVEL_START[level] + (place & (LEVEL_SETS[level] - 1))) * RATE_SET
        for step in range(<uint32_t>WAYS):
            way = (home + step) & (WAYS - 1)
            value = word_load(ways + way)
            if value == tag and ways + way != skip:
                entry_at(ways, way, found)
                if top or not rate_expired(word_load(found.created), lifetime, now):
                    return True
            if top and not settled:
                created = word_load(ways + WAYS + way)
                settled = value <= WITHDRAWN or rate_expired(created, lifetime, now)
                if settled or room.entry.tag == NULL or created & TIME_MASK < oldest:
                    entry_at(ways, way, &room.entry)
                    room.tag = value
                    room.created = created
                    oldest = created & TIME_MASK
            if value == 0:
                break
        if level == 0:
            return False
        level -= 1
        top = False


cdef inline bint rate_renew(uint64_t* created, uint64_t seen, uint64_t time) noexcept nogil:
    # a new generation, so that the buckets count as full; time 0 = to be set by the next visitor
    cdef uint64_t generation = (seen >> TIME_BITS) + 1
    return word_swap(created, seen, generation << TIME_BITS | time)


cdef uint64_t rate_entry(
    uint64_t* header, uint64_t tag, uint64_t place, int64_t lifetime, int64_t now, Entry* entry
) noexcept nogil:
    # Returns the creation word of the live entry of this key, 0 when it could not be had.
    cdef uint64_t* sets = header + TABLE_HEADER // 8
    cdef uint64_t level, created
    cdef Room room, unused
    cdef Entry other
    cdef uint32_t _attempt
    for _attempt in range(64):
        level = min(word_load(header), <uint64_t>TOP_LEVEL)
        if rate_find(sets, <uint32_t>level, tag, place, lifetime, now, NULL, entry, &room):
            created = word_load(entry.created)
            if created & TIME_MASK == 0:
                word_swap(entry.created, created, created | <uint64_t>now)
            elif rate_expired(created, lifetime, now):
                rate_renew(entry.created, created, <uint64_t>now)
            elif word_load(entry.tag) == tag:
                return created
            continue
        if room.tag > WITHDRAWN and not rate_expired(room.created, lifetime, now):
            if level < TOP_LEVEL:
                word_swap(header, level, level + 1)
                continue
        if room.tag > WITHDRAWN and not rate_renew(room.entry.created, room.created, 0):
            continue
        if not word_swap(room.entry.tag, room.tag, tag):
            continue
        level = min(word_load(header), <uint64_t>TOP_LEVEL)
        if rate_find(
            sets, <uint32_t>level, tag, place, lifetime, now, room.entry.tag, &other, &unused
        ):
            rate_renew(room.entry.created, word_load(room.entry.created), 0)
            word_swap(room.entry.tag, tag, WITHDRAWN)
    return 0


cdef struct Taken:
    uint64_t* word
    uint64_t generation
    uint32_t last_bits


cdef inline void rate_give_back(Taken* taken) noexcept nogil:
    cdef uint64_t value = word_load(taken.word)
    cdef uint64_t used_mask = (<uint64_t>1 << (TIME_BITS - taken.last_bits)) - 1
    while value >> TIME_BITS == taken.generation and (value >> taken.last_bits) & used_mask:
        if word_swap(taken.word, value, value - (<uint64_t>1 << taken.last_bits)):
            return
        value = word_load(taken.word)


cdef int64_t rate_bucket(
    Entry* entry, uint32_t index, uint64_t created, int64_t token, int64_t burst,
    int64_t lifetime, int64_t now, Taken* taken
) noexcept nogil:
    # 0: a token was taken; > 0: the delay; -1: the entry changed hands, look it up again
    cdef uint64_t* word = entry.buckets + index
    cdef uint64_t generation = created >> TIME_BITS
    cdef uint64_t value, mask
    cdef uint32_t last_bits = TIME_BITS - bit_length(<uint64_t>burst)
    cdef uint32_t needed = bit_length(<uint64_t>lifetime)
    cdef uint32_t shift = needed - last_bits if needed > last_bits else 0
    cdef int64_t age = max(now - <int64_t>(created & TIME_MASK), 0)
    cdef int64_t used, last, refill
    mask = (<uint64_t>1 << last_bits) - 1
    while True:
        value = word_load(word)
        used = last = 0
        if value >> TIME_BITS == generation:
            used = <int64_t>((value & TIME_MASK) >> last_bits)
            last = <int64_t>(value & mask)
        refill = (age - (last << shift)) // token if age > (last << shift) else 0
        if refill > 0:
            used = used - refill if used > refill else 0
            last = age >> shift
        if used >= burst:
            return token
        if word_swap(
            word, value,
            generation << TIME_BITS | <uint64_t>(used + 1) << last_bits | <uint64_t>last,
        ):
            taken.word = word
            taken.generation = generation
            taken.last_bits = last_bits
            return 0
        if word_load(entry.created) != created:
            return -1


cdef int64_t rate_take(
    Region* region, uint32_t slot, const char* key, size_t size,
    const int64_t* token_ns_and_burst, uint32_t buckets, int64_t lifetime_s, int64_t now_ns
) noexcept nogil:
    cdef uint64_t low, high, created = 0, tag
    cdef uint64_t* header
    cdef Entry entry
    cdef Taken[32] taken
    cdef uint32_t index, count = 0
    cdef int64_t token, burst, delay, largest = 0
    cdef int64_t lifetime = min(lifetime_s, <int64_t>100000000) * 1000000000
    if region == NULL or slot >= SLOTS or buckets == 0:
        return 0
    now_ns = max(now_ns, 1)
    keyed_hash(<uint64_t*>region.base + 2, key, size, &low, &high)
    header = <uint64_t*>(region.base + RATE_AT + <uint64_t>slot * RATE_STRIDE)
    index = 0
    while index < min(buckets, <uint32_t>MAXIMUM_BUCKETS):
        if index % 2 == 0 or created == 0:
            tag = low + (index >> 1) * <uint64_t>0x9E3779B97F4A7C15
            if tag <= WITHDRAWN:
                tag += 2
            created = rate_entry(
                header, tag, high + (index >> 1) * <uint64_t>0x1000000B5, lifetime, now_ns, &entry
            )
            if created == 0:
                index += 2 - index % 2       # not counted rather than refused
                continue
        token = token_ns_and_burst[2 * index]
        burst = min(token_ns_and_burst[2 * index + 1], <int64_t>MAXIMUM_BURST)
        if token <= 0:                        # never refills, and never refuses either
            index += 1
            continue
        delay = rate_bucket(
            &entry, index % 2, created, token, burst, lifetime, now_ns, &taken[count]
        )
        if delay < 0:
            created = 0
            continue
        if delay == 0:
            count += 1
        largest = max(largest, delay)
        index += 1
    if largest:
        for index in range(count):
            rate_give_back(&taken[index])
    return largest


# ---------------------------------------------------------------------------------------------
# Windows: a word  epoch:10 stamp:26 count:28  counts for its stamp (second, period) only.

cdef enum:
    WINDOW_COUNT_BITS = 28
    WINDOW_COUNT_MASK = (1 << 28) - 1
    STAMP_MASK = (1 << 26) - 1
    EPOCH_MASK = (1 << 10) - 1


cdef inline uint64_t window_stamp(uint64_t epoch, int64_t stamp) noexcept nogil:
    return (epoch & EPOCH_MASK) << 26 | (<uint64_t>stamp & STAMP_MASK)


cdef inline void window_add(uint64_t* word, uint64_t epoch, int64_t stamp) noexcept nogil:
    cdef uint64_t wanted = window_stamp(epoch, stamp)
    cdef uint64_t value
    while True:
        value = word_load(word)
        if value >> WINDOW_COUNT_BITS != wanted:
            if word_swap(word, value, wanted << WINDOW_COUNT_BITS | 1):
                return
        elif value & WINDOW_COUNT_MASK == WINDOW_COUNT_MASK or word_swap(word, value, value + 1):
            return


cdef inline uint64_t window_sum(
    uint64_t* words, uint32_t size, uint64_t epoch, int64_t stamp
) noexcept nogil:
    cdef uint64_t value, total = 0
    cdef uint32_t index
    for index in range(size):
        value = word_load(words + index)
        if value >> 54 == epoch & EPOCH_MASK:
            if ((<uint64_t>stamp - (value >> WINDOW_COUNT_BITS)) & STAMP_MASK) < size:
                total += value & WINDOW_COUNT_MASK
    return total


# ---------------------------------------------------------------------------------------------
# Circuit breaker.
#
# The state is one word  state:2 epoch:10 until:52 (microseconds). Tripping starts a new epoch,
# which clears all windows and the counts of the recovery. About 58 pages when every status and
# latency
# occurs; 3 to 10 in practice.

cdef enum BreakerState:
    STANDBY = 0
    TRIPPED = 1
    RECOVERING = 2

cdef enum:
    BREAKER_STATE = 0                # words of the first page
    BREAKER_ADMISSIONS = 1           # epoch:10 allowed:27 denied:27
    BREAKER_CHECK = 2                # no evaluation up to this microsecond
    BREAKER_TOTAL = 8
    BREAKER_NETWORK = 18
    BREAKER_SEEN_CODES = 32
    BREAKER_SEEN_LATENCIES = 48
    CODE_BLOCKS = 15
    LATENCY_BLOCKS = 52
    ADMISSION_MASK = (1 << 27) - 1
    CHECK_PERIOD_US = 100000
    TRIPPED_US = 10000000
    RECOVERY_US = 10000000

# from a state, the set of states it may become
cdef uint8_t[3] BREAKER_MOVES = [1 << TRIPPED, 1 << RECOVERING, 1 << TRIPPED | 1 << STANDBY]

STATE_NAMES = ("standby", "tripped", "recovering")


cdef inline uint64_t* breaker_of(Region* region, uint32_t slot) noexcept nogil:
    return <uint64_t*>(region.base + BREAKER_AT + <uint64_t>slot * BREAKER_STRIDE)


cdef inline uint64_t breaker_epoch(uint64_t state) noexcept nogil:
    return (state >> 52) & EPOCH_MASK


cdef inline int64_t breaker_until(uint64_t state) noexcept nogil:
    return <int64_t>(state & ((<uint64_t>1 << 52) - 1))


cdef bint breaker_move(
    uint64_t* breaker, uint64_t state, uint64_t target, int64_t until
) noexcept nogil:
    cdef uint64_t epoch = breaker_epoch(state) + (1 if target == TRIPPED else 0)
    if not BREAKER_MOVES[state >> 62] >> target & 1:
        return False
    return word_swap(
        breaker + BREAKER_STATE, state,
        target << 62 | (epoch & EPOCH_MASK) << 52 | <uint64_t>until,
    )


cdef int breaker_ration(uint64_t* breaker, uint64_t state, int64_t now_us) noexcept nogil:
    # (allowed + 1) / (allowed + 1 + denied) < 0.5 * elapsed / 10 s, in whole numbers
    cdef uint64_t* word = breaker + BREAKER_ADMISSIONS
    cdef uint64_t epoch = breaker_epoch(state)
    cdef int64_t elapsed = max(now_us - (breaker_until(state) - RECOVERY_US), 0)
    cdef uint64_t value
    cdef int64_t allowed, denied
    cdef bint allow
    while True:
        value = word_load(word)
        allowed = denied = 0
        if value >> 54 == epoch:
            allowed = <int64_t>(value >> 27 & ADMISSION_MASK)
            denied = <int64_t>(value & ADMISSION_MASK)
        allow = (allowed + 1) * 2 * RECOVERY_US < elapsed * (allowed + 1 + denied)
        if allow:
            allowed = min(allowed + 1, <int64_t>ADMISSION_MASK)
        else:
            denied = min(denied + 1, <int64_t>ADMISSION_MASK)
        if word_swap(word, value, epoch << 54 | <uint64_t>allowed << 27 | <uint64_t>denied):
            return allow


cdef int breaker_admit(Region* region, uint32_t slot, int64_t now_ns) noexcept nogil:
    cdef uint64_t* breaker
    cdef uint64_t state
    cdef int64_t now_us = now_ns // 1000
    if region == NULL or slot >= SLOTS:
        return 1
    breaker = breaker_of(region, slot)
    while True:
        state = word_load(breaker + BREAKER_STATE)
        if state >> 62 == TRIPPED:
            if now_us < breaker_until(state):
                return 0
            breaker_move(breaker, state, RECOVERING, now_us + RECOVERY_US)
        elif state >> 62 == RECOVERING:
            if now_us <= breaker_until(state):
                return breaker_ration(breaker, state, now_us)
            breaker_move(breaker, state, STANDBY, 0)
        else:
            return 1


cdef inline void seen_mark(uint64_t* blocks, uint32_t index) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (index & 63)
    if not word_load(blocks + (index >> 6)) & bit:
        word_or(blocks + (index >> 6), bit)


cdef inline uint64_t* breaker_code(uint64_t* breaker, uint32_t index) noexcept nogil:
    return breaker + BREAKER_CODES // 8 + index * WINDOW


cdef inline uint64_t* breaker_latency(uint64_t* breaker, uint32_t index) noexcept nogil:
    return breaker + BREAKER_LATENCIES // 8 + index * PERIODS


cdef inline uint32_t latency_index(int64_t microseconds) noexcept nogil:
    # 256 steps up to 255 us, then 128 steps per doubling: 2 significant digits (HDR histogram)
    cdef uint64_t value = <uint64_t>min(max(microseconds, <int64_t>0), <int64_t>3600000000)
    cdef uint32_t doubling = bit_length(value | 255) - 8
    return ((doubling + 1) << 7) + <uint32_t>(value >> doubling) - 128


cdef inline int64_t latency_highest(uint32_t index) noexcept nogil:
    # the highest value that falls into the same step
    cdef int64_t doubling = <int64_t>(index >> 7) - 1
    if doubling < 0:
        return index
    return ((<int64_t>(index & 127) + 129) << doubling) - 1


cdef int64_t breaker_latency_at(
    uint64_t* breaker, uint64_t epoch, double quantile, int64_t period
) noexcept nogil:
    cdef uint64_t[52] seen
    cdef uint64_t bits, total = 0, wanted, passed = 0
    cdef uint32_t block, index
    for block in range(<uint32_t>LATENCY_BLOCKS):
        bits = seen[block] = word_load(breaker + BREAKER_SEEN_LATENCIES + block)
        while bits:
            index = block * 64 + lowest_bit(bits)
            total += window_sum(breaker_latency(breaker, index), PERIODS, epoch, period)
            bits &= bits - 1
    wanted = <uint64_t>(min(quantile, 100.0) / 100.0 * <double>total + 0.5)
    if total == 0:
        return 0
    for block in range(<uint32_t>LATENCY_BLOCKS):
        bits = seen[block]
        while bits:
            index = block * 64 + lowest_bit(bits)
            passed += window_sum(breaker_latency(breaker, index), PERIODS, epoch, period)
            if passed and passed >= wanted:
                return latency_highest(index) // 1000
            bits &= bits - 1
    return 0


cdef uint64_t breaker_codes(
    uint64_t* breaker, uint64_t epoch, int64_t low, int64_t high, int64_t second
) noexcept nogil:
    # answers of the last 10 s with low <= status < high
    cdef uint64_t bits, total = 0
    cdef uint32_t block, index
    for block in range(<uint32_t>CODE_BLOCKS):
        bits = word_load(breaker + BREAKER_SEEN_CODES + block)
        while bits:
            index = block * 64 + lowest_bit(bits)
            if low <= <int64_t>index + 100 < high:
                total += window_sum(breaker_code(breaker, index), WINDOW, epoch, second)
            bits &= bits - 1
    return total


cdef double breaker_network_ratio(
    uint64_t* breaker, uint64_t epoch, int64_t second
) noexcept nogil:
    cdef uint64_t total = window_sum(breaker + BREAKER_TOTAL, WINDOW, epoch, second)
    if total == 0:
        return 0.0
    return <double>window_sum(breaker + BREAKER_NETWORK, WINDOW, epoch, second) / <double>total


cdef double breaker_code_ratio(
    uint64_t* breaker, uint64_t epoch, const int32_t* bounds, int64_t second
) noexcept nogil:
    cdef uint64_t divisor = breaker_codes(breaker, epoch, bounds[2], bounds[3], second)
    if divisor == 0:
        return 0.0
    return <double>breaker_codes(breaker, epoch, bounds[0], bounds[1], second) / <double>divisor


# The condition: the postfix program of fastproxy/expression.py, instructions of 40 bytes.

cdef enum:
    INSTRUCTION_SIZE = 40
    CODE_AND = 1
    CODE_OR = 2
    CODE_NETWORK_ERROR_RATIO = 3
    CODE_RESPONSE_CODE_RATIO = 4
    CODE_LATENCY_AT_QUANTILE = 5

ctypedef struct Instruction:
    uint32_t code
    uint32_t comparison
    int32_t[4] codes
    double quantile
    int64_t literal                  # or the bits of a double

ctypedef fused Number:
    int64_t
    double


cdef inline bint compare(Number left, uint32_t comparison, Number right) noexcept nogil:
    if comparison == 0:
        return left == right
    if comparison == 1:
        return left != right
    if comparison == 2:
        return left < right
    if comparison == 3:
        return left <= right
    if comparison == 4:
        return left > right
    return left >= right


cdef bint breaker_term(
    uint64_t* breaker, uint64_t epoch, const Instruction* step, int64_t second
) noexcept nogil:
    cdef double ratio, literal
    if step.code == CODE_LATENCY_AT_QUANTILE:
        return compare[int64_t](
            breaker_latency_at(breaker, epoch, step.quantile, second // 10),
            step.comparison, step.literal,
        )
    memcpy(&literal, &step.literal, sizeof(double))
    if step.code == CODE_NETWORK_ERROR_RATIO:
        ratio = breaker_network_ratio(breaker, epoch, second)
    else:
        ratio = breaker_code_ratio(breaker, epoch, step.codes, second)
    return compare[double](ratio, step.comparison, literal)


cdef bint breaker_condition(
    uint64_t* breaker, uint64_t epoch, const char* program, size_t size, int64_t second
) noexcept nogil:
    # the stack of truth values is one word, newest lowest
    cdef Instruction step
    cdef uint64_t stack = 0
    cdef size_t offset = 0
    while offset + INSTRUCTION_SIZE <= size:
        memcpy(&step, program + offset, INSTRUCTION_SIZE)
        offset += INSTRUCTION_SIZE
        if step.code == CODE_AND:
            stack = (stack >> 1) & ~<uint64_t>1 | (stack & (stack >> 1) & 1)
        elif step.code == CODE_OR:
            stack = (stack >> 1) | (stack & 1)
        else:
            stack = stack << 1 | breaker_term(breaker, epoch, &step, second)
    return stack & 1


cdef void breaker_record(
    Region* region, uint32_t slot, int status, int64_t latency_ns,
    const char* program, size_t size, int64_t now_ns
) noexcept nogil:
    cdef uint64_t* breaker
    cdef uint64_t state, epoch, check
    cdef uint32_t code, latency
    cdef int64_t now_us = now_ns // 1000
    cdef int64_t second = now_ns // 1000000000
    cdef int64_t period = second // 10
    if region == NULL or slot >= SLOTS:
        return
    breaker = breaker_of(region, slot)
    state = word_load(breaker + BREAKER_STATE)
    epoch = breaker_epoch(state)
    code = <uint32_t>min(max(status, 100), 999) - 100
    latency = latency_index(latency_ns // 1000)
    window_add(breaker + BREAKER_TOTAL + second % WINDOW, epoch, second)
    if status == 502 or status == 504:
        window_add(breaker + BREAKER_NETWORK + second % WINDOW, epoch, second)
    window_add(breaker_code(breaker, code) + second % WINDOW, epoch, second)
    seen_mark(breaker + BREAKER_SEEN_CODES, code)
    window_add(breaker_latency(breaker, latency) + period % PERIODS, epoch, period)
    seen_mark(breaker + BREAKER_SEEN_LATENCIES, latency)

    check = word_load(breaker + BREAKER_CHECK)
    if now_us <= <int64_t>check:
        return
    if not word_swap(breaker + BREAKER_CHECK, check, <uint64_t>(now_us + CHECK_PERIOD_US)):
        return
    if state >> 62 != TRIPPED and breaker_condition(breaker, epoch, program, size, second):
        breaker_move(breaker, state, TRIPPED, now_us + TRIPPED_US)


# ---------------------------------------------------------------------------------------------
# Quality of endpoints (drr).
#
# The control word  writing:1 version:15 timer:48 (microseconds)  is the turn to change weights:
# who swaps it writes the weights and raises the version. A writer that dies leaves `writing` set
# until its timer has passed; until then everybody keeps the weights it has. A stored weight of 0
# means
# the original one.

cdef enum:
    QUALITY_FINGERPRINT = 0
    QUALITY_CONTROL = 1
    QUALITY_EPOCH = 2
    QUALITY_BAD_SECOND = 3           # of the last bad answer, + 1
    QUALITY_MOVED = 4                # weights differ from the original ones
    QUALITY_WEIGHTS = 8
    QUALITY_ENDPOINTS = QUALITY_WEIGHTS + ENDPOINTS
    ENDPOINT_GOOD = 0
    ENDPOINT_BAD = 10
    ENDPOINT_GOOD_SECONDS = 20       # distinct seconds with such answers: a window word whose
    ENDPOINT_BAD_SECONDS = 21        # stamp is the last second
    READY_SECONDS = 10
    BACK_OFF_US = 10000000

cdef uint64_t TIMER_MASK = (<uint64_t>1 << 48) - 1
cdef uint64_t VERSION_MASK = (1 << 15) - 1
cdef uint64_t WRITING = <uint64_t>1 << 63


cdef inline uint64_t* quality_of(Region* region, uint32_t slot) noexcept nogil:
    return <uint64_t*>(region.base + QUALITY_AT + <uint64_t>slot * QUALITY_STRIDE)


cdef void quality_reset(Region* region, uint32_t slot, uint64_t fingerprint) noexcept nogil:
    cdef uint64_t* quality
    cdef uint64_t known, control, version
    cdef uint32_t index
    if region == NULL or slot >= SLOTS:
        return
    quality = quality_of(region, slot)
    known = word_load(quality + QUALITY_FINGERPRINT)
    if known == fingerprint or not word_swap(quality + QUALITY_FINGERPRINT, known, fingerprint):
        return
    word_add(quality + QUALITY_EPOCH, 1)
    word_store(quality + QUALITY_BAD_SECOND, 0)
    if word_load(quality + QUALITY_MOVED):
        for index in range(<uint32_t>ENDPOINTS):
            word_store(quality + QUALITY_WEIGHTS + index, 0)
        word_store(quality + QUALITY_MOVED, 0)
    while True:
        control = word_load(quality + QUALITY_CONTROL)
        version = ((control >> 48) + 1) & VERSION_MASK
        if word_swap(quality + QUALITY_CONTROL, control, version << 48):
            return


cdef inline void seconds_count(uint64_t* word, uint64_t epoch, int64_t second) noexcept nogil:
    cdef uint64_t wanted = window_stamp(epoch, second)
    cdef uint64_t value, count
    while True:
        value = word_load(word)
        if value >> WINDOW_COUNT_BITS == wanted:
            return
        count = 1
        if value >> 54 == epoch & EPOCH_MASK:
            count = min((value & WINDOW_COUNT_MASK) + 1, <uint64_t>READY_SECONDS)
        if word_swap(word, value, wanted << WINDOW_COUNT_BITS | count):
            return


cdef inline uint64_t seconds_counted(uint64_t* word, uint64_t epoch) noexcept nogil:
    cdef uint64_t value = word_load(word)
    return value & WINDOW_COUNT_MASK if value >> 54 == epoch & EPOCH_MASK else 0


cdef void quality_record(
    Region* region, uint32_t slot, uint32_t endpoint, int status, int64_t now_ns
) noexcept nogil:
    cdef uint64_t* quality
    cdef uint64_t* words
    cdef uint64_t epoch
    cdef int64_t second = now_ns // 1000000000
    if region == NULL or slot >= SLOTS or endpoint >= ENDPOINTS:
        return
    quality = quality_of(region, slot)
    words = quality + QUALITY_ENDPOINTS + endpoint * ENDPOINT_WORDS
    epoch = word_load(quality + QUALITY_EPOCH)
    if 500 <= status <= 504:
        window_add(words + ENDPOINT_BAD + second % WINDOW, epoch, second)
        seconds_count(words + ENDPOINT_BAD_SECONDS, epoch, second)
        word_store(quality + QUALITY_BAD_SECOND, <uint64_t>second + 1)
    else:
        window_add(words + ENDPOINT_GOOD + second % WINDOW, epoch, second)
        seconds_count(words + ENDPOINT_GOOD_SECONDS, epoch, second)


cdef bint quality_ratings(
    uint64_t* quality, uint32_t count, int64_t second, double* ratings
) noexcept nogil:
    # False while a server is not ready
    cdef uint64_t epoch = word_load(quality + QUALITY_EPOCH)
    cdef uint64_t good, bad
    cdef uint64_t* words
    cdef uint32_t index
    for index in range(count):
        words = quality + QUALITY_ENDPOINTS + index * ENDPOINT_WORDS
        if (
            seconds_counted(words + ENDPOINT_GOOD_SECONDS, epoch)
            + seconds_counted(words + ENDPOINT_BAD_SECONDS, epoch)
        ) < READY_SECONDS:
            return False
        bad = window_sum(words + ENDPOINT_BAD, WINDOW, epoch, second)
        good = window_sum(words + ENDPOINT_GOOD, WINDOW, epoch, second)
        ratings[index] = <double>bad / <double>(bad + good) if bad else 0.0
    return True


cdef void quality_load(
    uint64_t* quality, uint32_t count, const int64_t* original, int64_t* weights
) noexcept nogil:
    cdef uint32_t index
    cdef int64_t weight
    for index in range(count):
        weight = <int64_t>word_load(quality + QUALITY_WEIGHTS + index)
        weights[index] = weight if weight > 0 else original[index]


cdef void quality_rebalance(
    uint64_t* quality, uint32_t count, const int64_t* original, uint64_t control, int64_t now_ns
) noexcept nogil:
    cdef double[1024] ratings
    cdef int64_t[1024] weights
    cdef uint64_t timer = <uint64_t>(now_ns // 1000 + BACK_OFF_US) & TIMER_MASK
    cdef uint64_t version = (control >> 48) & VERSION_MASK
    cdef uint64_t moved = 0
    cdef uint32_t index
    if not quality_ratings(quality, count, now_ns // 1000000000, ratings):
        return
    quality_load(quality, count, original, weights)
    if drr_adjust(count, ratings, original, weights) != 1:
        return
    if not word_swap(quality + QUALITY_CONTROL, control, WRITING | version << 48 | timer):
        return
    word_store(quality + QUALITY_MOVED, 1)
    for index in range(count):
        moved |= weights[index] != original[index]
        word_store(quality + QUALITY_WEIGHTS + index, <uint64_t>weights[index])
    word_store(quality + QUALITY_MOVED, moved)
    word_swap(
        quality + QUALITY_CONTROL, WRITING | version << 48 | timer,
        ((version + 1) & VERSION_MASK) << 48 | timer,
    )


cdef int quality_weights(
    Region* region, uint32_t slot, uint32_t count, const int64_t* original, int64_t* weights,
    int64_t now_ns
) noexcept nogil:
    cdef uint64_t* quality
    cdef uint64_t control, bad_second
    cdef uint32_t version
    if region == NULL or slot >= SLOTS or count == 0 or count > ENDPOINTS:
        return 0
    quality = quality_of(region, slot)
    control = word_load(quality + QUALITY_CONTROL)
    bad_second = word_load(quality + QUALITY_BAD_SECOND)
    # Without a bad answer in the window and with original weights there is nothing to compute.
    if count >= 2 and <int64_t>(control & TIMER_MASK) < now_ns // 1000 and (
        word_load(quality + QUALITY_MOVED)
        or (bad_second and now_ns // 1000000000 + 1 - <int64_t>bad_second < WINDOW)
    ):
        quality_rebalance(quality, count, original, control, now_ns)
        control = word_load(quality + QUALITY_CONTROL)
    version = <uint32_t>(control >> 48 & VERSION_MASK)
    if control & WRITING or region.quality_seen[slot] == version:
        return 0
    quality_load(quality, count, original, weights)
    if word_load(quality + QUALITY_CONTROL) >> 48 != version:
        return 0
    region.quality_seen[slot] = version
    return 1


# ---------------------------------------------------------------------------------------------
# Python's view.

def create_region():
    descriptor = os.memfd_create("fastproxy-counters", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, REGION_SIZE)
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
        if self._region == NULL or slot >= SLOTS:
            return STATE_NAMES[STANDBY]
        return STATE_NAMES[word_load(breaker_of(self._region, slot) + BREAKER_STATE) >> 62]

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
