"""Waiting until a port accepts, by connecting to it."""

import asyncio
import errno
import os
import socket

from sampan.engine.node import kernel, process

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
        loop = asyncio.get_running_loop()
        self._waits += 1
        timer = kernel.new_timer()
        due = asyncio.Event()

        def fired() -> None:
            os.read(timer, 8)
            due.set()

        loop.add_reader(timer, fired)
        try:
            begin = loop.time()
            while not await _connects(host, port):
                due.clear()
                kernel.set_timer(timer, _step(loop.time() - begin) * self._waits)
                await due.wait()
        finally:
            loop.remove_reader(timer)
            os.close(timer)
            self._waits -= 1


def _step(waited: float) -> float:
    return next(step for until, step in _SCHEDULE if waited < until)


async def _connects(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        code = sock.connect_ex((host, port))
        if code == errno.EINPROGRESS:
            try:
                async with asyncio.timeout(_ANSWER):
                    await _writable(sock)
            except TimeoutError:
                return False
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return code == 0


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, process.settle, future)
    try:
        await future
    finally:
        loop.remove_writer(sock)
