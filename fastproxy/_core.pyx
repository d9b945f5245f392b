"""The matcher: which route takes a request. A pure algorithm, no input or output.

Idea
----
*Matching.* Priority, not depth, decides in Traefik 1.7: the route of best rank wins among ALL
routes whose host and path fit, so a long path without a host may beat an exact host. All routes
are therefore put into one total order when the section is built, and a route's position in it is
its rank. A request looks into at most three tables (exact host, host without its first label, no
host). Each is a path-compressed trie by byte, because `PathPrefix` is a *string* prefix (`/api`
matches `/apix`). Walking down the request path meets every route whose path could fit; each node
knows the best rank below itself, so the walk ends as soon as nothing better can come. The tries
prune, the rank decides. What is not a literal host or path (methods, headers, queries, templates)
is a list of conditions, looked at only for a candidate that would win.

*Slash rule.* `Path:/p` also matches `/p/`, as a redirect. Every `Path` matcher of a route must
then agree that it is a redirect, or that it is none; of one route the plain match wins.

The balancers stand in `balancing/round_robin.pyx`, the writer of sections in `tables/matcher/rows.pyx` and
`tables/matcher/build.pyx`, the check in `tables/matcher/check.pyx`, the layout in `tables/matcher/layout.pxd`; this module is
where all of it is imported from.

Invariants
----------
* A section that `core_check` accepted cannot make `core_match` read outside it or loop: every
  offset and number is checked there, and children come after their parents.
* Sections hold no pointers and are never written to; the same section may serve any number of
  threads and processes.
* Candidates of a node are sorted by rank, and its `best` is the lowest rank of its subtree.
* Texts in a section are normalised as the engine normalises requests (host lower-case, path
  escapes in one spelling), so matching compares bytes.

What we do not like
-------------------
* Host names are hashed without a secret: whoever may create a hundred thousand Ingresses can make
  host look-ups slow. It would cost reproducible sections to prevent that.
* A route with several `Path` or host matchers is indexed by one of them; the rest are conditions.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memset

from fastproxy.tables.matcher.check cimport core_check
from fastproxy.tables.matcher.layout cimport (
    HEADER_PRESENT, HOLDS_CANDIDATES, HOLDS_ROUTE, HOST_EXACT, HOST_NONE, HOST_REGEX,
    HOST_WILDCARD, PATH_ELEMENTS, PATH_EXACT, PATH_KINDS, PATH_PREFIX, PATH_REGEX,
    PATH_SLASH_FREE, PATH_SLASHED, QUERY_PRESENT, TEMPLATE_SLASH_FREE, TEMPLATE_SLASHED,
    HEADER_REGEX, TEXT_HEADER, TEXT_HOST, TEXT_HOST_WILDCARD, TEXT_METHOD, TEXT_QUERY,
    Alternative, Candidate, Condition, Header, Node, Regex, Slot, host_hash, same_bytes,
)

from functools import lru_cache

from fastproxy.balancing.round_robin import DynamicRoundRobin, WeightedRoundRobin, drr_step
from fastproxy.tables.matcher.build import MatchEntry, build_matcher
from fastproxy.model.paths import normalise_path

__all__ = [
    "DynamicRoundRobin", "MatchEntry", "WeightedRoundRobin", "build_matcher", "check",
    "drr_step", "match", "match_many", "normalise_path", "section_regexes",
]


# ---------------------------------------------------------------------------------- matching

cdef struct Walk:
    const char* section
    const Header* header
    const MatchRequest* request
    uint32_t rank             # of the best route so far; NO_ROUTE: none
    uint32_t route
    bint redirect             # the best route matches by the slash rule only
    bint slash                # the request path ends with a slash


cdef inline const char* text_at(const Walk* walk, uint32_t offset) noexcept nogil:
    return walk.section + walk.header.text + offset


cdef inline int path_form(
    const Walk* walk, uint32_t kind, const char* rest, size_t size,
) noexcept nogil:
    """What follows the path's text decides: 0 matches, 1 matches as a redirect, -1 does not."""
    if kind == PATH_PREFIX:
        return 0
    if kind == PATH_EXACT:
        return 0 if size == 0 else -1
    if kind == PATH_ELEMENTS:
        return 0 if size == 0 or rest[0] == c"/" else -1
    if kind == PATH_SLASH_FREE:
        return 0 if size == 0 else 1 if size == 1 and rest[0] == c"/" else -1
    if kind == PATH_SLASHED:
        return 1 if size == 0 else 0 if size == 1 and rest[0] == c"/" else -1
    if kind == TEMPLATE_SLASH_FREE:
        return walk.slash
    if kind == TEMPLATE_SLASHED:
        return not walk.slash
    return -1


