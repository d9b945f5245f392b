"""What a peer may cost: two budgets for each HTTP/2 connection, one place, one table.

*Resets*: 200 at start and at most. One goes for each stream that its client ends, or that ends by its
client's error, before its response is complete, and for each refused stream. One comes back for each
complete exchange, and ten a second.

*Frames*: 1,000. One goes for each PING, SETTINGS, PRIORITY and unknown frame, for RST_STREAM and DATA of a
closed stream, for DATA without bytes and end, and for each WINDOW_UPDATE beyond 100 and 10 for each DATA
sent. One comes back for each request and each DATA with bytes, and 50 a second.

Who has spent one is told ENHANCE_YOUR_CALM, and the connection ends. As budgets that work refills, not
as rates, they spare clients with deadlines that cancel much and those that ping. They are the answer
to CVE-2023-44487, CVE-2025-8671, CVE-2019-9512, -9513, -9514, -9515 and -9518.
"""

from libc.stdint cimport int32_t, uint32_t

cdef enum:
    MOST_RESETS = 200
    MOST_FRAMES = 1000
    FREE_WINDOWS = 100
    WINDOWS_FOR_DATA = 10
    REFILL = 100  # ms, for one reset and five frames

cdef struct Guard:
    int32_t resets
    int32_t frames
    int32_t windows  # WINDOW_UPDATE that cost nothing yet
    uint32_t refilled  # ms


cdef inline void guard_init(Guard* guard, uint32_t now) noexcept nogil:
    guard.resets = MOST_RESETS
    guard.frames = MOST_FRAMES
    guard.windows = FREE_WINDOWS
    guard.refilled = now


cdef inline void guard_refill(Guard* guard, uint32_t now) noexcept nogil:
    cdef uint32_t steps = (now - guard.refilled) // REFILL
    if steps:
        guard.refilled += steps * REFILL
        steps = min(steps, <uint32_t> MOST_FRAMES)  # enough to fill both
        guard.resets = min(<int32_t> MOST_RESETS, guard.resets + <int32_t> steps)
        guard.frames = min(<int32_t> MOST_FRAMES, guard.frames + 5 * <int32_t> steps)


cdef inline void guard_complete(Guard* guard) noexcept nogil:
    if guard.resets < MOST_RESETS:
        guard.resets += 1


cdef inline void guard_useful(Guard* guard) noexcept nogil:
    if guard.frames < MOST_FRAMES:
        guard.frames += 1


cdef inline bint guard_reset(Guard* guard) noexcept nogil:
    """Whether a reset was one too many."""
    guard.resets -= guard.resets > 0
    return guard.resets == 0


cdef inline bint guard_frame(Guard* guard) noexcept nogil:
    """Whether a frame that moves nothing was one too many."""
    guard.frames -= guard.frames > 0
    return guard.frames == 0


cdef inline bint guard_window(Guard* guard) noexcept nogil:
    if guard.windows:
        guard.windows -= 1
        return False
    return guard_frame(guard)
