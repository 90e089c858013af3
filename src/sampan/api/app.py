"""The API's front door: who calls, what for, and the answer.

Order matters. The signature's headers are checked before a byte of the body is read, so nobody without a key can
make us hold one; the body's hash, which the signature covers, is checked when it has arrived.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import parse_qsl, unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from sampan.api import describe, domains, functions, instances, limits, passing, tags, triggers, versions
from sampan.api.call import Call, Instances, Passed, Platform, Reply, Shifts, Status, Telemetry
from sampan.catalog.catalog import Catalog
from sampan.model.errors import (
    CallerMistake,
    CollectorAway,
    EntityTooLarge,
    NotSupported,
    PathNotSupported,
    SampanError,
    SignatureMismatch,
)
from sampan.model.names import new_request_id
from sampan.settings import Settings
from sampan.telemetry.logs import Log
from sampan.wire import errors, operations, shapes, signature

MAX_BODY = 8 << 20  # bytes; far above any configuration FC allows
BODY_TIMEOUT = 30.0  # seconds for a whole body to arrive
TOLD = 5.0  # seconds a change may take to reach the gateways before its call is answered all the same
OWN = "/sampan/v1/"

Endpoint = Callable[[Call], Awaitable[Reply]]

ENDPOINTS: dict[str, Endpoint] = {
    "CreateFunction": functions.create,
    "GetFunction": functions.get,
    "UpdateFunction": functions.update,
    "DeleteFunction": functions.delete,
    "ListFunctions": functions.list_,
    "GetFunctionCode": functions.code,
    "DisableFunctionInvocation": functions.disable,
    "EnableFunctionInvocation": functions.enable,
    "PublishFunctionVersion": versions.publish,
    "ListFunctionVersions": versions.list_versions,
    "DeleteFunctionVersion": versions.delete_version,
    "CreateAlias": versions.create_alias,
    "GetAlias": versions.get_alias,
    "UpdateAlias": versions.update_alias,
    "DeleteAlias": versions.delete_alias,
    "ListAliases": versions.list_aliases,
    "CreateTrigger": triggers.create,
    "GetTrigger": triggers.get,
    "UpdateTrigger": triggers.update,
    "DeleteTrigger": triggers.delete,
    "ListTriggers": triggers.list_,
    "PutConcurrencyConfig": limits.put_concurrency,
    "GetConcurrencyConfig": limits.get_concurrency,
    "DeleteConcurrencyConfig": limits.delete_concurrency,
    "ListConcurrencyConfigs": limits.list_concurrency,
    "PutProvisionConfig": limits.put_provision,
    "GetProvisionConfig": limits.get_provision,
    "DeleteProvisionConfig": limits.delete_provision,
    "ListProvisionConfigs": limits.list_provision,
    "PutScalingConfig": limits.put_scaling,
    "GetScalingConfig": limits.get_scaling,
    "DeleteScalingConfig": limits.delete_scaling,
    "ListScalingConfigs": limits.list_scaling,
    "ListInstances": instances.list_,
    "CreateCustomDomain": domains.create,
    "GetCustomDomain": domains.get,
    "UpdateCustomDomain": domains.update,
    "DeleteCustomDomain": domains.delete,
    "ListCustomDomains": domains.list_,
    "TagResources": tags.put,
    "UntagResources": tags.remove,
    "ListTagResources": tags.list_,
    "DescribeRegions": tags.regions,
}

# Ours, all GET: segments behind OWN → endpoint.
NAME = "{functionName}"
OWN_ENDPOINTS: dict[tuple[str, ...], Endpoint] = {
    ("functions", NAME): describe.describe,
    ("functions", NAME, "logs"): passing.logs,
    ("status",): describe.status,
    ("images",): describe.images,
    ("traces",): passing.ask,
    ("traces", NAME): passing.ask,
    ("usage",): passing.ask,
    ("invocations",): passing.ask,
    ("metrics",): passing.ask,
    ("history",): passing.ask,
    ("now",): passing.ask,
}

log = Log("api")


def app(
    catalog: Catalog,
    instances: Instances,
    shifts: Shifts,
    collector: Telemetry,
    status: Status,
    settings: Settings,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The API as an ASGI application. Access keys are the catalog's. clock: Unix seconds."""
    api = Api(Platform(catalog, instances, shifts, collector, status, settings), clock)
    return Starlette(routes=[Mount("/", api)], exception_handlers={404: _unroutable})