cdef inline const char* after_first_label(
    const char* host, size_t size, size_t* rest_size,
) noexcept nogil:
    """What follows the first dot; NULL unless the first label and the rest are not empty."""
    cdef const char* dot = <const char*>memchr(host, c".", size)
    if dot == NULL or dot == host or dot + 1 == host + size:
        return NULL
    rest_size[0] = <size_t>(host + size - dot) - 1
    return dot + 1


cdef inline int hex_value(char byte) noexcept nogil:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef inline int decode_next(const char** raw, const char* end) noexcept nogil:
    """The next byte of form-encoded text; -1 when its escape is broken."""
    cdef const char* at = raw[0]
    cdef int high, low
    raw[0] = at + 1
    if at[0] == c"+":
        return c" "
    if at[0] != c"%":
        return <unsigned char>at[0]
    if end - at < 3:
        return -1
    high = hex_value(at[1])
    low = hex_value(at[2])
    raw[0] = at + 3
    return -1 if high < 0 or low < 0 else high * 16 + low


cdef bint decodes(const char* raw, const char* end) noexcept nogil:
    while raw < end:
        if decode_next(&raw, end) < 0:
            return False
    return True


cdef bint decodes_to(
    const char* raw, const char* end, const char* text, size_t size,
) noexcept nogil:
    while raw < end:
        if size == 0 or decode_next(&raw, end) != <unsigned char>text[0]:
            return False
        text += 1
        size -= 1
    return size == 0


cdef const char* query_value(
    const MatchRequest* request, const char* name, size_t size, size_t* value_size,
) noexcept nogil:
    """The raw first value of a parameter, NULL without one; as Go, skips pairs with bad escapes."""
    cdef const char* at = request.query
    cdef const char* end
    cdef const char* stop
    cdef const char* equals
    if at == NULL:
        return NULL
    end = at + request.query_size
    while at < end:
        stop = <const char*>memchr(at, c"&", end - at)
        if stop == NULL:
            stop = end
        equals = <const char*>memchr(at, c"=", stop - at)
        if equals == NULL:
            equals = stop
        if stop > at and decodes_to(at, equals, name, size):
            if equals < stop:
                equals += 1
            if decodes(equals, stop):
                value_size[0] = stop - equals
                return equals
        at = stop + 1
    return NULL


cdef bint query_regex(
    const MatchRequest* request, uint32_t regex, const char* raw, size_t size,
) noexcept nogil:
    cdef char small[1024]
    cdef char* decoded = small
    cdef const char* end = raw + size
    cdef size_t used = 0
    cdef bint matched
    memset(small, 0, sizeof(small))  # keeps the compiler calm about an empty value
    if size > sizeof(small):
        decoded = <char*>calloc(size, 1)
        if decoded == NULL:
            return False
    while raw < end:
        decoded[used] = <char>decode_next(&raw, end)
        used += 1
    matched = request.regex(request.context, regex, decoded, used) != 0
    if decoded != small:
        free(decoded)
    return matched


cdef bint header_holds(const Walk* walk, const Alternative* alternative) noexcept nogil:
    """One value of the header equals the text, or contains the regular expression."""
    cdef const MatchRequest* request = walk.request
    cdef const char* name = text_at(walk, alternative.text)
    cdef const char* value = NULL
    cdef size_t size = 0
    cdef uint32_t index = 0
    if request.header == NULL:
        return False
    while request.header(
        request.context, name, alternative.text_size, index, &value, &size
    ):
        if alternative.kind == HEADER_PRESENT:
            return True
        if alternative.kind == TEXT_HEADER:
            if size == alternative.value_size and same_bytes(
                value, text_at(walk, alternative.value), size
            ):
                return True
        elif request.regex != NULL and request.regex(
            request.context, alternative.value, value, size
        ):
            return True
        index += 1
    return False


