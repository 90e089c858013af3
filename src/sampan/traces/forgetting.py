"""What is too old or too much goes, the oldest first, some at a time.

A trace is as old as the time its first span arrived: the clock of who reported it decides nothing here. The room it
took in the database file is used again by what comes, or given back.
"""

from sqlalchemy import delete, select

from sampan.store.database import Database
from sampan.traces import tables

AT_ONCE = 500  # traces in a transaction, so that writers of the database wait for little


async def forget(database: Database, before: int, surplus: int) -> tuple[int, int]:
    """Delete the oldest few traces that arrived before then, or make up `surplus` bytes. before: Unix microseconds.

    How many went, and the bytes they took. Fewer than `AT_ONCE`: no more have to go.
    """
    traces = tables.traces.c
    query = select(traces.seq, traces.arrived, traces.size).order_by(traces.seq).limit(AT_ONCE)
    async with database.read() as connection:
        oldest = (await connection.execute(query)).all()
    count = freed = 0
    for row in oldest:
        if row.arrived >= before and freed >= surplus:
            break
        count, freed = count + 1, freed + row.size
    if count:
        last = oldest[count - 1].seq
        async with database.write() as connection:
            for column in (tables.trace_chunks.c.trace, tables.trace_requests.c.trace, traces.seq):
                await connection.execute(delete(column.table).where(column <= last))
    return count, freed


async def forget_operations(database: Database, before: int) -> None:
    """Those not seen since then. before: Unix microseconds."""
    async with database.write() as connection:
        seen = tables.trace_operations.c.seen
        await connection.execute(delete(tables.trace_operations).where(seen < before))
