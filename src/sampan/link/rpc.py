"""Calls, replies and streams over a channel.

A call has one request and either one reply or a stream of items; either side's loss fails what is under way.
Cancelling the caller's coroutine cancels the one that serves it, and waits until that has undone its work.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sampan.link.channel import Channel
from sampan.link.channel import connect as connect_channel
from sampan.link.channel import serve as serve_channel
from sampan.model.errors import Failure, FailureKind, StartFailed

_encode = msgspec.msgpack.Encoder().encode


class _Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Call(_Frame, frozen=True):
    id: int
    method: str
    body: msgspec.Raw


class Item(_Frame, frozen=True):
    """One of a stream, or progress of a call."""

    id: int
    body: msgspec.Raw


class Reply(_Frame, frozen=True):
    id: int
    body: msgspec.Raw


class Fault(_Frame, frozen=True):
    id: int
    failure: Failure


class Cancel(_Frame, frozen=True):
    id: int


Frame = Call | Item | Reply | Fault | Cancel

Send = Callable[[Any], None]
Serve = Callable[[Any, Send], Awaitable[Any]]
"""Serves one call: the decoded request, and a function that sends items. Returns the reply."""

T = TypeVar("T")


class LinkLost(ConnectionError):
    """The other process is gone; what was asked of it may or may not have happened."""


def _decoder() -> "msgspec.msgpack.Decoder[Frame]":
    return msgspec.msgpack.Decoder(Frame)


def _cancelled(id_: int) -> "Fault":
    return Fault(id_, Failure(FailureKind.ENGINE_FAILED, "cancelled"))


class _Served:
    """One caller's connection: its calls under way, each in a task owned here."""

    def __init__(self, methods: dict[str, tuple[type, Serve]]) -> None:
        self._methods = methods
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def on_message(self, channel: Channel[Frame, Frame], frame: Frame) -> None:
        if isinstance(frame, Call):
            task = asyncio.get_running_loop().create_task(self._run(channel, frame))
            self._tasks[frame.id] = task
            task.add_done_callback(lambda task: self._ended(channel, frame.id, task))
        elif isinstance(frame, Cancel) and frame.id in self._tasks:
            self._tasks[frame.id].cancel()

    def on_lost(self, channel: Channel[Frame, Frame]) -> None:
        for task in list(self._tasks.values()):
            task.cancel()

    def _ended(self, channel: Channel[Frame, Frame], id_: int, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(id_, None)
        if task.cancelled():  # before its first step: the call and its end came together
            channel.send(_cancelled(id_))

    async def _run(self, channel: Channel[Frame, Frame], call: Call) -> None:
        def send(item: Any) -> None:
            channel.send(Item(call.id, msgspec.Raw(_encode(item))))

        try:
            if call.method not in self._methods:
                raise StartFailed(Failure(FailureKind.ENGINE_FAILED, f"unknown method {call.method!r}"))
            shape, serve = self._methods[call.method]
            reply = await serve(msgspec.msgpack.decode(call.body, type=shape), send)
            channel.send(Reply(call.id, msgspec.Raw(_encode(reply))))
        except StartFailed as error:
            channel.send(Fault(call.id, error.failure))
        except asyncio.CancelledError:
            channel.send(_cancelled(call.id))
        except Exception as error:  # the caller must hear of it, whatever it was
            message = f"{type(error).__name__}: {error}"
            channel.send(Fault(call.id, Failure(FailureKind.ENGINE_FAILED, message)))


class Server:
    """The serving end: a listening socket and the connections it took."""

    def __init__(self, methods: dict[str, tuple[type, Serve]]) -> None:
        self._methods = methods
        self._channels: set[Channel[Frame, Frame]] = set()
        self._listener: asyncio.AbstractServer | None = None

    async def listen(self, path: Path, group: int | None) -> None:
        self._listener = await serve_channel(path, self._accept, group)

    def close(self) -> None:
        """Take no more, and cut off whoever is connected; what they asked for is cancelled."""
        if self._listener is not None:
            self._listener.close()
        for channel in list(self._channels):
            channel.close()

    def _accept(self) -> Channel[Frame, Frame]:
        served = _Served(self._methods)

        def lost(channel: Channel[Frame, Frame]) -> None:
            self._channels.discard(channel)
            served.on_lost(channel)

        return Channel(_decoder(), served.on_message, lost, self._channels.add)


async def serve(path: Path, methods: dict[str, tuple[type, Serve]], group: int | None = None) -> Server:
    """Serve `methods` (name → request type, coroutine function) on a Unix socket."""
    server = Server(methods)
    await server.listen(path, group)
    return server


class Client:
    """The calling end. One connection; `lost` is set when it is gone."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._items: dict[int, Callable[[msgspec.Raw], None]] = {}
        self._channel: Channel[Frame, Frame] | None = None
        self.lost = asyncio.Event()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    async def call(
        self,
        method: str,
        request: Any,
        reply: type[T],
        on_item: Callable[[msgspec.Raw], None] | None = None,
    ) -> T:
        """One call. Raises: StartFailed as the server did; LinkLost."""
        if self._channel is None or self.lost.is_set():
            raise LinkLost("the connection is gone")
        id_ = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = future
        if on_item is not None:
            self._items[id_] = on_item
        try:
            self._channel.send(Call(id_, method, msgspec.Raw(_encode(request))))
            try:
                body = await asyncio.shield(future)
            except asyncio.CancelledError:
                if not future.done():
                    self._channel.send(Cancel(id_))
                    await asyncio.wait([future])
                if not future.cancelled():
                    future.exception()  # seen; the caller has gone
                raise
            return msgspec.msgpack.decode(body, type=reply)
        finally:
            self._waiting.pop(id_, None)
            self._items.pop(id_, None)

    async def stream(self, method: str, request: Any, item: Any) -> AsyncGenerator[Any, None]:
        """The items (of the type `item`) of a call, until it replies; closed before that, the call is cancelled.

        Raises: StartFailed as the server did; LinkLost, after the items that had come.
        """
        queue: asyncio.Queue[msgspec.Raw | None] = asyncio.Queue()
        decoder = msgspec.msgpack.Decoder(item)
        call = asyncio.ensure_future(self.call(method, request, object, queue.put_nowait))
        call.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (body := await queue.get()) is not None:
                yield decoder.decode(body)
            await call
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    def _on_message(self, channel: Channel[Frame, Frame], frame: Frame) -> None:
        match frame:
            case Item(id_, body):
                if on_item := self._items.get(id_):
                    on_item(body)
            case Reply(id_, body):
                self._settle(id_, lambda future: future.set_result(body))
            case Fault(id_, failure):
                self._settle(id_, lambda future: future.set_exception(StartFailed(failure)))

    def _settle(self, id_: int, settle: Callable[["asyncio.Future[Any]"], None]) -> None:
        future = self._waiting.get(id_)
        if future is not None and not future.done():
            settle(future)

    def _on_lost(self, channel: Channel[Frame, Frame]) -> None:
        self.lost.set()
        for id_ in list(self._waiting):
            self._settle(id_, lambda future: future.set_exception(LinkLost("the connection was lost")))


async def connect(path: Path) -> Client:
    """Raises: OSError when nobody listens."""
    client = Client()
    client._channel = await connect_channel(path, lambda: Channel(_decoder(), client._on_message, client._on_lost))
    return client