class Api:
    """Answers every request, one way or another, with a request id."""

    def __init__(self, platform: Platform, clock: Callable[[], float]) -> None:
        self._platform = platform
        self._clock = clock
        self._nonces = signature.Nonces()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request, request_id = Request(scope, receive), new_request_id()
        try:
            reply = await self._answer(request, request_id)
            response = _response(reply, request_id)
        except ClientDisconnect:
            return
        except Exception as error:
            if not isinstance(error, SampanError):
                log.failure("request failed", error, request=request_id)
            response = _refusal(error, request_id)
        try:
            await response(scope, receive, send)
        except CollectorAway:  # an answer that was not completed is broken off by the server
            log.warning("the collector ended in the middle of an answer", request=request_id)

    async def _answer(self, request: Request, request_id: str) -> Reply:
        raw_path = request.scope["raw_path"].decode("latin-1")
        raw_query = request.scope["query_string"].decode("latin-1")
        digest = await self._authenticate(request, raw_path, raw_query)
        endpoint, params = match(request.method, raw_path)
        body = await _body(request)
        if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), digest.encode("latin-1")):
            raise SignatureMismatch
        query = dict(reversed(parse_qsl(raw_query, keep_blank_values=True)))  # the first of a name counts
        target = _own_target(raw_path, raw_query)
        accept = request.headers.get("accept", "")
        reply = await endpoint(Call(self._platform, request_id, params, query, body, target, accept))
        await self._told()
        return reply

    async def _told(self) -> None:
        """Who changed something, or reads that it has changed, finds it so when calling."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD):
                await self._platform.shifts.caught_up()

    async def _authenticate(self, request: Request, raw_path: str, raw_query: str) -> str:
        """The body's hash, as signed."""
        access = self._platform.catalog.access
        await access.all()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        target = f"{raw_path}?{raw_query}" if raw_query else raw_path
        signature.verify(request.method, target, headers, access.find, self._clock(), self._nonces, None)
        return request.headers["x-acs-content-sha256"]


def match(method: str, raw_path: str) -> tuple[Endpoint, dict[str, str]]:
    """What answers a path, and the path's parameters. Raises: PathNotSupported, NotSupported."""
    if not raw_path.startswith(OWN):
        operation, params = operations.match(method, raw_path)
        if operation.name not in ENDPOINTS:  # InvokeFunction is the gateway's
            raise NotSupported(operation.name)
        return ENDPOINTS[operation.name], params
    given = raw_path[len(OWN) :].split("/")
    for segments, endpoint in OWN_ENDPOINTS.items():
        if method == "GET" and len(given) == len(segments):
            at = segments.index(NAME) if NAME in segments else None
            if all(part if index == at else part == segments[index] for index, part in enumerate(given)):
                return endpoint, {} if at is None else {"functionName": unquote(given[at])}
    raise PathNotSupported(method, raw_path)


def _own_target(raw_path: str, raw_query: str) -> str:
    """Path and query behind our own prefix."""
    path = raw_path.removeprefix(OWN[:-1])
    return f"{path}?{raw_query}" if raw_query else path


async def _body(request: Request) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAX_BODY:
        raise EntityTooLarge(MAX_BODY)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise EntityTooLarge(MAX_BODY)
    except TimeoutError:
        raise CallerMistake(f"the body did not arrive within {BODY_TIMEOUT:g} seconds") from None
    return bytes(body)


def _response(reply: Reply, request_id: str) -> Response:
    headers = {"x-fc-request-id": request_id}
    match reply:
        case None:
            return Response(status_code=204, headers=headers)
        case Passed(status, more, pieces):
            return StreamingResponse(pieces, status, headers | more)
        case _:
            return Response(shapes.write(reply), media_type="application/json", headers=headers)


def _refusal(error: Exception, request_id: str) -> Response:
    status, _, body = errors.answer(error, request_id)
    headers = {"x-fc-request-id": request_id, **dict(errors.extra_headers(error))}
    if isinstance(error, EntityTooLarge):
        headers["connection"] = "close"  # the rest of the body is not read
    return Response(body, status, headers, media_type="application/json")


async def _unroutable(request: Request, error: Exception) -> Response:
    """A path that the router's pattern does not take: one with a line break in it."""
    return _refusal(PathNotSupported(request.method, request.scope["raw_path"].decode("latin-1")), new_request_id())
