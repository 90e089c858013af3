"""A request's body, and the client it comes from: what has arrived waits here for whoever takes it."""

import asyncio
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from sampan.model.errors import EntityTooLarge, SampanError

if TYPE_CHECKING:
    from sampan.gateway.exchange import Exchange

BACKLOG = 64 << 10  # bytes of a body kept for a reader that is not ready; beyond, the client is not read


class ClientGone(SampanError):
    """The caller went away, or stopped taking its answer."""


class Client(ABC):
    """The connection an exchange belongs to, as the exchange sees it."""

    def __init__(self) -> None:
        self.peer = b""  # the address it comes from
        self.node = b""  # the same, as `Forwarded` has it
        self.congested = False  # it does not take what is written to it
        self.draining = False  # it ends with the answer under way

    def come_from(self, peer: bytes) -> None:
        """Source: RFC 7239 §6: an IPv6 address is bracketed and quoted."""
        self.peer = peer
        self.node = b'"[%b]"' % peer if b":" in peer else peer

    @abstractmethod
    def write(self, data: bytes) -> None: ...

    @abstractmethod
    def writelines(self, pieces: list[bytes]) -> None: ...

    @abstractmethod
    def hold(self, reason: int) -> None: ...

    @abstractmethod
    def release(self, reason: int) -> None: ...

    @abstractmethod
    def tunnel_to(self, transport: asyncio.Transport) -> None: ...

    @abstractmethod
    def ended(self, exchange: "Exchange") -> None: ...

    @abstractmethod
    def cut(self) -> None: ...


class Hold(IntEnum):
    """Why a client is not being read."""

    BODY = 1
    UPSTREAM = 2
    PIPELINE = 4


class BodySink(Protocol):
    """Takes a request's body as it comes."""

    def send_body(self, piece: bytes) -> None: ...
    def end_body(self) -> None: ...


class Body:
    """A request's body: what has arrived and was not yet taken, and who takes it."""

    __slots__ = ("_client", "_sink", "_waiter", "complete", "pieces", "size", "trouble")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sink: BodySink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.pieces: list[bytes] = []
        self.size = 0  # bytes arrived
        self.complete = False
        self.trouble: SampanError | None = None

    @property
    def streamed(self) -> bool:
        return self._sink is not None

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._sink is not None:
            self._sink.send_body(piece)
            return
        self.pieces.append(piece)
        if self._waiter is not None:
            self._wake()
        elif self.size > BACKLOG:
            self._client.hold(Hold.BODY)

    def end(self) -> None:
        self.complete = True
        if self._sink is not None:
            self._sink.end_body()
        elif self._waiter is not None:
            self._wake()

    def fail(self, error: SampanError) -> None:
        self.trouble = error
        if self._waiter is not None:
            self._wake()

    def pipe(self, sink: BodySink) -> None:
        """Hand over what is here and all that will come."""
        self._sink = sink
        for piece in self.pieces:
            sink.send_body(piece)
        self.pieces = []
        self._client.release(Hold.BODY)
        if self.complete:
            sink.end_body()

    def discard(self) -> None:
        """Whatever still comes is of no use to anybody."""
        self._sink = _NOWHERE
        self.pieces = []
        self._client.release(Hold.BODY)

    async def collect(self, limit: int) -> bytes:
        """The whole body. Raises: EntityTooLarge, or what befell the connection."""
        while not self.complete:
            if self.trouble is not None:
                raise self.trouble
            if self.size > limit:
                raise EntityTooLarge(limit)
            self._waiter = asyncio.get_running_loop().create_future()
            self._client.release(Hold.BODY)
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.size > limit:
            raise EntityTooLarge(limit)
        self.pieces = [self.whole()]
        return self.pieces[0]

    def whole(self) -> bytes:
        """All of a body that is complete. Its reader is here, so the client may be read again."""
        if self.size > BACKLOG:
            self._client.release(Hold.BODY)
        return b"".join(self.pieces)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Nowhere:
    def send_body(self, piece: bytes) -> None:
        return

    def end_body(self) -> None:
        return


_NOWHERE = _Nowhere()
