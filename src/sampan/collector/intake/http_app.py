"""What is answered over HTTP, on every port alike: Jaeger's collector and its sampling, OTLP, Zipkin.

Source: tracing-contract.md §5.4, §5.5.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sampan.collector.intake.answers import SIGNALS, Otlp, Signal, error_status
from sampan.collector.intake.bodies import Decoding, body_of
from sampan.collector.intake.judge import MESSAGE_COST, Judge, Reason
from sampan.collector.senders import Sender
from sampan.model.errors import Malformed, SampanError
from sampan.wire.errors import answer, extra_headers, message_of
from sampan.wire.jaeger import CONTENT_TYPES, decode_batch
from sampan.wire.otlp import JSON, PROTOBUF
from sampan.wire.otlp_logs import is_json
from sampan.wire.span_limits import Decoded
from sampan.wire.zipkin import decode_v1, decode_v2

Endpoint = Callable[[Request, Sender], Awaitable[Response]]
_MAX_SERVICE = 256  # characters of a service's name


def app(judge: Judge, decoding: Decoding, otlp: Otlp, sampling: Callable[[str], float]) -> Starlette:
    """sampling: the share of a function's or a service's traces that is to be kept."""
    doors = _Doors(judge, decoding, otlp, sampling)
    strategy = partial(doors.strategy, old=False)
    posts: dict[str, Endpoint] = {
        "/api/traces": doors.jaeger,
        "/api/v2/spans": partial(doors.zipkin, decode=decode_v2),
        "/api/v1/spans": partial(doors.zipkin, decode=decode_v1),
    }
    gets: dict[str, Endpoint] = {
        "/sampling": strategy,
        "/api/sampling": strategy,
        "/": partial(doors.strategy, old=True),
    }
    routes = [Route(path, doors.plain(endpoint), methods=["POST"]) for path, endpoint in posts.items()]
    routes += [Route(path, doors.plain(endpoint), methods=["GET"]) for path, endpoint in gets.items()]
    routes += [Route(signal.path, doors.otlp(signal), methods=["POST"]) for signal in SIGNALS]
    return Starlette(routes=routes)


class _Doors:
    def __init__(self, judge: Judge, decoding: Decoding, otlp: Otlp, sampling: Callable[[str], float]) -> None:
        self._judge, self._decoding, self._otlp, self._sampling = judge, decoding, otlp, sampling

    # ── errors, as each client reads them ──

    def plain(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """Errors are text."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request, self._judge.sender(_address(request)))
            except SampanError as error:
                return PlainTextResponse(f"{message_of(error)}\n", *_head(error))
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it

        return answered

    def otlp(self, signal: Signal) -> Callable[[Request], Awaitable[Response]]:
        """Errors are a google.rpc.Status, in the request's encoding."""

        async def answered(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            json = is_json(content_type)
            media = JSON if json else PROTOBUF
            try:
                sender = self._judge.sender(_address(request))
                self._judge.check_bytes(sender)
                async with body_of(request, self._judge, sender) as body:
                    told = await self._otlp.export(signal, sender, body, content_type)
                return Response(told, media_type=media)
            except SampanError as error:
                return Response(error_status(error, json), *_head(error), media_type=media)
            except ClientDisconnect:
                return Response(status_code=400)

        return answered

    # ── endpoints ──

    async def jaeger(self, request: Request, sender: Sender) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in CONTENT_TYPES:
            raise Malformed("jaeger", f"content type {kind[:100]!r} is not taken; send {CONTENT_TYPES[0]}")
        return await self._spans(request, sender, decode_batch)

    async def zipkin(self, request: Request, sender: Sender, decode: Callable[[bytes], Decoded]) -> Response:
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind != JSON:
            raise Malformed("zipkin", f"content type {kind[:100]!r} is not taken; send {JSON}")
        return await self._spans(request, sender, decode)

    async def _spans(self, request: Request, sender: Sender, decode: Callable[[bytes], Decoded]) -> Response:
        self._judge.check_bytes(sender)
        async with body_of(request, self._judge, sender) as body:
            try:
                decoded = await self._decoding(sender, decode, body)
            except Malformed:
                self._judge.drop(sender, Reason.MALFORMED)
                raise
            self._judge.take_spans(sender, decoded)
        return Response(status_code=202)

    async def strategy(self, request: Request, sender: Sender, old: bool) -> Response:
        """old: as agents answered at `/`, with the number of the enum."""
        self._judge.check_bytes(sender)
        self._judge.charge(sender, MESSAGE_COST)
        service = request.query_params.get("service", "")[:_MAX_SERVICE]
        ratio = min(max(self._sampling(sender.function or service), 0.0), 1.0)
        kind = 0 if old else "PROBABILISTIC"
        return JSONResponse({"strategyType": kind, "probabilisticSampling": {"samplingRate": ratio}})


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _head(error: SampanError) -> tuple[int, dict[str, str]]:
    """The rest of a body that was not read is not waited for."""
    status, _, _ = answer(error, "")
    return status, {**dict(extra_headers(error)), "connection": "close"}
