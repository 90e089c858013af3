"""The first bytes of a client decide what it speaks; from then on its connection is one of that kind.

HTTP/2 is known by ALPN where there is TLS, and by its preface (prior knowledge) where there is none. Source:
RFC 9113 §3.3, §3.4.
"""

import asyncio
import math
from typing import cast

from sampan.gateway.http2 import Http2Connection
from sampan.gateway.protocol import ClientConnection, Front
from sampan.settings import Gateway as Limits

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class SecureConnection(ClientConnection):
    """HTTP/1.1 over TLS."""

    def _next(self) -> None:
        self._waiting[0].secure = True  # here, since every request comes by, however it was read
        super()._next()


class Greeter(asyncio.Protocol):
    """A connection that has said nothing yet."""

    def __init__(self, front: Front, limits: Limits, secure: bool) -> None:
        self._front, self._limits, self._secure = front, limits, secure
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._said = b""
        self.deadline = math.inf

    def drain(self) -> None:
        self._transport.close()

    def cancel(self) -> None:
        self._transport.abort()

    def expire(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.deadline = asyncio.get_running_loop().time() + self._limits.header_timeout
        self._front.joined(self)
        if self._secure and transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            self._become(Http2Connection(self._front, self._limits, secure=True))

    def data_received(self, data: bytes) -> None:
        said = self._said + data
        if len(said) < len(_PREFACE) and _PREFACE.startswith(said):
            self._said = said
            return
        if said.startswith(_PREFACE):
            self._become(Http2Connection(self._front, self._limits, self._secure)).data_received(said)
        else:
            kind = SecureConnection if self._secure else ClientConnection
            self._become(kind(self._front, self._limits)).data_received(said)

    def connection_lost(self, error: Exception | None) -> None:
        self._front.left(self)

    def _become(self, connection: ClientConnection | Http2Connection) -> ClientConnection | Http2Connection:
        self._transport.set_protocol(cast(asyncio.Protocol, connection))
        connection.connection_made(self._transport)
        self._front.left(self)
        return connection
