"""A batch of spans into the database: what is there of their traces, what becomes of them, one transaction.

One task writes traces, so what was read before the transaction is still so in it; the merging is done in a thread,
and other writers of the database are kept waiting for the statements alone.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.store.database import Database, put
from sampan.traces import merging, rows, tables, tokens
from sampan.traces.lone import Lone, Operation, operation_of
from sampan.traces.merging import Addition, Known, Trace
from sampan.traces.waiting import Invocation, Losses, Waiting, waiting

ASKED = 500  # values in one statement
MOST_OPERATIONS, MOST_OF_SERVICE = 50_000, 1000  # that are listed
RENEWED = 3600 * 1_000_000  # microseconds after which an operation is noted again


class Writer:
    """The one that writes. `bytes`: what all traces take."""

    def __init__(self, database: Database, losses: Losses) -> None:
        self._database = database
        self._losses = losses
        self._compressor = rows.compressor()
        self._lone = Lone()
        self._next = 0  # 0: not known yet
        self._operations: dict[Operation, int] = {}  # when they were noted
        self._of_service: Counter[str] = Counter()
        self.bytes = 0

    async def open(self) -> None:
        """Learn what there is; once."""
        if self._next:
            return
        async with self._database.read() as connection:
            query = select(func.max(tables.traces.c.seq), func.sum(tables.traces.c.size))
            newest, size = (await connection.execute(query)).one()
            noted = (await connection.execute(select(tables.trace_operations))).all()
        self._operations = {(row.service, row.name, row.kind): row.seen for row in noted}
        self._of_service = Counter(service for service, _, _ in self._operations)
        self._next, self.bytes = (newest or 0) + 1, size or 0

    async def write(self, batch: Sequence[Waiting | Invocation], now: int) -> None:
        """All of it or, where this raises, nothing. now: Unix microseconds."""
        await self.open()
        async with self._database.read() as connection:
            known = await _known(connection, {merging.halves(_id(each))[0] for each in batch})
            present = await _present(connection, [trace.seq for trace in known.all()])
        losses = Losses()
        additions, done = await asyncio.to_thread(self._merged, batch, known, present, now, losses)
        operations = self._news(done, now)
        async with self._database.write() as connection:
            if additions:
                await _insert(connection, additions)
            if operations:
                await _note(connection, operations, now)
        self._losses.add(losses)
        self._next += sum(addition.new for addition in additions)
        self.bytes += sum(addition.grown for addition in additions)
        for operation in operations:
            self._of_service[operation[0]] += operation not in self._operations
            self._operations[operation] = now

    def _merged(
        self,
        batch: Sequence[Waiting | Invocation],
        known: Known,
        present: dict[int, set[bytes]],
        now: int,
        losses: Losses,
    ) -> tuple[list[Addition], set[Operation]]:
        came: dict[int, tuple[Trace, list[Waiting | Invocation]]] = {}
        for each in batch:
            trace = known.of(_id(each), now)
            came.setdefault(id(trace), (trace, []))[1].append(each)
        additions, operations, following = list[Addition](), set[Operation](), self._next
        for trace, some in came.values():
            addition: Addition | None
            if (lone := self._lone.addition(trace, some)) is not None:
                addition, kind = lone
                operations |= kind.operations
            else:
                spans = list(_spans(some, losses))
                operations |= {operation_of(each.span) for each in spans}
                addition = merging.merge(trace, present.get(trace.seq, set()), spans, losses, self._compressor)
            if addition is None:
                continue
            if addition.new:
                trace.seq, following = following, following + 1
            additions.append(addition)
        return additions, operations

    def _news(self, operations: Iterable[Operation], now: int) -> set[Operation]:
        """Operations that are not noted, or long ago, as far as there is room for more."""
        old, new, of_service = set(), set[Operation](), Counter[str]()
        for operation in operations:
            service, name, _ = operation
            seen = self._operations.get(operation)
            if seen is not None:
                if seen < now - RENEWED:
                    old.add(operation)
                continue
            full = len(self._operations) + len(new) >= MOST_OPERATIONS
            if full or max(len(service), len(name)) > merging.LONGEST:
                continue
            if self._of_service[service] + of_service[service] < MOST_OF_SERVICE:
                of_service[service] += 1
                new.add(operation)
        return old | new

    def forget(self, before: int) -> None:
        """Operations not seen since then; they were deleted. before: Unix microseconds."""
        self._operations = {operation: seen for operation, seen in self._operations.items() if seen >= before}
        self._of_service = Counter(service for service, _, _ in self._operations)


async def _known(connection: AsyncConnection, lows: set[int]) -> Known:
    known = Known()
    for some in parts(list(lows)):
        query = select(tables.traces).where(tables.traces.c.low.in_(some)).order_by(tables.traces.c.seq.desc())
        for row in await connection.execute(query):
            known.add(_trace(row))
    return known


def _trace(row: Row[Any]) -> Trace:
    held: bytes = row.tokens
    split = {held[at : at + tokens.SIZE] for at in range(0, len(held), tokens.SIZE)}
    given = {**row._mapping, "services": msgspec.msgpack.decode(row.services), "tokens": split}
    return Trace(**{**given, "cold": bool(row.cold)})


async def _present(connection: AsyncConnection, traces: list[int]) -> dict[int, set[bytes]]:
    """Keys of the spans that are stored."""
    present: dict[int, set[bytes]] = {}
    chunks = tables.trace_chunks.c
    for some in parts(traces):
        for trace, ids in await connection.execute(select(chunks.trace, chunks.ids).where(chunks.trace.in_(some))):
            keys = (ids[at : at + merging.KEY] for at in range(0, len(ids), merging.KEY))
            present.setdefault(trace, set()).update(keys)
    return present


def parts(values: list[int]) -> Iterator[list[int]]:
    """As many at a time as a statement may name."""
    for at in range(0, len(values), ASKED):
        yield values[at : at + ASKED]


_UPDATE = (
    update(tables.traces)
    .where(tables.traces.c.seq == bindparam("its_seq"))
    .values({column.name: bindparam(column.name) for column in tables.traces.c if column.name != "seq"})
)
_REQUEST = upsert(tables.trace_requests).on_conflict_do_nothing()
_OPERATION = upsert(tables.trace_operations)
_OPERATION = _OPERATION.on_conflict_do_update(
    index_elements=["service", "name", "kind"], set_={"seen": _OPERATION.excluded.seen}
)


async def _insert(connection: AsyncConnection, additions: list[Addition]) -> None:
    await put(connection, tables.traces, [_row(each) for each in additions if each.new])
    changed = [
        {**dict(zip(_COLUMNS, _row(each), strict=True)), "its_seq": each.trace.seq}
        for each in additions
        if not each.new
    ]
    if changed:
        await connection.execute(_UPDATE, changed)
    await put(connection, tables.trace_chunks, [(None, each.trace.seq, each.ids, each.chunk) for each in additions])
    requests = [{"request": number, "trace": each.trace.seq} for each in additions for number in each.requests]
    if requests:
        await connection.execute(_REQUEST, requests)


_COLUMNS = tuple(column.name for column in tables.traces.c)
_plain = attrgetter(*_COLUMNS[: _COLUMNS.index("services")])


def _row(addition: Addition) -> tuple[Any, ...]:
    """In the order of the columns: what is text or number, then `services` and `tokens`."""
    return *_plain(addition.trace), msgspec.msgpack.encode(addition.trace.services), addition.tokens


def _id(each: Waiting | Invocation) -> str:
    """Of the trace."""
    if isinstance(each, Waiting):
        return each.span.trace
    traced = each.invoked.record.traced
    assert traced is not None
    return traced.trace


def _spans(some: Iterable[Waiting | Invocation], losses: Losses) -> Iterator[Waiting]:
    for each in some:
        if isinstance(each, Waiting):
            yield each
        else:
            packed = (waiting(span, losses) for span in each.invoked.spans())
            yield from (one for one in packed if one is not None)


async def _note(connection: AsyncConnection, operations: set[Operation], now: int) -> None:
    values = [{"service": service, "name": name, "kind": kind, "seen": now} for service, name, kind in operations]
    await connection.execute(_OPERATION, values)
