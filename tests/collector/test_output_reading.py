"""One instance's streams, look by look."""

from sampan.collector.output_reading import CHUNK, JUMP, MOST, Reading
from sampan.engine.engine import LogChunk, Stream
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.names import InstanceId
from sampan.output.store import Place
from tests.collector.output_platform import WEB


class Ring:
    """A stream that goes on for ever, of which only what is between `head` and `end` is kept."""

    def __init__(self, end: int, head: int = 0, ended: bool = False) -> None:
        self.head, self.end, self.ended = head, end, ended
        self.asked: list[int] = []

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        if stream is Stream.STDERR:
            return LogChunk(b"", 0, 0, self.ended)
        self.asked.append(position)
        begin = min(self.end, max(self.head, self.end + position if position < 0 else position))
        data = (b"%07d\n" * (limit // 8 + 2) % tuple(range(begin // 8, begin // 8 + limit // 8 + 2)))[begin % 8 :]
        data = data[: min(limit, self.end - begin)]
        return LogChunk(data, begin, begin + len(data), self.ended and begin + len(data) == self.end)


def reading(position: int = 0) -> Reading:
    return Reading(Place("c-1", WEB, position), 1, 8.0)


async def test_many_short_lines_are_taken_a_few_at_a_time_and_all_in_order() -> None:
    ring, one, lines = Ring(CHUNK), reading(), []
    while True:
        taken = await one.look(ring.logs, 1)
        lines += [line.text for line in taken.lines]
        assert len(taken.lines) <= MOST
        if not taken.more:
            break
    assert lines == [f"{number:07d}" for number in range(CHUNK // 8)]
    assert one.now_at().stdout == CHUNK


async def test_after_one_gap_reading_goes_on_from_the_oldest_output_there_is() -> None:
    ring, one = Ring(100 << 20, 50 << 20), reading(8)
    taken = await one.look(ring.logs, 1)
    assert taken.lost == (50 << 20) - 8
    assert ring.asked == [8]
    assert taken.lines[0].text.startswith("… 52,428,792 bytes were not kept")
    assert taken.lines[1].text == f"{(50 << 20) // 8:07d}"


async def test_who_cannot_keep_up_goes_on_near_the_end() -> None:
    """Else every answer would be overrun, and no two lines in a row be kept."""
    ring, one = Ring(100 << 20, 50 << 20), reading(8)
    await one.look(ring.logs, 1)
    ring.head, ring.end = 100 << 20, 150 << 20
    taken = await one.look(ring.logs, 1)
    assert ring.asked[-1] == -JUMP
    assert taken.lines[1].text == f"{(150 << 20) // 8 - JUMP // 8:07d}"
    for _ in range(JUMP // CHUNK + MOST):
        if not (await one.look(ring.logs, 1)).more:
            break
    ring.head, ring.end = 200 << 20, 210 << 20  # it had caught up: this is a new gap
    await one.look(ring.logs, 1)
    assert ring.asked[-1] == 150 << 20


async def test_positions_that_begin_anew_are_followed_without_a_word() -> None:
    """A sandboxd that was restarted knows nothing of what the program truncated before."""
    ring, one = Ring(80), reading(8000)
    assert [line.text for line in (await one.look(ring.logs, 1)).lines] == []
    ring.end = 96
    assert [line.text for line in (await one.look(ring.logs, 1)).lines] == ["0000010", "0000011"]


async def test_the_end_is_reached_when_both_streams_have_ended() -> None:
    ring, one = Ring(12, ended=True), reading()
    taken = await one.look(ring.logs, 1)
    assert [line.text for line in taken.lines] == ["0000000", "0000"]
    assert one.done
    assert one.now_at().done


async def test_an_instance_nobody_knows_any_more_is_done_only_when_it_is_known_to_be_gone() -> None:
    async def logs(*_: object) -> LogChunk:
        raise StartFailed(Failure(FailureKind.NO_SUCH_SANDBOX, "there is none"))

    one = reading()
    for alive in (None, True):
        one.alive = alive
        try:
            await one.look(logs, 1)
        except StartFailed:
            assert not one.done
    one.alive = False
    assert (await one.look(logs, 1)).lines == []
    assert one.done
