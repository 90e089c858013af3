"""Lines and positions are kept together, once."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError

from sampan.output.lines import Line
from sampan.output.store import Batch, OutputStore, Place
from sampan.store.database import Database
from tests.output.making import WEB, batch, found, line, move, texts

FIRST = Place("c-1", WEB)


async def test_lines_are_counted_from_one_for_each_function(store: OutputStore) -> None:
    await store.commit([batch([line("a"), line("b")]), batch([line("x")], "api")])
    await store.commit([batch([line("c")])])
    assert [(each.seq, each.text) for each in await found(store)] == [(1, "a"), (2, "b"), (3, "c")]
    assert {(each.function, each.lines) for each in await store.counts()} == {("web", 3), ("api", 1)}


async def test_lines_of_one_batch_are_in_order_of_time_and_those_of_one_time_as_read(store: OutputStore) -> None:
    await store.commit([batch([line("b", 2), line("c", 2), line("a", 1, "c-2")])])
    assert texts(await found(store)) == ["a", "b", "c"]


async def test_a_place_moves_with_its_lines(store: OutputStore) -> None:
    there = Place("c-1", WEB, 10, 5, ("1-a", "1-b"))
    await store.commit([Batch("web", [line("a")], move(None, there))])
    assert await store.place("c-1") == there
    assert await store.unfinished() == [there]
    await store.commit([Batch("web", [line("b")], move(there, Place("c-1", WEB, 12, 5, done=True)))])
    assert await store.unfinished() == []
    assert await store.place("c-2") is None


async def test_lines_from_a_place_that_has_moved_are_refused_and_the_others_kept(store: OutputStore) -> None:
    there, ahead = Place("c-1", WEB, 10), Place("c-1", WEB, 20)
    await store.commit([Batch("web", [line("a")], move(None, there))])
    again = Batch("web", [line("a"), line("other", instance="c-2")], move(None, there))
    again.moves |= move(None, Place("c-2", WEB, 6))
    assert await store.commit([again]) == {"c-1"}
    assert await store.commit([Batch("web", [line("b")], move(ahead, ahead))]) == {"c-1"}
    assert texts(await found(store)) == ["a", "other"]
    assert await store.place("c-1") == there


async def test_a_commit_that_fails_leaves_nothing(store: OutputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))

    given = Batch("web", [line("a")], move(None, Place("c-1", WEB, 10)))
    with monkeypatch.context() as patch:
        patch.setattr(OutputStore, "_write", full)
        with pytest.raises(OperationalError):
            await store.commit([given])
    assert await store.place("c-1") is None
    assert await found(store) == []
    assert await store.commit([given]) == frozenset()
    assert texts(await found(store)) == ["a"]


async def test_what_was_lost_is_counted(store: OutputStore) -> None:
    await store.commit([batch([], lost=100)])
    await store.commit([batch([line("a")], lost=23)])
    assert [(each.lost, each.lines, each.bytes) for each in await store.counts()] == [(123, 1, 2)]


async def test_a_sink_that_fails_hinders_nobody(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def sink(lines: Sequence[Line]) -> None:
        raise ConnectionError("the backend is away")

    store = OutputStore(database, time.time_ns, sink)
    await store.commit([batch([line("a")]), batch([line("b")], "api")])
    assert texts(await found(store)) == ["a"]
    assert caplog.text.count("lines were not passed on") == 2


async def test_whoever_waits_hears_of_lines_and_the_sink_gets_them_once_they_are_kept(database: Database) -> None:
    heard: list[Line] = []

    def sink(lines: Sequence[Line]) -> None:
        heard.extend(lines)

    store = OutputStore(database, time.time_ns, sink)
    asked: list[str] = []
    store.on_follower = asked.append
    with store.follower("web") as news, store.follower("api") as other:
        await store.commit([batch([line("a")])])
        await asyncio.wait_for(news.wait(), 10)
        assert not other.is_set()
        assert store.followed("web")
    assert not store.followed("web")
    assert asked == ["web", "api"]
    assert texts(heard) == ["a"]
