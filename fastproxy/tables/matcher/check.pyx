"""Check a matcher section before it is read: nothing in it may lead outside it, or in circles.

A section comes through shared memory from another process. Everything the matcher follows is
looked at once here, so that matching needs no check at all.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.tables.matcher.layout cimport (
    ALTERNATIVE_KINDS, HEADER_REGEX, HOLDS_CANDIDATES, HOST_REGEX, PATH_KINDS, PATH_REGEX,
    QUERY_REGEX, SECTION_VERSION, TEMPLATE_SLASH_FREE, TEMPLATE_SLASHED, Alternative, Candidate,
    Condition, Header, Node, Regex, Slot, section_magic,
)


cdef inline bint area(
    const Header* header, uint32_t offset, uint64_t count, uint64_t each,
) noexcept nogil:
    return (
        offset >= sizeof(Header) and offset <= header.size
        and (each == 1 or offset % 4 == 0) and count * each <= header.size - offset
    )


cdef inline bint inside(uint64_t first, uint64_t count, uint64_t limit) noexcept nogil:
    return first + count <= limit


cdef bint header_checks(const Header* header, size_t size) noexcept nogil:
    return (
        header.magic == section_magic() and header.version == SECTION_VERSION
        and header.size == size
        and area(header, header.slots, header.slot_count, sizeof(Slot))
        and area(header, header.nodes, header.node_count, sizeof(Node))
        and area(header, header.candidates, header.candidate_count, sizeof(Candidate))
        and area(header, header.conditions, header.condition_count, sizeof(Condition))
        and area(header, header.alternatives, header.alternative_count, sizeof(Alternative))
        and area(header, header.regexes, header.regex_count, sizeof(Regex))
        and area(header, header.firsts, header.node_count, 1)
        and area(header, header.text, header.text_size, 1)
        and header.slot_count > 0 and header.slot_count & (header.slot_count - 1) == 0
    )


cdef bint index_checks(const char* section, const Header* header) noexcept nogil:
    """Hosts, nodes and candidates."""
    cdef const Slot* slots = <const Slot*>(section + header.slots)
    cdef const Node* nodes = <const Node*>(section + header.nodes)
    cdef const Candidate* candidates = <const Candidate*>(section + header.candidates)
    cdef uint32_t at
    for at in range(header.slot_count):
        if slots[at].kind and not (
            slots[at].root < header.node_count
            and inside(slots[at].name, slots[at].name_size, header.text_size)
        ):
            return False
    for at in range(header.node_count):
        if not inside(nodes[at].label, nodes[at].label_size, header.text_size):
            return False
        if nodes[at].kind >= PATH_KINDS:
            return False
        if nodes[at].holds == HOLDS_CANDIDATES and nodes[at].held >= header.candidate_count:
            return False
        if nodes[at].child_count and not (
            # Children after parents: no walk can come back to where it was.
            nodes[at].first_child > at
            and inside(nodes[at].first_child, nodes[at].child_count, header.node_count)
        ):
            return False
    for at in range(header.candidate_count):
        if candidates[at].kind >= PATH_KINDS or not inside(
            candidates[at].condition, candidates[at].condition_count, header.condition_count
        ):
            return False
    return header.candidate_count == 0 or candidates[header.candidate_count - 1].last != 0


cdef bint alternative_checks(const Header* header, const Alternative* item) noexcept nogil:
    if item.kind >= ALTERNATIVE_KINDS:
        return False
    if not inside(item.text, item.text_size, header.text_size):
        return False
    if item.kind in (
        TEMPLATE_SLASH_FREE, TEMPLATE_SLASHED, PATH_REGEX, HOST_REGEX, HEADER_REGEX, QUERY_REGEX
    ):
        return item.value < header.regex_count
    return inside(item.value, item.value_size, header.text_size)


cdef int core_check(const char* section, size_t size) noexcept nogil:
    cdef const Header* header = <const Header*>section
    cdef const Condition* conditions
    cdef const Alternative* alternatives
    cdef const Regex* regexes
    cdef uint32_t at
    if size < sizeof(Header) or not header_checks(header, size):
        return -1
    if not index_checks(section, header):
        return -1
    conditions = <const Condition*>(section + header.conditions)
    alternatives = <const Alternative*>(section + header.alternatives)
    regexes = <const Regex*>(section + header.regexes)
    for at in range(header.condition_count):
        if not inside(
            conditions[at].alternative, conditions[at].alternative_count,
            header.alternative_count,
        ):
            return -1
    for at in range(header.alternative_count):
        if not alternative_checks(header, alternatives + at):
            return -1
    for at in range(header.regex_count):
        if not inside(regexes[at].text, regexes[at].text_size, header.text_size):
            return -1
    return 0
