"""Lines and stores for the tests."""

from collections.abc import Iterable, Sequence

from sampan.model.names import VersionKey, version_key
from sampan.output.levels import level_of
from sampan.output.lines import Line
from sampan.output.matching import Matcher, Wanted
from sampan.output.search import Search
from sampan.output.store import Batch, OutputStore, Place

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
WEB = version_key("web", "LATEST", 1)


def line(
    text: str,
    at: int = 0,
    instance: str = "c-1",
    version: VersionKey = WEB,
    stream: str = "stdout",
    request: str = "",
) -> Line:
    """at: seconds after START."""
    return Line(START + at * SECOND, instance, version, stream, request, level_of(text), text)


def batch(lines: Iterable[Line], function: str = "web", lost: int = 0) -> Batch:
    """Without places: as if they were checked."""
    return Batch(function, list(lines), {}, lost)


def move(before: Place | None, after: Place) -> dict[str, tuple[Place | None, Place]]:
    return {after.instance: (before, after)}


async def found(
    store: OutputStore,
    tail: int | None = None,
    after: int = 0,
    before: int = 0,
    wanted: Wanted | None = None,
) -> list[Line]:
    """All at once."""
    matcher = Matcher(wanted or Wanted(function="web"))
    answer = Search(store).lines(matcher, tail=tail, after=after, before=before)
    return [line async for some in answer for line in some]


def texts(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines]
