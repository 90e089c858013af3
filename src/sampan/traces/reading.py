"""Questions to the stored traces."""

import asyncio
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.model.errors import InvalidArgument
from sampan.model.trace import Kind, Span
from sampan.store.database import Database
from sampan.traces import merging, rows, tables, tokens
from sampan.traces.joining import joined
from sampan.traces.query import MOST, Dependency, Found, Operation, Query, ServiceCount, TraceSummary
from sampan.traces.writing import parts

DEPENDENCY_TRACES = 2000  # the newest of the time asked for; what a person waits for
DEPENDENCY_BYTES = 64 << 20  # of their spans, at most
SERVICES = 10_000  # rows of services and operations read at most
_LISTED = tuple(column for column in tables.traces.c if column.name not in {"tokens", "arrived", "size"})


async def search(database: Database, query: Query) -> Found:
    """Raises: InvalidArgument (limit, after)."""
    if not 1 <= query.limit <= MOST:
        raise InvalidArgument("limit", query.limit, f"a number from 1 to {MOST}")
    traces = tables.traces.c
    statement = _where(select(*_LISTED), query)
    statement = statement.order_by(traces.start.desc(), traces.seq.desc()).limit(query.limit + 1)
    async with database.read() as connection:
        found = (await connection.execute(statement)).all()
    page = found[: query.limit]
    after = f"{page[-1].start}.{page[-1].seq}" if len(found) > query.limit else ""
    return Found(tuple(map(_summary, page)), after)


