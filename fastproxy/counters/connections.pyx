# Maximum connections.
#
# A table of words  tag:44 count:20.  A word whose count is zero is free for another key. The tag
# and the 12 bits that choose the set are independent bits of the keyed hash.


from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport (
    CONNECTION_STRIDE, PAGE, SLOTS, TABLE_HEADER, TICKETS, TICKET_STRIDE, TOP_LEVEL, WAYS,
    WITHDRAWN, WORKERS, Region, connections_at, keyed_hash, level_sets, level_start,
    tickets_at, word_load, word_store, word_swap,
)


cdef enum:
    COUNT_BITS = 20
    COUNT_MASK = (1 << 20) - 1


cdef inline uint64_t* tickets_of(Region* region, uint32_t worker) noexcept nogil:
    return <uint64_t*>(region.base + tickets_at() + <uint64_t>worker * TICKET_STRIDE)


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
        ways = sets + (level_start(level) + (place & (level_sets(level) - 1))) * WAYS
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
    header = <uint64_t*>(region.base + connections_at() + <uint64_t>slot * CONNECTION_STRIDE)
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