cdef bint query_holds(const Walk* walk, const Alternative* alternative) noexcept nogil:
    cdef size_t size = 0
    cdef const char* value = query_value(
        walk.request, text_at(walk, alternative.text), alternative.text_size, &size
    )
    if value == NULL:
        return False
    if alternative.kind == QUERY_PRESENT:
        return True
    if alternative.kind == TEXT_QUERY:
        return decodes_to(
            value, value + size, text_at(walk, alternative.value), alternative.value_size
        )
    return walk.request.regex != NULL and query_regex(
        walk.request, alternative.value, value, size
    )


cdef bint holds(const Walk* walk, const Alternative* alternative, bint redirect) noexcept nogil:
    cdef const MatchRequest* request = walk.request
    cdef uint32_t kind = alternative.kind
    cdef size_t size = alternative.text_size
    cdef const char* text = text_at(walk, alternative.text)
    cdef const char* subject
    cdef int form
    if kind < PATH_KINDS:
        if request.path_size < size or not same_bytes(request.path, text, size):
            return False
        form = path_form(walk, kind, request.path + size, request.path_size - size)
        if kind == TEMPLATE_SLASH_FREE or kind == TEMPLATE_SLASHED:
            if request.regex == NULL or not request.regex(
                request.context, alternative.value, request.path, request.path_size
            ):
                return False
        return form == redirect if kind >= PATH_SLASH_FREE else form == 0
    if kind == PATH_REGEX:
        return request.regex != NULL and request.regex(
            request.context, alternative.value, request.path, request.path_size
        ) != 0
    if kind == TEXT_METHOD:
        return size == request.method_size and same_bytes(request.method, text, size)
    if kind == TEXT_HOST:
        if size == request.alias_size and size and same_bytes(request.alias, text, size):
            return True
        return size == request.host_size and same_bytes(request.host, text, size)
    if kind == TEXT_HOST_WILDCARD:
        subject = after_first_label(request.host, request.host_size, &size)
        return subject != NULL and size == alternative.text_size and same_bytes(
            subject, text, size
        )
    if kind == HOST_REGEX:
        return request.regex != NULL and request.regex(
            request.context, alternative.value, request.host, request.host_size
        ) != 0
    if kind == TEXT_HEADER or kind == HEADER_PRESENT or kind == HEADER_REGEX:
        return header_holds(walk, alternative)
    return query_holds(walk, alternative)


cdef bint conditions_hold(
    const Walk* walk, const Candidate* candidate, bint redirect,
) noexcept nogil:
    cdef const Condition* condition = (
        <const Condition*>(walk.section + walk.header.conditions) + candidate.condition
    )
    cdef const Alternative* alternatives = (
        <const Alternative*>(walk.section + walk.header.alternatives)
    )
    cdef uint32_t left = candidate.condition_count
    cdef uint32_t at, end
    while left:
        at = condition.alternative
        end = at + condition.alternative_count
        while at < end and not holds(walk, alternatives + at, redirect):
            at += 1
        if at == end:
            return False
        condition += 1
        left -= 1
    return True


cdef inline bint better(const Walk* walk, uint32_t rank, int form) noexcept nogil:
    """Of the best route itself another alternative is better only if it spares a redirect."""
    return form >= 0 and (rank < walk.rank or (walk.redirect and form == 0))


cdef inline void take(Walk* walk, uint32_t rank, uint32_t route, int form) noexcept nogil:
    walk.rank = rank
    walk.route = route
    walk.redirect = form


cdef void visit_list(
    Walk* walk, const Candidate* candidate, const char* rest, size_t size,
) noexcept nogil:
    cdef int form
    while candidate.rank <= walk.rank:
        form = path_form(walk, candidate.kind, rest, size)
        if better(walk, candidate.rank, form):
            if candidate.condition_count == 0 or conditions_hold(walk, candidate, form):
                take(walk, candidate.rank, candidate.route, form)
        if candidate.last:
            return
        candidate += 1


