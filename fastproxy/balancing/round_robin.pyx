"""Weighted and dynamic round robin, exactly as Traefik 1.7 (vulcand/oxy) orders them.

Idea
----
*Weighted.* The literal algorithm walks the endpoints once per weight level (from the largest
weight down, in steps of the common divisor) and hands out those that reach the level. Levels
between two neighbouring distinct weights serve the same endpoints; going down past a distinct
weight only adds those that have it. So endpoints are sorted by weight, descending, and the first
pass of each stretch of levels merges the list of the stretch before with the newcomers, writing
down what it hands out; the other passes of the stretch repeat that list. Weights 5, 2, 2:

    stretch   levels   newcomers   list
    1         5 4 3    a           a
    2         2 1      b c         a b c        -> a a a a b c a b c, and again

A pick is one comparison, whatever the number of endpoints and their weights; memory is three
numbers per endpoint.

*Dynamic.* `drr_adjust` is one pure step over arrays: the statistics come from wherever all workers'
answers are counted, the caller owns the timer.

Invariants
----------
* The sequence is that of `features.md` 3.13, position for position, from the start and for ever.
* An update starts anew, even with equal weights: they may belong to other endpoints now.
* An update without memory leaves the balancer as it was.

What we do not like
-------------------
* Dynamic round robin exists twice around its one step: in the engine, with shared statistics, and
  as a Python class for tests and tools.
* As in Traefik, a large weight is served in one run first (`a a a a b`); smooth weighting would be
  kinder to backends and is not compatible.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcpy

from collections import deque

# ---------------------------------------------------------------------- weighted round robin

cdef struct Weighted:
    int64_t weight
    uint32_t index
    uint32_t end              # in the order: where the next smaller weight begins


cdef struct Balancer:
    uint32_t total            # endpoints, whatever their weight
    uint32_t count            # of them with a positive weight
    int64_t step              # greatest common divisor of all weights
    Weighted* order           # by weight descending, then by index
    uint32_t* lists           # memory of the two lists that follow
    uint32_t* served          # what the running stretch hands out, in order
    uint32_t* before          # what the stretch before handed out
    bint merging              # the first pass of the stretch: `served` is being written
    uint32_t served_count
    uint32_t before_count
    uint32_t position         # in `before` while merging, else in `served`
    uint32_t newcomer         # next one in `order`
    uint32_t newcomers_end
    int64_t passes            # of this stretch after the running one


cdef int heavier_first(const void* left, const void* right) noexcept nogil:
    cdef const Weighted* a = <const Weighted*>left
    cdef const Weighted* b = <const Weighted*>right
    if a.weight != b.weight:
        return -1 if a.weight > b.weight else 1
    return -1 if a.index < b.index else 1


cdef inline int64_t divisor(int64_t a, int64_t b) noexcept nogil:
    """Greatest common divisor; of 0 and b it is b."""
    cdef int64_t rest
    while b:
        rest = a % b
        a = b
        b = rest
    return a


cdef void start_stretch(Balancer* balancer, uint32_t newcomer) noexcept nogil:
    """Begin the levels that the endpoints from order[newcomer] on are the lightest to get."""
    cdef uint32_t end = balancer.order[newcomer].end
    cdef int64_t weight = balancer.order[newcomer].weight
    cdef int64_t next_weight = balancer.order[end].weight if end < balancer.count else 0
    balancer.before, balancer.served = balancer.served, balancer.before
    balancer.before_count = balancer.served_count if newcomer else 0
    balancer.served_count = 0
    balancer.merging = True
    balancer.position = 0
    balancer.newcomer = newcomer
    balancer.newcomers_end = end
    balancer.passes = (weight - next_weight) // balancer.step - 1


cdef bint balancer_fill(
    Balancer* balancer, uint32_t count, const int64_t* weights,
) noexcept nogil:
    """Set up a zeroed balancer; False without memory. Negative weights count as 0."""
    cdef uint32_t at, used = 0
    cdef Weighted* order
    balancer.total = count
    if count == 0:
        return True
    order = balancer.order = <Weighted*>malloc(count * sizeof(Weighted))
    balancer.lists = <uint32_t*>malloc(2 * <size_t>count * sizeof(uint32_t))
    if order == NULL or balancer.lists == NULL:
        return False
    balancer.served = balancer.lists
    balancer.before = balancer.lists + count
    for at in range(count):
        if weights[at] > 0:
            order[used].weight = weights[at]
            order[used].index = at
            balancer.step = divisor(balancer.step, weights[at])
            used += 1
    balancer.count = used
    qsort(order, used, sizeof(Weighted), heavier_first)
    for at in range(used, 0, -1):
        if at == used or order[at - 1].weight != order[at].weight:
            order[at - 1].end = at
        else:
            order[at - 1].end = order[at].end
    if used:
        start_stretch(balancer, 0)
    return True


cdef Balancer* balancer_new(uint32_t count, const int64_t* weights) noexcept nogil:
    cdef Balancer* balancer = <Balancer*>calloc(1, sizeof(Balancer))
    if balancer == NULL:
        return NULL
    if not balancer_fill(balancer, count, weights):
        balancer_free(balancer)
        return NULL
    return balancer


cdef void balancer_free(Balancer* balancer) noexcept nogil:
    if balancer != NULL:
        free(balancer.order)
        free(balancer.lists)
        free(balancer)


cdef int balancer_update(
    Balancer* balancer, uint32_t count, const int64_t* weights,
) noexcept nogil:
    cdef Balancer* fresh = balancer_new(count, weights)
    if fresh == NULL:
        return -1
    balancer[0], fresh[0] = fresh[0], balancer[0]
    balancer_free(fresh)
    return 0


cdef int balancer_pick(Balancer* balancer) noexcept nogil:
    cdef uint32_t pick
    if balancer.count == 0:
        return BALANCER_ZERO if balancer.total else BALANCER_EMPTY
    if balancer.merging:
        if balancer.position < balancer.before_count and (
            balancer.newcomer == balancer.newcomers_end
            or balancer.before[balancer.position] < balancer.order[balancer.newcomer].index
        ):
            pick = balancer.before[balancer.position]
            balancer.position += 1
        else:
            pick = balancer.order[balancer.newcomer].index
            balancer.newcomer += 1
        balancer.served[balancer.served_count] = pick
        balancer.served_count += 1
        if balancer.served_count == balancer.newcomers_end:
            # Everyone who reaches the level has had this turn.
            balancer.merging = False
            balancer.position = balancer.served_count
    else:
        pick = balancer.served[balancer.position]
        balancer.position += 1
    if not balancer.merging and balancer.position == balancer.served_count:
        if balancer.passes:
            balancer.passes -= 1
            balancer.position = 0
        else:
            start_stretch(
                balancer,
                balancer.newcomers_end if balancer.newcomers_end < balancer.count else 0,
            )
    return <int>pick


# ----------------------------------------------------------------------- dynamic round robin

cdef enum:
    DRR_FACTOR = 4
    DRR_HEAVIEST = 4096


cdef int ascending(const void* left, const void* right) noexcept nogil:
    cdef double a = (<const double*>left)[0]
    cdef double b = (<const double*>right)[0]
    return -1 if a < b else 1 if a > b else 0


cdef double outlier_threshold(
    uint32_t count, const double* ratings, double* values,
) noexcept nogil:
    """1.5 x (median + median deviation); `values` has room for count + 1."""
    cdef uint32_t odd = count if count % 2 else count + 1
    cdef uint32_t at
    cdef double median
    memcpy(values, ratings, count * sizeof(double))
    if odd > count:
        values[count] = 0.0
    qsort(values, odd, sizeof(double), ascending)
    median = values[odd // 2]
    for at in range(odd):
        values[at] = fabs(values[at] - median)
    qsort(values, odd, sizeof(double), ascending)
    return 1.5 * (median + values[odd // 2])


cdef int drr_adjust(
    uint32_t count, const double* ratings, const int64_t* original, int64_t* weights,
) noexcept nogil:
    cdef uint32_t at, bad = 0
    cdef int64_t common = 0
    cdef double threshold
    cdef bint changed = False
    cdef double few[129]
    cdef double* values = few
    if count < 2:
        return 0
    if count > 128:
        values = <double*>malloc((<size_t>count + 1) * sizeof(double))
        if values == NULL:
            return -1
    threshold = outlier_threshold(count, ratings, values)
    if values != few:
        free(values)
    for at in range(count):
        bad += ratings[at] > threshold
    for at in range(count):
        if 0 < bad < count:
            if ratings[at] <= threshold and weights[at] <= DRR_HEAVIEST // DRR_FACTOR:
                weights[at] *= DRR_FACTOR
                changed = True
        elif weights[at] != original[at]:
            weights[at] = max(original[at], weights[at] // DRR_FACTOR)
            changed = True
    if changed:
        for at in range(count):
            common = divisor(common, weights[at])
        if common > 1:
            for at in range(count):
                weights[at] //= common
    return changed


# -------------------------------------------------------------------------------- Python side

cdef int64_t* weights_of(tuple weights) except NULL:
    """A C copy, to be freed by the caller."""
    cdef int64_t* copy = <int64_t*>malloc(max(len(weights), 1) * sizeof(int64_t))
    cdef Py_ssize_t at
    if copy == NULL:
        raise MemoryError
    try:
        for at in range(len(weights)):
            copy[at] = weights[at]
    except BaseException:
        free(copy)
        raise
    return copy


cdef class WeightedRoundRobin:
    cdef Balancer* _balancer

    def __cinit__(self, weights):
        cdef tuple values = tuple(weights)
        cdef int64_t* copy = weights_of(values)
        self._balancer = balancer_new(<uint32_t>len(values), copy)
        free(copy)
        if self._balancer == NULL:
            raise MemoryError

    def __dealloc__(self):
        balancer_free(self._balancer)

    def pick(self):
        return balancer_pick(self._balancer)

    def pick_many(self, unsigned int times):
        cdef int picked = BALANCER_EMPTY
        with nogil:
            while times:
                times -= 1
                picked = balancer_pick(self._balancer)
        return picked

    def update(self, weights):
        cdef tuple values = tuple(weights)
        cdef int64_t* copy = weights_of(values)
        cdef int failed = balancer_update(self._balancer, <uint32_t>len(values), copy)
        free(copy)
        if failed:
            raise MemoryError


def drr_step(ratings, original, weights):
    cdef tuple rates = tuple(ratings)
    cdef tuple origin = tuple(original)
    cdef tuple values = tuple(weights)
    cdef uint32_t at, count = <uint32_t>len(rates)
    cdef int changed
    cdef double* c_rates = NULL
    cdef int64_t* c_origin = NULL
    cdef int64_t* c_values = NULL
    if not len(rates) == len(origin) == len(values):
        raise ValueError("ratings, original and weights differ in length")
    try:
        c_rates = <double*>malloc((<size_t>count + 1) * sizeof(double))
        if c_rates == NULL:
            raise MemoryError
        for at in range(count):
            c_rates[at] = rates[at]
        c_origin = weights_of(origin)
        c_values = weights_of(values)
        changed = drr_adjust(count, c_rates, c_origin, c_values)
        if changed < 0:
            raise MemoryError
        return changed == 1, tuple([c_values[at] for at in range(count)])
    finally:
        free(c_rates)
        free(c_origin)
        free(c_values)


class _Answers:
    """Answers of one endpoint: a rolling window of ten one-second buckets."""

    def __init__(self):
        self.window = deque()  # [second, good, bad]
        self.last = None
        self.good_seconds = set()
        self.bad_seconds = set()

    def record(self, second, bad):
        if self.last is None or self.last[0] != second:
            self.last = [second, 0, 0]
            self.window.append(self.last)
        self.last[2 if bad else 1] += 1
        while self.window[0][0] <= second - 10:
            self.window.popleft()
        # More than ten seconds of either kind change nothing: the endpoint is ready.
        seconds = self.bad_seconds if bad else self.good_seconds
        if len(seconds) < 10:
            seconds.add(second)

    def rating(self, second):
        recent = [bucket for bucket in self.window if bucket[0] > second - 10]
        good = sum(bucket[1] for bucket in recent)
        bad = sum(bucket[2] for bucket in recent)
        return bad / (good + bad) if bad else 0.0

    @property
    def ready(self):
        return len(self.good_seconds) + len(self.bad_seconds) >= 10


class DynamicRoundRobin:
    BACK_OFF = 10.0

    def __init__(self, weights, now=0.0):
        self.update(weights, now)

    def update(self, weights, now=0.0):
        self.original = tuple(weights)
        self.weights = self.original
        self._balancer = WeightedRoundRobin(self.weights)
        self._answers = [_Answers() for _ in self.original]
        self._next_change = now

    def pick(self):
        return self._balancer.pick()

    def record(self, index, status, now):
        self._answers[index].record(int(now), 500 <= status <= 504)
        if len(self.weights) < 2 or now < self._next_change:
            return False
        if not all(answers.ready for answers in self._answers):
            return False
        ratings = [answers.rating(int(now)) for answers in self._answers]
        changed, weights = drr_step(ratings, self.original, self.weights)
        if changed:
            self.weights = weights
            self._balancer.update(weights)
            self._next_change = now + self.BACK_OFF
        return changed
