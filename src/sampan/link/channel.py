"""Whole typed messages over a stream socket, both ways, in order.

A message is a msgspec Struct (or a tagged union of them) in MessagePack behind a four-byte little-endian
length. Sending never waits: what the peer does not read is buffered by the transport, and a peer that lets
more than `BACKLOG` bytes pile up is cut off rather than allowed to hold memory.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar, cast

import msgspec

MAX_MESSAGE = 64 << 20  # bytes; an event body of 32 MiB fits, a runaway length does not
BACKLOG = 256 << 20  # bytes not yet read by the peer

In = TypeVar("In")
Out = TypeVar("Out")

_encoder = msgspec.msgpack.Encoder()


class Channel(asyncio.BufferedProtocol, Generic[In, Out]):
    """One end of a connection that carries `In` towards us and `Out` away from us.

    `on_message` is called for each message in the order sent; `on_lost` once, when the connection is gone.
    """

    def __init__(
        self,
        decoder: "msgspec.msgpack.Decoder[In]",
        on_message: "Callable[[Channel[In, Out], In], None]",
        on_lost: "Callable[[Channel[In, Out]], None]",
        on_open: "Callable[[Channel[In, Out]], None] | None" = None,
    ) -> None:
        self._decoder = decoder
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_open = on_open
        self._buffer = bytearray(64 << 10)
        self._filled = 0
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Out) -> None:
        """Send soon. On a lost connection the message is dropped: `on_lost` has told or will tell."""
        if self._transport is None or self._transport.is_closing():
            return
        body = _encoder.encode(message)
        if len(body) > MAX_MESSAGE:
            raise ValueError(f"message of {len(body)} bytes is over the limit of {MAX_MESSAGE}")
        self._transport.write(len(body).to_bytes(4, "little") + body)
        if self._transport.get_write_buffer_size() > BACKLOG:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        if self._on_open is not None:
            self._on_open(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._filled == len(self._buffer):
            self._buffer.extend(bytes(len(self._buffer)))
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        view, at = memoryview(self._buffer), 0
        messages: list[In] = []
        try:
            while self._filled - at >= 4:
                length = int.from_bytes(view[at : at + 4], "little")
                if length > MAX_MESSAGE:
                    raise ValueError(f"peer announced a message of {length} bytes")
                if self._filled - at - 4 < length:
                    break
                # A copy: a message may hold a `Raw`, which refers to the bytes it was decoded from.
                messages.append(self._decoder.decode(bytes(view[at + 4 : at + 4 + length])))
                at += 4 + length
        except (ValueError, msgspec.MsgspecError):
            self._filled = 0
            if self._transport is not None:
                self._transport.abort()
            return
        if at:
            rest = self._filled - at
            view[:rest] = bytes(view[at : self._filled])
            self._filled = rest
        view.release()
        for message in messages:
            self._on_message(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost(self)


async def serve(
    path: Path, channel: Callable[[], Channel[In, Out]], group: int | None = None
) -> asyncio.AbstractServer:
    """Listen on a Unix socket that only the owner, and `group` if given, may use. Replaces a stale socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o660)
    return await asyncio.get_running_loop().create_unix_server(channel, sock=listener)


async def connect(path: Path, channel: Callable[[], Channel[In, Out]]) -> Channel[In, Out]:
    """Connect to a Unix socket. Raises: OSError."""
    _, protocol = await asyncio.get_running_loop().create_unix_connection(channel, str(path))
    return protocol
