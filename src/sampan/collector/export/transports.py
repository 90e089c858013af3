"""OTLP and Jaeger thrift over HTTP, as transports of an exporter.

Redirects are not followed, proxies of the environment are not used, answers are read up to a bound, and what an
untrusted back-end writes in them is repeated nowhere: it may be a page of somebody else's network.

Source: OTLP 1.x, "OTLP/HTTP Response"; tracing-contract.md §5.4, §5.5.
"""

import base64
import gzip
import socket
import ssl
from collections.abc import Callable, Hashable, Mapping, Sequence
from io import BytesIO
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from google.protobuf.message import DecodeError
from multidict import CIMultiDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from yarl import URL

from sampan.collector.export.guard import AddressRefused, Guard
from sampan.collector.export.patience import retry_after
from sampan.collector.export.transport import Refused, Taken, TooLarge, Unavailable
from sampan.model.errors import InvalidArgument
from sampan.model.trace import Attributes, Span

T = TypeVar("T")

PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
THRIFT = {"Content-Type": "application/vnd.apache.thrift.binary"}
MAX_ANSWER = 64 << 10  # bytes
_RETRYABLE = frozenset((429, 502, 503, 504))
_LEVEL = 1  # of gzip: a fifth of the bytes at 5 ms per MB; level 6 saves a tenth more and takes three times as long
_CONNECT = 5.0  # seconds
_WORDS = 200  # characters of a back-end's own that are repeated


class Encoded(Protocol):
    """An OTLP request."""

    def SerializeToString(self) -> bytes: ...


class Peer(msgspec.Struct, frozen=True):
    """How a back-end is reached. guard: None for the operator's own, who may name any address, and whose words
    are worth repeating."""

    headers: Mapping[str, str] = {}
    tls: ssl.SSLContext | None = None  # None: the system's authorities
    guard: Guard | None = None
    timeout: float = 10.0  # seconds per request


TRUSTED = Peer()


class _Http:
    """Posts bodies to one URL."""

    def __init__(self, url: str, content: Mapping[str, str], peer: Peer) -> None:
        """content: the headers that say what is posted."""
        self._url, self._peer = URL(url, encoded=True).with_user(None), peer
        self._headers = CIMultiDict(peer.headers)
        self._headers.update(content)
        if (login := basic_login(url)) is not None:
            self._headers.setdefault("Authorization", login)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> bytes:
        """What a 2xx answer holds. Raises: Refused, TooLarge, Unavailable."""
        try:
            async with self._opened().post(
                self._url, data=BytesIO(body), headers=self._headers, allow_redirects=False
            ) as answer:
                told = await _read(answer)
                if 200 <= answer.status < 300:
                    return told
                raise self._refusal(answer, told)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused) or AddressRefused.MARK in str(error.os_error):
                raise Refused(str(error.os_error)) from error
            raise Unavailable(_why(error)) from error
        except aiohttp.InvalidURL as error:
            raise Refused("its URL leads nowhere") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(_why(error)) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            guard, tls = self._peer.guard, self._peer.tls
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=tls if tls is not None else True,
                    socket_factory=None if guard is None else _guarded(guard),
                    limit=8,
                ),
                timeout=aiohttp.ClientTimeout(total=self._peer.timeout, sock_connect=_CONNECT),
                headers={"Accept-Encoding": "identity", "User-Agent": "sampan"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _refusal(self, answer: aiohttp.ClientResponse, told: bytes) -> Exception:
        why = f"it answered {answer.status}"
        if 300 <= answer.status < 400:
            return Refused(f"{why}, a redirect, and none is followed; name the place itself")
        if self._peer.guard is None and (words := _words(told)):
            why = f"{why} ({words})"
        if answer.status == 413:
            return TooLarge(why)
        if answer.status in _RETRYABLE:
            return Unavailable(why, retry_after(answer.headers.get("Retry-After")))
        return Refused(why)


class OtlpHttp(Generic[T]):
    """OTLP over HTTP, protobuf in gzip."""

    def __init__(self, url: str, encode: Callable[[Sequence[T]], Encoded], peer: Peer = TRUSTED) -> None:
        self._http, self._encode, self._trusted = _Http(url, PROTOBUF, peer), encode, peer.guard is None

    def key(self, item: T) -> Hashable:
        return None

    def encode(self, items: Sequence[T]) -> bytes:
        return gzip.compress(self._encode(items).SerializeToString(), _LEVEL, mtime=0)

    async def send(self, body: bytes) -> Taken:
        return taken(await self._http.post(body), self._trusted)

    async def close(self) -> None:
        await self._http.close()


class JaegerHttp:
    """Jaeger's thrift over HTTP: a request for each process, which is a service and its resource.

    Not compressed: Jaeger's collector reads what comes as it is.
    """

    def __init__(
        self, url: str, encode_batch: Callable[[str, Attributes, Sequence[Span]], bytes], peer: Peer = TRUSTED
    ) -> None:
        self._http, self._encode = _Http(url, THRIFT, peer), encode_batch

    def key(self, item: Span) -> Hashable:
        return (item.service, msgspec.json.encode(item.resource, order="sorted"))

    def encode(self, items: Sequence[Span]) -> bytes:
        return self._encode(items[0].service, items[0].resource, items)

    async def send(self, body: bytes) -> Taken:
        await self._http.post(body)
        return Taken()

    async def close(self) -> None:
        await self._http.close()


def taken(answer: bytes, trusted: bool) -> Taken:
    """What an OTLP answer says of what it did not take. Logs and metrics have the same fields."""
    told = ExportTraceServiceResponse()
    try:
        told.ParseFromString(answer)
    except DecodeError:  # a JSON answer, or a proxy's page; the status says that it was taken
        return Taken()
    partial = told.partial_success
    return Taken(partial.rejected_spans, _printable(partial.error_message) if trusted else "")


def basic_login(url: str) -> str | None:
    """The header's value, from a URL's user and password."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(login.encode()).decode()


def trust(field: str, file: str) -> ssl.SSLContext:
    """A client's context that trusts only the authorities in `file`, PEM. Raises: InvalidArgument."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError) as error:
        raise InvalidArgument(field, file, f"a file with certificates, PEM ({error})") from error
    return context


def _guarded(guard: Guard) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    def make(found: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = found
        guard.check(str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)

    return make


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The answer, or nothing when it is too large: the connection is then given up, with what is still to come."""
    told = bytearray()
    async for piece in answer.content.iter_any():
        told += piece
        if len(told) > MAX_ANSWER:
            answer.close()
            return b""
    return bytes(told)


def _words(told: bytes) -> str:
    return _printable(told[: _WORDS * 4].decode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:_WORDS]).strip()


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return type(error).__name__  # what the error says may quote a header or the URL
