# Nonces of digest authentication: the highest count each has come with, for the whole proxy.
#
# A word  tag:24 hour:8 count:32  stands in one of the 32 places of its set; the hour is that of the
# last use. The tag, the set and the place are bits of the keyed hash, so a client cannot make
# nonces collide; should two share a tag, the higher count holds for both and one is refused, never
# accepted twice.
#
# A set that is full forgets the word used longest ago. What may be replayed then is bounded by the
# set's *horizon*, one more word: a nonce issued before it that is not found is refused.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport (
    NONCE_SETS, WAYS, Region, keyed_hash, nonces_at, word_load, word_swap,
)

cdef enum:
    HOUR = 3600
    COUNT_BITS = 32


cdef inline int64_t hours_since(uint64_t word, int64_t hour) noexcept nogil:
    """Hours since a word was used, up to 255."""
    return (hour - <int64_t>(word >> COUNT_BITS)) & 255


cdef inline void horizon_raise(uint64_t* horizon, int64_t time) noexcept nogil:
    cdef uint64_t value
    while True:
        value = word_load(horizon)
        if <int64_t>value >= time or word_swap(horizon, value, <uint64_t>time):
            return


cdef inline uint64_t stamped(uint64_t tag, int64_t now_s, uint32_t count) noexcept nogil:
    return tag << 40 | <uint64_t>((now_s // HOUR) & 255) << COUNT_BITS | count


cdef void make_room(uint64_t* horizon, uint64_t word, int64_t lifetime_s, int64_t now_s) noexcept nogil:
    """Before a word is overwritten: unless its nonce has ended, nobody may come with it again."""
    cdef int64_t age = hours_since(word, now_s // HOUR)
    if word == 0:
        return
    if age >= 128:    # the clock was set back
        horizon_raise(horizon, now_s)
    elif age * HOUR <= lifetime_s:
        horizon_raise(horizon, (now_s // HOUR - age + 1) * HOUR)


cdef bint has_twin(uint64_t* words, uint64_t* own, uint64_t tag) noexcept nogil:
    """Did another process write the same new nonce into another place in the same instant?"""
    cdef uint32_t way
    for way in range(<uint32_t>WAYS):
        if words + way != own and word_load(words + way) >> 40 == tag:
            return True
    return False


cdef bint nonce_advance(
    Region* region, const char* nonce, size_t size, uint32_t count, int64_t issued_s,
    int64_t lifetime_s, int64_t now_s
) noexcept nogil:
    cdef uint64_t low, high, tag, value, found = 0
    cdef uint64_t* words
    cdef uint64_t* word
    cdef uint64_t* room
    cdef int64_t age, oldest
    cdef uint32_t way
    if region == NULL or count == 0:
        return False
    keyed_hash(<uint64_t*>region.base + 2, nonce, size, &low, &high)
    tag = (low & 0xFFFFFF) | 1    # a word is never zero
    words = <uint64_t*>(region.base + nonces_at()) + (high & (NONCE_SETS - 1)) * (WAYS + 1)
    while True:
        room = NULL
        oldest = -1
        for way in range(<uint32_t>WAYS):
            word = words + ((low >> 32) + way) % WAYS
            value = word_load(word)
            if value >> 40 == tag:
                room = NULL
                break
            age = 256 if value == 0 else hours_since(value, now_s // HOUR)
            if age > oldest:
                oldest = age
                room = word
                found = value
        if room == NULL:
            if count <= <uint32_t>value:
                return False
            if word_swap(word, value, stamped(tag, now_s, count)):
                return True
            continue
        # Whoever comes with a nonce for the first time writes it into the oldest place.
        make_room(words + WAYS, found, lifetime_s, now_s)
        if issued_s <= <int64_t>word_load(words + WAYS):
            return False
        if not word_swap(room, found, stamped(tag, now_s, count)):
            continue
        if not has_twin(words, room, tag):
            return True
        horizon_raise(words + WAYS, now_s)
        word_swap(room, stamped(tag, now_s, count), 0)
        return False
