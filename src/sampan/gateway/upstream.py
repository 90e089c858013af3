"""The connections to one upstream: an instance, or the API.

Idle ones are kept and used again, newest first; whether a request that a kept one lost may be sent again is decided
in `forward`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from sampan.gateway.connection import Connection
from sampan.gateway.known import Heads
from sampan.gateway.story import within
from sampan.link.readiness import Doors
from sampan.model.errors import SampanError

CONNECT_TIMEOUT = 5.0  # seconds; loopback or one veth away, so only a stopped or overloaded instance takes longer
FRESH: Final = (
    1.0  # seconds; servers close kept connections after 2 s (gunicorn) and more: younger ones are not racing that
)
REOPEN = 0.01  # seconds


class Unreachable(SampanError):
    """No connection could be made; nothing of the request was sent."""


class Http2(Protocol):
    """The address's connections of another kind, which end with it."""

    def close(self) -> None: ...


Other = TypeVar("Other", bound=Http2)


class Upstream:
    """One address and its connections."""

    def __init__(self, address: tuple[str, int] | str, header_limit: int, heads: Heads[None] | None = None) -> None:
        """address: host and port, or the path of a Unix socket.  heads: of answers of functions."""
        self._address = address
        self._header_limit, self._heads = header_limit, heads
        self._http2: Http2 | None = None
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._closed = False

    def take(self, idempotent: bool, now: float) -> Connection | None:
        """A kept connection; for a request that cannot be repeated only one that was used a moment ago."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing() and (idempotent or now - connection.idle_since < FRESH):
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """A new connection. Raises: Unreachable."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._address, str):
                dialled = loop.create_unix_connection(self._make, self._address)
            else:
                dialled = loop.create_connection(self._make, *self._address)
            _, connection = await within(CONNECT_TIMEOUT, dialled)
        except TimeoutError:
            raise Unreachable(f"no connection within {CONNECT_TIMEOUT:g} seconds") from None
        except OSError as error:
            raise Unreachable(f"cannot connect: {error.strerror or error}") from error
        if self._closed:
            connection.abort()
            raise Unreachable("the instance has ended")
        self._all.add(connection)
        return connection

    async def open(self, doors: Doors) -> None:
        """Wait until the address, a host and port, accepts, and keep the connection. Bounded by who calls."""
        assert not isinstance(self._address, str)
        loop = asyncio.get_running_loop()
        while True:
            sock = await doors.connected(*self._address)
            try:
                _, connection = await loop.create_connection(self._make, sock=sock)
                break
            except OSError:  # it was closed again at once
                sock.close()
                await asyncio.sleep(REOPEN)
        self._all.add(connection)
        connection.park(self, loop.time(), used=False)
        self._idle.append(connection)

    def put(self, connection: Connection, now: float) -> None:
        """Keep it for the next request, if it can carry one."""
        if connection.reusable and not self._closed and not connection.transport.is_closing():
            connection.park(self, now)
            self._idle.append(connection)
        else:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        connection.abort()

    def forget(self, connection: Connection) -> None:
        """It was closed by the other end."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def http2(self, make: Callable[[tuple[str, int] | str, int], Other]) -> Other:
        """Its connections of HTTP/2, made when they are first wanted."""
        if self._http2 is None:
            self._http2 = make(self._address, self._header_limit)
            if self._closed:
                self._http2.close()
        return self._http2  # type: ignore[return-value]  # there is one maker

    def close(self) -> None:
        """End every connection; requests in them fail."""
        self._closed = True
        if self._http2 is not None:
            self._http2.close()
        for connection in list(self._all):
            connection.transport.abort()
        self._all.clear()
        self._idle.clear()

    def _make(self) -> Connection:
        return Connection(self._header_limit, self._heads)
