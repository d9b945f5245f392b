from __future__ import annotations

import pickle
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from fastproxy.engine.operations.writer import (
    AddPrefix,
    EditResponseHeaders,
    ErrorPages,
    MaxConnections,
    Operation,
    Phase,
    Scripted,
)
from fastproxy.feature import BuildContext, Feature, OnInvalid, Scope
from fastproxy.model.configuration import Backend, Certificate, Config, Desired, Endpoint, Route
from fastproxy.model.matchers import Host, PathPrefix
from fastproxy.publish.compiler import (
    ALL_ENDPOINTS,
    NOTHING,
    Compiled,
    Entry,
    compile_table,
    restored,
)
from fastproxy.publish.route_compiler import FALLBACK, HAS_SCRIPTED, NOT_FOUND, PRESERVE_HOST, Piece
from fastproxy.publish.slots import NO_SLOT, Slots
from fastproxy.settings.options import (
    EntryPoint,
    EntryPointAuth,
    EntryPointRedirect,
    Retry,
    Settings,
    Users,
)
from tests.support.table_block import read_block


@dataclass(frozen=True)
class First(Config):
    prefix: bytes = b"/first"


@dataclass(frozen=True)
class Second(Config):
    amount: int = 5


@dataclass(frozen=True)
class Script(Config):
    text: str = "x"


@dataclass(frozen=True)
class Broken(Config):
    pass


def build_first(config: First, context: BuildContext) -> Sequence[Operation]:
    return (
        AddPrefix(config.prefix),
        EditResponseHeaders(((b"A", b"1"),)),
        EditResponseHeaders(((b"B", b"2"),)),
    )


def build_second(config: Second, context: BuildContext) -> Sequence[Operation]:
    slot = context.counters("connections", 1)
    return (MaxConnections(slot, config.amount), EditResponseHeaders(((b"C", b"3"),)))


def build_script(config: Script, context: BuildContext) -> Sequence[Operation]:
    return (
        Scripted(Phase.REQUEST, config),
        Scripted(Phase.RESPONSE, config),
        Scripted(Phase.END, config),
        ErrorPages(((500, 599),), replace(config, text=config.text + "!")),
    )


def build_broken(config: Broken, context: BuildContext) -> Sequence[Operation]:
    raise ValueError("cannot be built")


def feature(config: type[Config], build: object) -> Feature:
    return Feature(
        config.__name__, Scope.INGRESS, (), lambda notes, refs: None, OnInvalid.OFF, config,
        build=build,  # type: ignore[arg-type]
    )  # fmt: skip


FEATURES = (
    feature(First, build_first),
    feature(Second, build_second),
    feature(Script, build_script),
    feature(Broken, build_broken),
)
SETTINGS = Settings(
    entry_points={"http": EntryPoint(":80"), "admin": EntryPoint(":81")},
    default_entry_points=("http",),
)
ENDPOINT = Endpoint("http", "10.0.0.1", 80)
BACKEND = Backend("shop", (ENDPOINT,))


def build_matcher(entries: Sequence[Entry]) -> bytes:
    """Stands for the core's: 8-byte aligned bytes that differ when the entries do."""
    text = repr([(index, entry_point, name) for index, entry_point, _, _, name in entries]).encode()
    return text + bytes(-len(text) % 8)


def route(name: str, *configs: Config, **more: object) -> Route:
    values: dict[str, object] = {
        "entry_points": ("http",),
        "matchers": (Host((f"{name}.example",)), PathPrefix(("/",))),
        "priority": 10,
        "backend": "shop",
    }
    return Route(name, configs=configs, **{**values, **more})  # type: ignore[arg-type]


def compiled(
    *routes: Route,
    previous: Compiled = NOTHING,
    backends: Sequence[Backend] = (BACKEND,),
    certificates: Sequence[Certificate] = (),
    settings: Settings = SETTINGS,
) -> Compiled:
    desired = Desired(routes, tuple(backends), tuple(certificates))
    return compile_table(desired, settings, FEATURES, previous, build_matcher)


