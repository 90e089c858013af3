"""Deadlines in virtual time: each strikes once, a little late at most, unless it is cleared or moved."""

import asyncio

import pytest

from sampan.gateway.deadlines import GRAIN, Deadlines

pytestmark = pytest.mark.looptime


class Item:
    def __init__(self) -> None:
        self.struck: list[float] = []

    def time_up(self) -> None:
        self.struck.append(asyncio.get_running_loop().time())


async def test_each_strikes_once_and_not_before_its_time() -> None:
    deadlines, begin = Deadlines(), asyncio.get_running_loop().time()
    items = {seconds: Item() for seconds in (0.0, 0.05, 1.0, 3.3)}
    for seconds, item in items.items():
        deadlines.set(item, seconds)
    await asyncio.sleep(10)
    for seconds, item in items.items():
        [struck] = item.struck
        assert seconds <= struck - begin <= seconds + 2 * GRAIN


async def test_one_that_is_cleared_or_moved_does_not_strike_at_its_old_time() -> None:
    deadlines, begin = Deadlines(), asyncio.get_running_loop().time()
    cleared, moved = Item(), Item()
    deadlines.set(cleared, 1.0)
    deadlines.set(moved, 1.0)
    await asyncio.sleep(0.5)
    deadlines.clear(cleared)
    deadlines.set(moved, 5.0)
    await asyncio.sleep(10)
    assert cleared.struck == []
    [struck] = moved.struck
    assert struck - begin >= 5.5


async def test_one_end_may_clear_another_that_is_due_at_the_same_look() -> None:
    deadlines = Deadlines()
    other = Item()

    class First(Item):
        def time_up(self) -> None:
            super().time_up()
            deadlines.clear(other)

    first = First()
    deadlines.set(first, 1.0)
    deadlines.set(other, 1.0)
    await asyncio.sleep(5)
    assert (len(first.struck), other.struck) == (1, [])


async def test_nothing_is_looked_at_while_there_is_nothing() -> None:
    deadlines, item = Deadlines(), Item()
    deadlines.set(item, 0.1)
    await asyncio.sleep(1)
    assert not deadlines._looking
    deadlines.set(item, 0.1)
    await asyncio.sleep(1)
    assert len(item.struck) == 2


async def test_an_end_that_goes_wrong_is_not_the_last() -> None:
    deadlines, item = Deadlines(), Item()

    class Wrong(Item):
        def time_up(self) -> None:
            raise ValueError

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    deadlines.set(Wrong(), 1.0)
    deadlines.set(item, 1.0)
    await asyncio.sleep(5)
    assert len(item.struck) == 1
