"""Sums and stretches in the database: added to what is there, within the caller's transaction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    String,
    Table,
    and_,
    bindparam,
    case,
    column,
    delete,
    insert,
    select,
    tuple_,
    update,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.meter import tables
from sampan.meter.stretches import Stretch, union, without
from sampan.meter.sums import Key, Sums
from sampan.store.database import put

AT_ONCE = 500  # rows asked for in one statement

T = TypeVar("T")


class United(NamedTuple):
    """What became of an instance's stretches."""

    removed: list[Stretch]
    inserted: list[Stretch]
    new: list[Stretch]  # time that was in none before


async def add_sums(connection: AsyncConnection, sums: Sums) -> None:
    """Add to `usage`."""
    usage = tables.usage
    known: set[Key] = set()
    for keys in pieces(sorted(sums.added)):
        found = select(usage.c.version, usage.c.minute).where(tuple_(usage.c.version, usage.c.minute).in_(keys))
        known |= {(row.version, row.minute) for row in await connection.execute(found)}
    nothing = dict.fromkeys((*tables.SUMS, "memory_peak"), 0)
    missing = [
        {"version": version, "minute": minute, **nothing}
        for version, minute in sums.added
        if (version, minute) not in known
    ]
    if missing:
        await connection.execute(insert(usage), missing)
    if sums.added:
        await connection.execute(_ADD, [_amounts(sums, key) for key in sums.added])


def _amounts(sums: Sums, key: Key) -> dict[str, Any]:
    given = sums.added[key]
    amounts = {f"add_{name}": given.get(name, 0) for name in tables.SUMS}
    return {"of": key[0], "at": key[1], "peak": sums.peaks.get(key, 0), **amounts}


_PEAK = bindparam("peak", type_=BigInteger)
_ADD = (
    update(tables.usage)
    .where(tables.usage.c.version == bindparam("of"), tables.usage.c.minute == bindparam("at"))
    .values(
        {
            **{name: tables.usage.c[name] + bindparam(f"add_{name}", type_=BigInteger) for name in tables.SUMS},
            "memory_peak": case((tables.usage.c.memory_peak < _PEAK, _PEAK), else_=tables.usage.c.memory_peak),
        }
    )
)


async def unite(
    connection: AsyncConnection, table: Table, given: Mapping[str, Sequence[Stretch]]
) -> dict[str, United]:
    """Join each instance's stretches to those that the table has of it: what touches becomes one."""
    united: dict[str, United] = {}
    mine = {instance: union(stretches) for instance, stretches in given.items()}
    had = await near(connection, table, mine)
    removed: list[dict[str, Any]] = []
    inserted: list[tuple[str, int, int]] = []
    for instance, stretches in mine.items():
        before = had.get(instance, [])
        after = union([*before, *stretches])
        stay = set(before) & set(after)
        gone = [one for one in before if one not in stay]
        made = [one for one in after if one not in stay]
        united[instance] = United(gone, made, without(stretches, before))
        removed += [{"of": instance, "until": end} for _, end in gone]
        inserted += [(instance, end, begin) for begin, end in made]
    if removed:
        this = and_(table.c.instance == bindparam("of"), table.c.end == bindparam("until"))
        await connection.execute(delete(table).where(this), removed)
    await put(connection, table, inserted)
    return united


async def near(
    connection: AsyncConnection, table: Table, given: Mapping[str, Sequence[Stretch]]
) -> dict[str, list[Stretch]]:
    """The table's stretches between the first begin and the last end of each instance's, in order."""
    found: dict[str, list[Stretch]] = {}
    for some in pieces([(instance, each[0][0], each[-1][1]) for instance, each in given.items() if each]):
        asked = (
            values(column("instance", String), column("low", BigInteger), column("high", BigInteger), name="asked")
            .data(some)
            .cte("asked")
        )
        same = and_(table.c.instance == asked.c.instance, table.c.end >= asked.c.low, table.c.begin <= asked.c.high)
        rows = select(table.c.instance, table.c.begin, table.c.end).select_from(asked.join(table, same))
        for row in await connection.execute(rows.order_by(table.c.instance, table.c.end)):
            found.setdefault(row.instance, []).append((row.begin, row.end))
    return found


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), AT_ONCE):
        yield items[at : at + AT_ONCE]
