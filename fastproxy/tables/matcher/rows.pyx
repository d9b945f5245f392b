"""Read routes into C arrays and bring them into the total order of `kubernetes.md` 1.

Every entry becomes a `Row`: its sort key, the tables of its hosts, its literal paths and its
conditions. Of several host (path) matchers one is chosen for the index, the others become
conditions, so that a row is always: one of these hosts, one of these paths, all those conditions.
The literal beginning of a template is indexed, its pattern is one more condition.

Rows are sorted by a radix sort over three 64-bit numbers, of which only the byte columns that
differ are looked at. It is stable, and names, the last key, decide by the order in which rows
come: they are brought into the order of names first unless they come so.

Texts of the index point into the entries' own strings, which the caller keeps alive; texts that
had to be changed are kept in `Rows.kept`. An alternative that can never match is left out, and so
is a route without a living alternative.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from fastproxy.tables.matcher.layout cimport (
    HEADER_PRESENT, HEADER_REGEX, HOST_EXACT, HOST_NONE, HOST_REGEX, HOST_WILDCARD,
    PATH_ELEMENTS, PATH_EXACT, PATH_PREFIX, PATH_REGEX, PATH_SLASH_FREE, PATH_SLASHED,
    QUERY_PRESENT, QUERY_REGEX, TEMPLATE_SLASH_FREE, TEMPLATE_SLASHED, TEXT_HEADER, TEXT_HOST,
    TEXT_HOST_WILDCARD, TEXT_METHOD, TEXT_QUERY, Alternative, Condition, Regex, host_hash,
    same_bytes,
)

from fastproxy.model import matchers as rules
from fastproxy.model.paths import RAW, escape_path, normalise_path, path_pattern, template_pattern

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1

cdef object Host = rules.Host
cdef object HostWildcard = rules.HostWildcard
cdef object HostRegexp = rules.HostRegexp
cdef object Path = rules.Path
cdef object PathPrefix = rules.PathPrefix
cdef object PathExact = rules.PathExact
cdef object PathElements = rules.PathElements
cdef object Method = rules.Method
cdef object Headers = rules.Headers
cdef object HeadersRegexp = rules.HeadersRegexp
cdef object Query = rules.Query


cdef unsigned char raw_byte[256]
memset(raw_byte, 0, 256)
for _byte in RAW:
    raw_byte[<unsigned char>_byte] = 1


cdef bint is_normal(const char* data, size_t size) noexcept nogil:
    """No byte to be escaped, no escape, no segment that starts with `/` or `.`."""
    cdef size_t at
    for at in range(size):
        if not raw_byte[<unsigned char>data[at]]:
            return False
        if data[at] == c"/" and at + 1 < size and (data[at + 1] == c"/" or data[at + 1] == c"."):
            return False
    return True


cdef uint32_t kind_of_path(object matcher) except? 0xFFFFFFFF:
    if type(matcher) is PathPrefix:
        return PATH_PREFIX
    if type(matcher) is PathElements:
        return PATH_ELEMENTS
    if type(matcher) is Path and not matcher.keep_trailing_slash:
        return PATH_SLASH_FREE
    return PATH_EXACT


cdef uint32_t slashed_kind(uint32_t kind) noexcept nogil:
    """The kind of a path that is stored without its last slash."""
    return PATH_SLASHED if kind == PATH_SLASH_FREE else kind


cdef uint32_t template_kind(uint32_t kind, str template) noexcept:
    if kind != PATH_SLASH_FREE:
        return PATH_REGEX
    return TEMPLATE_SLASHED if template.endswith("/") else TEMPLATE_SLASH_FREE


cdef object texts_of_path(object matcher):
    if type(matcher) is PathPrefix or type(matcher) is Path:
        return matcher.templates
    return matcher.paths


cdef list query_alternatives(str name, str value):
    if not value:
        return [(QUERY_PRESENT, name, None, None)]
    if "{" not in value and "}" not in value:
        return [(TEXT_QUERY, name, value, None)]
    pattern = template_pattern(value, ".*")
    return [] if pattern is None else [(QUERY_REGEX, name, None, "^" + pattern + "$")]


def has_pattern(alternatives):
    return any([alternative[3] is not None for alternative in alternatives])


cdef Text text_of(str text):
    """The string's own UTF-8 bytes; valid while the string lives."""
    cdef Text result
    cdef Py_ssize_t size = 0
    result.data = PyUnicode_AsUTF8AndSize(text, &size)
    result.size = <size_t>size
    return result


