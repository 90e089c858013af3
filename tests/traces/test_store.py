"""The store of traces over a real database file."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, inspect

from sampan.model.errors import InvalidArgument
from sampan.model.trace import Kind, Span, SpanEvent, SpanLink, Status
from sampan.store.database import Database, migrate, sqlite_url
from sampan.traces import forgetting, merging, tables, tokens, waiting
from sampan.traces.query import Dependency, Operation, Query
from sampan.traces.store import TraceStore
from tests.traces.conftest import Clock
from tests.traces.samples import MS, REQUEST, START, TRACE, cold, span


async def put(store: TraceStore, *spans: Span) -> None:
    store.add(spans)
    await store.flush()


async def found(store: TraceStore, **query: object) -> list[str]:
    return [each.trace for each in (await store.search(Query(**query))).traces]  # type: ignore[arg-type]


def named(number: int) -> str:
    return f"{number + 1:016x}{number + 1:016x}"


def test_the_migration_makes_the_tables_that_the_room_declares(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "telemetry.db")
    migrate(url, "telemetry")
    engine = create_engine(url)
    shown = inspect(engine)
    for name, table in tables.METADATA.tables.items():
        assert {column["name"] for column in shown.get_columns(name)} == {column.name for column in table.columns}
        assert {each["name"] for each in shown.get_indexes(name)} == {each.name for each in table.indexes}
    engine.dispose()


async def test_a_span_is_read_as_it_was_written(store: TraceStore) -> None:
    full = Span(
        TRACE,
        "00000000000000aa",
        "00000000000000ab",
        "GET /ü",
        Kind.SERVER,
        START,
        START + 1234567,
        "web",
        "web",
        "3",
        "c-1",
        True,
        Status.ERROR,
        "no",
        {"s": "x", "b": True, "i": -5, "f": 1.5, "l": ["a", 1], "bytes": b"\x00\xff"},
        {"service.name": "web"},
        (SpanEvent("exception", START + 5, {"exception.type": "ValueError"}),),
        (SpanLink("ab" * 16, "cd" * 8, {"why": "batch"}),),
        "vendor=1",
        "scope",
    )
    await put(store, full)
    assert await store.trace(TRACE) == [full]


def watched(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a batch is in the database."""
    written, write = asyncio.Event(), store._writer.write

    async def watch(*arguments: object) -> None:
        await write(*arguments)  # type: ignore[arg-type]
        written.set()

    monkeypatch.setattr(store._writer, "write", watch)
    return written


