"""Traces made of an invocation's record: as those made of its spans, for a fraction of the work."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.model.invocation import InvocationRecord, Outcome, Traced
from sampan.model.trace import Kind, Span
from sampan.store.database import Database
from sampan.telemetry.spans import ordinary, own, platform_spans
from sampan.traces import merging, rows, tokens
from sampan.traces.lone import Lone, operation_of
from sampan.traces.merging import Trace
from sampan.traces.query import Query
from sampan.traces.rows import Invoked
from sampan.traces.store import APART, TraceStore
from sampan.traces.waiting import Invocation, Losses, Queue, Waiting
from tests.telemetry.records import FACTS, TRACED, cold_record, record
from tests.traces.samples import span

ACCOUNT, REGION = "7", "local"


def invoked(made: InvocationRecord) -> Invoked:
    return Invoked(made, FACTS.function, FACTS.version, FACTS.memory_mb, ACCOUNT, REGION)


def numbered(number: int, **more: object) -> InvocationRecord:
    traced = Traced(f"{number + 1:032x}", f"{number + 1:016x}", f"{number + 1:015x}f")
    return replace(record(standing=traced, **more), request=f"1-{number:08x}-{number:024x}")


@st.composite
def ordinary_records(draw: st.DrawFn) -> InvocationRecord:
    return record(
        leased=draw(st.sampled_from([0.001, 1])),
        ended=draw(st.sampled_from([1, 11, 5000])),
        status=draw(st.sampled_from([0, 200, 404])),
        bytes_in=draw(st.integers(0, 1000)),
        path=draw(st.sampled_from(["/", "/a/b", "/" + "x" * 400])),
        method=draw(st.sampled_from(["GET", "", "BREW"])),
        client=draw(st.sampled_from(["", "192.0.2.1"])),
        secure=draw(st.booleans()),
        standing=replace(TRACED, parent=draw(st.sampled_from(["", "d" * 16]))),
    )


@given(st.lists(ordinary_records(), min_size=1, max_size=5))
def test_it_is_found_by_the_same_and_listed_alike(made: list[InvocationRecord]) -> None:
    lone = Lone()
    for each in made:
        assert ordinary(each)
        spans = platform_spans(each, FACTS, ACCOUNT, REGION)
        whole = Trace(1, 2, 3)
        merging.merge(whole, set(), [Waiting(one, rows.pack(one)) for one in spans], Losses(), rows.compressor())
        short = Trace(1, 2, 3)
        made_of = lone.addition(short, [Invocation(invoked(each), len(spans), 0)])
        assert made_of is not None
        addition, kind = made_of
        found_by = {addition.tokens[at : at + tokens.SIZE] for at in range(0, len(addition.tokens), tokens.SIZE)}
        assert found_by == whole.tokens
        assert kind.operations == {operation_of(one) for one in spans}
        assert set(addition.requests) == {tokens.number(each.request)}
        assert rows.unchunk(addition.chunk, TRACED.trace) == spans
        listed = ("first", "last", "rank", "root_start", "start", "duration", "name", "service", "function")
        for name in (*listed, "request", "spans", "errors", "cold", "services"):
            assert getattr(short, name) == getattr(whole, name), name


async def test_every_attribute_and_operation_of_it_is_found(store: TraceStore) -> None:
    made = [numbered(number, path=f"/{number}") for number in range(3)]
    store.add_invocations(map(invoked, made))
    await store.flush()
    spans = platform_spans(made[1], FACTS, ACCOUNT, REGION)
    assert await store.trace(made[1].request) == spans
    assert {"url.path", "fc.request_id"} <= own(made[1]).keys()
    (found,) = (await store.search(Query(attributes={"url.path": "/1", "faas.trigger": "http"}))).traces
    assert (found.trace, found.spans, found.request) == (spans[0].trace, 3, made[1].request)
    assert len((await store.search(Query(function="web", operation="Invocation"))).traces) == 3
    assert {each.name for each in await store.operations("web")} == {"web", "Schedule", "Invocation"}


@pytest.mark.parametrize("first", ["invocation", "function"])
async def test_what_the_function_reports_joins_it_whichever_comes_first(store: TraceStore, first: str) -> None:
    made = record()
    reported = span(9, int(TRACED.invocation, 16), "select", 2, 3, trace=TRACED.trace, kind=Kind.CLIENT)
    ways = [lambda: store.add_invocations([invoked(made)]), lambda: store.add([reported])]
    for way in ways if first == "invocation" else ways[::-1]:
        way()
        await store.flush()
    spans: list[Span] = await store.trace(TRACED.trace) or []
    assert {each.name for each in spans} == {"web", "Schedule", "Invocation", "select"}
    (found,) = (await store.search(Query())).traces
    assert (found.name, found.spans, found.request) == ("web", 4, made.request)


async def test_one_that_is_not_ordinary_is_told_by_its_spans(store: TraceStore) -> None:
    made = [cold_record(), numbered(5, outcome=Outcome.TIMED_OUT, status=504)]
    store.add_invocations(map(invoked, made))
    await store.flush()
    assert await store.trace(TRACED.trace) == platform_spans(made[0], FACTS, ACCOUNT, REGION)
    assert (await store.search(Query(errors=True))).traces[0].request == made[1].request
    assert (await store.search(Query(cold=True))).traces[0].request == made[0].request


def test_ordinary_ones_leave_room_for_what_is_worth_a_look() -> None:
    losses = Losses()
    queue = Queue(losses, most_spans=30)
    queue.add_invocations(invoked(numbered(number)) for number in range(20))
    assert (len(queue), losses.full) == (24, 3 * 12)
    queue.add_invocations([invoked(numbered(21, outcome=Outcome.TIMED_OUT))])
    assert (len(queue), losses.full) == (27, 3 * 12)
    queue.add_invocations([invoked(cold_record())])
    assert (len(queue), losses.full) == (27, 3 * 12 + len(platform_spans(cold_record(), FACTS, ACCOUNT, REGION)))
    assert len(queue.take(8)) == 8
    assert len(queue) == 3


async def test_one_in_a_trace_that_is_none_is_counted_and_hurts_no_other(store: TraceStore) -> None:
    broken = replace(record(), standing=replace(TRACED, trace="zz" * 16))
    store.add_invocations([invoked(broken), invoked(record())])
    await store.flush()
    assert store.losses.invalid == 1
    assert await store.trace(TRACED.trace)


@pytest.mark.looptime
@pytest.mark.parametrize(("busy", "seconds"), [(True, APART), (False, 0.0)])
async def test_a_batch_lets_more_important_work_go_first_for_a_time(
    database: Database, busy: bool, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    store, begun = TraceStore(database, 3600, 100, busy=lambda: busy), loop.time()
    await store._give_way()
    assert loop.time() - begun == pytest.approx(seconds)
