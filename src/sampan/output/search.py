"""Finds kept lines again: the newest, or onwards from one; and follows.

Blocks are chosen by what their rows say and opened one after another, in a thread; no more than one is open at a
time, however many lines are asked for. Which line comes after which is told by `Line.seq`, so that merged and
dropped blocks change nothing for a reader who comes back.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Row

from sampan.model.names import RequestId
from sampan.output import bloom
from sampan.output.blocks import lines_of, open_
from sampan.output.lines import Line
from sampan.output.matching import FOREVER, Matcher, Wanted
from sampan.output.store import OutputStore
from sampan.output.tables import blocks, functions

HEADS = 512  # rows looked at together
AT_ONCE = 2  # blocks opened at a time, of all readers: the threads are also those that pack new lines
QUIET = 15.0  # seconds without a line before a follower says that it is alive
EARLY = 60 * 1_000_000_000  # nanoseconds a request's line may be older than its id says


class _Head(NamedTuple):
    id: int
    seq: int
    lines: int


class Search:
    """Reads what an `OutputStore` keeps."""

    def __init__(self, store: OutputStore) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def lines(
        self,
        matcher: Matcher,
        *,
        tail: int | None = None,
        after: int = 0,
        before: int = 0,
        follow: bool = False,
    ) -> AsyncGenerator[list[Line], None]:
        """Wanted lines in the order of `seq`, some at a time.

        after, before: only lines with a greater, a lesser seq; before 0: all. tail: only that many, the last ones.
        follow: then those that come, for ever; an empty list says that none came for QUIET seconds.
        """
        function = matcher.wanted.function
        with self._store.follower(function) as news:
            end = await self._end(function)
            at = min(after + 1, end)  # a token of a database that is gone must not wait for its number
            end = min(end, before) if before else end
            if tail is not None:
                at = await self._tail(matcher, at, end, tail)
            async for found in self._between(matcher, at, end):
                yield found
            while follow:
                at = max(at, end)
                try:
                    async with asyncio.timeout(QUIET):
                        await news.wait()
                except TimeoutError:
                    yield []
                news.clear()
                end = await self._end(function)
                async for found in self._between(matcher, at, end):
                    yield found

    async def known_instance(self, function: str, instance: str) -> bool:
        """Whether any line of the instance is kept."""
        words = func.instr(blocks.c.sources, f" {instance} ") > 0
        async with self._store.database.read() as connection:
            query = select(blocks.c.id).where(blocks.c.function == function, words).limit(1)
            return (await connection.execute(query)).first() is not None

    async def _between(self, matcher: Matcher, at: int, end: int) -> AsyncGenerator[list[Line], None]:
        """Wanted lines with at ≤ seq < end."""
        while heads := await self._heads(matcher.wanted, at, end, newest=False):
            for head in heads:
                if head.id and (found := await self._open(head, matcher, at, end)):
                    yield found
            at = heads[-1].seq + heads[-1].lines

    async def _tail(self, matcher: Matcher, at: int, end: int, tail: int) -> int:
        """The seq of the last but `tail` wanted line: they are counted first, so that none need be held."""
        missing = tail
        if not missing:
            return end
        while heads := await self._heads(matcher.wanted, at, end, newest=True):
            for head in heads:
                found = await self._open(head, matcher, at, end) if head.id else []
                if len(found) >= missing:
                    return found[-missing].seq
                missing -= len(found)
            end = heads[-1].seq
        return at

    async def _end(self, function: str) -> int:
        """The seq of the line to come."""
        async with self._store.database.read() as connection:
            query = select(functions.c.next).where(functions.c.function == function)
            return (await connection.execute(query)).scalar() or 1

    async def _heads(self, wanted: Wanted, at: int, end: int, newest: bool) -> list[_Head]:
        """Blocks that may hold wanted lines in [at, end), some; id 0: it cannot, but the way leads past it."""
        if at >= end:
            return []
        columns = (blocks.c.id, blocks.c.seq, blocks.c.lines, blocks.c.requests)
        query = select(*columns if wanted.request else columns[:3]).where(*_clauses(wanted, at, end)).limit(HEADS)
        order = blocks.c.seq.desc() if newest else blocks.c.seq
        async with self._store.database.read() as connection:
            rows = (await connection.execute(query.order_by(order))).all()
        return [_Head(row.id if _may_hold(row, wanted.request) else 0, row.seq, row.lines) for row in rows]

    async def _open(self, head: _Head, matcher: Matcher, at: int, end: int) -> list[Line]:
        """The block's wanted lines in [at, end)."""
        at, end = max(at, head.seq), min(end, head.seq + head.lines)
        async with self._store.database.read() as connection:
            which = (blocks.c.id == head.id, blocks.c.seq == head.seq, blocks.c.lines == head.lines)
            data = (await connection.execute(select(blocks.c.data).where(*which))).scalar()
        if data is not None:
            async with self._turns:
                return await asyncio.to_thread(_picked, data, head.seq, matcher, at, end)
        # A moment ago it was dropped, or merged with its neighbours.
        return [line async for some in self._between(matcher, at, end) for line in some]


def _clauses(wanted: Wanted, at: int, end: int) -> list[ColumnElement[bool]]:
    clauses = [
        blocks.c.function == wanted.function,
        blocks.c.seq < end,
        blocks.c.seq + blocks.c.lines > at,
    ]
    since = max(wanted.since, _received(RequestId(wanted.request)) - EARLY)
    if since > 0:
        clauses.append(blocks.c.last >= since)
    if wanted.until != FOREVER:
        clauses.append(blocks.c.first < wanted.until)
    if wanted.level:
        clauses.append(blocks.c.level >= wanted.level)
    words = [word for word in (wanted.instance, wanted.version) if word]
    return clauses + [func.instr(blocks.c.sources, f" {word} ") > 0 for word in words]


def _received(request: RequestId) -> int:
    """When a request of ours came, Unix ns; 0: its id does not tell. See model/names.py."""
    seconds = request[2:10]
    told = request.startswith("1-") and request[10:11] == "-" and len(seconds) == 8
    try:
        return int(seconds, 16) * 1_000_000_000 if told else 0
    except ValueError:
        return 0


def _may_hold(row: Row[tuple[object, ...]], request: str) -> bool:
    return not request or bloom.may_hold(row.requests, request)


def _picked(data: bytes, seq: int, matcher: Matcher, at: int, end: int) -> list[Line]:
    columns = open_(data)
    return lines_of(columns, seq, matcher.pick(columns, at - seq, end - seq))
