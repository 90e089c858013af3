"""The engine seam across a Unix socket: `serve` beside the engine, `RemoteEngine` where it is used.

The engine's process may be replaced while others use it. A `RemoteEngine` connects anew by itself: a call made
during the outage waits a few seconds for it, a call that was under way fails (what it asked for may or may not
have happened), and `watch` begins again, telling what ended meanwhile too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sampan.engine.engine import (
    Engine,
    ExecResult,
    Gone,
    LogChunk,
    Sandbox,
    SandboxEvent,
    SandboxSpec,
    Seen,
    Stats,
    Stream,
    Synced,
)
from sampan.link import rpc
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.image import Image, PullProgress, RegistryAuth
from sampan.model.names import InstanceId

_OUTAGE = 5.0  # seconds a call waits for the engine's process to come back; a restart takes about one
_UNDO = 30.0  # seconds for the end of a sandbox whose start was cancelled; takes milliseconds
_STEP = 0.05  # seconds between tries to connect

_AWAY = Failure(FailureKind.EXITED, "the sandbox ended while the engine's process was away")

T = TypeVar("T")


class Pull(msgspec.Struct, frozen=True):
    reference: str
    auth: RegistryAuth | None


class List(msgspec.Struct, frozen=True):
    pass


class Check(msgspec.Struct, frozen=True):
    pass


class Retain(msgspec.Struct, frozen=True):
    digests: frozenset[str]


class Create(msgspec.Struct, frozen=True):
    spec: SandboxSpec


class Start(msgspec.Struct, frozen=True):
    sandbox: InstanceId
    timeout: float


class Freeze(msgspec.Struct, frozen=True):
    sandbox: InstanceId
    on: bool


class Stop(msgspec.Struct, frozen=True):
    sandbox: InstanceId
    grace: float


class Watch(msgspec.Struct, frozen=True):
    pass


class Exec(msgspec.Struct, frozen=True):
    sandbox: InstanceId
    argv: tuple[str, ...]
    stdin: bytes
    timeout: float


class Logs(msgspec.Struct, frozen=True):
    sandbox: InstanceId
    stream: Stream
    position: int
    limit: int


class GetStats(msgspec.Struct, frozen=True):
    sandbox: InstanceId


def _methods(engine: Engine) -> dict[str, tuple[type, rpc.Serve]]:
    async def pull(ask: Pull, send: rpc.Send) -> Image:
        return await engine.images.pull(ask.reference, ask.auth, send)

    async def watch(ask: Watch, send: rpc.Send) -> None:
        async with aclosing(_closable(engine.watch())) as events:
            async for event in events:
                send(event)

    def plain(shape: type, call: Callable[[Any], Awaitable[Any]]) -> tuple[type, rpc.Serve]:
        async def serve(ask: Any, send: rpc.Send) -> Any:
            return await call(ask)

        return shape, serve

    return {
        "pull": (Pull, pull),
        "watch": (Watch, watch),
        "list": plain(List, lambda ask: engine.images.list()),
        "check": plain(Check, lambda ask: engine.images.check()),
        "retain": plain(Retain, lambda ask: engine.images.retain(ask.digests)),
        "create": plain(Create, lambda ask: engine.create(ask.spec)),
        "start": plain(Start, lambda ask: engine.start(ask.sandbox, ask.timeout)),
        "freeze": plain(Freeze, lambda ask: engine.freeze(ask.sandbox, ask.on)),
        "stop": plain(Stop, lambda ask: engine.stop(ask.sandbox, ask.grace)),
        "exec": plain(Exec, lambda ask: engine.exec(ask.sandbox, ask.argv, ask.stdin, ask.timeout)),
        "logs": plain(Logs, lambda ask: engine.logs(ask.sandbox, ask.stream, ask.position, ask.limit)),
        "stats": plain(GetStats, lambda ask: engine.stats(ask.sandbox)),
    }


async def _closable(events: AsyncIterator[SandboxEvent]) -> Any:
    """An iterator as a generator, whose end can be awaited."""
    try:
        async for event in events:
            yield event
    finally:
        if hasattr(events, "aclose"):
            await events.aclose()


async def serve(path: Path, engine: Engine, group: int | None = None) -> rpc.Server:
    """Offer `engine` at a Unix socket that root, and `group`, may use."""
    return await rpc.serve(path, _methods(engine), group)


class _Connection:
    """One connection at a time to whichever process serves `path` now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client: rpc.Client | None = None
        self._connecting = asyncio.Lock()

    async def client(self, wait: float) -> rpc.Client:
        """A live connection. Raises: StartFailed (ENGINE_FAILED) when there is none within `wait` seconds."""
        async with self._connecting:
            if self._client is not None and not self._client.lost.is_set():
                return self._client
            try:
                async with asyncio.timeout(wait):
                    while True:
                        with suppress(OSError):
                            self._client = await rpc.connect(self._path)
                            return self._client
                        await asyncio.sleep(_STEP)
            except TimeoutError:
                raise _failed("the engine's process does not answer") from None

    async def call(
        self,
        method: str,
        request: Any,
        reply: type[T],
        on_item: Callable[[msgspec.Raw], None] | None = None,
    ) -> T:
        client = await self.client(_OUTAGE)
        try:
            return await client.call(method, request, reply, on_item)
        except rpc.LinkLost as error:
            raise _failed("the engine's process ended during the call") from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class _RemoteImages:
    """`Images` across the socket."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def pull(
        self,
        reference: str,
        auth: RegistryAuth | None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        def on_item(body: msgspec.Raw) -> None:
            if progress is not None:
                progress(msgspec.msgpack.decode(body, type=PullProgress))

        return await self._connection.call("pull", Pull(reference, auth), Image, on_item)

    async def list(self) -> list[Image]:
        return await self._connection.call("list", List(), list[Image])

    async def check(self) -> None:
        await self._connection.call("check", Check(), type(None))

    async def retain(self, digests: frozenset[str]) -> None:
        await self._connection.call("retain", Retain(digests), type(None))


class RemoteEngine:
    """`Engine`, carried out by the process that serves `path`."""

    def __init__(self, path: Path) -> None:
        self._connection = _Connection(path)
        self.images = _RemoteImages(self._connection)

    def close(self) -> None:
        """No call may be under way."""
        self._connection.close()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        return await self._or_stop(spec.id, self._connection.call("create", Create(spec), Sandbox))

    async def start(self, sandbox: InstanceId, timeout: float) -> Sandbox:
        return await self._or_stop(sandbox, self._connection.call("start", Start(sandbox, timeout), Sandbox))

    async def _or_stop(self, sandbox: InstanceId, call: Coroutine[None, None, Sandbox]) -> Sandbox:
        """Our cancellation may cross the reply to what is done already, and must undo it then."""
        try:
            return await call
        except asyncio.CancelledError:
            stop = asyncio.ensure_future(asyncio.wait_for(self.stop(sandbox, grace=0), _UNDO))
            while not stop.done():
                with suppress(asyncio.CancelledError, Exception):  # what cannot be undone now, the next watch tells
                    await asyncio.shield(stop)
            raise

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        await self._connection.call("freeze", Freeze(sandbox, on), type(None))

    async def stop(self, sandbox: InstanceId, grace: float) -> None:
        await self._connection.call("stop", Stop(sandbox, grace), type(None))

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        """As the seam says, anew after each loss of the connection: `Synced` may come again."""
        known: dict[InstanceId, Sandbox] = {}
        while True:
            client = await self._client()
            missing = dict(known)
            with suppress(rpc.LinkLost):
                async with aclosing(client.stream("watch", Watch(), SandboxEvent)) as events:
                    async for event in events:
                        match event:
                            case Seen(sandbox):
                                known[sandbox.id] = sandbox
                                missing.pop(sandbox.id, None)
                            case Gone(id_):
                                known.pop(id_, None)
                            case Synced():
                                for id_, sandbox in missing.items():
                                    del known[id_]
                                    yield Gone(id_, _AWAY, sandbox.labels)
                        yield event
            await asyncio.sleep(_STEP)

    async def _client(self) -> rpc.Client:
        """A watch has nothing better to do than to wait for as long as it takes."""
        while True:
            with suppress(StartFailed):
                return await self._connection.client(_OUTAGE)

    async def exec(self, sandbox: InstanceId, argv: tuple[str, ...], stdin: bytes, timeout: float) -> ExecResult:
        return await self._connection.call("exec", Exec(sandbox, argv, stdin, timeout), ExecResult)

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        return await self._connection.call("logs", Logs(sandbox, stream, position, limit), LogChunk)

    async def stats(self, sandbox: InstanceId) -> Stats:
        return await self._connection.call("stats", GetStats(sandbox), Stats)


def _failed(message: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.ENGINE_FAILED, message))
