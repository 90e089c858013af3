"""Single invocations: packed, found, read page by page, and brought over from where they were before."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import create_engine, text

from sampan.meter import blocks, singles
from sampan.meter.blocks import by_version, order, pack, packed, unpack
from sampan.meter.ledger import Batch, Ledger
from sampan.meter.retention import Retention
from sampan.meter.singles import Wanted, newest
from sampan.model.invocation import InvocationRecord, Outcome, Traced
from sampan.model.names import split_version_key
from sampan.store.database import MIGRATIONS, Database, migrate, sqlite_url
from tests.meter.making import JOB, MS, START, WEB, database, record, records


def fits(one: InvocationRecord, wanted: Wanted) -> bool:
    function, version, _ = split_version_key(one.version)
    return (
        wanted.function in ("", function)
        and wanted.version in ("", version)
        and (not wanted.outcomes or one.outcome.value in wanted.outcomes)
        and wanted.request in ("", one.request)
        and wanted.instance in ("", one.instance)
        and one.ended >= wanted.since
        and (not wanted.until or one.ended < wanted.until)
    )


@st.composite
def questions(draw: st.DrawFn) -> Wanted:
    function, version = draw(
        st.sampled_from([("", ""), ("web", ""), ("web", "LATEST"), ("job", "3"), ("job", "1")])
    )
    return Wanted(
        function,
        version,
        tuple(draw(st.sets(st.sampled_from([each.value for each in Outcome]), max_size=3))),
        draw(st.sampled_from(["", "", record(2).request])),
        draw(st.sampled_from(["", "", "c-1", "c-3"])),
        draw(st.sampled_from([0, START + 5 * MS])),
        draw(st.sampled_from([0, START + 60_000 * MS])),
    )


@settings(max_examples=60)
@given(st.lists(records(), min_size=1, max_size=4), questions(), st.integers(1, 7))
def test_any_question_is_answered_as_from_a_list_of_all_records(
    transactions: list[list[InvocationRecord]], wanted: Wanted, page: int
) -> None:
    async def ask(directory: Path) -> None:
        store, everything = database(directory), list[InvocationRecord]()
        for some in transactions:
            named = [replace(each, request=record(at).request) for at, each in enumerate(some, len(everything))]
            await Ledger(store).add([Batch("life", len(everything) + 1, named)])
            everything += named
        found: list[InvocationRecord] = []
        while got := await newest(store, wanted, page, order(found[-1]) if found else None):
            found += got
        assert found == sorted([each for each in everything if fits(each, wanted)], key=order, reverse=True)
        await store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(ask(Path(directory)))


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks, read in many pieces."""
    monkeypatch.setattr(blocks, "MOST", 3)
    monkeypatch.setattr(singles, "BLOCKS", 2)


@pytest.mark.usefixtures("little")
async def test_pages_go_on_where_they_ended_while_blocks_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.meter.retention.MANY", 2)
    store = database(tmp_path)
    told = [record(number, begin=number // 4 * MS) for number in range(40)]  # four end at once
    await Ledger(store).add([Batch("life", 1, told)])
    found: list[InvocationRecord] = []
    while got := await newest(store, Wanted(), 3, order(found[-1]) if found else None):
        found += got
        await Retention(store, 86_400, most=1000).gather()
    assert sorted(each.request for each in found) == sorted(each.request for each in told)
    assert [each.ended for each in found] == sorted([each.ended for each in told], reverse=True)
    await store.close()


@given(records())
def test_a_block_gives_back_what_was_packed(some: list[InvocationRecord]) -> None:
    for block in packed(by_version(some)):
        held = unpack(block.data)
        assert held == [each for each in some if split_version_key(each.version)[0] == block.function]
        assert (block.first, block.last) == (min(each.ended for each in held), max(each.ended for each in held))
        assert block.outcomes == blocks.mask(each.outcome for each in held)


def test_a_block_in_another_format_is_not_guessed_at() -> None:
    block = pack("web", [record()])
    with pytest.raises(ValueError, match="format 09"):
        unpack(b"\x09" + block.data[1:])


def test_records_of_before_there_were_blocks_are_found_as_they_were(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "telemetry.db")
    traced = Traced("a" * 32, "", "")
    told = [
        record(1),
        record(2, begin=9 * MS, version=JOB, instance="", outcome=Outcome.PLATFORM_ERROR),
        InvocationRecord(
            "r", WEB, "c-1", Outcome.TIMED_OUT, 504, START, START + 1, START + 2, True, 3, 4, "prod", "GET", "/é",
            "10.0.0.1", START + 1, "FunctionTimeout", traced,
        ),
    ]  # fmt: skip
    _at_revision(url, "0004")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO invocations VALUES ({', '.join(f':{at}' for at in range(20))})"),
            [dict(zip(map(str, range(20)), _row(at, each), strict=True)) for at, each in enumerate(told)],
        )
    engine.dispose()
    migrate(url, "telemetry")

    async def ask() -> Sequence[InvocationRecord]:
        store = Database(url)
        found = await newest(store, Wanted(), 10)
        assert await newest(store, Wanted(request="r", outcomes=("timed_out",)), 10) == [told[2]]
        await store.close()
        return found

    assert sorted(asyncio.run(ask()), key=repr) == sorted(told, key=repr)


def _at_revision(url: str, revision: str) -> None:
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / "telemetry"))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _row(at: int, one: InvocationRecord) -> tuple[object, ...]:
    return (
        at, one.request, split_version_key(one.version)[0], one.version, one.instance, one.outcome.value,
        one.status, one.received, one.leased, one.ended, one.cold, one.bytes_in, one.bytes_out, one.qualifier,
        one.method, one.path, one.client, one.first_byte, one.error, one.traced.trace if one.traced else "",
    )  # fmt: skip
