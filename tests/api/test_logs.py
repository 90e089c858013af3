"""Reading an instance's output on, whatever happens to the engine meanwhile."""

from collections.abc import Sequence

from sampan.api.logs import Output
from sampan.engine.engine import LogChunk, Stream
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.names import InstanceId, VersionKey

TEXT = b"one\ntwo\n"


class Source:
    """Tells, reading after reading, what `answers` say: a failure, or the text."""

    def __init__(self, *answers: FailureKind | None) -> None:
        self._answers = list(answers)

    def instances(self, function: str) -> Sequence[tuple[InstanceId, VersionKey]]:
        return []

    async def read(self, instance: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        if self._answers and (kind := self._answers.pop(0)) is not None:
            raise StartFailed(Failure(kind, "as told"))
        return LogChunk(TEXT[position:], position, len(TEXT), False)


def output() -> Output:
    return Output(InstanceId("c-1"), "LATEST", Stream.STDOUT, 0)


async def test_it_goes_on_once_the_engine_is_back() -> None:
    source, reading = Source(FailureKind.ENGINE_FAILED), output()
    assert await reading.read(source) == []
    assert [line.text for _, line in await reading.read(source)] == ["one", "two"]


async def test_it_ends_when_nothing_is_known_of_the_instance_any_more() -> None:
    source, reading = Source(FailureKind.NO_SUCH_SANDBOX), output()
    assert await reading.read(source) == []
    assert await reading.read(source) == []
