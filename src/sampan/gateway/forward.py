"""One request to an upstream, and its answer back.

Decides what of the caller's headers goes along, on which connection, and whether a request that got lost may be
sent again: only if nothing of it was sent, or if it is idempotent, whole in memory, and a kept connection died
before any byte of an answer. Source: container-contract.md A2.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from sampan.gateway.connection import ConnectionDied
from sampan.gateway.deadlines import Deadlines
from sampan.gateway.exchange import Exchange
from sampan.gateway.grpc import GrpcCall, carry
from sampan.gateway.headers import HOP_BY_HOP, to_function
from sampan.gateway.http2_exchange import StreamExchange
from sampan.gateway.instance import Instance
from sampan.gateway.relay import Collect, Relay, Underway
from sampan.gateway.replies import Clock
from sampan.gateway.route import HttpTarget, Served
from sampan.gateway.upstream import Unreachable, Upstream
from sampan.gateway.upstream_http2 import Http2Upstream
from sampan.model.errors import BadResponse, FunctionExited, FunctionTimedOut, NoCapacity

API_TIMEOUT = 600.0  # seconds; a deploy that waits for its image takes its time
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))

_HTTP: Final = b'";proto=http\r\nX-Forwarded-Proto: http\r\n'
_HTTPS: Final = b'";proto=https\r\nX-Forwarded-Proto: https\r\n'
_TOLD_HTTP: Final = b'";proto=http\r\n'
_TOLD_HTTPS: Final = b'";proto=https\r\n'

Call = TypeVar("Call", bound=Underway)


class Forward:
    """Carries requests to instances and to the API."""

    def __init__(self, api: Upstream, clock: Clock, idle: float, max_answer: int) -> None:
        """idle: seconds a streaming answer may be silent, at least.  max_answer: bytes of an event's answer."""
        self._api, self._clock, self._idle, self._max_answer = api, clock, idle, max_answer
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines()
        self._calls: set[Relay] = set()  # of the API

    def http(
        self, exchange: Exchange, target: HttpTarget, served: Served, instance: Instance, signed: bool
    ) -> Coroutine[object, object, Relay | GrpcCall]:
        """An HTTP call. signed: its Authorization header was for us, and stays here.

        Raises: Unreachable, FunctionExited, FunctionTimedOut, BadResponse.
        """
        timeout = served.timeout
        idle = max(timeout, self._idle)
        head = http_head(exchange, target, served, signed)
        if exchange.grpc:
            return self._grpc(exchange, instance, timeout, idle, head)
        call = Relay(exchange, timeout, idle, self._deadlines, self._clock)
        return self._send(call, instance.upstream, head, exchange.method)

    async def _grpc(
        self, exchange: Exchange, instance: Instance, timeout: float, idle: float, head: bytes
    ) -> GrpcCall:
        assert isinstance(exchange, StreamExchange)
        begun = self._loop.time()
        call = GrpcCall(exchange, timeout, idle, self._clock)
        try:
            return await carry(instance.upstream.http2(Http2Upstream), call, head)
        except ConnectionDied as error:
            raise FunctionExited(int((self._loop.time() - begun) * 1000)) from error

    def event(
        self, exchange: Exchange, served: Served, instance: Instance, body: bytes
    ) -> Coroutine[object, object, Collect]:
        """An event call; its body is whole. Raises: as `http`."""
        timeout = served.timeout
        idle = max(timeout, self._idle)
        head = event_head(exchange, served, instance, len(body)) + body
        call = Collect(exchange, timeout, idle, self._deadlines, self._max_answer)
        return self._send(call, instance.upstream, head, b"POST")

    async def api(self, exchange: Exchange) -> None:
        """What is no invocation. Raises: NoCapacity while control is away, BadResponse."""
        idempotent = exchange.method in _IDEMPOTENT
        parts = [exchange.method, b" ", exchange.target, b" HTTP/1.1\r\n"]
        for lower, name, value in exchange.headers:
            if lower not in HOP_BY_HOP and lower not in exchange.connection_names:
                parts += (name, b": ", value, b"\r\n")
        _end_head(parts, exchange)
        try:
            while True:
                connection = self._api.take(idempotent, self._loop.time()) or await self._api.connect()
                if exchange.refusal is not None:  # its body went wrong meanwhile
                    self._api.drop(connection)
                    raise exchange.refusal
                call = Relay(exchange, API_TIMEOUT, API_TIMEOUT, self._deadlines, None)
                call.begin(connection)
                self._calls.add(call)
                whole = self._upload(call, b"".join(parts), exchange.method)
                try:
                    await call.done
                except ConnectionDied:
                    if not (whole and idempotent and connection.stale):
                        raise
                else:
                    return
                finally:
                    self._calls.discard(call)
                    self._settle(self._api, call)
        except Unreachable as away:
            raise NoCapacity("the control plane is away; try again in a moment") from away
        except (ConnectionDied, FunctionTimedOut) as broken:
            raise BadResponse("the control plane broke off its answer") from broken

    def end_streams(self) -> None:
        """Break off answers of the API that have no end, such as a followed log: they cannot be waited for."""
        for call in list(self._calls):
            if call.streaming:
                call.fail(NoCapacity("the gateway is going down"))

    async def _send(self, call: Call, upstream: Upstream, head: bytes, method: bytes) -> Call:
        begun = now = self._loop.time()
        exchange, idempotent = call.exchange, method in _IDEMPOTENT
        while True:
            connection = upstream.take(idempotent, now) or await upstream.connect()
            if exchange.refusal is not None:  # its body went wrong while it waited
                upstream.drop(connection)
                raise exchange.refusal
            call.begin(connection)
            whole = self._upload(call, head, method)
            try:
                await call.done
            except ConnectionDied as error:
                now = self._loop.time()
                if not (whole and idempotent and connection.stale):
                    raise FunctionExited(int((now - begun) * 1000)) from error
            else:
                return call
            finally:
                self._settle(upstream, call)

    def _settle(self, upstream: Upstream, call: Underway) -> None:
        """The call is over, one way or another: so is its use of the connection, or the connection."""
        call.stop()
        connection = call.connection
        if call.tunnel:
            upstream.forget(connection)
            connection.transport.close()  # what was written still goes out
        elif call.done.kept:
            upstream.put(connection, self._loop.time())
        else:
            upstream.drop(connection)

    def _upload(self, call: Underway, head: bytes, method: bytes) -> bool:
        """Send head and body; what of the body has yet to come is piped. Whether all of it can be sent again."""
        exchange, connection = call.exchange, call.connection
        body = exchange.body
        head_only = method == b"HEAD"
        if body is None or isinstance(call, Collect):
            connection.send(call, head, head_only, None)
            return True
        exchange.let_body_come()
        if body.complete and not body.streamed:
            sized = exchange.content_length is not None
            data = body.whole()
            if not sized:
                data = (b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)) if data else b"0\r\n\r\n"
            connection.send(call, head + data, head_only, None)
            return True
        connection.send(call, head, head_only, exchange.content_length is None)
        body.pipe(connection)
        return False


