"""`sampan.sdk`: a span for every sending of a call, blocking or awaited, so a repeated call has several.

What is signed is `host`, `content-type` and `x-acs-*`, so the context can join a signed request.
Source: function-compute-api.md §2.2. A followed log's span ends when its answer begins.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import httpx
from opentelemetry import trace

from sampan.sdk.exchange import Attempt
from sampan.sdk.instrumentation.library import Library, Patches
from sampan.sdk.instrumentation.spans import CallSpan, calling, invoked, name, requested


class SampanInstrumentor(Library):
    """Instruments `Client` and `AsyncClient`, those that are open already as well."""

    package = "sampan"
    module = "sampan.sdk.senders"
    requirements = ()

    def patch(self, module: ModuleType, tracer: trace.Tracer, patches: Patches) -> None:
        def blocking(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
            @functools.wraps(send)
            def attempt(sender: object, attempt: Attempt, stream: bool) -> httpx.Response:
                with _span(tracer, attempt) as span:
                    response = send(sender, attempt, stream)
                    span.answered(response.status_code, response.headers)
                    return response

            return attempt

        def awaiting(send: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(send)
            async def attempt(sender: object, attempt: Attempt, stream: bool) -> httpx.Response:
                with _span(tracer, attempt) as span:
                    response: httpx.Response = await send(sender, attempt, stream)
                    span.answered(response.status_code, response.headers)
                    return response

            return attempt

        patches.wrap(module.Blocking, "_attempt", blocking)
        patches.wrap(module.Awaiting, "_attempt", awaiting)


def _span(tracer: trace.Tracer, attempt: Attempt) -> AbstractContextManager[CallSpan]:
    request = attempt.request
    attributes = invoked(attempt.function, attempt.region, request.url.host)
    attributes |= requested(request.method, str(request.url), attempt.number - 1)
    return calling(tracer, name(attempt.action, attempt.function), attributes, request.headers)
