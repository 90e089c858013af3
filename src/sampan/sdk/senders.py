"""The two senders: what `exchange.conversation` asks for, done while one waits or awaited."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import httpx

from sampan.sdk.errors import BrokenOff, SdkError
from sampan.sdk.exchange import Attempt, Call, Settled, conversation, reply_of

T = TypeVar("T")


class Blocking:
    """Sends in the calling thread. Safe to share between threads."""

    def __init__(self, settled: Settled, http: httpx.Client) -> None:
        self._settled, self._http = settled, http

    def send(self, call: Call[T]) -> T:
        """Raises: ApiError, Unreachable, UnexpectedAnswer."""
        return call.decode(reply_of(self._answer(call, stream=False)))

    def lines(self, call: Call[object]) -> Iterator[str]:
        """The answer's lines as they come. Raises: as `send`."""
        response = self._answer(call, stream=True)
        try:
            yield from response.iter_lines()
        except httpx.RequestError as error:
            raise BrokenOff(self._settled.endpoint, "the stream broke off") from error
        finally:
            response.close()

    def _answer(self, call: Call[T], stream: bool) -> httpx.Response:
        steps = conversation(call, self._settled)
        step = next(steps)
        try:
            while True:
                if isinstance(step, float):
                    time.sleep(step)
                    step = steps.send(None)
                    continue
                try:
                    response = self._attempt(step, stream)
                except httpx.RequestError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as done:
            return _returned(done)

    def _attempt(self, attempt: Attempt, stream: bool) -> httpx.Response:
        """`instrumentation.ours` makes a span of it."""
        response = self._http.send(attempt.request, stream=stream)
        if stream and response.is_error:
            response.read()
        return response


class Awaiting:
    """Sends on the running event loop."""

    def __init__(self, settled: Settled, http: httpx.AsyncClient) -> None:
        self._settled, self._http = settled, http

    async def send(self, call: Call[T]) -> T:
        """Raises: ApiError, Unreachable, UnexpectedAnswer."""
        return call.decode(reply_of(await self._answer(call, stream=False)))

    async def lines(self, call: Call[object]) -> AsyncIterator[str]:
        """The answer's lines as they come. Raises: as `send`."""
        response = await self._answer(call, stream=True)
        try:
            async for line in response.aiter_lines():
                yield line
        except httpx.RequestError as error:
            raise BrokenOff(self._settled.endpoint, "the stream broke off") from error
        finally:
            await response.aclose()

    async def _answer(self, call: Call[T], stream: bool) -> httpx.Response:
        steps = conversation(call, self._settled)
        step = next(steps)
        try:
            while True:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                    step = steps.send(None)
                    continue
                try:
                    response = await self._attempt(step, stream)
                except httpx.RequestError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as done:
            return _returned(done)

    async def _attempt(self, attempt: Attempt, stream: bool) -> httpx.Response:
        """`instrumentation.ours` makes a span of it."""
        response = await self._http.send(attempt.request, stream=stream)
        if stream and response.is_error:
            await response.aread()
        return response


def _returned(done: StopIteration) -> httpx.Response:
    if not isinstance(done.value, httpx.Response):
        raise SdkError("the conversation ended without an answer")
    return done.value