def http_head(exchange: Exchange, target: HttpTarget, served: Served, signed: bool) -> bytes:
    """The head of an HTTP call, as the function sees it."""
    # The host it was routed by: a target that names one overrules the header (RFC 9112 §3.2.2).
    parts = [exchange.method, b" ", target.path, b" HTTP/1.1\r\nHost: ", exchange.host, b"\r\n"]
    named = exchange.connection_names
    if exchange.passed is not None and not signed:
        parts.append(exchange.passed)
    else:
        for lower, name, value in exchange.headers:
            if to_function(lower) and lower not in named and not (signed and lower == b"authorization"):
                parts += (name, b": ", value, b"\r\n")
    peer, node = exchange.client.peer, exchange.client.node
    parts += (
        served.http_lines,
        b"X-Fc-Request-Id: ", exchange.request.encode(),
        b"\r\nX-Fc-Client-Ip: ", peer,
        b"\r\nX-Fc-Base-Path: ", target.base_path,
        b"\r\n", exchange.trace_lines,
        b"X-Forwarded-For: ", exchange.forwarded_for, peer,
        b"\r\nForwarded: ", exchange.forwarded, b"for=", node, b";host=\"", exchange.host,
    )  # fmt: skip
    if exchange.proto_told:
        parts.append(_TOLD_HTTPS if exchange.secure else _TOLD_HTTP)
    else:
        parts.append(_HTTPS if exchange.secure else _HTTP)
    if not exchange.host_told:
        parts += (b"X-Forwarded-Host: ", exchange.host, b"\r\n")
    _end_head(parts, exchange)
    return b"".join(parts)


def event_head(exchange: Exchange, served: Served, instance: Instance, length: int) -> bytes:
    """The head of an event call. Source: container-contract.md A2: none of the caller's headers but the trace's."""
    grant = instance.grant
    host = f"[{grant.host}]" if ":" in grant.host else grant.host
    parts = [
        b"POST /invoke HTTP/1.1\r\nHost: ", host.encode(), b":%d" % grant.port,
        b"\r\nContent-Type: application/octet-stream\r\n",
        served.event_lines,
        b"X-Fc-Request-Id: ", exchange.request.encode(),
        b"\r\n", exchange.trace_lines,
        b"Content-Length: %d\r\n\r\n" % length,
    ]  # fmt: skip
    return b"".join(parts)


def _end_head(parts: list[bytes], exchange: Exchange) -> None:
    if exchange.upgrade:
        parts += (b"Connection: Upgrade\r\nUpgrade: ", exchange.upgrade, b"\r\n\r\n")
    elif exchange.content_length is not None:
        parts.append(b"Content-Length: %d\r\n\r\n" % exchange.content_length)
    elif exchange.body is not None:
        parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
    else:
        parts.append(b"\r\n")
