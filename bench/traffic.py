"""What goes on during a soak: kinds of callers, each of them checking every answer, and a tally of what came."""

import asyncio
import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sampan.sdk import AsyncClient, Retries, SdkError

PATIENCE = 60.0
"""Seconds for one answer; far above what it takes, a cold start during a restart of control included."""

SHADOW = 0.5
"""Seconds after a gateway was killed in which a client may not know yet that its connection is gone."""

Broken = (aiohttp.ClientError, httpx.TransportError, SdkError, WebSocketException, OSError, EOFError)
"""What a broken connection looks like."""


class Wrong(Exception):
    """An answer that is not the one that was asked for."""


@dataclass
class Tally:
    """What came of one kind of call."""

    callers: int
    good: int = 0
    told: int = 0  # failed as they were told to
    inside: int = 0  # inside a gateway when it was killed
    failures: list[str] = field(default_factory=list)


class Traffic:
    """Callers of one platform. `begin` and `end` any number of times."""

    def __init__(self, port: int, state: str) -> None:
        self.tallies: dict[str, Tally] = {}
        self.kills: list[float] = []  # when a gateway was killed, monotonic seconds
        self._port, self._state = port, state
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self._counter = itertools.count()

    async def begin(self) -> None:
        self._ended = asyncio.Event()
        # no name to look up: all functions are on one address
        self._kept = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}")
        self._new = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._port}", connector=aiohttp.TCPConnector(force_close=True)
        )
        self._sdk = AsyncClient(state=self._state, environment={}, retries=Retries(attempts=1))
        self._large = os.urandom(4 << 20)
        for name, (callers, pause, call) in self._callers().items():
            tally = self.tallies.setdefault(name, Tally(callers))
            self._tasks += [asyncio.create_task(self._repeat(tally, pause, call)) for _ in range(callers)]

    async def end(self) -> None:
        """Lets every call end that is under way."""
        self._ended.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()
        await self._kept.close()
        await self._new.close()
        await self._sdk.close()

    def _callers(self) -> dict[str, tuple[int, float, Callable[[], Awaitable[bool]]]]:
        """Name → callers, seconds between two calls of each, the call; it says whether it failed as told."""
        kept, new = self._kept, self._new
        return {
            "small, kept connection": (4, 0.02, lambda: self._get(kept, "steady")),
            "small, new connection": (2, 0.05, lambda: self._get(new, "steady")),
            "function that is deployed": (2, 0.05, lambda: self._get(kept, "moving")),
            "alias that is shifted": (2, 0.05, lambda: self._get(kept, "prod--moving")),
            "download of 64 KiB": (2, 0.1, lambda: self._download(64 << 10)),
            "download of 8 MiB": (1, 0.5, lambda: self._download(8 << 20)),
            "upload of 64 KiB": (2, 0.1, lambda: self._upload(64 << 10)),
            "upload of 4 MiB": (1, 0.5, lambda: self._upload(4 << 20)),
            "event stream": (2, 0.2, self._stream),
            "websocket": (2, 0.2, self._websocket),
            "event through the SDK": (2, 0.1, self._event),
            "idle connection": (100, 0.0, self._idle),
            "client that vanishes": (2, 0.3, self._vanish),
            "cold start": (1, 4.0, lambda: self._get(new, "sleeper")),
            "crash, as told": (1, 3.0, lambda: self._fail("/crash")),
            "timeout, as told": (1, 5.0, lambda: self._fail("/slow?ms=4000")),
        }

    async def _repeat(self, tally: Tally, pause: float, call: Callable[[], Awaitable[bool]]) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    told = await call()
            except TimeoutError:
                self._failed(tally, f"no answer within {PATIENCE:.0f} s")
            except Wrong as wrong:
                self._failed(tally, str(wrong))
            except Broken as error:
                now = time.monotonic()
                if any(begun <= kill + SHADOW and kill <= now for kill in self.kills):
                    tally.inside += 1
                else:
                    self._failed(tally, repr(error))
            else:
                tally.told += told
                tally.good += not told
            await self._rest(pause)

    def _failed(self, tally: Tally, why: str) -> None:
        tally.failures.append(f"{time.strftime('%H:%M:%S')} {why[:300]}")

    async def _rest(self, seconds: float) -> None:
        """Unless it ends meanwhile."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), seconds)

    # ── calls ──

    async def _get(self, session: aiohttp.ClientSession, function: str) -> bool:
        async with session.get("/", headers={"Host": f"{function}.localhost"}) as answer:
            body = await answer.read()
            _expect(answer.status == 200 and body == b"ok\n", answer, body)
        return False

    async def _download(self, size: int) -> bool:
        path = f"/zeros?bytes={size}"
        async with self._kept.get(path, headers={"Host": "steady.localhost"}) as answer:
            got = 0
            async for piece in answer.content.iter_any():
                got += len(piece)
            _expect(answer.status == 200 and got == size, answer, b"%d bytes" % got)
        return False

    async def _upload(self, size: int) -> bool:
        body = self._large[:size]
        async with self._kept.post("/body", data=body, headers={"Host": "steady.localhost"}) as answer:
            back = await answer.read()
            _expect(answer.status == 200 and back == body, answer, back)
        return False

    async def _stream(self) -> bool:
        async with self._kept.get("/events?n=5&ms=200", headers={"Host": "steady.localhost"}) as answer:
            body = await answer.read()
            told = b"".join(b"id: %d\ndata: event %d\n\n" % (n, n) for n in range(5))
            _expect(answer.status == 200 and body == told, answer, body)
        return False

    async def _websocket(self) -> bool:
        uri = f"ws://steady.localhost:{self._port}/ws"
        async with connect(uri, host="127.0.0.1", port=self._port, ping_interval=None, proxy=None) as socket:
            for n in range(5):
                await socket.send(f"message {n}")
                if (got := await socket.recv()) != f"message {n}":
                    raise Wrong(f"websocket: {got!r} instead of message {n}")
        return False

    async def _event(self) -> bool:
        event = f"event {next(self._counter)}"
        result = await self._sdk.invoke("steady", event)
        if result.failed or result.text != event:
            raise Wrong(f"event: {result.error_type} {result.text[:200]!r}")
        return False

    async def _idle(self) -> bool:
        """A request, ten seconds of rest, and another on the same connection, if it is still there."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for _ in range(2):
                if reader.at_eof():
                    break
                writer.write(b"GET / HTTP/1.1\r\nHost: steady.localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(3)
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise Wrong(head[:300].decode("latin-1"))
                await self._rest(10)
        finally:
            writer.close()
        return False

    async def _vanish(self) -> bool:
        """In the middle of the head, of the body, or while the function works."""
        parts = (
            b"GET / HTTP/1.1\r\nHost: stea",
            b"POST /body HTTP/1.1\r\nHost: steady.localhost\r\nContent-Length: 1000000\r\n\r\nhalf of it",
            b"GET /slow?ms=300 HTTP/1.1\r\nHost: steady.localhost\r\n\r\n",
            b"GET /zeros?bytes=8388608 HTTP/1.1\r\nHost: steady.localhost\r\n\r\n",
        )
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(parts[next(self._counter) % len(parts)])
        await asyncio.sleep(0.05)
        writer.transport.abort()
        return False

    async def _fail(self, path: str) -> bool:
        """An error that names the request is what is wanted; a broken connection is not."""
        async with self._new.get(path, headers={"Host": "fragile.localhost"}) as answer:
            body = await answer.read()
            _expect(answer.status >= 500 and "X-Fc-Request-Id" in answer.headers, answer, body)
        return True

    def excessive(self) -> list[str]:
        """A caller has one call inside a gateway when it is killed, and no more."""
        return [
            f"{name}: {tally.inside} calls of {tally.callers} callers failed in {len(self.kills)} gateway kills"
            for name, tally in self.tallies.items()
            if tally.inside > tally.callers * len(self.kills)
        ]

    def summary(self) -> Counter[str]:
        every = self.tallies.values()
        return Counter(
            good=sum(each.good for each in every),
            told=sum(each.told for each in every),
            inside=sum(each.inside for each in every),
            failed=sum(len(each.failures) for each in every),
        )


def _expect(right: bool, answer: aiohttp.ClientResponse, body: bytes) -> None:
    """Raises: Wrong."""
    if not right:
        raise Wrong(f"{answer.method} {answer.url.path_qs} → {answer.status} {body[:200]!r}")