def piece(result: Compiled, name: str) -> Piece:
    """The piece of a route that has one entry point."""
    [found] = result.groups[name].pieces
    return found


def test_no_routes() -> None:
    block = read_block(compiled().block)
    assert block.routes == ()
    assert block.generation == 1


def test_one_record_for_each_entry_point() -> None:
    result = compiled(route("a", entry_points=("http", "admin", "unknown")), route("b"))
    rows = [(r.name, r.entry_point, r.backend_slot) for r in read_block(result.block).routes]
    assert rows == [("a", 1, 0), ("a", 0, 1), ("b", 1, 2)]  # index in sorted names
    assert {s.name for s in result.backends.values()} == {"shop"}
    assert [place[0] for place in result.places] == [1, 0, 1]


def test_no_entry_point_means_the_default_ones() -> None:
    assert read_block(compiled(route("a", entry_points=())).block).routes[0].entry_point == 1


FLAGS = [
    (route("a"), PRESERVE_HOST),
    (route("a", preserve_host=False), 0),
    (route("a", Script(), preserve_host=False), HAS_SCRIPTED),
]


@pytest.mark.parametrize(("one", "flags"), FLAGS)
def test_flags(one: Route, flags: int) -> None:
    assert read_block(compiled(one).block).routes[0].flags == flags


RETRIES = [(None, 0), (Retry(), ALL_ENDPOINTS), (Retry(attempts=3), 3)]


@pytest.mark.parametrize(("retry", "attempts"), RETRIES)
def test_retry(retry: Retry | None, attempts: int) -> None:
    result = compiled(route("a"), settings=replace(SETTINGS, retry=retry))
    assert read_block(result.block).routes[0].retry_attempts == attempts


FLUSHES = [(100_000_000, 100), (20_000_000, 20), (-1, 0)]


@pytest.mark.parametrize(("interval", "milliseconds"), FLUSHES)
def test_flush(interval: int, milliseconds: int) -> None:
    result = compiled(route("a"), backends=[replace(BACKEND, flush_interval=interval)])
    assert read_block(result.block).routes[0].flush == milliseconds


def test_operations_follow_the_order_of_the_features_not_of_the_configurations() -> None:
    result = compiled(
        route("a", Script(), First()), backends=[replace(BACKEND, configs=(Second(),))]
    )
    record = read_block(result.block).routes[0]
    assert [code for code, _ in record.request] == [2, 10, 17, 16]
    assert [code for code, _ in record.response] == [14, 14, 14, 17]
    names = [payload[12:13] for code, payload in record.response if code == 14]
    assert names == [b"A", b"B", b"C"]
    assert [code for code, _ in record.end] == [17]


def test_filter_slots_are_patched_in_and_shared_by_equal_configurations() -> None:
    result = compiled(route("a", Script()), route("b", Script()))
    first, second = read_block(result.block).routes
    slots = [struct.unpack_from("<I", payload)[0] for _, payload in first.request + first.response]
    assert slots == [0, 1, 0]  # request, error pages, response
    assert result.filters[0] == Script("x")
    assert result.filters[1] == Script("x!")
    assert struct.unpack_from("<II", second.request[0][1]) == (2, int(Phase.REQUEST))
    assert len(result.filters) == 4  # a filter has state, so routes do not share one


def test_unchanged_routes_are_taken_over() -> None:
    one = compiled(route("a", Script()), route("b", Second()))
    two = compiled(route("a", Script()), route("b", Second(6)), previous=one)
    assert piece(two, "a") is piece(one, "a")
    assert piece(two, "b") is not piece(one, "b")
    assert two.matcher is one.matcher
    assert two.generation == 2
    assert two.filters == one.filters


