"""The gateway put together: its listening sockets, its link, and how it ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from sampan import settings
from sampan.gateway.control import Control
from sampan.gateway.exchange import Exchange
from sampan.gateway.forward import Forward
from sampan.gateway.invoke import Invoke
from sampan.gateway.known import request_heads
from sampan.gateway.leases import Leases
from sampan.gateway.limits import Limits
from sampan.gateway.protocol import TAKES, ClientConnection
from sampan.gateway.replies import Clock
from sampan.gateway.route import RouteTable
from sampan.gateway.sessions import Sessions
from sampan.gateway.upstream import Upstream

BACKLOG = 2048  # connections the kernel holds for us; it cuts this to net.core.somaxconn
SWEEP = 0.5  # seconds between looks for connections past their deadline
API_HEADERS = 64 << 10  # bytes; the API's answers are our own


class Gateway:
    """One gateway process's work."""

    def __init__(
        self,
        limits: settings.Gateway,
        control_socket: Path,
        api_socket: Path,
        name: str,
        extra_listen: tuple[str, ...] = (),
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        """extra_listen: further `host:port` to listen on, or a host, for the port of the settings.

        listeners: sockets that listen already; with these, no address of the settings is bound.
        """
        self._settings = limits
        self._extra = extra_listen
        self._listeners = listeners
        self._connections: set[ClientConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._empty = asyncio.Event()
        self.draining = False
        self.heads = request_heads(TAKES)
        self.control = Control(control_socket, name)
        self.routes = RouteTable(limits.domain)
        self.leases = Leases(
            self.control.send, lambda: self.control.connected, limits.queue_length, limits.max_response_header
        )
        self.sessions = Sessions(
            self.leases, self.control.send, lambda: self.control.connected, limits.queue_length
        )
        forward = Forward(Upstream(str(api_socket), API_HEADERS), Clock(), limits.idle_timeout, limits.max_event)
        invoke = Invoke(self.routes, Limits(), self.leases, self.sessions, forward, self.control, limits.max_event)
        self.serve: Callable[[Exchange], Coroutine[object, object, None]] = invoke.serve

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [listener.getsockname()[:2] for server in self._servers for listener in server.sockets]

    async def learn(self) -> None:
        """Look for control and wait until it has told the routes; a gateway that knows none can only refuse."""
        self._begin()
        await self.control.told.wait()

    async def start(self) -> None:
        """Listen, and look for control unless that has begun. Raises: OSError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            for listener in self._listeners:
                self._servers.append(await loop.create_server(self._accept, sock=listener, backlog=BACKLOG))
            for host, port in () if self._listeners else self._places():
                self._servers.append(
                    await loop.create_server(self._accept, host, port, reuse_port=True, backlog=BACKLOG)
                )
        except OSError:
            self._stop_listening()
            raise
        self._begin()

    def _begin(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self.control.run(self.routes, self.leases, self.sessions)),
                loop.create_task(self._sweep()),
            ]

    async def stop(self) -> None:
        """Take nothing new, let what is in flight end within `drain`, give everything back."""
        self.draining = True
        self._stop_listening()
        for connection in list(self._connections):
            if connection.idle:
                connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain):
                await self._all_gone()
        for connection in list(self._connections):
            connection.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._all_gone()
        self.leases.close()
        self.control.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def joined(self, connection: ClientConnection) -> None:
        self._connections.add(connection)

    def left(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _accept(self) -> ClientConnection:
        return ClientConnection(self, self._settings)

    def _places(self) -> list[tuple[str, int]]:
        places = [(self._settings.listen, self._settings.port)]
        for place in self._extra:
            host, colon, port = place.rpartition(":")
            plain = not colon or (place.count(":") > 1 and not place.startswith("["))
            places.append((place, self._settings.port) if plain else (host.strip("[]"), int(port)))
        return places

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()

    async def _all_gone(self) -> None:
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    async def _sweep(self) -> None:
        """End connections that are past their deadline. One look at all costs less than a timer for each."""
        loop = asyncio.get_running_loop()
        every = min(SWEEP, self._settings.header_timeout / 4, self._settings.idle_timeout / 4)
        while True:
            await asyncio.sleep(every)
            now = loop.time()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.expire()


async def run(
    limits: settings.Gateway,
    control_socket: Path,
    api_socket: Path,
    name: str,
    ready: Callable[[], None],
    extra_listen: tuple[str, ...] = (),
) -> None:
    """Serve until cancelled, then drain. `ready` is called once connections are accepted."""
    gateway = Gateway(limits, control_socket, api_socket, name, extra_listen)
    await gateway.start()
    try:
        ready()
        await asyncio.Event().wait()
    finally:
        await gateway.stop()
