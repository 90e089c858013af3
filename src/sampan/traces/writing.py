"""A batch of spans into the database: what is there of their traces, what becomes of them, one transaction.

One task writes traces, so what was read before the transaction is still so in it; the merging is done in a thread,
and other writers of the database are kept waiting for the statements alone.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.model.trace import Span
from sampan.store.database import Database
from sampan.traces import merging, rows, tables, tokens
from sampan.traces.merging import Addition, Known, Trace
from sampan.traces.waiting import Losses, Waiting

ASKED = 500  # values in one statement
MOST_OPERATIONS, MOST_OF_SERVICE = 50_000, 1000  # that are listed
RENEWED = 3600 * 1_000_000  # microseconds after which an operation is noted again

_Operation = tuple[str, str, int]


class Writer:
    """The one that writes. `bytes`: what all traces take."""

    def __init__(self, database: Database, losses: Losses) -> None:
        self._database = database
        self._losses = losses
        self._compressor = rows.compressor()
        self._next = 0  # 0: not known yet
        self._operations: dict[_Operation, int] = {}  # when they were noted
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

    async def write(self, batch: Sequence[Waiting], now: int) -> None:
        """All of it or, where this raises, nothing. now: Unix microseconds."""
        await self.open()
        async with self._database.read() as connection:
            known = await _known(connection, {merging.halves(each.span.trace)[0] for each in batch})
            present = await _present(connection, [trace.seq for trace in known.all()])
        losses = Losses()
        additions = await asyncio.to_thread(self._merged, batch, known, present, now, losses)
        operations = self._news((each.span for each in batch), now)
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
        self, batch: Sequence[Waiting], known: Known, present: dict[int, set[bytes]], now: int, losses: Losses
    ) -> list[Addition]:
        came: dict[int, tuple[Trace, list[Waiting]]] = {}
        for each in batch:
            trace = known.of(each.span.trace, now)
            came.setdefault(id(trace), (trace, []))[1].append(each)
        additions, following = [], self._next
        for trace, spans in came.values():
            addition = merging.merge(trace, present.get(trace.seq, set()), spans, losses, self._compressor)
            if addition is None:
                continue
            if addition.new:
                trace.seq, following = following, following + 1
            additions.append(addition)
        return additions

    def _news(self, spans: Iterable[Span], now: int) -> set[_Operation]:
        """Operations that are not noted, or long ago, as far as there is room for more."""
        old, new, of_service = set(), set[_Operation](), Counter[str]()
        for span in spans:
            operation = (span.service, span.name, int(span.kind))
            seen = self._operations.get(operation)
            if seen is not None:
                if seen < now - RENEWED:
                    old.add(operation)
                continue
            full = len(self._operations) + len(new) >= MOST_OPERATIONS
            if full or operation in new or max(len(span.service), len(span.name)) > merging.LONGEST:
                continue
            if self._of_service[span.service] + of_service[span.service] < MOST_OF_SERVICE:
                of_service[span.service] += 1
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


_INSERT = insert(tables.traces)
_UPDATE = (
    update(tables.traces)
    .where(tables.traces.c.seq == bindparam("its_seq"))
    .values({column.name: bindparam(column.name) for column in tables.traces.c if column.name != "seq"})
)
_CHUNK = insert(tables.trace_chunks)
_REQUEST = upsert(tables.trace_requests).on_conflict_do_nothing()
_OPERATION = upsert(tables.trace_operations)
_OPERATION = _OPERATION.on_conflict_do_update(
    index_elements=["service", "name", "kind"], set_={"seen": _OPERATION.excluded.seen}
)


async def _insert(connection: AsyncConnection, additions: list[Addition]) -> None:
    made = [_values(each.trace) for each in additions if each.new]
    changed = [{**_values(each.trace), "its_seq": each.trace.seq} for each in additions if not each.new]
    chunks = [{"trace": each.trace.seq, "ids": each.ids, "spans": each.chunk} for each in additions]
    requests = [{"request": number, "trace": each.trace.seq} for each in additions for number in each.requests]
    for statement, values in ((_INSERT, made), (_UPDATE, changed), (_CHUNK, chunks), (_REQUEST, requests)):
        if values:
            await connection.execute(statement, values)


def _values(trace: Trace) -> dict[str, Any]:
    values: dict[str, Any] = {column.name: getattr(trace, column.name) for column in tables.traces.c}
    values["services"] = msgspec.msgpack.encode(trace.services)
    values["tokens"] = b"".join(trace.tokens)
    return values


async def _note(connection: AsyncConnection, operations: set[_Operation], now: int) -> None:
    values = [{"service": service, "name": name, "kind": kind, "seen": now} for service, name, kind in operations]
    await connection.execute(_OPERATION, values)
