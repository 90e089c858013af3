"""What readers have read, kept together: one transaction for all functions, at most every WINDOW."""

import asyncio
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from sampan.collector.output_reading import Reading
from sampan.output.lines import Line
from sampan.output.store import Batch, OutputStore, Place
from sampan.telemetry.logs import Log

WINDOW = 0.08  # seconds between two commits: an fsync each
OF_ONE = 512 << 10  # bytes of one function's lines that may wait: other functions' wait for as long as they take
OF_ALL = 32 << 20
PATIENCE = (0.5, 30.0)  # seconds between tries when the database refuses: at first, at most

log = Log("output")


class Writer:
    """`add` what was read; `room` before reading more. While the disk is full nothing more is read."""

    def __init__(self, store: OutputStore, moved: Callable[[frozenset[str]], None]) -> None:
        """moved: told of instances whose lines were refused; they are to be read anew from where the store says."""
        self._store = store
        self._moved = moved
        self._pending: dict[str, Batch] = {}
        self._size = 0  # bytes waiting, those being written included
        self._any = asyncio.Event()
        self._room = asyncio.Condition()

    def add(self, reading: Reading, function: str, lines: list[Line], size: int, lost: int) -> None:
        """Lines, and the place behind them. Nothing is written where nothing has changed."""
        before, after = reading.place, reading.now_at()
        if reading.stale or (after == before and not lines and not lost):
            return
        self._put(function, reading, before, lines, size, lost)

    def begin(self, reading: Reading, function: str) -> None:
        """The instance is new."""
        self._put(function, reading, None, [], 0, 0)

    def report(self, function: str, lines: list[Line]) -> bool:
        """Lines that were not read but sent; False: there is no room for them now."""
        if not self._has_room(function):
            return False
        size = sum(len(line.text) for line in lines)
        batch = self._pending.setdefault(function, Batch(function))
        batch.lines += lines
        batch.size += size
        self._size += size
        self._any.set()
        return True

    async def room(self, function: str) -> None:
        """Returns when more of the function's lines may be added."""
        async with self._room:
            await self._room.wait_for(lambda: self._has_room(function))

    async def run(self) -> None:
        while True:
            await self._any.wait()
            self._any.clear()
            batches, self._pending = list(self._pending.values()), {}
            await self._keep(batches)
            async with self._room:
                self._size -= sum(batch.size for batch in batches)
                self._room.notify_all()
            await asyncio.sleep(WINDOW)

    def _put(
        self, function: str, reading: Reading, before: Place | None, lines: list[Line], size: int, lost: int
    ) -> None:
        batch = self._pending.setdefault(function, Batch(function))
        batch.lines += lines
        batch.lost += lost
        batch.size += size
        self._size += size
        reading.place = reading.now_at()
        first = batch.moves.get(reading.id)
        batch.moves[reading.id] = (first[0] if first is not None else before, reading.place)
        self._any.set()

    def _has_room(self, function: str) -> bool:
        waiting = self._pending.get(function)
        return self._size < OF_ALL and (waiting is None or waiting.size < OF_ONE)

    async def _keep(self, batches: list[Batch]) -> None:
        """Until it is in the database."""
        wait, longest = PATIENCE
        refused = False
        while True:
            try:
                gone = await self._store.commit(batches)
            except DBAPIError as error:
                if not refused:
                    log.warning(
                        "function logs cannot be kept; trying on, nothing more is read meanwhile",
                        why=error.orig,
                        do="make room on the disk of platform.state",
                    )
                refused = True
                await asyncio.sleep(wait)
                wait = min(longest, wait * 2)
                continue
            if refused:
                log.info("function logs are kept again")
            if gone:
                self._pending = {name: batch.without(gone) for name, batch in self._pending.items()}
                self._moved(gone)
            return
