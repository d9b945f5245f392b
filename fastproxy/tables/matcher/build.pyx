"""Write the compiled matcher section that `_core` reads.

Idea
----
Three passes over C arrays; no Python object is touched once `rows` has read the routes and
put them in order, a row's position being its rank:

1. *Spread.* In order of rank, each (host, path) of a row becomes an item of its host's table.
2. *Grow.* Each table's items are split by their next byte, again and again. Each split keeps the
   order of rank, so candidates come out sorted, and the first item of a group has the best rank
   of the whole subtree.
3. *Write.* The arrays are laid behind each other.

Invariants
----------
* Equal entries give equal sections, byte for byte.
* All splits and sorts are stable.
* A table's nodes, labels and name are neighbours in memory, for the sake of the reader's caches.

What we do not like
-------------------
* A route with h hosts and p paths takes h x p places in the index.
* Entries whose names are not in ascending order cost one sort by Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from fastproxy.tables.matcher.rows cimport Area, Key, Place, Row, Rows, Table, copy, more
from fastproxy.tables.matcher.layout cimport (
    HOLDS_CANDIDATES, HOLDS_ROUTE, SECTION_VERSION, Alternative, Candidate, Condition, Header,
    Node, Regex, Slot, section_magic,
)

from collections import namedtuple

MatchEntry = namedtuple("MatchEntry", "route entry_point matchers precedence name")


cdef struct Item:             # a row's candidate for one host and one path
    const char* data          # the path
    uint32_t size
    uint32_t table
    uint32_t rank
    uint32_t route
    uint32_t condition
    unsigned short condition_count
    unsigned char kind


cdef struct Task:
    uint32_t node
    uint32_t first
    uint32_t end
    uint32_t depth


cdef uint32_t power_above(size_t number) noexcept nogil:
    """The smallest power of two above a number."""
    cdef uint32_t power = 1
    while power <= number:
        power *= 2
    return power


cdef inline uint32_t branch(const Item* item, uint32_t depth) noexcept nogil:
    """Where an item goes at this depth: 0 ends here, else 1 + the next byte."""
    return 0 if item.size == depth else 1 + <uint32_t>(<unsigned char>item.data[depth])


cdef void split(Item* items, Item* scratch, uint32_t count, uint32_t depth) noexcept nogil:
    """Stable sort by branch."""
    cdef uint32_t counts[257]
    cdef uint32_t at, to, seen, place = 0
    cdef Item item
    if count <= 24:
        for at in range(1, count):
            item = items[at]
            place = branch(&item, depth)
            to = at
            while to and branch(items + to - 1, depth) > place:
                items[to] = items[to - 1]
                to -= 1
            items[to] = item
        return
    memset(counts, 0, sizeof(counts))
    for at in range(count):
        counts[branch(items + at, depth)] += 1
    for at in range(257):
        seen = counts[at]
        counts[at] = place
        place += seen
    for at in range(count):
        to = branch(items + at, depth)
        scratch[counts[to]] = items[at]
        counts[to] += 1
    memcpy(items, scratch, count * sizeof(Item))


cdef uint32_t common_size(const Item* items, uint32_t count, uint32_t depth) noexcept nogil:
    """How many bytes after `depth` all items share."""
    cdef uint32_t common = items[0].size - depth
    cdef uint32_t at, same
    for at in range(1, count):
        common = min(common, items[at].size - depth)
        same = 0
        while same < common and items[at].data[depth + same] == items[0].data[depth + same]:
            same += 1
        common = same
        if common == 0:
            break
    return common


cdef class _Builder:
    cdef Rows source
    cdef Area spread_items    # by rank; scratch once they are grouped
    cdef Item* items          # by table, then being split
    cdef Area tasks
    cdef Area nodes           # from here on as in the section
    cdef Area firsts
    cdef Area candidates

    def __cinit__(self, Rows source):
        self.source = source

    def __dealloc__(self):
        free(self.spread_items.data)
        free(self.items)
        free(self.tasks.data)
        free(self.nodes.data)
        free(self.firsts.data)
        free(self.candidates.data)

    # ---- spreading

    cdef int spread(self) except -1:
        """Give every (host, path) of every row to the table of its host, best rank first."""
        cdef const Row* rows = <const Row*>self.source.rows.data
        cdef const Row* row
        cdef const Place* place
        cdef uint32_t rank, host, at, table
        cdef uint32_t count = <uint32_t>(self.source.rows.size // sizeof(Row))
        cdef Item* item
        cdef const Key* keys = <const Key*>self.source.keys.data
        for rank in range(count):
            row = rows + keys[rank].row
            for host in range(row.host_count):
                table = (<uint32_t*>self.source.hosts.data)[row.host + host]
                (<Table*>self.source.tables.data)[table].count += row.place_count
                item = <Item*>more(&self.spread_items, row.place_count * sizeof(Item))
                place = <const Place*>self.source.places.data + row.place
                for at in range(row.place_count):
                    item[at].data = place[at].text.data
                    item[at].size = <uint32_t>place[at].text.size
                    item[at].table = table
                    item[at].rank = rank
                    item[at].route = row.route
                    item[at].condition = place[at].condition
                    item[at].condition_count = <unsigned short>place[at].condition_count
                    item[at].kind = <unsigned char>place[at].kind
        return 0

    cdef int group(self) except -1:
        """Sort the items by table, stably."""
        cdef const Item* source = <const Item*>self.spread_items.data
        cdef Table* tables = <Table*>self.source.tables.data
        cdef size_t count = self.spread_items.size // sizeof(Item)
        cdef size_t at
        cdef uint32_t first = 0
        cdef Table* table
        self.items = <Item*>malloc((count + 1) * sizeof(Item))
        if self.items == NULL:
            raise MemoryError
        for at in range(self.source.tables.size // sizeof(Table)):
            tables[at].first = first
            first += tables[at].count
            tables[at].count = 0
        for at in range(count):
            table = tables + source[at].table
            self.items[table.first + table.count] = source[at]
            table.count += 1
        # What they came from serves as scratch from here on.
        return 0

    # ---- growing

    cdef uint32_t new_nodes(self, uint32_t count) except? 0xFFFFFFFF:
        cdef uint32_t first = <uint32_t>(self.nodes.size // sizeof(Node))
        memset(more(&self.nodes, count * sizeof(Node)), 0, count * sizeof(Node))
        more(&self.firsts, count)
        return first

    cdef int add_task(self, uint32_t node, uint32_t first, uint32_t end, uint32_t depth) except -1:
        cdef Task* task = <Task*>more(&self.tasks, sizeof(Task))
        task.node = node
        task.first = first
        task.end = end
        task.depth = depth
        return 0

    cdef int hold(self, uint32_t number, const Item* items, uint32_t count) except -1:
        """Put the items that end at a node into it, best rank first."""
        cdef Node* node = <Node*>self.nodes.data + number
        cdef Candidate* candidate
        cdef uint32_t at
        if count == 0:
            return 0
        if count == 1 and items.condition_count == 0 and items.rank == node.best:
            node.holds = HOLDS_ROUTE
            node.held = items.route
            node.kind = items.kind
            return 0
        node.holds = HOLDS_CANDIDATES
        node.held = <uint32_t>(self.candidates.size // sizeof(Candidate))
        candidate = <Candidate*>more(&self.candidates, count * sizeof(Candidate))
        for at in range(count):
            candidate[at].rank = items[at].rank
            candidate[at].route = items[at].route
            candidate[at].condition = items[at].condition
            candidate[at].condition_count = items[at].condition_count
            candidate[at].kind = items[at].kind
            candidate[at].last = at == count - 1
        return 0

    cdef int grow(self, Task task) except -1:
        """Make one node of the items of a task; more tasks for its children."""
        cdef Item* items = self.items + task.first
        cdef uint32_t count = task.end - task.first
        cdef uint32_t depth = task.depth
        cdef uint32_t common = common_size(items, count, depth)
        cdef uint32_t at, end, children = 0, child
        cdef Node* node = <Node*>self.nodes.data + task.node
        node.best = items[0].rank
        node.label = <uint32_t>self.source.text.size
        node.label_size = common
        self.firsts.data[task.node] = items[0].data[depth] if common else 0
        if common:
            memcpy(more(&self.source.text, common), items[0].data + depth, common)
        depth += common
        if count > 1:
            split(items, <Item*>self.spread_items.data, count, depth)
        at = 0
        while at < count and items[at].size == depth:
            at += 1
        self.hold(task.node, items, at)
        if at == count:
            return 0
        for end in range(at, count):
            children += end == at or items[end].data[depth] != items[end - 1].data[depth]
        child = self.new_nodes(children)
        node = <Node*>self.nodes.data + task.node
        node.first_child = child
        node.child_count = <unsigned short>children
        while at < count:
            end = at + 1
            while end < count and items[end].data[depth] == items[at].data[depth]:
                end += 1
            self.add_task(child, task.first + at, task.first + end, depth)
            child += 1
            at = end
        return 0

    cdef int grow_all(self) except -1:
        cdef Table* table
        cdef size_t at, task
        for at in range(self.source.tables.size // sizeof(Table)):
            table = <Table*>self.source.tables.data + at
            if table.count == 0:  # its only rows turned out never to match
                table.kind = 0
                continue
            table.root = self.new_nodes(1)
            table.name_offset = <uint32_t>self.source.text.size
            copy(more(&self.source.text, table.name.size + 1), table.name)
            self.source.text.size -= 1
            self.tasks.size = 0
            self.add_task(table.root, table.first, table.first + table.count, 0)
            task = 0
            while task < self.tasks.size // sizeof(Task):
                self.grow((<Task*>self.tasks.data)[task])
                task += 1
        return 0

    # ---- writing

    # ---- writing

    cdef Area slots(self):
        """The hash of hosts, to be freed by the caller."""
        cdef uint32_t tables = <uint32_t>(self.source.tables.size // sizeof(Table))
        cdef uint32_t count = power_above(2 * <size_t>tables)
        cdef const Table* table
        cdef uint32_t at, number
        cdef Slot* slot
        cdef Area slots
        slots.size = slots.capacity = count * sizeof(Slot)
        slots.data = <char*>calloc(count, sizeof(Slot))
        if slots.data == NULL:
            return slots
        for number in range(tables):
            table = <const Table*>self.source.tables.data + number
            if table.kind == 0:
                continue
            at = table.hash & (count - 1)
            while (<Slot*>slots.data)[at].kind:
                at = (at + 1) & (count - 1)
            slot = <Slot*>slots.data + at
            slot.hash = table.hash
            slot.kind = table.kind
            slot.entry_point = table.entry_point
            slot.name = table.name_offset
            slot.name_size = <uint32_t>table.name.size
            slot.root = table.root
        return slots

    cdef bytes section(self):
        cdef Header header
        cdef Area slots
        cdef uint64_t size = sizeof(Header)
        cdef uint32_t at
        cdef const Table* table = <const Table*>self.source.tables.data
        cdef bytes result
        cdef char* data
        memset(&header, 0, sizeof(header))
        slots = self.slots()
        if slots.data == NULL:
            raise MemoryError
        try:
            header.magic = section_magic()
            header.version = SECTION_VERSION
            for at in range(<uint32_t>(self.source.tables.size // sizeof(Table))):
                header.host_kinds |= (1 << table[at].kind) & ~1
            header.slot_count = laid(&size, &slots, sizeof(Slot), &header.slots)
            header.node_count = laid(&size, &self.nodes, sizeof(Node), &header.nodes)
            header.candidate_count = laid(
                &size, &self.candidates, sizeof(Candidate), &header.candidates)
            header.condition_count = laid(
                &size, &self.source.conditions, sizeof(Condition), &header.conditions)
            header.alternative_count = laid(
                &size, &self.source.alternatives, sizeof(Alternative), &header.alternatives)
            header.regex_count = laid(&size, &self.source.regexes, sizeof(Regex), &header.regexes)
            laid(&size, &self.firsts, 1, &header.firsts)
            header.text_size = laid(&size, &self.source.text, 1, &header.text)
            size = (size + 7) & ~<uint64_t>7
            if size > 0xFFFFFFFF:
                raise ValueError("the matcher section would exceed 4 GiB")
            header.size = <uint32_t>size
            result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
            data = PyBytes_AS_STRING(result)
            memset(data + size - 8, 0, 8)
            memcpy(data, &header, sizeof(header))
            memcpy(data + header.slots, slots.data, slots.size)
            paste(data + header.nodes, &self.nodes)
            paste(data + header.candidates, &self.candidates)
            paste(data + header.conditions, &self.source.conditions)
            paste(data + header.alternatives, &self.source.alternatives)
            paste(data + header.regexes, &self.source.regexes)
            paste(data + header.firsts, &self.firsts)
            paste(data + header.text, &self.source.text)
            return result
        finally:
            free(slots.data)


cdef uint32_t laid(
    uint64_t* end, const Area* area, size_t each, uint32_t* offset,
) noexcept nogil:
    """Reserve an area's place in the section; how many records it has."""
    offset[0] = <uint32_t>end[0]
    end[0] += area.size
    return <uint32_t>(area.size // each)


cdef void paste(char* to, const Area* area) noexcept nogil:
    if area.size:
        memcpy(to, area.data, area.size)


def build_matcher(entries):
    cdef list held = entries if type(entries) is list else list(entries)
    cdef Rows rows
    cdef _Builder builder
    rows = Rows()
    rows.read_all(held)
    rows.sort(held)
    builder = _Builder(rows)
    builder.spread()
    builder.group()
    builder.grow_all()
    return builder.section()
