"""What the gateway's tests play with: a control that does as told, functions that misbehave, and plain clients."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from sampan.gateway.certificates import Certificates
from sampan.gateway.exchange import Exchange
from sampan.gateway.http2_exchange import StreamClient
from sampan.gateway.server import Gateway
from sampan.gateway.tracing import Tracing
from sampan.link import channel, reports
from sampan.link.messages import (
    Down,
    FunctionRoute,
    Grant,
    Hello,
    Load,
    Observed,
    Routes,
    ServedVersion,
    Sessions,
    Tail,
    TailWanted,
    Up,
    Want,
)
from sampan.model.access import AccessKey
from sampan.model.domain import Domain
from sampan.model.invocation import InvocationRecord
from sampan.model.names import LATEST, InstanceId, VersionKey, version_key
from sampan.model.trigger import AuthType, HttpTrigger
from sampan.settings import Gateway as Settings
from sampan.wire import signature

KEY = AccessKey("LTAI-test", "s3cret", "1000000000000000")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
PATIENCE = 20.0  # seconds until a wait of a test counts as hung

Play = Callable[["Request", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Request:
    """A request as a function or a client reads it from the wire."""

    def __init__(self, line: str, headers: list[tuple[str, str]]) -> None:
        self.line, self.headers = line, headers
        self.method, self.target, _ = (*line.split(" ", 2), "", "")[:3]
        self.body = b""

    def __getitem__(self, name: str) -> str:
        found = [value for given, value in self.headers if given.lower() == name.lower()]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def __contains__(self, name: str) -> bool:
        return any(given.lower() == name.lower() for given, _ in self.headers)

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])


def orphan() -> Exchange:
    """An exchange with nobody behind it, for what only looks at it."""
    return Exchange(StreamClient(cast(Any, SimpleNamespace(peer=b""))))


async def read_head(reader: asyncio.StreamReader) -> Request:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = raw.rstrip("\r\n").split("\r\n")
    return Request(line, [(name, value.strip()) for name, _, value in (one.partition(":") for one in rest)])


async def read_body(message: Request, reader: asyncio.StreamReader, head: bool = False) -> Request:
    if head:
        return message
    if "transfer-encoding" in message:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            message.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    elif "content-length" in message:
        message.body = await reader.readexactly(int(message["content-length"]))
    return message


def reply(body: bytes = b"", status: str = "200 OK", *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def echo(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_body(request, reader)
    writer.write(reply(f"{request.method} {request.target} ".encode() + request.body))


class Function:
    """A program behind a port: calls `play` for every request."""

    def __init__(self, play: Play = echo) -> None:
        self.play = play
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> "Function":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.writers.append(writer)
        self.connections += 1
        try:
            while True:
                request = await read_head(reader)
                self.requests.append(request)
                await self.play(request, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


class Client:
    """A raw HTTP/1.1 client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    def request(
        self, method: str, target: str, body: bytes | None = None, host: str = "web.localhost", **headers: str
    ) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}{length}\r\n".encode() + (body or b""))

    async def head(self) -> Request:
        async with asyncio.timeout(PATIENCE):
            return await read_head(self.reader)

    async def answer(self, head: bool = False) -> Request:
        async with asyncio.timeout(PATIENCE):
            return await read_body(await read_head(self.reader), self.reader, head)

    async def call(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Request:
        self.request(method, target, body, **headers)
        return await self.answer(head=method == "HEAD")

    async def closed(self) -> bytes:
        """What still comes until the other end closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""


class Stage:
    """The gateway and all around it."""

    def __init__(
        self,
        directory: Path,
        certificates: Certificates | None = None,
        tracing: Tracing | None = None,
        **settings: Any,
    ) -> None:
        """certificates: with these it listens for TLS, too."""
        given = {"header_timeout": 15.0, "idle_timeout": 15.0, "drain": 5.0} | settings
        self.settings = Settings(**given)
        self.directory = directory
        self.control_socket, self.api_socket = directory / "control.sock", directory / "api.sock"
        self.reports_socket = directory / "reports.sock"
        door = socket.create_server(("127.0.0.1", 0))
        self.tls_port, tls_doors = 0, []
        if certificates is not None:
            tls_doors = [socket.create_server(("127.0.0.1", 0))]
            self.tls_port = tls_doors[0].getsockname()[1]
        self.gateway = Gateway(
            self.settings, self.control_socket, self.api_socket, "g1", [door],
            tls_listeners=tls_doors, certificates=certificates, tracing=tracing,
            reports_socket=self.reports_socket,
        )  # fmt: skip
        self.heard: list[Up] = []
        self.reported: list[reports.Up] = []
        self._collector: asyncio.AbstractServer | None = None
        self._reporters: list[channel.Channel[reports.Up, reports.Down]] = []
        self.routes: dict[str, FunctionRoute] = {}
        self.domains: list[Domain] = []
        self.on_want: Callable[[Want], None] | None = None
        self.log = ""  # what TailWanted is answered from
        self._control: asyncio.AbstractServer | None = None
        self._api: asyncio.AbstractServer | None = None
        self._channels: list[channel.Channel[Up, Down]] = []
        self._functions: list[Function] = []
        self._clients: list[Client] = []
        self._instances = 0

    # ── control ──

    async def start(self) -> None:
        await self.start_control()
        await self.start_collector()
        await self.gateway.start()
        await self.until(lambda: self.gateway.control.connected)

    async def start_control(self) -> None:
        decoder = msgspec.msgpack.Decoder(Up)
        self._control = await channel.serve(
            self.control_socket,
            lambda: channel.Channel(decoder, self._hear, self._channels_remove, self._channels.append),
        )

    async def start_collector(self) -> None:
        decoder = msgspec.msgpack.Decoder(reports.Up)
        self._collector = await channel.serve(
            self.reports_socket,
            lambda: channel.Channel(decoder, self._hear_report, self._reporters.remove, self._reporters.append),
        )

    def _hear_report(self, one: "channel.Channel[reports.Up, reports.Down]", message: reports.Up) -> None:
        self.reported.append(message)
        if isinstance(message, reports.Records):
            one.send(reports.Kept(message.seq + len(message.records) - 1))

    def stop_collector(self) -> None:
        assert self._collector is not None
        self._collector.close()
        for one in list(self._reporters):
            one.close()

    def stop_control(self) -> None:
        assert self._control is not None
        self._control.close()
        for one in list(self._channels):
            one.close()

    def _channels_remove(self, one: channel.Channel[Up, Down]) -> None:
        self._channels.remove(one)

    def _hear(self, one: channel.Channel[Up, Down], message: Up) -> None:
        self.heard.append(message)
        match message:
            case Hello():
                one.send(self._all_routes())
            case Want() if self.on_want is not None and message.waiting:
                self.on_want(message)
            case Sessions():
                one.send(message)  # nobody else knows better
            case TailWanted(token, _, since):
                text = self.log if since is not None else ""
                one.send(Tail(token, (len(self.log), 0), text))

    def _all_routes(self) -> Routes:
        return Routes(KEY.account, "local", tuple(self.routes.values()), (KEY,), tuple(self.domains))

    def tell(self, message: Down) -> None:
        for one in self._channels:
            one.send(message)

    async def route(self, function: str = "web", **changes: Any) -> ServedVersion:
        """Make a function known; `changes` to its route, its version or its trigger by field name."""
        take = lambda shape: {f: changes.pop(f) for f in shape.__struct_fields__ if f in changes}  # noqa: E731
        methods, auth = changes.pop("methods", METHODS), changes.pop("auth", AuthType.ANONYMOUS)
        url_disabled = changes.pop("url_disabled", False)
        check, cors = changes.pop("check", None), changes.pop("cors", None)
        trigger = changes.pop("trigger", True)
        version = msgspec.structs.replace(
            ServedVersion(
                version_key(function, LATEST, 1), function, LATEST, 1, 10.0, 512, "index.handler", 60.0, 10.0
            ),
            **{k: v for k, v in take(ServedVersion).items() if k not in ("key", "function")},
        )
        plain = FunctionRoute(
            function, "Active", "", None, None, (version,), {LATEST: ((1.0, version.key),)},
            (HttpTrigger("http", LATEST, methods, auth, url_disabled, check, cors),) if trigger else (),
        )  # fmt: skip
        self.routes[function] = msgspec.structs.replace(plain, **take(FunctionRoute))
        assert not changes, changes
        self.tell(self._all_routes())
        await self.until(lambda: any(v == version for v in self.gateway.routes.versions()))
        return version

    def grant(self, version: VersionKey, function: Function, slots: int = 1, **more: Any) -> InstanceId:
        self._instances += 1
        instance = InstanceId(more.pop("instance", f"c-{self._instances:024x}"))
        self.tell(Grant(instance, version, "127.0.0.1", function.port, slots, **more))
        return instance

    async def function(self, play: Play = echo) -> Function:
        one = await Function(play).start()
        self._functions.append(one)
        return one

    async def serve(self, play: Play = echo, slots: int = 1, **changes: Any) -> Function:
        """A function `web` with one instance."""
        function = await self.function(play)
        version = await self.route(concurrency=slots, **changes)
        self.grant(version.key, function, slots)
        await self.until(lambda: bool(self.gateway.leases.held()))
        return function

    def said(self, kind: type) -> list[Any]:
        return [message for message in self.heard if type(message) is kind]

    def records(self) -> list[InvocationRecord]:
        told = [message for message in self.reported if isinstance(message, reports.Records)]
        return [record for batch in told for record in batch.records]

    def loads(self) -> list[Load]:
        return [load for message in self.said(Observed) for load in message.loads]

    async def record(self) -> InvocationRecord:
        await self.until(lambda: bool(self.records()))
        return self.records()[0]

    # ── clients ──

    async def client(self) -> Client:
        host, port = self.gateway.addresses[0]
        one = Client(*await asyncio.open_connection(host, port, limit=1 << 22))
        self._clients.append(one)
        return one

    async def call(
        self, method: str = "GET", target: str = "/", body: bytes | None = None, **headers: str
    ) -> Request:
        return await (await self.client()).call(method, target, body, **headers)

    async def invoke(
        self, body: bytes = b"", function: str = "web", query: str = "", key: AccessKey = KEY, **headers: str
    ) -> Request:
        """InvokeFunction, signed."""
        target = f"/2023-03-30/functions/{function}/invocations{query}"
        given = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        signed = signature.sign(key, "POST", target, given, body, time.time(), f"nonce-{time.monotonic_ns()}")
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        client = await self.client()
        client.send(f"POST {target} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await client.answer()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110  # a condition over many objects has no event of its own
                await asyncio.sleep(0.005)

    async def api(self, play: Play) -> None:
        function = Function(play)
        self._functions.append(function)
        self._api = await asyncio.start_unix_server(function._serve, str(self.api_socket))

    async def stop(self) -> None:
        for client in self._clients:
            client.writer.close()
        await self.gateway.stop()
        for function in self._functions:
            await function.stop()
        if self._api is not None:
            self._api.close()
        for client in self._clients:
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        if self._control is not None:
            self.stop_control()
            await self.until(lambda: not self._channels)
        if self._collector is not None:
            self.stop_collector()
            await self.until(lambda: not self._reporters)