cdef inline void visit(Walk* walk, const Node* node, size_t position) noexcept nogil:
    """Let what a node holds compete; `position` is where the request path goes on."""
    cdef const char* rest = walk.request.path + position
    cdef size_t size = walk.request.path_size - position
    cdef int form
    if node.holds == HOLDS_ROUTE:
        form = path_form(walk, node.kind, rest, size)
        if better(walk, node.best, form):
            take(walk, node.best, node.held, form)
    elif node.holds == HOLDS_CANDIDATES:
        visit_list(
            walk, <const Candidate*>(walk.section + walk.header.candidates) + node.held, rest, size
        )


cdef inline uint32_t child_of(
    const unsigned char* firsts, const Node* node, unsigned char byte,
) noexcept nogil:
    """Number of the child whose label starts with the byte, 0 without one (0 is a root)."""
    cdef uint32_t child = node.first_child
    cdef uint32_t end = child + node.child_count
    cdef uint32_t middle
    while end - child > 8:
        middle = child + (end - child) // 2
        if firsts[middle] <= byte:
            child = middle
        else:
            end = middle
    while child < end:
        if firsts[child] == byte:
            return child
        child += 1
    return 0


cdef void descend(Walk* walk, uint32_t root) noexcept nogil:
    cdef const Node* nodes = <const Node*>(walk.section + walk.header.nodes)
    cdef const unsigned char* firsts = (
        <const unsigned char*>(walk.section + walk.header.firsts)
    )
    cdef const char* path = walk.request.path
    cdef size_t size = walk.request.path_size
    cdef size_t position = 0
    cdef const Node* node = nodes + root
    cdef uint32_t child
    while node.best <= walk.rank:
        if size - position < node.label_size or not same_bytes(
            path + position, text_at(walk, node.label), node.label_size
        ):
            return
        position += node.label_size
        visit(walk, node, position)
        if position == size:
            return
        child = child_of(firsts, node, <unsigned char>path[position])
        if child == 0:
            return
        node = nodes + child


cdef inline void look_up(
    Walk* walk, uint32_t kind, const char* name, size_t size,
) noexcept nogil:
    cdef const Header* header = walk.header
    cdef const Slot* slots = <const Slot*>(walk.section + header.slots)
    cdef uint32_t entry_point = walk.request.entry_point
    cdef uint32_t mask = header.slot_count - 1
    cdef uint32_t hash = host_hash(kind, entry_point, name, size)
    cdef uint32_t at = hash & mask
    cdef uint32_t left = header.slot_count
    cdef const Slot* slot
    while left:
        slot = slots + at
        if slot.kind == 0:
            return
        if slot.hash == hash and slot.kind == kind and slot.entry_point == entry_point:
            if slot.name_size == size and same_bytes(text_at(walk, slot.name), name, size):
                descend(walk, slot.root)
                return
        at = (at + 1) & mask
        left -= 1


cdef void core_match(
    const char* section, const MatchRequest* request, MatchResult* result,
) noexcept nogil:
    cdef Walk walk
    cdef const Header* header = <const Header*>section
    cdef size_t size = 0
    cdef const char* suffix
    walk.section = section
    walk.header = header
    walk.request = request
    walk.rank = walk.route = NO_ROUTE
    walk.redirect = False
    walk.slash = request.path_size > 0 and request.path[request.path_size - 1] == c"/"
    if request.host_size:
        if header.host_kinds & (1 << HOST_EXACT):
            look_up(&walk, HOST_EXACT, request.host, request.host_size)
            if request.alias_size:
                look_up(&walk, HOST_EXACT, request.alias, request.alias_size)
        if header.host_kinds & (1 << HOST_WILDCARD):
            suffix = after_first_label(request.host, request.host_size, &size)
            if suffix != NULL:
                look_up(&walk, HOST_WILDCARD, suffix, size)
    if header.host_kinds & (1 << HOST_NONE):
        look_up(&walk, HOST_NONE, NULL, 0)
    result.route = walk.route
    result.flags = 0
    if walk.redirect:
        result.flags = MATCH_REMOVE_SLASH if walk.slash else MATCH_ADD_SLASH


# -------------------------------------------------------------------------------- Python side

cdef class _View:
    """A readable section: any object with a buffer, checked once."""

    cdef Py_buffer buffer
    cdef const char* data
    cdef bint held

    def __cinit__(self, section):
        PyObject_GetBuffer(section, &self.buffer, PyBUF_SIMPLE)
        self.held = True
        self.data = <const char*>self.buffer.buf
        if core_check(self.data, <size_t>self.buffer.len) != 0:
            raise ValueError("the matcher section is damaged or of another version")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