async def test_run_writes_what_was_added_and_close_what_still_waits(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = watched(store, monkeypatch)
    running = asyncio.create_task(store.run())
    store.add(cold())
    await asyncio.wait_for(written.wait(), 10)
    assert await found(store) == [TRACE]
    running.cancel()
    await asyncio.wait([running])
    store.add([span(1, 0, "late", 0, 1, trace=named(7))])
    await store.close()
    assert await found(store, operation="late") == [named(7)]


async def test_a_summary_tells_who_stands_for_the_trace(store: TraceStore) -> None:
    await put(store, *cold())
    (summary,) = (await store.search(Query())).traces
    assert (summary.trace, summary.name, summary.function, summary.request) == (TRACE, "shop", "shop", REQUEST)
    assert (summary.start, summary.duration, summary.spans, summary.cold) == (START, 1204 * MS, 116, True)
    assert summary.errors == 5
    assert [(each.name, each.spans, each.errors) for each in summary.services] == [
        ("pay", 3, 2),
        ("postgres", 100, 0),
        ("shop", 13, 3),
    ]


async def test_spans_that_come_in_any_order_and_twice_make_the_same_trace(store: TraceStore) -> None:
    spans = cold()
    for each in (*reversed(spans), *spans[::3]):
        await put(store, each)
    (summary,) = (await store.search(Query())).traces
    assert (summary.name, summary.duration, summary.spans, summary.errors) == ("shop", 1204 * MS, 116, 5)
    read = await store.trace(TRACE)
    assert read is not None
    assert sorted(each.span for each in read) == sorted(each.span for each in spans)
    assert [each.start for each in read] == sorted(each.start for each in spans)


async def test_a_trace_without_the_platforms_spans_stands_as_well(store: TraceStore) -> None:
    orphans = [span(5, 4, "work", 10, 30, function="web"), span(6, 5, "sub", 0, 50, function="web")]
    await put(store, *orphans)
    (summary,) = (await store.search(Query(function="web"))).traces
    assert (summary.start, summary.duration) == (START, 50 * MS)
    await put(store, span(4, 3, "web", 5, 40, kind=Kind.SERVER, platform=True, function="web"))
    (summary,) = (await store.search(Query(function="web"))).traces
    assert (summary.name, summary.start, summary.duration) == ("web", START + 5 * MS, 35 * MS)


async def test_a_trace_is_found_by_its_id_in_every_spelling_and_by_its_request(store: TraceStore) -> None:
    await put(store, *cold())
    await put(store, span(1, 0, "old", 0, 1, trace="0" * 16 + "00000000000000fe"))
    for id in (TRACE, TRACE.upper(), TRACE[16:], REQUEST):
        read = await store.trace(id)
        assert read is not None
        assert len(read) == 116
    for id in ("fe", "00fe", "0" * 30 + "fe", "FE"):
        read = await store.trace(id)
        assert read is not None
        assert read[0].name == "old"
    for id in ("", "ff", "f" * 16 + TRACE[16:], "x" * 5000, "1-none", "\udcff", TRACE + "0"):
        assert await store.trace(id) is None


async def test_spans_with_half_the_id_join_their_trace_whichever_comes_first(store: TraceStore) -> None:
    short = "0" * 16 + TRACE[16:]
    await put(store, span(2, 1, "from an old client", 1, 2, trace=short))
    await put(store, span(1, 0, "new", 0, 3))
    await put(store, span(3, 1, "old again", 2, 3, trace=short))
    read = await store.trace(TRACE)
    assert read is not None
    assert [(each.name, each.trace) for each in read] == [
        ("new", TRACE),
        ("from an old client", TRACE),
        ("old again", TRACE),
    ]
    assert await found(store) == [TRACE]
    other = "1" * 16 + TRACE[16:]
    await put(store, span(1, 0, "another", 0, 3, trace=other))
    assert {each.name for each in await store.trace(other) or ()} == {"another"}


async def test_both_ends_of_a_call_may_share_an_id(store: TraceStore) -> None:
    await put(
        store,
        span(2, 1, "call", 1, 9, kind=Kind.CLIENT, service="a"),
        span(2, 1, "serve", 2, 8, kind=Kind.SERVER, service="b"),
        span(3, 2, "inside", 3, 4, service="b"),
        span(4, 2, "beside", 3, 4, service="a"),
    )
    by_name = {each.name: each for each in await store.trace(TRACE) or ()}
    assert by_name["call"].span == f"{2:016x}"
    assert by_name["serve"].parent == by_name["call"].span
    assert by_name["inside"].parent == by_name["serve"].span != by_name["call"].span
    assert by_name["beside"].parent == by_name["call"].span


@pytest.mark.parametrize(
    "query",
    [
        {"function": "pay"},
        {"service": "postgres"},
        {"operation": "SELECT item"},
        {"service": "postgres", "operation": "SELECT item"},
        {"errors": True},
        {"cold": True},
        {"request": REQUEST},
        {"min_duration": 1204 * MS, "max_duration": 1204 * MS},
        {"start": START, "end": START},
        {"attributes": {"card": "42"}},
        {"attributes": {"fc.request_id": REQUEST, "faas.coldstart": "true", "span.kind": "server"}},
        {"attributes": {"db.statement": "SELECT * FROM item WHERE id = 99", "error": "true"}},
        {"attributes": {"exception.type": "CardRefused"}},
    ],
)
async def test_each_condition_finds_the_trace_and_no_other(store: TraceStore, query: dict[str, object]) -> None:
    other = span(1, 0, "web", 3, 20, trace=named(1), function="web", service="web", attributes={"card": "421"})
    await put(store, *cold(), other)
    assert await found(store, **query) == [TRACE]


@pytest.mark.parametrize(
    "query",
    [
        {"function": "nobody"},
        {"service": "shop", "operation": "SELECT item"},
        {"errors": False},
        {"cold": False},
        {"request": "1-other"},
        {"min_duration": 1205 * MS},
        {"max_duration": 1203 * MS},
        {"start": START + MS},
        {"end": START - MS},
        {"attributes": {"card": "4"}},
        {"attributes": {"card": "42", "db.system": "mysql"}},
    ],
)
async def test_a_condition_that_does_not_hold_leaves_it_out(store: TraceStore, query: dict[str, object]) -> None:
    await put(store, *cold())
    assert await found(store, **query) == []


async def test_pages_go_from_newest_to_oldest_and_miss_none(store: TraceStore) -> None:
    starts = [START + (number // 3) * MS for number in range(30)]  # three at each time
    await put(store, *(span(1, 0, "a", 0, 1, trace=named(at), start=start) for at, start in enumerate(starts)))
    pages, after = [], ""
    while True:
        page = await store.search(Query(limit=7, after=after))
        pages.append([each.trace for each in page.traces])
        if not page.after:
            break
        after = page.after
    assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
    assert [trace for page in pages for trace in page] == [named(at) for at in reversed(range(30))]


@pytest.mark.parametrize("query", [Query(limit=0), Query(limit=1501), Query(after="x"), Query(after="1.2.3")])
async def test_a_question_that_is_none_is_refused(store: TraceStore, query: Query) -> None:
    with pytest.raises(InvalidArgument):
        await store.search(query)


async def test_services_operations_and_who_called_whom(store: TraceStore) -> None:
    await put(store, *cold())
    assert await store.services() == ["pay", "postgres", "shop"]
    assert await store.operations("pay") == [
        Operation("Invocation", Kind.CLIENT),
        Operation("charge", Kind.INTERNAL),
        Operation("pay", Kind.SERVER),
    ]
    assert await store.operations("nobody") == []
    assert await store.dependencies(START + MS, 10 * MS) == [
        Dependency("shop", "pay", 1),
        Dependency("shop", "postgres", 100),
    ]
    assert await store.dependencies(START - MS, 10 * MS) == []


async def test_operations_that_never_repeat_fill_no_list(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.traces.writing.MOST_OF_SERVICE", 10)
    monkeypatch.setattr("sampan.traces.writing.MOST_OPERATIONS", 15)
    for at in range(3):
        await put(store, *(span(1, 0, f"GET /{at}/{number}", 0, 1, trace=named(number)) for number in range(20)))
    await put(store, *(span(1, 0, f"x{number}", 0, 1, trace=named(number), service="other") for number in range(9)))
    await put(store, span(1, 0, "n" * 201, 0, 1, service="third"))
    assert len(await store.operations("shop")) == 10
    assert len(await store.operations("other")) == 5
    assert await store.services() == ["other", "shop"]


async def test_huge_names_make_no_huge_rows(store: TraceStore) -> None:
    await put(
        store, *(span(n + 1, 0, "n" * 9999, 0, 1, service=f"{n}" * 9999, function="f" * 9999) for n in range(99))
    )
    (summary,) = (await store.search(Query(operation="n" * 9999))).traces
    assert max(len(text) for text in (summary.name, summary.service, summary.function)) == 200
    assert len(summary.services) == merging.MOST_SERVICES + 1
    assert sum(each.spans for each in summary.services) == 99
    assert len((await store.trace(TRACE) or ())[0].name) == 9999


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_the_queue_cannot_hold_is_counted_and_the_rest_kept(store: TraceStore) -> None:
    store._queue = waiting.Queue(store.losses, most_spans=10)
    await put(store, *(span(number + 1, 0, "a", 0, 1) for number in range(25)))
    assert store.losses.full == 15
    assert len(await store.trace(TRACE) or ()) == 10
    await put(store, span(99, 0, "again there is room", 0, 1))
    assert store.losses.full == 15


def test_the_queue_is_bounded_in_bytes_too() -> None:
    losses = waiting.Losses()
    queue = waiting.Queue(losses, most_bytes=10_000)
    queue.add(span(number + 1, 0, "a", 0, 1, attributes={"x": "y" * 3000}) for number in range(9))
    assert (len(queue), losses.full) == (3, 6)
    assert len(queue.take(2)) == 2
    queue.add([span(1, 0, "a", 0, 1, attributes={"x": "y" * 3000})])
    assert len(queue) == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"trace": "zz" * 16},
        {"trace": "ab"},
        {"span": "12"},
        {"parent": "not hex"},
        {"start": -1},
        {"end": 1 << 63},
        {"name": "\ud800"},
        {"attributes": {"x": 1 << 70}},
        {"attributes": {"x": object()}},
    ],
)
async def test_a_span_that_cannot_be_is_counted_and_hurts_no_other(
    store: TraceStore, bad: dict[str, object]
) -> None:
    hostile = msgspec.structs.replace(span(1, 0, "a", 0, 1), **bad)
    await put(store, hostile, span(2, 0, "good", 0, 1))
    assert store.losses.invalid == 1
    assert [each.name for each in await store.trace(TRACE) or ()] == ["good"]


async def test_a_huge_span_is_not_kept(store: TraceStore) -> None:
    await put(store, span(1, 0, "a", 0, 1, attributes={"x": "y" * waiting.LARGEST}))
    assert store.losses.large == 1
    assert await store.trace(TRACE) is None


async def test_a_trace_has_an_end(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST_SPANS", 50)
    for part in range(4):
        await put(store, *(span(part * 20 + number + 1, 0, "a", 0, 1) for number in range(20)))
    assert store.losses.crowded == 30
    assert len(await store.trace(TRACE) or ()) == 50


async def test_a_trace_that_packs_well_is_bounded_by_what_reading_it_takes(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MOST_BYTES", 1 << 20)
    for part in range(3):
        spans = (span(part * 9 + number + 1, 0, "a", 0, 1, attributes={"x": "y" * 200_000}) for number in range(9))
        await put(store, *spans)
    assert store.losses.crowded == 27 - 5
    assert store._writer.bytes < 10_000
    assert (await store.search(Query())).traces[0].packed <= 1 << 20


async def test_no_report_crowds_out_the_platforms_own_spans(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MOST_SPANS", 50)
    monkeypatch.setattr(tokens, "MOST", 60)
    await put(
        store, *(span(100 + number, 10, f"n{number}", 0, 1, attributes={"a": number}) for number in range(60))
    )
    await put(store, *(each for each in cold() if each.platform))
    (summary,) = (await store.search(Query(attributes={"http.response.status_code": "502"}))).traces
    assert (summary.name, summary.request, summary.spans) == ("shop", REQUEST, 50 + 12)
    assert len(await store.trace(REQUEST) or ()) == 50 + 12


async def test_a_report_takes_no_other_requests_place(store: TraceStore) -> None:
    await put(store, *cold())
    other = "0123456789abcdef0123456789abcdef"
    named = {"fc.request_id": REQUEST, "faas.invocation_id": REQUEST}
    await put(store, span(1, 0, "liar", 0, 1, trace=other, function="evil", attributes=named))
    assert {each.trace for each in await store.trace(REQUEST) or ()} == {TRACE}
    assert await found(store, request=REQUEST) == [TRACE]


async def test_a_report_with_the_id_of_one_of_the_platforms_spans_stands_under_that(store: TraceStore) -> None:
    await put(store, span(10, 1, "Invocation", 900, 901, kind=Kind.CLIENT, function="shop"))
    await put(store, *cold())
    read = [each for each in await store.trace(TRACE) or () if each.name == "Invocation" and each.service == "shop"]
    (own,), (forged,) = ([each for each in read if each.platform is platform] for platform in (True, False))
    assert (own.span, own.start) == (f"{10:016x}", START + 964 * MS)
    assert forged.parent == own.span != forged.span


async def test_several_traces_are_read_at_once_in_the_order_asked_for(store: TraceStore) -> None:
    await put(store, *(span(1, 0, f"n{at}", 0, 1, trace=named(at)) for at in range(1200)))
    ids = [named(at) for at in (5, 1199, 5000, 0)]
    assert [[each.name for each in spans] for spans in await store.several(ids)] == [["n5"], ["n1199"], ["n0"]]
    many = [named(at) for at in range(1200)]
    assert [spans[0].trace for spans in await store.several(many)] == many


async def test_attributes_beyond_what_is_indexed_are_kept_and_counted(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST", 20)
    await put(store, span(1, 0, "a", 0, 1, attributes={f"k{number}": number for number in range(50)}))
    assert store.losses.unindexed == 1
    assert await found(store, attributes={"k1": "1"}) == [TRACE]
    assert await found(store, attributes={"k49": "49"}) == []
    assert len((await store.trace(TRACE) or ())[0].attributes) == 50


async def test_a_batch_that_cannot_be_written_waits_and_is_written_later(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.traces.store.WINDOW", 0.0)
    monkeypatch.setattr("sampan.traces.store.BACKOFF", (0.001, 0.001))
    failed, written = asyncio.Event(), watched(store, monkeypatch)
    write = store._writer.write

    async def broken(*arguments: object) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("no space left on device")
        await write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store._writer, "write", broken)
    running = asyncio.create_task(store.run())
    store.add(cold())
    await asyncio.wait_for(written.wait(), 10)
    assert failed.is_set()
    running.cancel()
    await asyncio.wait([running])
    assert len(await store.trace(TRACE) or ()) == 116


async def test_a_batch_that_breaks_the_writing_is_given_up_and_the_next_one_written(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = store._writer.write
    monkeypatch.setattr(store._writer, "write", lambda *_: 1 / 0)
    await put(store, *cold())
    assert store.losses.invalid == 116
    assert "spans given up" in caplog.text
    monkeypatch.setattr(store._writer, "write", write)
    await put(store, *cold())
    assert await found(store) == [TRACE]


async def test_losses_are_told_once_a_minute(
    store: TraceStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        store.add([span(1, 0, "\ud800", 0, 1)])
        store._tell()
    assert caplog.text.count("spans lost") == 1
    clock.now += 61
    store._tell()
    store._tell()
    assert caplog.text.count("spans lost") == 2


# ── the past ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_trace_goes_when_its_time_is_over_whatever_its_own_clock_says(
    store: TraceStore, clock: Clock
) -> None:
    await put(store, *cold(), span(1, 0, "from the future", 0, 1, trace=named(1), start=START * 2))
    clock.now += 3500
    await put(store, span(1, 0, "from the past", 0, 1, trace=named(2), start=MS))
    await store._sweep()
    assert len(await found(store)) == 3
    clock.now += 200
    await store._sweep()
    assert await found(store) == [named(2)]
    assert await store.trace(REQUEST) is None
    assert await store.services() == ["pay", "postgres", "shop"]
    clock.now += 8000
    await store._sweep()
    assert await store.services() == []


async def test_the_oldest_go_when_there_are_too_many_and_the_file_does_not_grow_on(
    database: Database, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "AT_ONCE", 20)
    store = TraceStore(database, 3600, 1, clock)
    file = tmp_path / "db" / "telemetry.db"
    sizes = []
    for part in range(30):
        noise = "".join(f"{part}{number}" for number in range(200))
        await put(
            store,
            *(
                span(
                    1,
                    0,
                    "a",
                    0,
                    1,
                    trace=named(part * 100 + at),
                    attributes={f"k{k}": f"{noise}{k}" for k in range(5)},
                )
                for at in range(100)
            ),
        )
        await store._sweep()
        sizes.append(file.stat().st_size)
    assert store._writer.bytes <= 1_000_000
    kept = await found(store, limit=1500)
    assert 0 < len(kept) < 3000
    assert await store.trace(named(0)) is None
    assert await store.trace(named(2999)) is not None
    assert sizes[-1] <= max(sizes[15:20]) * 1.1
    assert sizes[-1] < 3_000_000


async def test_a_store_opened_again_goes_on_where_it_was(database: Database, clock: Clock) -> None:
    before = TraceStore(database, 3600, 100, clock)
    await put(before, *cold()[:50])
    after = TraceStore(database, 3600, 100, clock)
    await put(after, *cold(), span(1, 0, "b", 0, 1, trace=named(3)))
    assert len(await after.trace(TRACE) or ()) == 116
    assert after._writer.bytes > before._writer.bytes
    assert sorted(await found(after)) == sorted([TRACE, named(3)])
