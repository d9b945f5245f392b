# Quality of endpoints (drr).
#
# The control word  writing:1 version:15 timer:48 (microseconds)  is the turn to change weights:
# who swaps it writes the weights and raises the version. A writer that dies leaves `writing` set
# until its timer has passed; until then everybody keeps the weights it has. A stored weight of 0
# means
# the original one.


from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.balancing.round_robin cimport drr_adjust
from fastproxy.counters.layout cimport (
    ENDPOINTS, ENDPOINT_WORDS, EPOCH_MASK, QUALITY_STRIDE, SLOTS, WINDOW, WINDOW_COUNT_BITS,
    WINDOW_COUNT_MASK, Region, quality_at, window_add, window_stamp, window_sum, word_add,
    word_load, word_store, word_swap,
)


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
    return <uint64_t*>(region.base + quality_at() + <uint64_t>slot * QUALITY_STRIDE)


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