def check(section):
    try:
        _View(section)
    except ValueError:
        return False
    return True


cdef list regexes_of(_View view):
    cdef const Header* header = <const Header*>view.data
    cdef const Regex* regexes = <const Regex*>(view.data + header.regexes)
    cdef const char* text = view.data + header.text
    return [
        text[regexes[at].text:regexes[at].text + regexes[at].text_size].decode(
            "utf-8", "surrogateescape")
        for at in range(header.regex_count)
    ]


def section_regexes(section):
    return regexes_of(_View(section))


@lru_cache(maxsize=4096)
def _compiled(pattern):
    """None for a pattern that RE2 refuses: it never matches."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8", "surrogateescape"), options)
    except re2.error:
        return None


cdef struct Callbacks:
    void* headers             # list of (lower-case name, value)
    void* regexes             # list of pattern texts


cdef int python_header(
    void* context, const char* name, size_t name_size, uint32_t index,
    const char** value, size_t* value_size,
) noexcept with gil:
    cdef bytes wanted = name[:name_size].lower()
    cdef bytes found
    for have, found in <list>(<Callbacks*>context).headers:
        if have == wanted:
            if index == 0:
                value[0] = found
                value_size[0] = len(found)
                return 1
            index -= 1
    return 0


cdef int python_regex(
    void* context, uint32_t regex, const char* subject, size_t size,
) noexcept with gil:
    pattern = _compiled((<list>(<Callbacks*>context).regexes)[regex])
    return pattern is not None and pattern.search(subject[:size]) is not None


def match(section, uint32_t entry_point, str host, str path, str query=None, str method="GET",
          headers=(), str alias=""):
    cdef _View view = _View(section)
    cdef list pairs = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
    ]
    cdef list patterns = regexes_of(view)
    cdef bytes host_bytes = host.lower().encode()
    cdef bytes alias_bytes = alias.lower().encode()
    cdef bytes path_bytes = path.encode()
    cdef bytes query_bytes = (query or "").encode()
    cdef bytes method_bytes = method.encode()
    cdef Callbacks callbacks
    cdef MatchRequest request
    cdef MatchResult result
    callbacks.headers = <void*>pairs
    callbacks.regexes = <void*>patterns
    request.entry_point = entry_point
    request.host = host_bytes
    request.host_size = len(host_bytes)
    request.alias = alias_bytes
    request.alias_size = len(alias_bytes)
    request.path = path_bytes
    request.path_size = len(path_bytes)
    request.query = query_bytes
    if query is None:
        request.query = NULL
    request.query_size = len(query_bytes)
    request.method = method_bytes
    request.method_size = len(method_bytes)
    request.context = &callbacks
    request.header = <HeaderValue>python_header
    request.regex = <RegexMatches>python_regex
    core_match(view.data, &request, &result)
    return None if result.route == NO_ROUTE else (result.route, result.flags)


def match_many(section, requests, unsigned int rounds=1):
    cdef _View view = _View(section)
    cdef list sizes = []
    cdef bytes texts
    cdef const char* text
    cdef size_t at, count
    cdef uint64_t found = 0
    cdef MatchRequest* batch
    cdef MatchResult result
    # All texts side by side: a request just parsed lies in the cache too.
    texts = b"".join([part for host, path in requests for part in (host.encode(), path.encode())])
    for host, path in requests:
        sizes.append((len(host.encode()), len(path.encode())))
    count = <size_t>len(sizes)
    batch = <MatchRequest*>calloc(count + 1, sizeof(MatchRequest))
    if batch == NULL:
        raise MemoryError
    text = texts
    for at in range(count):
        batch[at].host = text
        batch[at].host_size = sizes[at][0]
        batch[at].path = text + batch[at].host_size
        batch[at].path_size = sizes[at][1]
        batch[at].method = "GET"
        batch[at].method_size = 3
        text += batch[at].host_size + batch[at].path_size
    with nogil:
        while rounds:
            rounds -= 1
            for at in range(count):
                core_match(view.data, batch + at, &result)
                found += result.route != NO_ROUTE
    free(batch)
    return found
