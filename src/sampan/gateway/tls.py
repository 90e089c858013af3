"""The TLS sockets: who asks for which name is seen before the handshake, so that each name has its own rules.

A client's hello is looked at while it still waits in the socket, then the handshake is OpenSSL's. Both together
are bounded in time; a client that says something else is left to OpenSSL, which tells it so.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from sampan.gateway import hello
from sampan.telemetry.logs import Log

_AT_ONCE = 64  # connections accepted before anything else has its turn
_OUT_OF_FILES = 1.0  # seconds without accepting when there are no descriptors left
SHUTDOWN = 5.0  # seconds for the goodbye of TLS

log = Log("gateway")


class TlsDoor:
    """Accepts on TLS sockets."""

    def __init__(
        self, choose: Callable[[str], ssl.SSLContext], make: Callable[[], asyncio.Protocol], patience: float
    ) -> None:
        """choose: by the name asked for, "" for none.  patience: seconds for hello and handshake."""
        self._choose, self._make, self._patience = choose, make, patience
        self._loop = asyncio.get_running_loop()
        self.listeners: list[socket.socket] = []
        self._greeted: set[asyncio.Task[None]] = set()

    def open(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.listeners.append(listener)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Take nothing new; who has not finished the handshake goes, too."""
        for listener in self.listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self.listeners = []
        for task in list(self._greeted):
            task.cancel()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("cannot accept a connection", why=str(error))
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(_OUT_OF_FILES, self._resume, listener)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._greet(client))
            self._greeted.add(task)
            task.add_done_callback(self._greeted.discard)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self.listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    async def _greet(self, client: socket.socket) -> None:
        until = self._loop.time() + self._patience
        try:
            with suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout_at(until):
                name = await self._name(client)
            if name is None:
                client.close()
                return
            left = max(until - self._loop.time(), 0.1)
            await self._loop.connect_accepted_socket(
                self._make,
                client,
                ssl=self._choose(name),
                ssl_handshake_timeout=left,
                ssl_shutdown_timeout=SHUTDOWN,
            )
        except (OSError, TimeoutError):  # ssl.SSLError among them: it was no TLS, or not ours
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise
        except Exception as error:
            log.failure("a TLS connection could not be made", error)
            client.close()

    async def _name(self, client: socket.socket) -> str | None:
        """The name asked for; None: it went without a word. The hello stays where it is. Raises: OSError."""
        header = await self._peek(client, hello.HEADER)
        if not header:
            return None
        size = hello.length(header)
        if size is None:
            return ""
        return hello.server_name(await self._peek(client, size))

    async def _peek(self, client: socket.socket, size: int) -> bytes:
        """`size` bytes, or as many as come before the end. The kernel wakes us once they are there."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        readable: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(client.fileno(), _wake, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(client.fileno())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return client.recv(size, socket.MSG_PEEK)


def _wake(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)
