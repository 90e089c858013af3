"""OTLP over gRPC, as a transport of an exporter.

Names are resolved here, not by gRPC, so that a guard judges the very addresses that are connected to; after a
failure the name is resolved anew.

Source: OTLP 1.x, "OTLP/gRPC"; tracing-contract.md §5.5.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec

from sampan.collector.export.guard import AddressRefused, Guard
from sampan.collector.export.retry_info import TRAILER, retry_delay
from sampan.collector.export.transport import Refused, Taken, TooLarge, Unavailable
from sampan.collector.export.transports import MAX_ANSWER, Encoded, basic_login, taken

T = TypeVar("T")

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_PORT = 4317
_RETRYABLE = frozenset(
    (
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)
_TOO_LARGE = "larger than max"  # what servers say with RESOURCE_EXHAUSTED when a message is
_OUR_SIDE = "CLIENT: Received"  # what our own gRPC says of an answer
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_RESOLVE = 5.0  # seconds
_GIVEN_UP = "its connection was given up"

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


class GrpcPeer(msgspec.Struct, frozen=True):
    """As `Peer`, for gRPC. authorities: PEM; None: the system's."""

    headers: Mapping[str, str] = {}
    authorities: bytes | None = None
    guard: Guard | None = None
    timeout: float = 10.0  # seconds per request


TRUSTED = GrpcPeer()


class OtlpGrpc(Generic[T]):
    """One method of one back-end. The scheme of the URL says whether there is TLS."""

    def __init__(
        self, url: str, encode: Callable[[Sequence[T]], Encoded], peer: GrpcPeer = TRUSTED, method: str = TRACES
    ) -> None:
        self._parts, self._encode, self._peer, self._method = urlsplit(url), encode, peer, method
        self._metadata = _metadata(url, peer.headers)
        self._channel: grpc.aio.Channel | None = None
        self._call: Call | None = None
        self._connecting = asyncio.Lock()

    def key(self, item: T) -> Hashable:
        return None

    def encode(self, items: Sequence[T]) -> bytes:
        return self._encode(items).SerializeToString()

    async def send(self, body: bytes) -> Taken:
        channel, call = await self._connected()
        try:
            answer = await call(
                body, timeout=self._peer.timeout, metadata=self._metadata, compression=grpc.Compression.Gzip
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and channel is self._channel:
                await self.close()
            raise self._refusal(error) from error
        except grpc.aio.UsageError as error:  # the channel was closed when another request failed
            raise Unavailable(_GIVEN_UP) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if channel is self._channel or task is None or task.cancelling():
                raise
            raise Unavailable(_GIVEN_UP) from None  # so gRPC tells that the channel was closed
        return taken(answer, self._peer.guard is None)

    async def close(self) -> None:
        channel, self._channel, self._call = self._channel, None, None
        if channel is not None:
            await channel.close(None)

    async def _connected(self) -> tuple[grpc.aio.Channel, Call]:
        async with self._connecting:
            if self._channel is None or self._call is None:
                self._channel = self._open(await self._target())
                self._call = self._channel.unary_unary(self._method, None, None)
            return self._channel, self._call

    async def _target(self) -> str:
        """`ipv4:address:port,…`, of all that may be reached. Raises: Refused, Unavailable."""
        host, port = self._parts.hostname or "", self._parts.port or _PORT
        try:
            async with asyncio.timeout(_RESOLVE):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise Unavailable("its name is not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"its name is not resolved: {error}") from error
        allowed = {socket.AF_INET: [], socket.AF_INET6: []}  # type: dict[int, list[str]]
        refusal: AddressRefused | None = None
        for family, _, _, _, address in found:
            try:
                if self._peer.guard is not None:
                    self._peer.guard.check(str(address[0]), port)
            except AddressRefused as error:
                refusal = error
            else:
                allowed[family].append(str(address[0]))
        if four := allowed[socket.AF_INET]:
            return "ipv4:" + ",".join(f"{one}:{port}" for one in four)
        if six := allowed[socket.AF_INET6]:
            return "ipv6:" + ",".join(f"[{one}]:{port}" for one in six)
        if refusal is not None:
            raise Refused(str(refusal)) from refusal
        raise Unavailable("its name leads to no address")

    def _open(self, target: str) -> grpc.aio.Channel:
        host = self._parts.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        options: list[tuple[str, str | int]] = [
            ("grpc.default_authority", f"{shown}:{self._parts.port or _PORT}"),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", MAX_ANSWER),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.enable_retries", 0),  # the exporter's matter
            ("grpc.use_local_subchannel_pool", 1),  # its own connections, whatever another exporter has
            ("grpc.primary_user_agent", "sampan"),
        ]
        if self._parts.scheme == "http":
            return grpc.aio.insecure_channel(target, options)
        options.append(("grpc.ssl_target_name_override", host))
        authorities = self._peer.authorities or _system_authorities()
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authorities), options)

    def _refusal(self, error: grpc.aio.AioRpcError) -> Exception:
        code, details = error.code(), error.details() or ""
        ours = _OUR_SIDE in details
        why = f"it answered {code.name}"
        if self._peer.guard is None or code is grpc.StatusCode.UNAVAILABLE:
            why = f"{why} ({''.join(one if one.isprintable() else ' ' for one in details[:200])})"
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
            return Refused("its answer is too large to be read") if ours else TooLarge(why)
        asked = _asked(error)
        if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and asked is not None):
            return Unavailable(why, asked)
        return Refused(why)


def _system_authorities() -> bytes | None:
    """PEM; None, for those that gRPC brings along, where this system keeps its own elsewhere."""
    for file in (ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if file is not None:
            with suppress(OSError):
                return Path(file).read_bytes()
    return None


def _asked(error: grpc.aio.AioRpcError) -> float | None:
    entries = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    told = dict(entries).get(TRAILER)
    return retry_delay(told) if isinstance(told, bytes) else None


def _metadata(url: str, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Header names of gRPC are in lower case; a user and password of the URL become a header, as over HTTP."""
    told = {name.lower(): value for name, value in headers.items()}
    if (login := basic_login(url)) is not None:
        told.setdefault("authorization", login)
    return tuple(told.items())