def test_slots_stay_with_equal_specifications_and_are_not_reused_too_early() -> None:
    one = compiled(route("a", Second()), route("b", Second()))
    two = compiled(route("a", Second(6)), route("b", Second()), previous=one)

    def slot(result: Compiled, index: int) -> int:
        payload = read_block(result.block).routes[index].request[0][1]
        return int(struct.unpack_from("<I", payload)[0])

    assert slot(two, 1) == slot(one, 1)
    assert slot(two, 0) not in (slot(one, 0), slot(one, 1))  # a changed limit starts anew
    assert two.backends.keys() == one.backends.keys()  # the balancer lives on
    three = compiled(route("a", Second(7)), route("b", Second()), previous=two)
    assert slot(three, 0) == slot(one, 0)


def test_an_abandoned_generation_leaves_no_trace() -> None:
    one = compiled(route("a", Second()))
    compiled(route("b", Second()), previous=one)
    two = compiled(route("a", Second()), previous=one)
    assert read_block(two.block).routes == read_block(one.block).routes


def test_endpoints_are_not_part_of_the_block() -> None:
    one = compiled(route("a"))
    more = replace(BACKEND, endpoints=(ENDPOINT, Endpoint("http", "10.0.0.2", 80)))
    two = compiled(route("a"), previous=one, backends=[more])
    assert two.block[64:] == one.block[64:]
    assert two.backends[0].endpoints == more.endpoints
    assert piece(two, "a") is piece(one, "a")


def test_a_removed_route_gives_its_slots_back() -> None:
    one = compiled(route("a", Script()), route("b"))
    two = compiled(route("b"), previous=one)
    assert two.filters == {}
    assert two.backends.keys() == {1}
    three = compiled(route("b"), route("c"), previous=two)
    assert three.backends.keys() == {0, 1}


def test_drr_has_statistics() -> None:
    result = compiled(
        route("a"), route("b", backend="other"),
        backends=[BACKEND, Backend("other", method="drr")],
    )  # fmt: skip
    assert result.backends[0].statistics_slot == NO_SLOT
    assert result.backends[1].statistics_slot == 0


def test_a_route_that_cannot_be_built_is_left_out() -> None:
    result = compiled(route("a", Broken()), route("b"))
    assert [r.name for r in read_block(result.block).routes] == ["b"]
    assert result.failures == (("a", "cannot be built"),)


def build_for_admin_only(config: Broken, context: BuildContext) -> Sequence[Operation]:
    if context.entry_point != "admin":
        raise ValueError("only admin has TLS")
    return ()


@pytest.mark.parametrize(
    ("entry_points", "served"),
    [(("admin", "http"), [0]), (("http", "admin"), []), (("admin",), [0])],
)
def test_a_failure_ends_the_wiring_of_a_route(
    entry_points: tuple[str, ...], served: list[int]
) -> None:
    """As in 1.7: entry points before it stay, those after it are not reached; also later."""
    features = (feature(Broken, build_for_admin_only),)
    desired = Desired((route("a", Broken(), entry_points=entry_points),), (BACKEND,))
    result = NOTHING
    for _ in range(2):
        result = compile_table(desired, SETTINGS, features, result, build_matcher)
        assert [r.entry_point for r in read_block(result.block).routes] == served
        assert len(result.failures) == ("http" in entry_points)
        assert len(result.backends) == len(served)


def test_certificates_keep_their_slots() -> None:
    first, second = (Certificate(name, ("http",), b"chain", b"key") for name in "ab")
    one = compiled(certificates=[first, second])
    two = compiled(certificates=[replace(first, chain=b"new"), second], previous=one)
    assert one.certificates == {0: first, 1: second}
    assert two.certificates == {1: second, 2: replace(first, chain=b"new")}
    three = compiled(certificates=[], previous=two)
    assert three.certificates == {}


def test_no_more_slots_than_there_are() -> None:
    slots = Slots({"rate": 1})
    assert slots.claim("rate", ("a",), 1) == 0
    assert slots.claim("rate", ("b",), 1) == NO_SLOT