cdef bint is_lower(Text text) noexcept nogil:
    cdef size_t at
    for at in range(text.size):
        if c"A" <= text.data[at] <= c"Z" or <unsigned char>text.data[at] >= 128:
            return False
    return True


cdef bint in_order(Text left, Text right) noexcept nogil:
    """The one text is not above the other, byte by byte."""
    cdef int compared = 0
    if left.size and right.size:
        compared = memcmp(left.data, right.data, min(left.size, right.size))
    return compared < 0 or (compared == 0 and left.size <= right.size)


cdef inline unsigned char column(const Key* key, uint32_t number) noexcept nogil:
    cdef uint64_t word = key.priority
    if number < 16:
        word = key.tie_break if number < 8 else key.place
    return <unsigned char>(word >> (8 * (number & 7)))


cdef void sort_keys(Key* keys, Key* scratch, size_t count) noexcept nogil:
    """Stable radix sort by (priority, place, tie break), over the byte columns that differ at all."""
    cdef size_t counts[256]
    cdef Key differing
    cdef size_t at, seen, place
    cdef uint32_t number
    cdef unsigned char byte
    memset(&differing, 0, sizeof(Key))
    for at in range(1, count):
        differing.priority |= keys[at].priority ^ keys[0].priority
        differing.place |= keys[at].place ^ keys[0].place
        differing.tie_break |= keys[at].tie_break ^ keys[0].tie_break
    for number in range(24):
        if column(&differing, number) == 0:
            continue
        memset(counts, 0, sizeof(counts))
        for at in range(count):
            counts[column(keys + at, number)] += 1
        place = 0
        for at in range(256):
            seen = counts[at]
            counts[at] = place
            place += seen
        for at in range(count):
            byte = column(keys + at, number)
            scratch[counts[byte]] = keys[at]
            counts[byte] += 1
        memcpy(keys, scratch, count * sizeof(Key))


cdef uint64_t descending(object number) except? 0:
    """A number, of which the largest comes first; beyond 64 bits it is the largest or smallest."""
    cdef int overflow = 0
    cdef long long value = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow:
        value = INT64_MAX if overflow > 0 else INT64_MIN
    return ~(<uint64_t>value ^ (<uint64_t>1 << 63))


