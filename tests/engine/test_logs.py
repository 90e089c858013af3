"""Logs of sandboxes, with a plain file in the place of a program."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.engine.engine import LogChunk, Stream
from sampan.engine.node.logs import Logs

BLOCK = 1 << 16


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[Logs]:
    logs = Logs(tmp_path / "logs", None)
    logs.open()
    yield logs
    logs.close()


def begin(logs: Logs, limit: int) -> int:
    stdout, stderr = logs.begin("c-1", limit, {})
    os.close(stderr)
    return stdout


def read(logs: Logs, position: int = 0, sandbox: str = "c-1") -> LogChunk:
    chunk = logs.read(sandbox, Stream.STDOUT, position, 1 << 20)
    assert chunk is not None
    return chunk


async def test_marks_tell_when_output_was_there(logs: Logs) -> None:
    writer = begin(logs, 1 << 20)
    positions = set()
    for _ in range(3):
        os.write(writer, b"x" * 10)
        positions.add(read(logs).end)
        await asyncio.sleep(0)
    chunk = read(logs)
    assert {position for position, _ in chunk.marks} == positions
    assert [at for _, at in chunk.marks] == sorted(at for _, at in chunk.marks)
    os.close(writer)


async def test_growth_is_noticed_without_being_asked(logs: Logs) -> None:
    writer = begin(logs, BLOCK)
    for _ in range(4):
        os.write(writer, b"x" * BLOCK)
    async with asyncio.timeout(30):
        while Path(logs.path("c-1")).stat().st_blocks * 512 > 3 * BLOCK:  # noqa: ASYNC110 - the kernel has no event
            await asyncio.sleep(0.01)
    os.close(writer)


async def test_the_oldest_output_is_dropped_and_positions_stay(logs: Logs) -> None:
    writer = begin(logs, BLOCK)
    for number in range(8):
        os.write(writer, bytes([65 + number]) * BLOCK)
        read(logs)
    chunk = read(logs)
    assert chunk.end == 8 * BLOCK
    assert chunk.begin >= 6 * BLOCK
    assert chunk.data.strip(b"GH") == b""
    os.close(writer)


async def test_positions_grow_on_when_a_program_truncates_its_output(logs: Logs) -> None:
    writer = begin(logs, BLOCK)
    os.write(writer, b"before it\n")
    assert read(logs).end == 10
    os.truncate(logs.path("c-1"), 0)
    read(logs)
    os.write(writer, b"after\n")
    chunk = read(logs)
    assert (chunk.begin, chunk.data, chunk.end) == (10, b"after\n", 16)
    os.close(writer)


async def test_what_was_dropped_is_known_after_a_restart(logs: Logs, tmp_path: Path) -> None:
    writer = begin(logs, BLOCK)
    for _ in range(4):
        os.write(writer, b"x" * BLOCK)
        read(logs)
    before = read(logs)
    other = Logs(tmp_path / "logs", None)
    other.open()
    other.resume("c-1", BLOCK)
    os.write(writer, b"more")
    chunk = read(other)
    assert (chunk.begin, chunk.data) == (before.begin, before.data + b"more")
    other.close()
    os.close(writer)


async def test_a_tail_ends_with_what_was_said_on_stderr(logs: Logs) -> None:
    stdout, stderr = logs.begin("c-1", BLOCK, {})
    os.write(stdout, b"o" * 4000)
    os.write(stderr, b"and why")
    tail = logs.tail("c-1")
    assert len(tail) == 2048
    assert tail.endswith("oand why")
    os.close(stdout)
    os.close(stderr)


async def test_only_the_newest_logs_of_ended_sandboxes_are_kept(logs: Logs, tmp_path: Path) -> None:
    for number in range(502):
        for descriptor in logs.begin(f"c-{number}", BLOCK, {}):
            os.close(descriptor)
        logs.end(f"c-{number}")
    assert logs.read("c-1", Stream.STDOUT, 0, 1) is None
    assert read(logs, sandbox="c-501").ended
    assert len(list((tmp_path / "logs").iterdir())) == 3 * 500


async def test_what_ended_is_told_with_its_labels_also_after_a_restart(logs: Logs, tmp_path: Path) -> None:
    for name in ("c-1", "c-2", "c-3", "c-4"):
        stdout, stderr = logs.begin(name, BLOCK, {"name": name})
        os.write(stdout, b"said\n")
        os.close(stdout)
        os.close(stderr)
    logs.drop("c-1")
    logs.end("c-3")
    Path(logs.path("c-4")).with_suffix(".labels").unlink()
    assert [(each.id, each.labels) for each in logs.ended()] == [("c-3", {"name": "c-3"})]
    other = Logs(tmp_path / "logs", None)
    other.open()
    assert {each.id: each.labels["name"] for each in other.ended()} == {"c-2": "c-2", "c-3": "c-3"}
    written = Path(logs.path("c-3")).stat().st_mtime_ns
    assert {each.at for each in other.ended() if each.id == "c-3"} == {written}
    other.close()
