# Circuit breaker.
#
# The state is one word  state:2 epoch:10 until:52 (microseconds). Tripping starts a new epoch,
# which clears all windows and the counts of the recovery. About 58 pages when every status and
# latency
# occurs; 3 to 10 in practice.


from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastproxy.counters.layout cimport (
    BREAKER_CODES, BREAKER_LATENCIES, BREAKER_STRIDE, EPOCH_MASK, PERIODS, SLOTS, WINDOW,
    Region, bit_length, breaker_at, lowest_bit, window_add, window_sum, word_load, word_or,
    word_swap,
)


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

cdef inline uint64_t* breaker_of(Region* region, uint32_t slot) noexcept nogil:
    return <uint64_t*>(region.base + breaker_at() + <uint64_t>slot * BREAKER_STRIDE)


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


cdef BreakerState breaker_state(Region* region, uint32_t slot) noexcept nogil:
    if region == NULL or slot >= SLOTS:
        return STANDBY
    return <BreakerState>(word_load(breaker_of(region, slot) + BREAKER_STATE) >> 62)
