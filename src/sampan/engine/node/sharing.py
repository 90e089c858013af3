"""Work that several callers want at the same time is done once."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _UnderWay(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Shared(Generic[T]):
    """Each piece of work belongs to those who wait for it: when the last of them goes away it is cancelled."""

    def __init__(self) -> None:
        self._under_way: dict[str, _UnderWay[T]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._under_way

    async def run(self, key: str, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work under this key: `work`'s own, or that of what is under way already."""
        current = self._under_way.get(key)
        if current is None:
            current = _UnderWay(asyncio.get_running_loop().create_task(work))
            self._under_way[key] = current
            current.task.add_done_callback(lambda _: self._forget(key, current))
        else:
            work.close()
        current.waiting += 1
        try:
            return await asyncio.shield(current.task)
        finally:
            current.waiting -= 1
            if not current.waiting and not current.task.done():
                self._forget(key, current)
                current.task.cancel()
                await asyncio.wait({current.task})

    def _forget(self, key: str, current: "_UnderWay[T]") -> None:
        if self._under_way.get(key) is current:
            del self._under_way[key]
        if current.task.done():
            with suppress(BaseException):  # whoever waits has it; nobody may
                current.task.exception()
