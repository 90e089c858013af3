"""A request's coroutine, driven by hand: for what `invoke` awaits, half the cost of a task.

It begins at once, in the very turn in which its request was read. It may await futures, as everything on the way
of a request does, and a `Wait`. What needs a task to be in, `asyncio.timeout` above all, is awaited with `within`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

T = TypeVar("T")

_OVER: Final[Any] = object()
_next: Final = next  # a builtin is looked up by its name each time
_CancelledError: Final = asyncio.CancelledError


class Story:
    """Runs one coroutine to its end. `begin` it, once; `cancel` it as one would a task."""

    __slots__ = ("_awaited", "_cancelled", "_loop", "_steps", "_told", "over")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        told: Callable[[], object] | None = None,
    ) -> None:
        """told: is called at its end."""
        self._steps, self._loop, self._told = coroutine.__await__(), loop, told
        self._awaited: Any = None  # a future or a `Wait`
        self._cancelled = False  # to be told at the next step
        self.over = False

    def begin(self) -> None:
        self._step(None)

    def cancel(self) -> None:
        """CancelledError is raised where it waits, at the next turn of the loop."""
        self._cancelled = True
        awaited = self._awaited
        if isinstance(awaited, Wait):
            self._loop.call_soon(self._step, awaited)
        elif awaited is not None:
            awaited.cancel()

    def _step(self, awaited: Any) -> None:
        """Go on. awaited: what it waited for, and what has its result."""
        if awaited is not self._awaited:
            return  # cancelled, in the very turn in which its wait ended
        self._awaited = None
        try:
            if self._cancelled:
                self._cancelled = False
                future = self._steps.throw(_CancelledError())
            else:
                future = _next(self._steps, _OVER)  # `send` raises at the end, which costs more than what it ends
        except (StopIteration, asyncio.CancelledError):
            future = _OVER
        except Exception as error:
            self._loop.call_exception_handler({"message": "a request's story broke off", "exception": error})
            future = _OVER
        if isinstance(future, Wait):
            future.story = self
            self._awaited = future
            if self._cancelled:
                self._loop.call_soon(self._step, future)
            return
        if future is _OVER:
            self.over = True
            if self._told is not None:
                self._told()
            return
        if future is None:  # asyncio.sleep(0)
            self._loop.call_soon(self._step, None)
            return
        future._asyncio_future_blocking = False  # as a task says that it has understood
        future.add_done_callback(self._step)
        self._awaited = future
        if self._cancelled:
            future.cancel()


class Wait:
    """What a story waits for, and nobody else: a future that costs a fifth, and not a turn of the loop.

    Whoever ends it goes on with the story at once, up to what that awaits next. To fail it takes its turn: who
    finds fault may be in the middle of something.
    """

    __slots__ = ("_error", "over", "story")

    def __init__(self) -> None:
        self._error: Exception | None = None
        self.over = False
        self.story: Story | None = None  # while it waits

    @property
    def kept(self) -> bool:
        """Over, and nothing went wrong."""
        return self.over and self._error is None

    def end(self) -> None:
        """Once, and not after `fail`."""
        self.over = True
        if self.story is not None:
            self.story._step(self)

    def fail(self, error: Exception) -> None:
        """error: is raised where it is awaited."""
        self.over, self._error = True, error
        story = self.story
        if story is not None:
            story._loop.call_soon(story._step, self)

    def __await__(self) -> Generator["Wait", None, None]:
        if not self.over:
            yield self
            self.story = None
        if self._error is not None:
            raise self._error


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
