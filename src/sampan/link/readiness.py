"""Waiting until a port accepts, by connecting to it."""

import asyncio
import errno
import os
import socket

from sampan.link.timer import new_timer, set_timer

# (until, seconds after the beginning; step, seconds). A refusal comes back within the call, 7 µs: at 0.3 ms a wait
# costs 9 % of a core and finds a fast program 0.3 ms sooner than asyncio's whole milliseconds would. Many waits at
# once keep to that share of a core together, which the programs they wait for need more.
_SCHEDULE = ((0.005, 0.0003), (0.1, 0.001), (1.0, 0.01), (float("inf"), 0.025))
_ANSWER = 1.0  # seconds a connection may be under way before it is tried anew


class Doors:
    """The ports that are waited for."""

    def __init__(self) -> None:
        self._waits = 0

    async def accepts(self, host: str, port: int) -> None:
        """Returns once host:port accepts a connection. Whoever calls sets the deadline."""
        (await self.connected(host, port)).close()

    async def connected(self, host: str, port: int) -> socket.socket:
        """The first connection that host:port accepts. Whoever calls sets the deadline."""
        loop = asyncio.get_running_loop()
        self._waits += 1
        timer = new_timer()
        due = asyncio.Event()

        def fired() -> None:
            os.read(timer, 8)
            due.set()

        loop.add_reader(timer, fired)
        try:
            begin = loop.time()
            while (sock := await _connect(host, port)) is None:
                due.clear()
                set_timer(timer, _step(loop.time() - begin) * self._waits)
                await due.wait()
            return sock
        finally:
            loop.remove_reader(timer)
            os.close(timer)
            self._waits -= 1


def _step(waited: float) -> float:
    return next(step for until, step in _SCHEDULE if waited < until)


async def _connect(host: str, port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        code = sock.connect_ex((host, port))
        if code == errno.EINPROGRESS:
            async with asyncio.timeout(_ANSWER):
                await _writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except TimeoutError:
        code = errno.ETIMEDOUT
    except BaseException:
        sock.close()
        raise
    if code == 0:
        return sock
    sock.close()
    return None


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)
