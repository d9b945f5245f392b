# Where everything stands in the shared region, and the atomic words it is made of. The essay is in
# region.pyx.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
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


# Every start and stride is a multiple of the page size, so that slots can be punched out.
cdef enum:
    PAGE = 4096
    SECRET_AT = 16                   # behind magic and version
    SECRET_SIZE = 16
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

    NONCE_SETS = 2048                # of nonces; each has WAYS of them
    NONCES_SIZE = (NONCE_SETS * (WAYS + 1) * 8 // PAGE + 1) * PAGE

    REQUEST_COUNTER_AT = 512         # in the header: RequestCount of the access log

    NO_WORKER_NUMBER = 0xFFFFFFFF

cdef inline uint64_t tickets_at() noexcept nogil:
    return PAGE


# The first page of a worker's tickets: how many were used; behind it what shows that it lives (see
# heartbeat.py): a count of ticks, and whether it is about something long. The controller's is in
# the header.
cdef inline uint64_t beats_at(uint32_t worker) noexcept nogil:
    return tickets_at() + <uint64_t>worker * TICKET_STRIDE + 64 if worker < WORKERS else 256


cdef inline uint64_t connections_at() noexcept nogil:
    return tickets_at() + <uint64_t>WORKERS * TICKET_STRIDE


cdef inline uint64_t rate_at() noexcept nogil:
    return connections_at() + <uint64_t>SLOTS * CONNECTION_STRIDE


cdef inline uint64_t breaker_at() noexcept nogil:
    return rate_at() + <uint64_t>SLOTS * RATE_STRIDE


cdef inline uint64_t quality_at() noexcept nogil:
    return breaker_at() + <uint64_t>SLOTS * BREAKER_STRIDE


cdef inline uint64_t nonces_at() noexcept nogil:
    return quality_at() + <uint64_t>SLOTS * QUALITY_STRIDE


cdef inline uint64_t region_size() noexcept nogil:
    return nonces_at() + NONCES_SIZE


# The sets of a table of keys, by level.

cdef inline uint32_t level_sets(uint32_t level) noexcept nogil:
    return 2 if level == 0 else 1 << (4 * level)


cdef inline uint32_t level_start(uint32_t level) noexcept nogil:
    return 0 if level == 0 else 2 if level == 1 else 18 if level == 2 else 274


cdef enum:
    WITHDRAWN = 1                    # the tag of a word given up by its creator


cdef struct Region:
    unsigned char* base          # the mapping, the same in every process
    uint32_t worker              # whose in-flight counts we write; NO_WORKER for none
    uint32_t ticket_high         # tickets below this number have been used
    uint32_t ticket_free         # head of the list of free tickets, number + 1
    uint32_t* ticket_next        # private memory: the list of free tickets
    uint32_t* quality_seen       # private memory: the version of the weights last handed out


cdef inline void region_beat(Region* region) noexcept nogil:
    """Show that the worker's loop turns; only its owner writes the word."""
    cdef uint64_t* word = <uint64_t*>(region.base + beats_at(region.worker))
    word_store(word, word_load(word) + 1)


cdef inline uint64_t* request_counter(Region* region) noexcept nogil:
    """How many numbers of requests all workers have drawn; NULL without shared memory."""
    return NULL if region == NULL else <uint64_t*>(region.base + REQUEST_COUNTER_AT)


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
