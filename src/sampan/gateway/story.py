"""A request's coroutine, driven by hand: for what `invoke` awaits, half the cost of a task.

It begins at once, in the very turn in which its request was read. It may await futures, as everything on the way
of a request does. What needs a task to be in, `asyncio.timeout` above all, is awaited with `within`.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_OVER: Final[Any] = object()


class Story:
    """Runs one coroutine to its end. `begin` it, once; `cancel` it as one would a task."""

    __slots__ = ("_awaited", "_cancelled", "_loop", "_steps")

    def __init__(self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._steps, self._loop = coroutine.__await__(), loop
        self._awaited: asyncio.Future[Any] | None = None
        self._cancelled = False  # to be told at the next step

    def begin(self) -> None:
        self._step(None)

    def cancel(self) -> None:
        """CancelledError is raised where it waits, at the next turn of the loop."""
        self._cancelled = True
        if self._awaited is not None:
            self._awaited.cancel()

    def _step(self, awaited: "asyncio.Future[Any] | None") -> None:
        """Go on. awaited: what it waited for, and what has its result."""
        self._awaited = None
        try:
            if self._cancelled:
                self._cancelled = False
                future = self._steps.throw(asyncio.CancelledError())
            else:
                future = next(self._steps, _OVER)  # `send` raises at the end, which costs more than what it ends
        except (StopIteration, asyncio.CancelledError):
            return
        except Exception as error:
            self._loop.call_exception_handler({"message": "a request's story broke off", "exception": error})
            return
        if future is _OVER:
            return
        if future is None:  # asyncio.sleep(0)
            self._loop.call_soon(self._step, None)
            return
        future._asyncio_future_blocking = False  # as a task says that it has understood
        future.add_done_callback(self._step)
        self._awaited = future
        if self._cancelled:
            future.cancel()


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`; a coroutine runs in a task of its own. Raises: TimeoutError, or what it raises."""
    future = asyncio.ensure_future(work)
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        future.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await future
    except asyncio.CancelledError:
        future.cancel()
        if expired:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
