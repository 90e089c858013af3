"""The lines that frame requests in an instance's log: when they are written."""

import asyncio
from pathlib import Path

import pytest

from sampan.gateway import frames
from sampan.gateway.frames import Frames
from sampan.model.names import RequestId

A, B, C = (RequestId(f"1-00000000-{each * 24}") for each in "abc")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def told(log: Path) -> list[str]:
    """`>a` for the first line of request a, `<a` for its last."""
    lines = log.read_text().splitlines()
    return [f"{'>' if ' Start ' in line else '<'}{line.split(': ')[1][11]}" for line in lines]


async def test_a_quiet_instance_has_its_lines_at_the_end_of_the_turn(log: Path) -> None:
    one = Frames(str(log), alone=False)
    one.start(A)
    assert told(log) == []
    await asyncio.sleep(0)
    assert told(log) == [">a"]
    await asyncio.sleep(2 * frames.GATHER)
    one.end(A)
    await asyncio.sleep(0)
    assert told(log) == [">a", "<a"]
    one.close()


async def test_the_lines_of_a_busy_instance_are_written_together_and_none_is_left(log: Path) -> None:
    one = Frames(str(log), alone=False)
    one.start(A)
    await asyncio.sleep(0)
    for request in (B, C):
        one.start(request)
        await asyncio.sleep(0)
        one.end(request)
        await asyncio.sleep(0)
    assert told(log) == [">a"]
    await asyncio.sleep(20 * frames.GATHER)
    assert told(log) == [">a", ">b", "<b", ">c", "<c"]
    one.end(A)
    one.close()
    assert told(log)[5:] == ["<a"]


async def test_who_reads_on_has_all_that_was_said(log: Path) -> None:
    one = Frames(str(log), alone=False)
    one.start(A)
    await asyncio.sleep(0)
    one.end(A)
    one.flush()
    assert told(log) == [">a", "<a"]
    one.close()


async def test_where_a_request_is_alone_its_first_line_is_there_before_it_prints(log: Path) -> None:
    one = Frames(str(log), alone=True)
    one.start(A)
    assert told(log) == [">a"]
    await asyncio.sleep(0)
    one.end(A)
    one.start(B)
    assert told(log) == [">a", "<a", ">b"], "and what was still to be said comes first"
    one.close()
