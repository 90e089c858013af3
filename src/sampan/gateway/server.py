"""The gateway put together: its listening sockets, its link, and how it ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sampan import settings
from sampan.gateway.control import Control
from sampan.gateway.exchange import Exchange
from sampan.gateway.forward import Forward
from sampan.gateway.greeting import Greeter
from sampan.gateway.heads import TAKES
from sampan.gateway.invoke import Invoke
from sampan.gateway.known import request_heads
from sampan.gateway.leases import Leases
from sampan.gateway.limits import Limits
from sampan.gateway.protocol import Kept
from sampan.gateway.replies import Clock
from sampan.gateway.reports import Reports
from sampan.gateway.route import RouteTable
from sampan.gateway.sessions import Sessions
from sampan.gateway.tally import Tallies, alone
from sampan.gateway.tls import TlsDoor
from sampan.gateway.tracing import Tracing
from sampan.gateway.upstream import Upstream
from sampan.link.reports import Gauges
from sampan.telemetry.logs import Log

if TYPE_CHECKING:
    from sampan.gateway.certificates import Certificates  # brings `cryptography`, which only TLS needs

BACKLOG = 2048  # connections the kernel holds for us; it cuts this to net.core.somaxconn
SWEEP = 0.5  # seconds between looks for connections past their deadline
CERTIFICATES = 2.0  # seconds between looks at the files of certificates
API_HEADERS = 64 << 10  # bytes; the API's answers are our own

log = Log("gateway")


class Gateway:
    """One gateway process's work."""

    def __init__(
        self,
        limits: settings.Gateway,
        control_socket: Path,
        api_socket: Path,
        name: str,
        listeners: Sequence[socket.socket],
        tallies: Tallies | None = None,
        tls_listeners: Sequence[socket.socket] = (),
        certificates: "Certificates | None" = None,
        tracing: Tracing | None = None,
        reports_socket: Path | None = None,
        journals: Path | None = None,
        flush_window: float = 0.0,
    ) -> None:
        """listeners: sockets that listen already; `stop` closes them.

        tallies: shared with the other gateways; None: there is no other.
        tls_listeners: those for TLS, which needs `certificates`.
        tracing: None: every new trace is sampled, and functions are told no endpoint.
        reports_socket: the collector's; None: invocations are told to nobody.
        journals: directory of what is not reported yet, shared by all gateways; None: a kill loses it.
        flush_window: as of `Leases`.
        """
        self._settings = limits
        self._listeners = listeners
        self._tls_listeners = tls_listeners
        self._certificates = certificates
        self._door: TlsDoor | None = None
        self._connections: set[Kept] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._begun = False
        self._empty = asyncio.Event()
        self.draining = False
        self.heads = request_heads(TAKES)
        self.control = Control(control_socket, name)
        self.routes = RouteTable(limits.domain)
        self.leases = Leases(
            self.control.send,
            lambda: self.control.connected,
            limits.queue_length,
            limits.max_response_header,
            limits.queue_total,
            flush_window,
        )
        self.sessions = Sessions(
            self.leases, self.control.send, lambda: self.control.connected, limits.queue_length
        )
        self.reports = Reports(reports_socket, name, journals)
        self.leases.on_opened = lambda opened: self.reports.started(opened.instance, opened.startup)
        self.reports.gauges = lambda: Gauges(self.leases.gauges(), len(self._connections))
        api = Upstream(str(api_socket), API_HEADERS)
        self.forward = Forward(api, Clock(), limits.idle_timeout, limits.max_event)
        invoke = Invoke(
            self.routes,
            Limits(limits, tallies or alone()),
            self.leases,
            self.sessions,
            self.forward,
            self.control,
            self.reports,
            limits.max_event,
            tracing or Tracing(),
        )
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
        """Accept connections, and look for control unless that has begun."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            self._servers.append(await loop.create_server(self._accept, sock=listener, backlog=BACKLOG))
        if self._certificates is not None:
            self._open_door(self._certificates)
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            loop = asyncio.get_running_loop()
            self._tasks += [
                loop.create_task(self.control.run(self.routes, self.leases, self.sessions)),
                loop.create_task(self.reports.run()),
                loop.create_task(self._sweep()),
            ]

    async def stop(self) -> None:
        """Take nothing new, let what is in flight end within `drain`, give everything back."""
        self.draining = True
        self._stop_listening()
        self.forward.end_streams()
        for connection in list(self._connections):
            connection.drain()
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
        await self.reports.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def joined(self, connection: Kept) -> None:
        self._connections.add(connection)

    def left(self, connection: Kept) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _accept(self) -> Greeter:
        return Greeter(self, self._settings, secure=False)

    def _accept_secure(self) -> Greeter:
        return Greeter(self, self._settings, secure=True)

    def _open_door(self, certificates: "Certificates") -> None:
        self._door = TlsDoor(
            lambda name: certificates.context(name, self.routes.domain(name)),
            self._accept_secure,
            self._settings.header_timeout,
        )
        for listener in self._tls_listeners:
            self._door.open(listener)
        self._tasks.append(asyncio.get_running_loop().create_task(_keep_fresh(certificates)))

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        if self._door is not None:
            self._door.close()

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
                try:
                    connection.expire()
                except Exception as error:  # the others have their deadlines, too
                    log.failure("a connection could not be ended", error)
                    connection.cancel()


async def _keep_fresh(certificates: "Certificates") -> None:
    while True:
        await asyncio.sleep(CERTIFICATES)
        try:
            await asyncio.to_thread(certificates.refresh)
        except Exception as error:
            log.failure("certificates could not be looked at", error)
