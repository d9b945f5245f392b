"""What `[accessLog]` says, ready for use. See program.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.observe.notes cimport Notes
from fastproxy.system.ring cimport Ring

cdef enum:
    LONGEST_LINE = 16384  # bytes
    SOFT_LINE = LONGEST_LINE - 3072  # where long values end
    MOST_RULES = 256
    MOST_RANGES = 32
    NAME_ROOM = 80

cdef enum Format:
    FORMAT_COMMON
    FORMAT_JSON
    FORMAT_CLF

cdef enum Mode:
    MODE_DROP
    MODE_KEEP
    MODE_REDACT

cdef enum FieldNumber:
    # In the order of their names, which is the order of a JSON line. Those that Traefik 1.7 does not
    # know are not asked for by default; program.pyx names them all.
    FIELD_BACKEND_ADDRESS
    FIELD_BACKEND_NAME
    FIELD_BACKEND_URL
    FIELD_BYTES_RECEIVED
    FIELD_BYTES_SENT
    FIELD_CLIENT_ADDRESS
    FIELD_CLIENT_HOST
    FIELD_CLIENT_PORT
    FIELD_CLIENT_USERNAME
    FIELD_DOWNSTREAM_CONTENT_SIZE
    FIELD_DOWNSTREAM_STATUS
    FIELD_DOWNSTREAM_STATUS_LINE
    FIELD_DURATION
    FIELD_ENTRY_POINT_NAME
    FIELD_FLAGS
    FIELD_FRONTEND_NAME
    FIELD_GENERATION
    FIELD_GZIP_RATIO
    FIELD_ORIGIN_CONTENT_SIZE
    FIELD_ORIGIN_DURATION
    FIELD_ORIGIN_STATUS
    FIELD_ORIGIN_STATUS_LINE
    FIELD_OVERHEAD
    FIELD_REQUEST_ADDRESS
    FIELD_REQUEST_CONTENT_SIZE
    FIELD_REQUEST_COUNT
    FIELD_REQUEST_HOST
    FIELD_REQUEST_LINE
    FIELD_REQUEST_METHOD
    FIELD_REQUEST_PATH
    FIELD_REQUEST_PORT
    FIELD_REQUEST_PROTOCOL
    FIELD_REQUEST_SCHEME
    FIELD_RETRY_ATTEMPTS
    FIELD_START_LOCAL
    FIELD_START_UTC
    FIELD_TIME_BODY
    FIELD_TIME_CONNECT
    FIELD_TIME_FIRST_BYTE
    FIELD_TIME_HEAD
    FIELD_TIME_RESPONSE
    FIELD_TIME_TLS
    FIELD_TIME_WAIT
    FIELD_UPSTREAM_REUSED
    FIELD_WORKER
    FIELD_COUNT

cdef struct HeaderRule:
    char name[NAME_ROOM]  # in lower case
    uint32_t size
    uint8_t mode

cdef struct StatusRange:
    uint16_t first
    uint16_t last

cdef struct AccessLog:
    Ring* ring
    uint8_t format
    uint8_t header_mode  # of headers without a rule
    uint8_t with_headers  # lines show headers
    uint8_t with_referer
    uint8_t with_agent
    uint8_t invalid
    uint8_t drop_query
    uint8_t filtered
    uint8_t filter_retries
    uint8_t referer_mode
    uint8_t agent_mode
    uint32_t range_count
    uint32_t rule_count
    uint64_t fields  # bits by FieldNumber
    int64_t longer_than  # nanoseconds; -1: no filter
    StatusRange ranges[MOST_RANGES]
    HeaderRule rules[MOST_RULES]
    Notes* free_notes
    uint64_t* counter  # RequestCount of all workers
    uint64_t next_count
    uint64_t last_count
    uint32_t worker
    int entry_point_count
    char entry_points[64][64]
    # Texts that hold for a second.
    int64_t wall_offset  # nanoseconds from the monotonic clock to that of the wall
    int64_t offset_at  # when that was asked, monotonic
    int64_t second
    char date[32]  # 02/Jan/2006:15:04:05 +0000
    char utc[24]  # 2006-01-02T15:04:05
    int64_t local_second
    char local[24]
    char zone[8]  # Z, +01:00
    char local_date[32]  # 02/Jan/2006:15:04:05 +0100

cdef inline bint wants(const AccessLog* access, int field) noexcept nogil:
    return (access.fields >> field) & 1

cdef int header_mode(const AccessLog* access, const char* name, size_t size) noexcept nogil
cdef AccessLog* access_log_new(object options, int ring, int wake, int worker, list entry_points) except NULL
cdef void access_log_free(AccessLog* access) noexcept