def _where(statement: Select[Any], query: Query) -> Select[Any]:
    traces = tables.traces.c
    if query.after:
        start, seq = _place(query.after)
        statement = statement.where(or_(traces.start < start, and_(traces.start == start, traces.seq < seq)))
        statement = statement.where(traces.start <= start)
    if query.start:
        statement = statement.where(traces.start >= query.start // 1000)
    if query.end:
        statement = statement.where(traces.start <= query.end // 1000)
    if query.min_duration:
        statement = statement.where(traces.duration >= query.min_duration // 1000)
    if query.max_duration:
        statement = statement.where(traces.duration <= query.max_duration // 1000)
    if query.errors is not None:
        statement = statement.where(traces.errors > 0 if query.errors else traces.errors == 0)
    if query.cold is not None:
        statement = statement.where(traces.cold == int(query.cold))
    if query.request:
        requests = tables.trace_requests.c
        of = select(requests.trace).where(requests.request == tokens.number(query.request))
        statement = statement.where(traces.seq.in_(of))
    for token in _tokens(query):
        statement = statement.where(func.instr(traces.tokens, token) > 0)
    return statement


def _tokens(query: Query) -> list[bytes]:
    wanted = [tokens.attribute(key, value) for key, value in query.attributes.items()]
    if query.function:
        wanted.append(tokens.function(query.function))
    if query.operation:
        wanted.append(tokens.operation(query.service, query.operation))
    elif query.service:
        wanted.append(tokens.service(query.service))
    return wanted


def _place(after: str) -> tuple[int, int]:
    start, _, seq = after.partition(".")
    if not (start.isdecimal() and seq.isdecimal() and len(after) < 40 and after.isascii()):
        raise InvalidArgument("after", after[:40], "what an earlier answer gave")
    return int(start), int(seq)


def _summary(row: Row[Any]) -> TraceSummary:
    services = msgspec.msgpack.decode(row.services, type=dict[str, tuple[int, int]])
    return TraceSummary(
        merging.name(row.low, row.high),
        row.name,
        row.service,
        row.function,
        row.request,
        row.start * 1000,
        row.duration * 1000,
        row.spans,
        row.errors,
        bool(row.cold),
        tuple(ServiceCount(name, *counts) for name, counts in sorted(services.items())),
        row.packed,
    )


async def trace(database: Database, id: str) -> list[Span] | None:
    """The spans of a trace, or of the newest that served a request, each once, by start; None: no such trace."""
    async with database.read() as connection:
        row = await _of_id(connection, id) or await _of_request(connection, id)
        if row is None:
            return None
        chunks = await _chunks(connection, row.seq)
    return await asyncio.to_thread(_spans, chunks, merging.name(row.low, row.high))


async def several(database: Database, ids: Sequence[str]) -> list[list[Span]]:
    """The spans of these traces, in this order; those that are not there are left out. ids: 32 hex digits each."""
    lows = [merging.halves(id)[0] for id in ids]
    traces, chunks = tables.traces.c, tables.trace_chunks.c
    named: dict[int, str] = {}
    held: dict[int, list[bytes]] = {}
    async with database.read() as connection:
        for some in parts(lows):
            for seq, low, high in await connection.execute(
                select(traces.seq, traces.low, traces.high).where(traces.low.in_(some))
            ):
                named[seq] = merging.name(low, high)
        for some in parts(list(named)):
            query = select(chunks.trace, chunks.spans).where(chunks.trace.in_(some)).order_by(chunks.id)
            for seq, data in await connection.execute(query):
                held.setdefault(seq, []).append(data)
    by_id = {id: seq for seq, id in named.items()}
    return [await asyncio.to_thread(_spans, held[by_id[id]], id) for id in ids if id in by_id and by_id[id] in held]


async def _of_id(connection: AsyncConnection, id: str) -> Row[Any, Any, Any] | None:
    """By 32 hex digits, or by the 16 and fewer of a 64-bit id."""
    if not 0 < len(id) <= 32 or not set(id) <= set(string.hexdigits):
        return None
    low, high = merging.halves(id.zfill(32))
    traces = tables.traces.c
    query = select(traces.seq, traces.low, traces.high).where(traces.low == low)
    if high:
        query = query.where(traces.high.in_((high, 0)))
    return (await connection.execute(query.order_by(traces.seq.desc()))).first()


async def _of_request(connection: AsyncConnection, id: str) -> Row[Any, Any, Any] | None:
    traces, requests = tables.traces.c, tables.trace_requests.c
    of = select(requests.trace).where(requests.request == tokens.number(id))
    query = select(traces.seq, traces.low, traces.high).where(traces.seq.in_(of))
    return (await connection.execute(query.order_by(traces.seq.desc()))).first()


async def _chunks(connection: AsyncConnection, seq: int) -> list[bytes]:
    chunks = tables.trace_chunks.c
    query = select(chunks.spans).where(chunks.trace == seq).order_by(chunks.id)
    return list((await connection.execute(query)).scalars())


def _spans(chunks: list[bytes], trace: str) -> list[Span]:
    return joined(span for data in chunks for span in rows.unchunk(data, trace))


async def services(database: Database) -> list[str]:
    """All that reported lately, by name."""
    service = tables.trace_operations.c.service
    async with database.read() as connection:
        return list((await connection.execute(select(service).distinct().order_by(service))).scalars())


async def operations(database: Database, service: str) -> list[Operation]:
    """What a service does, by name."""
    columns = tables.trace_operations.c
    query = select(columns.name, columns.kind).where(columns.service == service)
    async with database.read() as connection:
        found = await connection.execute(query.order_by(columns.name, columns.kind).limit(SERVICES))
        return [Operation(name, Kind(kind)) for name, kind in found]


async def dependencies(database: Database, end: int, lookback: int) -> list[Dependency]:
    """Who called whom, in the newest `DEPENDENCY_TRACES` traces of that time. Nanoseconds."""
    traces = tables.traces.c
    query = select(traces.seq, traces.packed)
    query = query.where(traces.start <= end // 1000, traces.start >= (end - lookback) // 1000, traces.spans > 1)
    calls: Counter[tuple[str, str]] = Counter()
    async with database.read() as connection:
        newest = await connection.execute(query.order_by(traces.start.desc()).limit(DEPENDENCY_TRACES))
        read = 0
        for row in newest.all():
            read += row.packed
            if read > DEPENDENCY_BYTES:
                break
            calls.update(await asyncio.to_thread(_calls, await _chunks(connection, row.seq)))
    return [Dependency(parent, child, count) for (parent, child), count in sorted(calls.items())]


def _calls(chunks: list[bytes]) -> Counter[tuple[str, str]]:
    spans = _spans(chunks, "0" * 32)
    service_of = {span.span: span.service for span in spans}
    pairs = ((service_of.get(span.parent), span.service) for span in spans)
    return Counter((parent, child) for parent, child in pairs if parent is not None and parent != child)
