"""`alibabacloud_fc20230330`, the vendor's client of FC 3.0: a span for every sending of each of its operations.

The client names the operation in `call_api` or `execute`; what is sent leaves through `do_action` of the core that
`alibabacloud_tea_openapi` builds on, signed, once per attempt. The core is shared with the vendor's other clients,
whose requests pass untouched. All headers that are there are signed, so those of a trace that the caller wrote are
held back until after that.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from opentelemetry import trace

from sampan.sdk.instrumentation.library import Library, Patches
from sampan.sdk.instrumentation.spans import CallSpan, calling, invoked, name, requested
from sampan.sdk.propagation import TRACE_HEADERS

_INVOCATION = re.compile(r"/2023-03-30/functions/([^/]+)/invocations")


@dataclass(slots=True)
class _Operation:
    """The one that is being carried out."""

    action: str
    path: str
    region: str
    trace: dict[str, str]  # headers held back
    attempts: int = 0

    @property
    def function(self) -> str:
        found = _INVOCATION.fullmatch(self.path)
        return unquote(found[1]) if found else ""


_current: ContextVar[_Operation | None] = ContextVar("sampan_fc3_operation", default=None)


class Fc3Instrumentor(Library):
    """Instruments every `Client` of the library, blocking and async."""

    package = "alibabacloud_fc20230330"
    module = "alibabacloud_fc20230330.client"
    requirements = ("alibabacloud-fc20230330 >= 4.0, < 5",)

    def patch(self, module: ModuleType, tracer: trace.Tracer, patches: Patches) -> None:
        base = sys.modules[module.OpenApiClient.__module__]
        core = getattr(base, "DaraCore", None) or base.TeaCore  # the latter until alibabacloud-tea-openapi 0.4

        def do_action(send: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(send)
            def action(request: Any, *args: Any, **kwargs: Any) -> Any:
                if (operation := _sends(request)) is None:
                    return send(request, *args, **kwargs)
                with _span(tracer, operation, core, request) as span:
                    response = send(request, *args, **kwargs)
                    span.answered(response.status_code, response.headers)
                    return response

            return action

        def async_do_action(send: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(send)
            async def action(request: Any, *args: Any, **kwargs: Any) -> Any:
                if (operation := _sends(request)) is None:
                    return await send(request, *args, **kwargs)
                with _span(tracer, operation, core, request) as span:
                    response = await send(request, *args, **kwargs)
                    span.answered(response.status_code, response.headers)
                    return response

            return action

        for method in ("call_api", "execute"):
            patches.wrap(module.Client, method, _operation)
            patches.wrap(module.Client, f"{method}_async", _async_operation)
        patches.wrap(core, "do_action", do_action)
        patches.wrap(core, "async_do_action", async_do_action)


def _operation(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def operation(client: Any, params: Any, request: Any, runtime: Any) -> Any:
        with _carrying_out(client, params, request):
            return call(client, params, request, runtime)

    return operation


def _async_operation(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def operation(client: Any, params: Any, request: Any, runtime: Any) -> Any:
        with _carrying_out(client, params, request):
            return await call(client, params, request, runtime)

    return operation


@contextmanager
def _carrying_out(client: Any, params: Any, request: Any) -> Iterator[None]:
    current = _current.get()
    if current is not None and current.path == params.pathname:  # `call_api` has handed it to `execute`
        yield
        return
    given: dict[str, str] = request.headers or {}
    held = {key: value for key, value in given.items() if value and key.lower() in TRACE_HEADERS}
    if held:  # the mapping is the caller's, so another takes its place
        request.headers = {key: value for key, value in given.items() if key not in held}
    token = _current.set(_Operation(params.action, params.pathname, client._region_id or "", held))
    try:
        yield
    finally:
        _current.reset(token)


def _sends(request: Any) -> _Operation | None:
    """The operation that this request is of; None: it fetches credentials, or is no business of ours."""
    operation = _current.get()
    return operation if operation is not None and operation.path == request.pathname else None


@contextmanager
def _span(tracer: trace.Tracer, operation: _Operation, core: Any, request: Any) -> Iterator[CallSpan]:
    try:
        url: str = core.compose_url(request)
    except Exception:  # no endpoint; sending it will say so
        url = ""
    attributes = requested(request.method, url, operation.attempts)
    attributes |= invoked(operation.function, operation.region, str(attributes.get("server.address", "")))
    operation.attempts += 1
    carried = dict(operation.trace)
    with calling(tracer, name(operation.action, operation.function), attributes, carried) as span:
        signed = {key.lower() for key in request.headers}
        request.headers.update({key: value for key, value in carried.items() if key.lower() not in signed})
        yield span
