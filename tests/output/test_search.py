"""Kept lines are found again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from sampan.model.names import version_key
from sampan.output import search
from sampan.output.levels import Level
from sampan.output.matching import Matcher, Wanted
from sampan.output.search import Search
from sampan.output.store import OutputStore
from sampan.output.upkeep import Upkeep
from sampan.store.database import Database
from tests.output.making import SECOND, START, batch, found, line, texts

DAY = 86400


@pytest.fixture
async def hundred(store: OutputStore) -> OutputStore:
    """Ten blocks of ten lines, a second each."""
    for ten in range(0, 100, 10):
        lines = [
            line(
                f"ERROR {number}" if number % 10 == 7 else f"line {number}",
                number,
                instance=f"c-{number // 50}",
                version=version_key("web", str(1 + number // 50), 4),
                request=f"1-{1_700_000_000 + number:08x}-{number:024x}" if number % 2 else "",
            )
            for number in range(ten, ten + 10)
        ]
        await store.commit([batch(lines)])
    return store


async def test_the_newest_lines_come_oldest_first(hundred: OutputStore) -> None:
    assert texts(await found(hundred, tail=3)) == ["ERROR 97", "line 98", "line 99"]
    assert len(await found(hundred, tail=1000)) == 100
    assert await found(hundred, tail=0) == []


async def test_pages_onwards_and_back_meet(hundred: OutputStore) -> None:
    first = await found(hundred, before=41)
    rest = await found(hundred, after=40)
    assert [each.seq for each in first + rest] == list(range(1, 101))
    assert [each.seq for each in await found(hundred, tail=5, before=41)] == [36, 37, 38, 39, 40]
    assert [each.seq for each in await found(hundred, after=10, before=13)] == [11, 12]


async def test_the_newest_that_match_are_found_however_far_back(hundred: OutputStore) -> None:
    errors = Wanted(function="web", level=Level.ERROR)
    assert texts(await found(hundred, tail=2, wanted=errors)) == ["ERROR 87", "ERROR 97"]
    assert len(await found(hundred, wanted=errors)) == 10


async def test_blocks_that_cannot_hold_what_is_wanted_are_not_opened(
    hundred: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def picked(data: bytes, seq: int, *rest: object) -> object:
        opened.append(seq)
        return real(data, seq, *rest)  # type: ignore[arg-type]

    real = search._picked
    monkeypatch.setattr(search, "_picked", picked)
    asked = [
        (Wanted(function="web", since=START + 95 * SECOND), [91]),
        (Wanted(function="web", until=START + 10 * SECOND), [1]),
        (Wanted(function="web", instance="c-9"), []),
        (Wanted(function="web", instance="c-0", since=START + 40 * SECOND), [41]),
        (Wanted(function="web", version="9"), []),
        (Wanted(function="web", level=Level.FATAL), []),
    ]
    for wanted, blocks in asked:
        await found(hundred, wanted=wanted)
        assert opened == blocks
        opened.clear()
    request = f"1-{1_700_000_000 + 33:08x}-{33:024x}"
    assert texts(await found(hundred, wanted=Wanted(function="web", request=request))) == ["line 33"]
    assert 31 in opened
    assert len(opened) < 4


async def test_a_token_stays_true_when_blocks_are_merged_or_dropped(
    hundred: OutputStore, database: Database
) -> None:
    before = [(each.seq, each.text) for each in await found(hundred, after=55)]
    for _ in range(40):
        await hundred.commit([batch([line("more", 100)])])
    await Upkeep(database, lambda: START + 100 * SECOND, DAY, 1 << 30).once()
    after = [(each.seq, each.text) for each in await found(hundred, after=55)]
    assert after[: len(before)] == before
    await Upkeep(database, lambda: START + (DAY + 1000) * SECOND, DAY, 1 << 30).once()
    assert await found(hundred, after=55) == []
    await hundred.commit([batch([line("new", 200)])])
    assert [(each.seq, each.text) for each in await found(hundred, after=55)] == [(141, "new")]


async def test_blocks_merged_while_they_are_read_are_read_once(store: OutputStore, database: Database) -> None:
    for number in range(100):
        await store.commit([batch([line(str(number), number)])])
    answer = Search(store).lines(Matcher(Wanted(function="web")))
    async with aclosing(answer):
        seen = [each.text for each in await anext(answer)]
        await Upkeep(database, lambda: START, DAY, 1 << 30).once()
        seen += [each.text async for some in answer for each in some]
    assert seen == [str(number) for number in range(100)]


async def test_a_follower_gets_what_comes_and_nothing_twice(store: OutputStore) -> None:
    await store.commit([batch([line("a"), line("b")])])
    answer = Search(store).lines(Matcher(Wanted(function="web")), tail=1, follow=True)
    async with aclosing(answer):
        assert texts(await anext(answer)) == ["b"]
        for text in ("c", "d"):
            await store.commit([batch([line(text)])])
            assert texts(await anext(answer)) == [text]


async def test_a_follower_of_some_lines_waits_for_those(store: OutputStore) -> None:
    answer = Search(store).lines(Matcher(Wanted(function="web", grep="wanted")), follow=True)
    async with aclosing(answer):
        coming = asyncio.ensure_future(anext(answer))
        for number in range(20):
            await store.commit([batch([line("wanted" if number == 19 else f"line {number}")])])
        assert [each.seq for each in await asyncio.wait_for(coming, 30)] == [20]


async def test_followers_that_come_back_have_every_line_once(store: OutputStore) -> None:
    """However the commits fall between the connections."""
    seen: list[str] = []
    token = 0
    for number in range(0, 30, 3):
        for more in range(3):
            await store.commit([batch([line(str(number + more))])])
            if more == number % 3:
                async for each in upto(store, token, number + more + 1):
                    seen.append(each.text)
                    token = each.seq
    assert seen == [str(number) for number in range(len(seen))]
    assert len(seen) >= 28


async def upto(store: OutputStore, after: int, end: int) -> AsyncIterator[search.Line]:
    answer = Search(store).lines(Matcher(Wanted(function="web")), after=after, follow=True)
    async with aclosing(answer):
        async for some in answer:
            for each in some:
                yield each
            if some[-1].seq >= end:
                return


@pytest.mark.looptime
async def test_a_silent_log_says_that_it_is_alive(store: OutputStore) -> None:
    answer = Search(store).lines(Matcher(Wanted(function="web")), follow=True)
    async with aclosing(answer):
        assert await anext(answer) == []
        assert await anext(answer) == []


async def test_a_token_from_a_database_that_is_gone_waits_for_nothing(store: OutputStore) -> None:
    await store.commit([batch([line("a")])])
    answer = Search(store).lines(Matcher(Wanted(function="web")), after=10**9, follow=True)
    async with aclosing(answer):
        coming = asyncio.ensure_future(anext(answer))
        while not coming.done():
            await store.commit([batch([line("b")])])
        assert set(texts(await coming)) == {"b"}


async def test_an_instance_of_which_lines_are_kept_is_known(hundred: OutputStore) -> None:
    assert await Search(hundred).known_instance("web", "c-1")
    assert not await Search(hundred).known_instance("web", "c-7")
    assert not await Search(hundred).known_instance("api", "c-1")
