"""Control's end of the link to the gateways: their messages become events, decisions become messages.

A gateway that connects is told all routes first; a change of a route reaches it before anything that follows
from the change, since one connection carries both.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from pathlib import Path
from typing import Protocol, assert_never

import msgspec

from sampan.engine.engine import Engine, Stream
from sampan.link.channel import Channel, serve
from sampan.link.messages import (
    DomainChanged,
    Down,
    FunctionRoute,
    GiveBack,
    Health,
    Hello,
    Look,
    Lost,
    Observed,
    RouteChanged,
    Routes,
    Seen,
    Sessions,
    Tail,
    TailWanted,
    Up,
    Want,
)
from sampan.model.domain import Domain
from sampan.model.errors import StartFailed
from sampan.model.health import Part
from sampan.model.names import InstanceId
from sampan.scheduler import events
from sampan.telemetry.logs import Log

TAIL = 4096  # bytes; function-compute-api.md §6.2
LOOK = 0.5  # seconds that gateways have to say what they saw of an instance; it takes some hundred µs

log = Log("gateways")

Connection = Channel[Up, Down]


class Post(Protocol):
    """Where events go."""

    def post(self, event: events.Event) -> None: ...


class Gateways:
    """All connected gateways, by name. The name is the gateway's own; a newcomer of that name replaces the old."""

    def __init__(
        self,
        engine: Engine,
        routes: Callable[[], Awaitable[Routes]],
    ) -> None:
        self._engine = engine
        self._routes = routes
        self._scheduler: Post | None = None
        self._channels: dict[str, Connection] = {}
        self._names: dict[Connection, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: dict[InstanceId, asyncio.Queue[bool]] = {}  # gateways' answers about these are awaited
        self._changes = 0  # of routes, counted
        self._health: Health | None = None  # as told last
        self._listener: asyncio.AbstractServer | None = None  # a server nobody refers to is collected

    async def listen(self, path: Path, scheduler: Post) -> None:
        """Accept gateways on a Unix socket."""
        self._scheduler = scheduler
        self._listener = await serve(path, self._accept)

    def tell(self, gateway: str, message: Down) -> None:
        """Say something to one gateway; nobody there: nothing to say."""
        if channel := self._channels.get(gateway):
            channel.send(message)

    def route_changed(self, function: str, route: FunctionRoute | None) -> None:
        self._changes += 1
        for channel in self._channels.values():
            channel.send(RouteChanged(function, route))

    def domain_changed(self, name: str, domain: Domain | None) -> None:
        self._changes += 1
        for channel in self._channels.values():
            channel.send(DomainChanged(name, domain))

    def health(self, parts: tuple[Part, ...]) -> None:
        """How the platform's parts are now."""
        self._health = Health(parts)
        for channel in self._channels.values():
            channel.send(self._health)

    async def was_open(self, instance: InstanceId, gateways: Collection[str]) -> bool:
        """Whether one of the gateways has seen the instance's port accept. Who does not answer in time has not."""
        answers = self._looks[instance] = asyncio.Queue()
        for gateway in gateways:
            self.tell(gateway, Look(instance))
        try:
            async with asyncio.timeout(LOOK):
                for _ in gateways:
                    if await answers.get():
                        return True
        except TimeoutError:
            log.warning("gateways do not say what they saw", instance=instance)
        finally:
            del self._looks[instance]
        return False

    def _accept(self) -> Connection:
        return Channel(msgspec.msgpack.Decoder(Up), self._heard, self._left)

    def _heard(self, channel: Connection, message: Up) -> None:
        assert self._scheduler is not None
        if isinstance(message, Hello):
            self._spawn(self._let_in(channel, message))
            return
        gateway = self._names.get(channel)
        if gateway is None:
            channel.close()  # speaks before it said who it is
            return
        match message:
            case Want(version, waiting, oldest, seen, bound):
                since = time.monotonic() - max(0.0, (time.time_ns() - oldest) / 1e9)
                self._scheduler.post(events.Wanted(gateway, version, waiting, since, seen, bound))
            case GiveBack(instance):
                self._scheduler.post(events.GivenBack(gateway, instance))
            case Lost(instance, why, replace):
                self._scheduler.post(events.Lost(gateway, instance, why, replace))
            case Seen(instance, open_):
                if (answers := self._looks.get(instance)) is not None:
                    answers.put_nowait(open_)
            case TailWanted():
                self._spawn(self._tail(channel, message))
            case Observed(loads):
                for load in loads:
                    self._scheduler.post(events.Observed(load.version, load.count, load.busy))
            case Sessions(sessions):
                now, clock = time.time_ns(), time.monotonic()
                until = tuple((each, clock + (each.until - now) / 1e9) for each in sessions)
                self._scheduler.post(events.Bound(gateway, until))
            case _:
                assert_never(message)

    async def _let_in(self, channel: Connection, hello: Hello) -> None:
        """A gateway waits for the routes for as long as its connection stands: it must not when none will come."""
        try:
            await self._join(channel, hello)
        except Exception as error:
            log.failure("gateway not let in", error, gateway=hello.gateway)
            channel.close()

    async def _join(self, channel: Connection, hello: Hello) -> None:
        """Say all routes, then count it in: it must know a version before it hears of an instance."""
        assert self._scheduler is not None
        while True:  # a change that came while the routes were read would be missed
            changes, routes = self._changes, await self._routes()
            if changes == self._changes:
                break
        if not channel.open:
            return
        if old := self._channels.pop(hello.gateway, None):
            self._names.pop(old, None)
            self._scheduler.post(events.Left(hello.gateway))
            old.close()
        self._channels[hello.gateway], self._names[channel] = channel, hello.gateway
        channel.send(routes)
        if self._health is not None:
            channel.send(self._health)
        leases = {lease.instance: lease.slots for lease in hello.leases}
        self._scheduler.post(events.Joined(hello.gateway, leases))
        log.info("gateway joined", gateway=hello.gateway, pid=hello.pid, leases=len(leases))

    def _left(self, channel: Connection) -> None:
        assert self._scheduler is not None
        if (gateway := self._names.pop(channel, None)) is not None:
            del self._channels[gateway]
            self._scheduler.post(events.Left(gateway))
            log.info("gateway left", gateway=gateway)

    async def _tail(self, channel: Connection, wanted: TailWanted) -> None:
        positions: list[int] = []
        text = b""
        for at, stream in enumerate(Stream):
            begin = -TAIL if wanted.since is None else wanted.since[at]
            data, end = await self._read(wanted.instance, stream, begin)
            text += data
            positions.append(end)
        shown = text[-TAIL:].decode(errors="replace") if wanted.since is not None else ""
        channel.send(Tail(wanted.token, (positions[0], positions[1]), shown))

    async def _read(self, instance: InstanceId, stream: Stream, begin: int) -> tuple[bytes, int]:
        """The stream's last bytes since `begin`, and where it ends."""
        data = b""
        try:
            while True:
                chunk = await self._engine.logs(instance, stream, begin, 1 << 20)
                data = (data + chunk.data)[-TAIL:]
                if chunk.end == begin or not chunk.data:
                    return data, chunk.end
                begin = chunk.end
        except StartFailed:
            return data, max(begin, 0)

    def _spawn(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
