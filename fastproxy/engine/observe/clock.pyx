# Exchanges are measured by the monotonic clock; the distance to that of the wall is asked once a second, so
# a clock that is set shows within that time.

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf


cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        long tm_gmtoff
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_REALTIME
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* now)
    tm* gmtime_r(const time_t* second, tm* parts)
    tm* localtime_r(const time_t* second, tm* parts)

cdef int64_t SECOND = 1000000000
cdef const char* _months = "JanFebMarAprMayJunJulAugSepOctNovDec"


cdef int64_t wall_of(AccessLog* access, int64_t monotonic) noexcept nogil:
    """Nanoseconds since 1970 of a moment of the monotonic clock."""
    cdef timespec here, there
    if not 0 <= monotonic - access.offset_at < SECOND or access.offset_at == 0:
        clock_gettime(CLOCK_MONOTONIC, &here)
        clock_gettime(CLOCK_REALTIME, &there)
        access.offset_at = monotonic
        access.wall_offset = (there.tv_sec - here.tv_sec) * SECOND + there.tv_nsec - here.tv_nsec
    return monotonic + access.wall_offset


cdef void set_utc(AccessLog* access, int64_t second) noexcept nogil:
    cdef tm parts
    cdef time_t given = second
    if second == access.second:
        return
    access.second = second
    gmtime_r(&given, &parts)
    _date(access.date, sizeof(access.date), &parts, 0)
    _stamp(access.utc, sizeof(access.utc), &parts)


cdef void set_local(AccessLog* access, int64_t second) noexcept nogil:
    cdef tm parts
    cdef time_t given = second
    cdef long minutes
    if second == access.local_second:
        return
    access.local_second = second
    localtime_r(&given, &parts)
    minutes = parts.tm_gmtoff // 60 if parts.tm_gmtoff >= 0 else -(-parts.tm_gmtoff // 60)
    _date(access.local_date, sizeof(access.local_date), &parts, minutes)
    _stamp(access.local, sizeof(access.local), &parts)
    if minutes == 0:
        access.zone[0] = c'Z'
        access.zone[1] = 0
    else:
        snprintf(
            access.zone, sizeof(access.zone), "%c%02d:%02d", <int> (c'+' if minutes > 0 else c'-'),
            <int> (abs(minutes) // 60), <int> (abs(minutes) % 60),
        )


cdef void _date(char* room, size_t size, const tm* parts, long minutes) noexcept nogil:
    snprintf(
        room, size, "%02d/%.3s/%04d:%02d:%02d:%02d %c%02d%02d", parts.tm_mday, _months + 3 * parts.tm_mon,
        parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec,
        <int> (c'-' if minutes < 0 else c'+'), <int> (abs(minutes) // 60), <int> (abs(minutes) % 60),
    )


cdef void _stamp(char* room, size_t size, const tm* parts) noexcept nogil:
    snprintf(
        room, size, "%04d-%02d-%02dT%02d:%02d:%02d", parts.tm_year + 1900, parts.tm_mon + 1,
        parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
    )
