"""The collector's answers to the API, which has checked who asks: over a Unix socket, errors as the API's."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from sampan.model.errors import PathNotSupported, SampanError
from sampan.model.names import new_request_id
from sampan.telemetry.logs import Log
from sampan.wire import errors

log = Log("collector")


def app(routes: Sequence[BaseRoute]) -> Starlette:
    return Starlette(
        routes=list(routes),
        exception_handlers={404: _unroutable, 405: _unroutable, SampanError: _refused, Exception: _refused},
    )


async def _refused(request: Request, error: Exception) -> Response:
    request_id = new_request_id()
    if not isinstance(error, SampanError):
        log.failure("request failed", error, request=request_id, path=request.url.path)
    status, _, body = errors.answer(error, request_id)
    return Response(body, status, dict(errors.extra_headers(error)), media_type="application/json")


async def _unroutable(request: Request, error: Exception) -> Response:
    return await _refused(request, PathNotSupported(request.method, request.url.path))
