"""How an image arrives: a bar per layer on a terminal, a line per stage elsewhere."""

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from sampan.cli.screen import err, say, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHORT = 12  # hex digits of a digest that people compare


class Part(Protocol):
    """One layer, of a pull or of a push."""

    @property
    def layer(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def stage(self) -> str: ...


class Arrival:
    """Shows layers as they come; use as a context manager."""

    def __init__(self, waiting: str = "waiting for the image") -> None:
        self._waiting = waiting
        self._progress: Progress | None = _bars() if err().is_terminal else None
        self._bars: dict[str, TaskID] = {}
        self._said: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
            self._bars[""] = self._progress.add_task(self._waiting, total=None, size="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, parts: Iterable[Part]) -> None:
        """Where things stand now."""
        for part in parts:
            if self._progress is None:
                self._say(part)
            else:
                self._draw(self._progress, part)

    def _say(self, part: Part) -> None:
        if (part.layer, part.stage) not in self._said and part.stage != "waiting":
            self._said.add((part.layer, part.stage))
            say(f"{_short(part.layer)} {part.stage} {size(part.total) if part.total else ''}".rstrip())

    def _draw(self, progress: "Progress", part: Part) -> None:
        if "" in self._bars:
            progress.remove_task(self._bars.pop(""))
        if part.layer not in self._bars:
            self._bars[part.layer] = progress.add_task("", total=part.total or None, size="")
        progress.update(
            self._bars[part.layer],
            completed=part.total if part.stage == "done" else part.done,
            total=part.total or None,
            description=f"{_short(part.layer)} {part.stage:<11}",
            size=size(part.total) if part.total else "",
        )


def _short(digest: str) -> str:
    return digest.partition(":")[2][:SHORT] or digest[:SHORT]


def _bars() -> "Progress":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[size]}", style="dim", markup=False),
        TimeElapsedColumn(),
        console=err(),
        transient=True,
    )