cdef class Rows:
    def __cinit__(self):
        self.kept = []
        self.regex_numbers = {}
        self.named_in_order = True

    def __dealloc__(self):
        free(self.rows.data)
        free(self.keys.data)
        free(self.hosts.data)
        free(self.places.data)
        free(self.tables.data)
        free(self.conditions.data)
        free(self.alternatives.data)
        free(self.regexes.data)
        free(self.text.data)
        free(self.table_slots)

    cdef Text keep(self, str text):
        self.kept.append(text)
        return text_of(text)

    cdef uint32_t store(self, str text) except? 0xFFFFFFFF:
        """Copy a text into the section; its offset."""
        cdef Text source = text_of(text)
        cdef uint32_t offset = <uint32_t>self.text.size
        copy(more(&self.text, source.size + 1), source)
        self.text.size -= 1
        return offset

    cdef uint32_t regex(self, str pattern) except? 0xFFFFFFFF:
        cdef object number = self.regex_numbers.get(pattern)
        cdef Regex* regex
        cdef uint32_t offset
        if number is None:
            number = len(self.regex_numbers)
            offset = self.store(pattern)
            regex = <Regex*>more(&self.regexes, sizeof(Regex))
            regex.text = offset
            regex.text_size = <uint32_t>self.text.size - offset
            self.regex_numbers[pattern] = number
        return number

    cdef int alternative(
        self, uint32_t kind, str text, str value, str pattern,
    ) except -1:
        cdef uint32_t text_offset = self.store(text)
        cdef uint32_t text_size = <uint32_t>self.text.size - text_offset
        cdef uint32_t value_offset = 0, value_size = 0
        cdef Alternative* alternative
        if pattern is not None:
            value_offset = self.regex(pattern)
        elif value is not None:
            value_offset = self.store(value)
            value_size = <uint32_t>self.text.size - value_offset
        alternative = <Alternative*>more(&self.alternatives, sizeof(Alternative))
        alternative.kind = kind
        alternative.text = text_offset
        alternative.text_size = text_size
        alternative.value = value_offset
        alternative.value_size = value_size
        return 0

    cdef int condition(self, list alternatives) except -1:
        """Add a condition of (kind, text, value, pattern)."""
        cdef Condition* condition
        cdef uint32_t first = <uint32_t>(self.alternatives.size // sizeof(Alternative))
        for kind, text, value, pattern in alternatives:
            self.alternative(kind, text, value, pattern)
        condition = <Condition*>more(&self.conditions, sizeof(Condition))
        condition.alternative = first
        condition.alternative_count = <uint32_t>len(alternatives)
        return 0

    # ---- what a matcher means

    cdef list path_alternatives(self, object matcher):
        """(kind, literal text, None, pattern or None) of every alternative that can match."""
        cdef list result = []
        cdef uint32_t kind = kind_of_path(matcher)
        cdef bint whole = kind != PATH_PREFIX and kind != PATH_ELEMENTS
        for text in texts_of_path(matcher):
            literal = normalise_path(text)
            pattern = None
            if type(matcher) in (Path, PathPrefix) and (
                "{" in text or ("}" in text and type(matcher) is Path)
            ):
                pattern = path_pattern(text, whole=whole, slash_rule=kind == PATH_SLASH_FREE)
                literal = escape_path(text.partition("{")[0])
                if pattern is None:
                    continue
            elif not literal.startswith("/"):
                continue
            self.whole = self.whole or whole
            self.longest = max(self.longest, <size_t>len(text if pattern else literal))
            if pattern is not None:
                result.append((template_kind(kind, text), literal, None, pattern))
            elif literal.endswith("/") and kind in (PATH_SLASH_FREE, PATH_ELEMENTS):
                result.append((slashed_kind(kind), literal[:len(literal) - 1], None, None))
            else:
                result.append((kind, literal, None, None))
        return result

    cdef list conditions_of(self, object matcher):
        """A list of conditions, each a list of alternatives (kind, text, value, pattern)."""
        kind = type(matcher)
        if kind is Host:
            return [[(TEXT_HOST, name.lower(), None, None) for name in matcher.names if name]]
        if kind is HostWildcard:
            return [[
                (TEXT_HOST_WILDCARD, suffix.lower(), None, None)
                for suffix in matcher.suffixes if suffix
            ]]
        if kind is HostRegexp:
            patterns = [template_pattern(text, "[^.]+") for text in matcher.templates]
            return [[
                (HOST_REGEX, "", None, "(?i)^" + pattern + "$")
                for pattern in patterns if pattern is not None
            ]]
        if kind is Method:
            return [[(TEXT_METHOD, name.upper(), None, None) for name in matcher.names]]
        if kind is Headers:
            return [
                [(TEXT_HEADER if value else HEADER_PRESENT, name, value, None)]
                for name, value in matcher.pairs
            ]
        if kind is HeadersRegexp:
            return [[(HEADER_REGEX, name, None, value)] for name, value in matcher.pairs]
        if kind is Query:
            return [query_alternatives(name, value) for name, value in matcher.pairs]
        if kind in (Path, PathPrefix, PathExact, PathElements):
            return [self.path_alternatives(matcher)]
        raise TypeError(f"{matcher!r} is not a matcher")

    # ---- rows

    cdef bint read_conditions(self, list matchers) except -1:
        """Add what the index does not cover, cheap conditions first; False: can never hold."""
        cdef list conditions = []
        for matcher in matchers:
            conditions.extend(self.conditions_of(matcher))
        conditions.sort(key=has_pattern)
        for alternatives in conditions:
            if not alternatives:
                return False
            self.condition(alternatives)
        return True

    cdef int add_host(self, Row* row, uint32_t kind, Text name) except -1:
        cdef uint32_t table = self.table_of(kind, self.entry_point, name)
        (<uint32_t*>more(&self.hosts, sizeof(uint32_t)))[0] = table
        row.host_count += 1
        return 0

    cdef bint read_hosts(self, Row* row, object matcher) except -1:
        cdef Text text
        cdef uint32_t kind
        row.host = <uint32_t>(self.hosts.size // sizeof(uint32_t))
        row.host_count = 0
        if matcher is None:
            text.data = NULL
            text.size = 0
            self.add_host(row, HOST_NONE, text)
            return True
        kind = HOST_EXACT if type(matcher) is Host else HOST_WILDCARD
        for name in (matcher.names if type(matcher) is Host else matcher.suffixes):
            text = text_of(name)
            if text.size:
                if not is_lower(text):
                    text = self.keep((<str>name).lower())
                self.add_host(row, kind, text)
        return row.host_count > 0

    cdef int place(
        self, Row* row, Text text, uint32_t kind, uint32_t first, uint32_t count,
    ) except -1:
        cdef Place* place = <Place*>more(&self.places, sizeof(Place))
        if text.size >= 0x7FFFFFFF:
            raise ValueError("a path is too long")
        if count > 0xFFFF:
            raise ValueError("a route has too many conditions")
        place.text = text
        place.kind = kind
        place.condition = first
        place.condition_count = count
        row.place_count += 1
        return 0

    cdef bint read_paths(self, Row* row, object matcher, uint32_t first) except -1:
        """The row's places in the index; its conditions are those from number `first` on."""
        cdef uint32_t count = <uint32_t>(self.conditions.size // sizeof(Condition)) - first
        cdef uint32_t kind
        cdef size_t longest = self.longest
        cdef Text text
        row.place = <uint32_t>(self.places.size // sizeof(Place))
        row.place_count = 0
        if matcher is None:
            text.data = NULL
            text.size = 0
            self.place(row, text, PATH_PREFIX, first, count)
            return True
        kind = kind_of_path(matcher)
        for path in texts_of_path(matcher):
            text = text_of(path)
            if text.size == 0 or text.data[0] != c"/" or not is_normal(text.data, text.size):
                break
            longest = max(longest, text.size)
            if text.data[text.size - 1] == c"/" and (
                kind == PATH_SLASH_FREE or kind == PATH_ELEMENTS
            ):
                text.size -= 1
                self.place(row, text, slashed_kind(kind), first, count)
            else:
                self.place(row, text, kind, first, count)
        else:
            self.longest = longest
            self.whole = self.whole or (
                row.place_count > 0 and kind != PATH_PREFIX and kind != PATH_ELEMENTS
            )
            return row.place_count > 0
        self.places.size -= row.place_count * sizeof(Place)
        row.place_count = 0
        for alternative in self.path_alternatives(matcher):
            self.read_alternative(row, alternative, first, count)
        return row.place_count > 0

    cdef int read_alternative(
        self, Row* row, tuple alternative, uint32_t first, uint32_t count,
    ) except -1:
        """Index a path by its literal beginning; a template is one more condition."""
        cdef uint32_t kind = alternative[0]
        cdef uint32_t own
        cdef void* copies
        cdef Text text = self.keep(alternative[1])
        if alternative[3] is None:
            return self.place(row, text, kind, first, count)
        own = <uint32_t>(self.conditions.size // sizeof(Condition))
        copies = more(&self.conditions, count * sizeof(Condition))
        memcpy(
            copies, self.conditions.data + first * sizeof(Condition), count * sizeof(Condition)
        )
        self.condition([(PATH_REGEX, "", None, alternative[3])])
        return self.place(row, text, PATH_PREFIX if kind == PATH_REGEX else kind, own, count + 1)

    cdef bint read(self, Row* row, object matchers, object precedence) except -1:
        """Fill in a row from an entry; False when it can never match."""
        cdef object host = None
        cdef object path = None
        cdef list others = None
        cdef uint32_t first = <uint32_t>(self.conditions.size // sizeof(Condition))
        cdef int host_class
        self.whole = False
        self.longest = 0
        for matcher in matchers:
            kind = type(matcher)
            if kind is Host or kind is HostWildcard:
                if host is None or (kind is Host and type(host) is HostWildcard):
                    host, matcher = matcher, host
            elif kind is PathPrefix or kind is PathElements or kind is PathExact or kind is Path:
                # The index must know the form of a `Path` that may redirect.
                if path is None or (
                    kind_of_path(matcher) == PATH_SLASH_FREE != kind_of_path(path)
                ):
                    path, matcher = matcher, path
            if matcher is not None:
                if others is None:
                    others = []
                others.append(matcher)
        if others is not None and not self.read_conditions(others):
            return False
        if not self.read_hosts(row, host) or not self.read_paths(row, path, first):
            return False
        host_class = 2
        if host is not None:
            host_class = 0 if type(host) is Host else 1
        elif others is not None and any([type(matcher) is HostRegexp for matcher in others]):
            host_class = 1
        self.add_key(host_class, precedence)
        return True

    cdef int add_key(self, uint64_t host_class, object precedence) except -1:
        cdef uint64_t priority, tie_break = descending(0)
        cdef Key* key
        if type(precedence) is tuple:
            first, last = precedence
            priority = descending(first)
            tie_break = descending(last)
        else:
            priority = descending(precedence)
        key = <Key*>more(&self.keys, sizeof(Key))
        key.priority = priority
        key.tie_break = tie_break
        key.place = (host_class << 33) | (<uint64_t>(not self.whole) << 32) | (
            0xFFFFFFFF - <uint64_t>self.longest
        )
        key.row = <uint32_t>(self.keys.size // sizeof(Key)) - 1
        return 0

    cdef int read_all(self, list entries) except -1:
        cdef Row* row
        cdef Text before, name
        cdef uint32_t position = 0
        before.data = NULL
        before.size = 0
        for entry in entries:
            # A tuple holds on to its texts while C points into them; so must the inner one.
            route, entry_point, matchers, precedence, label = entry
            if not isinstance(entry, tuple) or not isinstance(matchers, tuple):
                raise TypeError(f"{entry!r} is no tuple with a tuple of matchers")
            name = text_of(label)
            self.named_in_order = self.named_in_order and in_order(before, name)
            before = name
            row = <Row*>more(&self.rows, sizeof(Row))
            row.entry = position
            row.route = route
            self.entry_point = entry_point
            if row.route == 0xFFFFFFFF:
                raise ValueError("a route index is too large")
            if not self.read(row, matchers, precedence):
                self.rows.size -= sizeof(Row)
            position += 1
        return 0

    # ---- order

    cdef int sort(self, list entries) except -1:
        """Bring the keys into the total order."""
        cdef const Row* rows = <const Row*>self.rows.data
        cdef size_t count = self.keys.size // sizeof(Key)
        cdef Key* keys
        cdef size_t at
        if count == 0:
            return 0
        more(&self.keys, self.keys.size)
        keys = <Key*>self.keys.data
        if not self.named_in_order:
            names = [entries[rows[at].entry][4] for at in range(count)]
            for at, number in enumerate(sorted(range(count), key=names.__getitem__)):
                keys[count + at] = keys[<uint32_t>number]
            memcpy(keys, keys + count, count * sizeof(Key))
        sort_keys(keys, keys + count, count)
        return 0

    # ---- the tables of hosts

    cdef int more_slots(self) except -1:
        """Double the hash of tables (each slot: hash, then number + 1)."""
        cdef uint32_t count = max(<uint32_t>256, 2 * self.table_slot_count)
        cdef uint64_t* slots = <uint64_t*>calloc(count, sizeof(uint64_t))
        cdef uint32_t at, to
        if slots == NULL:
            raise MemoryError
        for at in range(self.table_slot_count):
            if self.table_slots[at]:
                to = <uint32_t>(self.table_slots[at] >> 32) & (count - 1)
                while slots[to]:
                    to = (to + 1) & (count - 1)
                slots[to] = self.table_slots[at]
        free(self.table_slots)
        self.table_slots = slots
        self.table_slot_count = count
        return 0

    cdef uint32_t table_of(self, uint32_t kind, uint32_t entry_point, Text name) except? 0xFFFFFFFF:
        """The number of a host's table, a new one for a new host."""
        cdef uint32_t hash = host_hash(kind, entry_point, name.data, name.size)
        cdef uint32_t tables = <uint32_t>(self.tables.size // sizeof(Table))
        cdef uint32_t at
        cdef Table* table
        if 2 * (tables + 1) > self.table_slot_count:
            self.more_slots()
        at = hash & (self.table_slot_count - 1)
        while self.table_slots[at]:
            if self.table_slots[at] >> 32 == hash:
                table = <Table*>self.tables.data + (<uint32_t>self.table_slots[at] - 1)
                if (
                    table.kind == kind and table.entry_point == entry_point
                    and table.name.size == name.size
                    and same_bytes(table.name.data, name.data, name.size)
                ):
                    return <uint32_t>self.table_slots[at] - 1
            at = (at + 1) & (self.table_slot_count - 1)
        table = <Table*>more(&self.tables, sizeof(Table))
        memset(table, 0, sizeof(Table))
        table.name = name
        table.hash = hash
        table.kind = kind
        table.entry_point = entry_point
        self.table_slots[at] = (<uint64_t>hash << 32) | (tables + 1)
        return tables
