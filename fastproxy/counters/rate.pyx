# Rate limit.
#
# An entry is a tag, a creation word  generation:6 time:58  and two buckets
# generation:6 used:u last:l.  `used` = burst - tokens, `last` counts from the creation, so that
# a zero word is a full bucket and
# one swap of the creation word restarts the entry. u is as wide as the burst needs; should the
# rest not hold the lifetime in nanoseconds (burst 800: 78 hours), `last` is kept in units of
# 2, 4, ... ns. Further buckets of a key stand in entries of their own.


from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport (
    MAXIMUM_BUCKETS, RATE_SET, RATE_STRIDE, SLOTS, TABLE_HEADER, TIME_MASK, TOP_LEVEL, WAYS,
    WITHDRAWN, Region, bit_length, keyed_hash, level_sets, level_start, rate_at, word_load,
    word_swap,
)


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
        ways = sets + (level_start(level) + (place & (level_sets(level) - 1))) * RATE_SET
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
    header = <uint64_t*>(region.base + rate_at() + <uint64_t>slot * RATE_STRIDE)
    entry.tag = entry.created = entry.buckets = NULL  # set with `created`, which gcc 14 cannot tell
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
