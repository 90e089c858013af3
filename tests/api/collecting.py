"""A collector that answers as a test wants, under uvicorn on a Unix socket."""

import asyncio
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

END = b""  # of an answer


class UnixServer:
    """uvicorn on a Unix socket, on the loop that starts it."""

    def __init__(self, app: Any, socket: Path) -> None:
        self.socket = socket
        self._app = app
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take connections."""
        self.socket.unlink(missing_ok=True)
        self._server = _Server(uvicorn.Config(self._app, uds=str(self.socket), log_config=None, lifespan="off"))
        self._running = asyncio.ensure_future(self._server.serve())
        await self._server.begun.wait()

    async def stop(self) -> None:
        """Take no more; what is being answered breaks off."""
        if self._server is not None and self._running is not None:
            self._server.should_exit = self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await self._running
            self._server = None


class Collecting(UnixServer):
    """Its coroutines are for the loop that it is started on."""

    def __init__(self, socket: Path) -> None:
        super().__init__(self, socket)
        self.asked: list[tuple[str, dict[str, str]]] = []  # target as it came, headers
        self.status = 200
        self.headers: list[tuple[str, str]] = []
        self.left = threading.Event()  # who asked went before the answer's end
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def say(self, *pieces: bytes) -> None:
        """The next pieces of an answer; END ends it."""
        for piece in pieces:
            self._pieces.put_nowait(piece)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["raw_path"].decode() + (f"?{query}" if query else ""), headers))
        await receive()  # the body, which is empty
        told = [(name.encode(), value.encode()) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": told})
        leaving = asyncio.ensure_future(receive())
        try:
            while piece := await self._piece(leaving):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _piece(self, leaving: "asyncio.Future[Any]") -> bytes:
        piece = asyncio.ensure_future(self._pieces.get())
        await asyncio.wait((piece, leaving), return_when=asyncio.FIRST_COMPLETED)
        if piece.done():
            return piece.result()
        piece.cancel()
        self.left.set()
        return END


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.begun.set()

    @contextmanager
    def capture_signals(self) -> Any:
        yield
