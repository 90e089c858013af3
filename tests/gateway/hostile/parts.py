"""A function that writes down exactly what it is sent, and a client of bare bytes."""

import asyncio
import re
import socket
from collections.abc import Iterable

import h11

from tests.gateway.stage import METHODS, PATIENCE, Function, Stage

STATUS = re.compile(rb"(?:\A|\n|\})HTTP/1\.1 (\d{3}) ")
AFTER = (
    b"GET /after HTTP/1.1\r\nHost: web.localhost\r\n\r\n"  # follows every case: read as a request, or not at all
)

Seen = tuple[bytes, bytes, bytes]  # method, target, body


class Recorder(Function):
    """Reads requests with another parser than the gateway's: both have to see the same ones."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.heads: list[list[tuple[bytes, bytes]]] = []
        self.broken: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.writers.append(writer)
        parser = h11.Connection(h11.SERVER)
        try:
            await self._read(parser, reader, writer)
        except h11.RemoteProtocolError as error:
            if not str(error).startswith("peer closed connection"):  # a request that broke off is told as one
                self.broken.append(str(error))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _read(
        self, parser: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request, body = h11.Request(method="GET", target="/", headers=[("host", "x")]), b""
        while True:
            match parser.next_event():
                case h11.Request() as request:
                    body = b""
                case h11.Data() as piece:
                    body += bytes(piece.data)
                case h11.EndOfMessage():
                    self.seen.append((request.method, request.target, body))
                    self.heads.append(list(request.headers))
                    told = b"%b %b %d\n" % (request.method, request.target, len(body))
                    head = h11.Response(status_code=200, headers=[("Content-Length", str(len(told)))])
                    writer.write(parser.send(head) or b"")
                    writer.write(parser.send(h11.Data(data=told)) or b"")  # type: ignore[arg-type]
                    writer.write(parser.send(h11.EndOfMessage()) or b"")
                    if parser.our_state is not h11.DONE:
                        return
                    parser.start_next_cycle()
                case h11.ConnectionClosed():
                    return
                case h11.NEED_DATA:
                    parser.receive_data(await reader.read(1 << 16))


async def record(stage: Stage) -> Recorder:
    """The function `web`, recorded."""
    recorder = Recorder()
    await recorder.start()
    stage._functions.append(recorder)
    version = await stage.route(methods=METHODS)
    stage.grant(version.key, recorder)
    await stage.until(lambda: bool(stage.gateway.leases.held()))
    return recorder


class Bare:
    """A socket. What has come in stays readable when the other end resets, unlike in a stream."""

    def __init__(self, stage: Stage) -> None:
        self._address = stage.gateway.addresses[0]
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.reset = False

    async def __aenter__(self) -> "Bare":
        await self._loop.sock_connect(self._socket, self._address)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def send(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                await self._loop.sock_sendall(self._socket, piece)
                await asyncio.sleep(0)
        except ConnectionError:
            return  # it has heard enough; the answer is read all the same

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def more(self) -> bytes:
        """What comes next; b"" once nothing will."""
        async with asyncio.timeout(PATIENCE):
            try:
                piece = await self._loop.sock_recv(self._socket, 1 << 16)
            except ConnectionError:
                self.reset = True
                return b""
        self.got += piece
        return piece

    async def until(self, enough: bytes | None) -> bytes:
        """All that came until `enough` of it came, or until the other end closed."""
        while enough is None or enough not in self.got:
            if not await self.more():
                break
        return self.got


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answers)]
