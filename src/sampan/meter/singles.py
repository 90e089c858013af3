"""Single invocations, read from their blocks: the newest first, as many as are asked for."""

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, select, tuple_

from sampan.meter import tables
from sampan.meter.blocks import mark, mask, order, unpack
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.store.database import Database

BLOCKS = 32  # read at once

Place = tuple[int, int]
"""Of a record among the others (`blocks.order`)."""


class Wanted(msgspec.Struct, frozen=True):
    """Which invocations; what is empty does not matter. Times are Unix ns."""

    function: str = ""
    version: str = ""  # "LATEST" or a published id, of the function
    outcomes: tuple[str, ...] = ()
    request: str = ""
    instance: str = ""
    since: int = 0
    until: int = 0


async def newest(
    database: Database, wanted: Wanted, most: int, before: Place | None = None
) -> list[InvocationRecord]:
    """At most so many, the newest first; before: of those behind this one."""
    blocks = tables.blocks.c
    asked = _narrowed(select(blocks.id, blocks.last, blocks.data), wanted, before)
    asked = asked.order_by(blocks.last.desc(), blocks.id.desc()).limit(BLOCKS)
    search = _Search(wanted, most, before)
    async with database.read() as connection:
        rows: Sequence[Any] = (await connection.execute(asked)).all()
        while not await asyncio.to_thread(search.through, rows) and len(rows) == BLOCKS:
            behind = tuple_(blocks.last, blocks.id) < tuple_(rows[-1].last, rows[-1].id)
            rows = (await connection.execute(asked.where(behind))).all()
    return search.found


class _Search:
    """found: the newest of the blocks looked through, in order."""

    def __init__(self, wanted: Wanted, most: int, before: Place | None) -> None:
        self._wanted, self._most, self._before = wanted, most, before
        self._prefix = f"{wanted.function}@{wanted.version}#" if wanted.version else ""
        self._outcomes = frozenset(Outcome(each) for each in wanted.outcomes)
        self.found: list[InvocationRecord] = []

    def through(self, rows: Sequence[Any]) -> bool:
        """Whether no block that ends before these can have any newer ones."""
        for row in rows:
            if len(self.found) >= self._most and self.found[-1].ended > row.last:
                return True
            fitting = [record for record in unpack(row.data) if self._fits(record)]
            self.found = heapq.nlargest(self._most, [*self.found, *fitting], key=order)
        return False

    def _fits(self, record: InvocationRecord) -> bool:
        wanted = self._wanted
        return (
            record.ended >= wanted.since
            and (not wanted.until or record.ended < wanted.until)
            and (not wanted.request or record.request == wanted.request)
            and (not wanted.instance or record.instance == wanted.instance)
            and record.version.startswith(self._prefix)
            and (not self._outcomes or record.outcome in self._outcomes)
            and (self._before is None or (record.ended <= self._before[0] and order(record) < self._before))
        )


def _narrowed(asked: Select[Any], wanted: Wanted, before: Place | None) -> Select[Any]:
    """Blocks that may have some."""
    column = tables.blocks.c
    if wanted.function:
        asked = asked.where(column.function == wanted.function)
    if wanted.request:
        asked = asked.where(func.instr(column.requests, mark(wanted.request)) > 0)
    if wanted.instance:
        asked = asked.where(func.instr(column.instances, f"\n{wanted.instance}\n") > 0)
    if wanted.outcomes:
        bits = mask(Outcome(each) for each in wanted.outcomes)
        asked = asked.where(column.outcomes.bitwise_and(bits) != 0)
    if wanted.since:
        asked = asked.where(column.last >= wanted.since)
    if wanted.until:
        asked = asked.where(column.first < wanted.until)
    return asked if before is None else asked.where(column.first <= before[0])
