# The settings of the access log become one structure that is read only, so that a line costs no look-up
# by name but those of headers.

from fastproxy.settings.tables.logs import LOG_FIELDS

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.engine.observe.notes cimport Notes
from fastproxy.system.ring cimport ring_close, ring_open

if len(LOG_FIELDS) != FIELD_COUNT:
    raise ImportError("the fields of the access log stand in settings/tables/logs.py and program.pxd alike")
FORMATS = {"common": FORMAT_COMMON, "json": FORMAT_JSON, "genericCLF": FORMAT_CLF}
MODES = {"drop": MODE_DROP, "keep": MODE_KEEP, "redact": MODE_REDACT}
# What would let a reader of the log in: shown only to who names them (deviation OP 1).
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie")


cdef int header_mode(const AccessLog* access, const char* name, size_t size) noexcept nogil:
    cdef uint32_t i, k
    cdef const HeaderRule* rule
    cdef char low
    for i in range(access.rule_count):
        rule = &access.rules[i]
        if rule.size != size:
            continue
        k = 0
        while k < size:
            low = name[k]
            if c'A' <= low <= c'Z':
                low += 32
            if low != rule.name[k]:
                break
            k += 1
        if k == size:
            return rule.mode
    return access.header_mode


cdef uint64_t _wanted_fields(object fields) except *:
    """Bits of the fields to show. Names match in any case (1.7: exactly)."""
    named = {name.lower(): mode for name, mode in fields.names.items()}
    cdef uint64_t bits = 0
    for number, (name, is_known_to_traefik) in enumerate(LOG_FIELDS.items()):
        default = fields.default_mode if is_known_to_traefik else fields.extended
        if named.get(name.lower(), default) == "keep":
            bits |= <uint64_t> 1 << <int> number
    return bits


cdef int _add_rules(AccessLog* access, object headers) except -1:
    rules = dict.fromkeys(SECRET_HEADERS, "redact")
    if headers.default_mode == "drop":
        rules = {}
    rules |= {name.lower(): mode for name, mode in headers.names.items()}
    cdef bytes text
    for name, mode in list(rules.items())[:MOST_RULES]:
        text = name.encode("latin-1", "replace")[:NAME_ROOM]
        memcpy(access.rules[access.rule_count].name, <const char*> text, len(text))
        access.rules[access.rule_count].size = len(text)
        access.rules[access.rule_count].mode = MODES[mode]
        access.rule_count += 1
    return 0


cdef int _add_filters(AccessLog* access, object filters) except -1:
    access.longer_than = -1
    if filters is None:
        return 0
    for text in filters.status_codes[:MOST_RANGES]:
        first, _, last = text.partition("-")
        access.ranges[access.range_count] = StatusRange(int(first), int(last or first))
        access.range_count += 1
    access.filter_retries = filters.retry_attempts
    if filters.min_duration:
        access.longer_than = <int64_t> (filters.min_duration * 1e9)
    access.filtered = access.range_count > 0 or filters.retry_attempts or filters.min_duration > 0
    return 0


cdef AccessLog* access_log_new(object options, int ring, int wake, int worker, list entry_points) except NULL:
    cdef AccessLog* access = <AccessLog*> calloc(1, sizeof(AccessLog))
    cdef bytes text
    if access == NULL:
        raise MemoryError
    access.ring = ring_open(ring, wake)
    if access.ring == NULL:
        free(access)
        raise OSError("cannot map the ring of the access log")
    access.format = FORMATS[options.format]
    access.fields = _wanted_fields(options.fields)
    access.header_mode = MODES[options.fields.headers.default_mode]
    _add_rules(access, options.fields.headers)
    _add_filters(access, options.filters)
    access.with_headers = access.format == FORMAT_JSON and (
        access.header_mode != MODE_DROP or access.rule_count > 0
    )
    access.referer_mode = header_mode(access, "referer", 7)
    access.agent_mode = header_mode(access, "user-agent", 10)
    access.with_referer = access.with_agent = access.format != FORMAT_JSON
    access.invalid = options.invalid
    access.drop_query = options.fields.query_parameters.default_mode == "drop"
    access.worker = worker
    access.second = access.local_second = -1
    for name in entry_points[:64]:
        text = name.encode()[:63]
        memcpy(access.entry_points[access.entry_point_count], <const char*> text, len(text))
        access.entry_point_count += 1
    return access


cdef void access_log_free(AccessLog* access) noexcept:
    cdef Notes* notes
    if access == NULL:
        return
    while access.free_notes != NULL:
        notes = access.free_notes
        access.free_notes = notes.next
        free(notes.data)
        free(notes.list)
        free(notes)
    ring_close(access.ring)
    free(access)
