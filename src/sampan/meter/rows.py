"""Sums and stretches in the database: added to what is there, within the caller's transaction."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec import json
from sqlalchemy import Select, String, Table, and_, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.meter import tables
from sampan.meter.stretches import Stretch, common, milliseconds, nanoseconds, union, without
from sampan.meter.sums import Key, Sums
from sampan.model.names import VersionKey
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
    if sums.added:
        await connection.execute(_ADD, [_amounts(sums, key) for key in sums.added])


def _amounts(sums: Sums, key: Key) -> dict[str, Any]:
    return {
        **_NOTHING,
        **sums.added[key],
        "version": key[0],
        "minute": key[1],
        "memory_peak": sums.peaks.get(key, 0),
    }


_NOTHING = dict.fromkeys(tables.SUMS, 0)
_ADD = upsert(tables.usage)
_ADD = _ADD.on_conflict_do_update(
    index_elements=["version", "minute"],
    set_={
        **{name: tables.usage.c[name] + _ADD.excluded[name] for name in tables.SUMS},
        "memory_peak": func.max(tables.usage.c.memory_peak, _ADD.excluded.memory_peak),
    },
)


async def charge_time(
    connection: AsyncConnection, given: Mapping[str, tuple[VersionKey, Sequence[Stretch]]], sums: Sums
) -> None:
    """Time in instances, united with what is known of those: what is new of it is added to `sums`.

    given: by instance, with its version.
    """
    united = await unite(connection, tables.stretches, {instance: each for instance, (_, each) in given.items()})
    new = {instance: each.new for instance, each in united.items() if each.new}
    kept_ready = await near(connection, tables.provisioned, new)
    for instance, each in united.items():
        version = given[instance][0]
        active: Counter[int] = Counter()
        for sign, stretches in ((1, each.inserted), (-1, each.removed)):
            for stretch in stretches:
                for minute, amount in milliseconds(stretch):
                    active[minute] += sign * amount
        for minute, amount in active.items():
            sums.add(version, minute, active_ms=amount)
        for stretch in common(each.new, kept_ready.get(instance, [])):
            for minute, amount in nanoseconds(stretch):
                sums.add(version, minute, covered_ns=amount)


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
    asked = [(instance, each[0][0], each[-1][1]) for instance, each in given.items() if each]
    if asked:
        for instance, begin, end in await connection.execute(_near(table), {"asked": json.encode(asked).decode()}):
            found.setdefault(instance, []).append((begin, end))
    return found


@functools.cache
def _near(table: Table) -> Select[str, int, int]:
    """One statement however many instances are asked for: to make one anew costs more than to answer it."""
    asked = func.json_each(bindparam("asked", type_=String)).table_valued("value", name="asked")
    instance, low, high = [func.json_extract(asked.c.value, f"$[{at}]") for at in range(3)]
    same = and_(table.c.instance == instance, table.c.end >= low, table.c.begin <= high)
    rows = select(table.c.instance, table.c.begin, table.c.end).select_from(asked.join(table, same))
    return rows.order_by(table.c.instance, table.c.end)


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), AT_ONCE):
        yield items[at : at + AT_ONCE]
