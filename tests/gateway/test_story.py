"""A request's coroutine, driven by hand."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sampan.gateway.story import Story, Wait, within


def told(coroutine: Coroutine[Any, Any, None]) -> Story:
    story = Story(coroutine, asyncio.get_running_loop())
    story.begin()
    return story


async def test_it_begins_at_once_and_goes_on_when_what_it_waits_for_is_there() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    heard = []

    async def work() -> None:
        heard.append("begun")
        heard.append(await future)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        heard.append("over")

    told(work())
    assert heard == ["begun"]
    future.set_result("result")
    await asyncio.sleep(0.02)
    assert heard == ["begun", "result", "over"]


async def test_what_fails_is_raised_where_it_was_waited_for() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard = []

    async def work() -> None:
        try:
            await future
        except OSError as error:
            heard.append(str(error))

    told(work())
    future.set_exception(OSError("broken"))
    await asyncio.sleep(0)
    assert heard == ["broken"]


@pytest.mark.parametrize("ready", [False, True])
async def test_it_is_cancelled_where_it_waits_though_its_result_has_just_come(ready: bool) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard = []

    async def work() -> None:
        try:
            await future
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise
        finally:
            heard.append("tidied")

    story = told(work())
    if ready:
        future.set_result(None)
    story.cancel()
    assert heard == [], "not before the next turn: who cancels it may be in the middle of something"
    await asyncio.sleep(0)
    assert heard == ["cancelled", "tidied"]


async def test_who_ends_a_wait_goes_on_with_the_story_at_once() -> None:
    wait, heard = Wait(), []

    async def work() -> None:
        await wait
        heard.append("over")
        await Wait()

    told(work())
    assert not wait.kept
    wait.end()
    assert heard == ["over"]
    assert wait.kept


async def test_a_wait_that_is_over_is_not_waited_for() -> None:
    wait, heard = Wait(), []

    async def work() -> None:
        await wait
        heard.append("over")

    wait.end()
    assert told(work()).over
    assert heard == ["over"]


async def test_a_wait_fails_where_it_was_waited_for_and_not_in_the_middle_of_anything() -> None:
    wait, heard = Wait(), []

    async def work() -> None:
        try:
            await wait
        except OSError as error:
            heard.append(str(error))

    told(work())
    wait.fail(OSError("broken"))
    assert (heard, wait.over, wait.kept) == ([], True, False)
    await asyncio.sleep(0)
    assert heard == ["broken"]


@pytest.mark.parametrize("how", ["end", "fail", "neither"])
@pytest.mark.parametrize("first", ["cancel", "wait"])
async def test_a_story_that_is_cancelled_while_its_wait_ends_takes_one_step(how: str, first: str) -> None:
    wait, later, heard = Wait(), Wait(), []

    async def work() -> None:
        try:
            await wait
            heard.append("kept")
        except (asyncio.CancelledError, OSError) as error:
            heard.append(type(error).__name__)
        try:
            await later
        except asyncio.CancelledError:
            heard.append("cancelled later")

    def over() -> None:
        if how == "end":
            wait.end()
        elif how == "fail":
            wait.fail(OSError("broken"))

    story = told(work())
    for act in (story.cancel, over) if first == "cancel" else (over, story.cancel):
        act()
    await asyncio.sleep(0.01)
    if how == "end" and first == "wait":
        assert heard == ["kept", "cancelled later"]
    else:
        assert heard == ["CancelledError"], "and it waits for what comes next"
        later.end()
    assert story.over


async def test_who_wanted_to_hear_of_its_end_does() -> None:
    heard: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)

    story = Story(work(), asyncio.get_running_loop(), lambda: heard.append("over"))
    story.begin()
    assert heard == []
    await asyncio.sleep(0.01)
    assert heard == ["over"]


async def test_one_that_is_cancelled_before_it_begins_does_nothing_and_is_over() -> None:
    heard: list[str] = []

    async def work() -> None:
        heard.append("begun")

    story = Story(work(), asyncio.get_running_loop(), lambda: heard.append("over"))
    story.cancel()
    story.begin()
    assert heard == ["over"]


async def test_one_that_is_cancelled_by_what_it_does_itself_ends_where_it_waits_next() -> None:
    stories: list[Story] = []
    heard = []

    async def work() -> None:
        await asyncio.sleep(0)
        stories[0].cancel()
        heard.append("still here")
        await asyncio.sleep(10)
        heard.append("never")

    stories.append(told(work()))
    await asyncio.sleep(0.01)
    assert heard == ["still here"]


async def test_who_catches_a_cancellation_goes_on() -> None:
    heard = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            heard.append("goes on")

    told(work()).cancel()
    await asyncio.sleep(0.01)
    assert heard == ["goes on"]


async def test_an_error_that_nobody_caught_is_told_to_the_loop() -> None:
    seen: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))

    async def work() -> None:
        raise ValueError("unforeseen")

    told(work())
    assert [str(error) for error in seen] == ["unforeseen"]


async def test_within_gives_the_result_or_says_that_it_took_too_long() -> None:
    heard = []

    async def quick() -> str:
        async with asyncio.timeout(1):  # which needs a task
            await asyncio.sleep(0)
            return "in time"

    async def work() -> None:
        heard.append(await within(5, quick()))
        with pytest.raises(TimeoutError):
            await within(0.01, asyncio.sleep(10))
        with pytest.raises(OSError, match="broken"):
            await within(5, broken())
        heard.append("over")

    async def broken() -> None:
        raise OSError("broken")

    told(work())
    await asyncio.sleep(0.05)
    assert heard == ["in time", "over"]


async def test_what_a_cancelled_story_waited_for_is_cancelled_with_it() -> None:
    ended = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()

    async def work() -> None:
        await within(5, long())

    story = told(work())
    await asyncio.sleep(0)
    story.cancel()
    await asyncio.sleep(0.01)
    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1
