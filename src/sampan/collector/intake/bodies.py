"""A request's body: bounded while it comes and when it is unpacked."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from sampan.collector.intake.judge import MESSAGE_COST, Judge, Reason
from sampan.collector.senders import Sender
from sampan.model.errors import BodyTooLarge, Malformed, NoCapacity

MAX_BODY = 4 << 20  # bytes, packed and unpacked; gRPC's own bound, and eight times what an SDK sends at once
_SLOWEST = 2.5e-7  # seconds that decoding a byte takes at most
AT_ONCE = 64 << 10  # bytes that are decoded on the spot: some 10 ms
_GZIP_OR_ZLIB = 47  # of zlib.decompressobj: which one, its header tells
_ENCODINGS = ("gzip", "deflate")
_T = TypeVar("_T")


@asynccontextmanager
async def body_of(request: Request, judge: Judge, sender: Sender) -> AsyncIterator[bytes]:
    """The body, unpacked; its bytes are counted as held meanwhile.

    Raises: BodyTooLarge, Malformed, NoCapacity; Starlette's ClientDisconnect.
    """
    judge.charge(sender, MESSAGE_COST)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY:
        raise BodyTooLarge(MAX_BODY)
    with Holding(judge, sender) as holding:
        pieces: list[bytes] = []
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BODY:
                raise BodyTooLarge(MAX_BODY)
            holding.add(len(piece))
            judge.charge(sender, len(piece))
            pieces.append(piece)
        packed = b"".join(pieces)
        pieces.clear()
        body = unpacked(packed, request.headers.get("content-encoding", ""))
        if body is not packed:
            holding.add(len(body))
            judge.charge(sender, len(body))
        yield body


class Holding:
    """The bytes of one message, in the room there is for all."""

    def __init__(self, judge: Judge, sender: Sender) -> None:
        self._judge, self._sender, self._size = judge, sender, 0

    def __enter__(self) -> "Holding":
        return self

    def __exit__(self, *_: object) -> None:
        if self._size:
            self._judge.bodies.leave(self._sender.function, self._size)
        self._size = 0

    def add(self, size: int) -> None:
        """Raises: NoCapacity."""
        if size:
            if not self._judge.bodies.enter(self._sender.function, size):
                self._judge.drop(self._sender, Reason.LATER)
                raise NoCapacity("too many reports are being read now")
            self._size += size


def unpacked(body: bytes, encoding: str) -> bytes:
    """Never more than `MAX_BODY`. Raises: BodyTooLarge, Malformed."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > MAX_BODY:
            raise BodyTooLarge(MAX_BODY)
        return body
    if encoding not in _ENCODINGS:
        raise Malformed("content-encoding", f"{encoding[:64]!r} is not taken; send gzip, deflate or none")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        out = unpacker.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise Malformed(encoding, f"the body cannot be unpacked: {error}") from None
    if len(out) > MAX_BODY:
        raise BodyTooLarge(MAX_BODY)
    if not unpacker.eof or unpacker.unused_data:
        raise Malformed(encoding, "the packed body is not complete, or is followed by something else")
    return out


class Decoding:
    """Large bodies are decoded in a thread, one at a time: so the loop goes on, and memory for one is enough."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._thread = ThreadPoolExecutor(1, "intake")

    async def __call__(self, sender: Sender, decode: Callable[[bytes], _T], body: bytes) -> _T:
        """The sender pays for the time it takes. Raises: what `decode` does."""
        spent = 0.0

        def timed() -> _T:
            nonlocal spent
            began = time.thread_time()
            try:
                return decode(body)
            finally:
                spent = time.thread_time() - began

        try:
            if len(body) <= AT_ONCE:
                return timed()
            return await asyncio.get_running_loop().run_in_executor(self._thread, timed)
        except asyncio.CancelledError:
            spent = _SLOWEST * len(body)  # the thread may be at it still; leaving early makes nothing cheaper
            raise
        finally:
            self._judge.charge_time(sender, spent)

    def close(self) -> None:
        """What has not begun is left; the thread ends with what it does now."""
        self._thread.shutdown(wait=False, cancel_futures=True)