def test_a_route_whose_limit_finds_no_counter_is_not_served() -> None:
    """Rather than without its limit; it comes back when there is one."""
    full = replace(NOTHING, slots=Slots({"connections": 2}))
    one = compiled(route("a", Second()), route("b", Second()), previous=full)
    assert one.failures == ()
    two = compiled(*(route(name, Second()) for name in "abc"), route("d"), previous=one)
    assert [name for name, _ in two.failures] == ["c"]
    assert "no counter of 2 is left" in two.failures[0][1]
    assert [r.name for r in read_block(two.block).routes] == ["a", "b", "d"]
    three = compiled(*(route(name, Second()) for name in "bc"), previous=two)
    four = compiled(*(route(name, Second()) for name in "bc"), previous=three)
    assert four.failures == ()


def test_a_restarted_controller_continues_the_slots() -> None:
    certificate = Certificate("a", ("http",), b"chain", b"key")
    one = compiled(route("z"), route("a", Script(), Second()), certificates=[certificate])
    two = compiled(route("a", Script(), Second()), certificates=[certificate], previous=one)
    groups = pickle.loads(pickle.dumps(two.groups))
    again = restored(2, two.block, groups, two.backends, two.certificates, {})
    three = compiled(
        route("b"), route("a", Script(), Second()), certificates=[certificate], previous=again
    )
    assert three.generation == 3
    assert read_block(three.block).routes[1] == read_block(two.block).routes[0]
    assert three.filters == two.filters
    assert three.certificates == two.certificates
    assert three.slots.reused == [("backend", 0)]


def test_a_generation_survives_the_way_between_processes() -> None:
    one = compiled(route("a", Script()))
    again = pickle.loads(pickle.dumps(one))
    assert (again.block, again.filters, again.backends) == (one.block, one.filters, one.backends)


def test_ten_thousand_routes_are_quick() -> None:
    """The bounds are several times what is measured, for slow machines."""
    backends = [Backend(f"b{i}", (ENDPOINT,)) for i in range(10_000)]
    routes = [route(f"r{i}", backend=f"b{i}") for i in range(10_000)]
    started = time.process_time()
    one = compiled(*routes, backends=backends)
    first = time.process_time() - started
    routes[5000] = replace(routes[5000], configs=(First(),))
    started = time.process_time()
    two = compiled(*routes, previous=one, backends=backends)
    second = time.process_time() - started
    assert sum(piece(two, name) is not piece(one, name) for name in one.groups) == 1
    print(f"first {first:.3f} s, one change {second:.3f} s")
    assert first < 2.0
    assert second < 1.0


GUARDED = replace(
    SETTINGS,
    entry_points={
        "http": EntryPoint(
            ":80",
            auth=EntryPointAuth(basic=Users(("ann:x",))),
            redirect=EntryPointRedirect("admin"),
        ),
        "admin": EntryPoint(":81", compress=True),
    },
)


def test_an_entry_points_operations_stand_before_every_routes_and_guard_the_404() -> None:
    """Redirect, auth and compress stand in front of the route's own operations."""
    routes = (route("a", First(1), entry_points=("http", "admin")), route("b", Second(2)))
    result = compiled(*routes, settings=GUARDED)
    block = read_block(result.block)
    plain = read_block(compiled(*routes).block)
    # Entry points are numbered in the order of their names: 0 admin, 1 http.
    common = {r.entry_point: r for r in block.routes if r.name == FALLBACK}
    assert [code for code, _ in common[1].request] == [7, 24, 17]
    assert [code for code, _ in common[0].request] == [18]
    assert {r.flags & NOT_FOUND for r in common.values()} == {NOT_FOUND}
    assert {r.backend_slot for r in common.values()} == {NO_SLOT}
    own = [r for r in block.routes if r.name != FALLBACK]
    for with_common, alone in zip(own, plain.routes, strict=True):
        shared = common[with_common.entry_point]
        assert with_common.request == shared.request + alone.request
        assert with_common.response == alone.response + shared.response
        assert not with_common.flags & NOT_FOUND
        assert with_common.flags & HAS_SCRIPTED == shared.flags & HAS_SCRIPTED
    assert len(result.filters) == 1  # one live filter for the whole entry point
    again = compiled(*routes, previous=result, settings=GUARDED)
    assert again.filters == result.filters
    assert again.matcher == result.matcher
