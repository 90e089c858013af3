"""The gateway's side of a connection without a socket: bytes are put in, requests come out, quickly."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sampan.gateway.exchange import Exchange
from sampan.gateway.heads import TAKES, Take
from sampan.gateway.known import Heads, request_heads
from sampan.gateway.protocol import ClientConnection
from sampan.model.errors import SampanError
from sampan.settings import Gateway as Limits
from sampan.wire.errors import answer

LIMITS = Limits()
HEADS = request_heads(TAKES)  # one for all, as in a gateway: what one request taught is known to the next
Outcome = tuple[tuple[object, ...], ...]


class Loose(asyncio.Transport):
    """Takes what is written and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default


@dataclass
class Front:
    """Answers at once, and writes down what was asked: method, target, host and body, or a refusal's status."""

    draining: bool = False
    heard: list[tuple[object, ...]] = field(default_factory=list)
    heads: Heads[Take] = HEADS

    def joined(self, connection: ClientConnection) -> None: ...
    def left(self, connection: ClientConnection) -> None: ...

    async def serve(self, exchange: Exchange) -> None:
        try:
            if exchange.refusal is not None:
                raise exchange.refusal
            exchange.let_body_come()
            body = b"" if exchange.body is None else await exchange.body.collect(1 << 20)
            self.heard.append((exchange.method, exchange.target, exchange.host, body))
            exchange.answer(200, b"", b"")
        except SampanError as error:
            self.heard.append((answer(error, "")[0],))
            exchange.answer(400, b"", b"")
        finally:
            exchange.client.ended(exchange)


async def heard(pieces: Iterable[bytes]) -> Outcome:
    """What a connection makes of bytes that come in these pieces."""
    front, transport = Front(), Loose()
    connection = ClientConnection(front, LIMITS)
    connection.connection_made(transport)
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
        await settle(connection)
    connection.connection_lost(None)  # a body that never ended is nobody's request
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tuple(front.heard)


async def settle(connection: ClientConnection) -> None:
    """Until all that can be answered is; what waits for more of its body is not."""
    for _ in range(200):
        body = connection._current and connection._current.body
        waits = connection._waiting or connection._rest is not None
        over = connection._story is None and (not waits or connection._transport.is_closing())
        if over or (body is not None and body._waiter is not None and not body._waiter.done()):
            return
        await asyncio.sleep(0)
    raise AssertionError("it never comes to rest")
