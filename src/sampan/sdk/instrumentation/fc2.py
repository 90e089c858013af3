"""`aliyun-fc2` (module `fc2`), the vendor's client of FC 2.0: a span for every method that sends a request.

`x-fc-*` headers are signed (Source: function-compute-2-api.md §2), so the context is added before
`_build_common_headers` signs; it is written in FC's own form as well, the only one that 2.0 documents. The library
repeats a request by itself, with the same headers: one span, which counts the repetitions.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled

from sampan.sdk.instrumentation.library import Library, Patches
from sampan.sdk.instrumentation.spans import CallSpan, calling, carry, invoked, name, requested

INVOKES = frozenset(("invoke_function", "do_http_request"))
OTHERS = frozenset(("websocket", "instance_exec"))  # they open a WebSocket, which the caller lets run

_current: ContextVar[CallSpan | None] = ContextVar("sampan_fc2_call", default=None)


class Fc2Instrumentor(Library):
    """Instruments every `fc2.Client`."""

    package = "fc2"
    module = "fc2.client"
    requirements = ("aliyun-fc2 >= 2.2, < 3",)

    def patch(self, module: ModuleType, tracer: trace.Tracer, patches: Patches) -> None:
        for method, found in list(vars(module.Client).items()):
            if inspect.isfunction(found) and not method.startswith("_") and method not in OTHERS:
                patches.wrap(module.Client, method, functools.partial(_method, tracer))
        patches.wrap(module.Client, "_build_common_headers", _build_common_headers)
        patches.wrap(module, "requestWithTry", _request)


def _method(tracer: trace.Tracer, call: Callable[..., Any]) -> Callable[..., Any]:
    operation = "".join(part.capitalize() for part in call.__name__.split("_"))
    shape = inspect.signature(call)

    @functools.wraps(call)
    def method(client: Any, *args: Any, **kwargs: Any) -> Any:
        given = _arguments(shape, client, args, kwargs)
        if given is None or not is_http_instrumentation_enabled():
            return call(client, *args, **kwargs)
        function = _function(given) if call.__name__ in INVOKES else ""
        attributes = invoked(function, "", client.host.partition(":")[0])
        with calling(tracer, name(operation, function), attributes, dict(given.get("headers") or {})) as span:
            token = _current.set(span)
            try:
                return call(client, *args, **kwargs)
            finally:
                _current.reset(token)

    return method


def _arguments(
    shape: inspect.Signature, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """By name; None when they do not fit, as the call itself will say."""
    try:
        return shape.bind(client, *args, **kwargs).arguments
    except TypeError:
        return None


def _function(given: Mapping[str, Any]) -> str:
    """As the platform names it: the service without its qualifier, then the function.

    Source: function-compute-2-api.md §7.
    """
    return f"{str(given['serviceName']).partition('.')[0]}${given['functionName']}"


def _build_common_headers(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def built(
        client: Any,
        method: str,
        path: str,
        customHeaders: Mapping[str, str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        headers = dict(customHeaders or {})
        if _current.get() is not None:
            carry(headers, fc=True)
        return build(client, method, path, headers, *args, **kwargs)

    return built


def _request(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def request(method: str, url: str, **kwargs: Any) -> Any:
        if (span := _current.get()) is None:
            return send(method, url, **kwargs)
        span.sends(requested(method.upper(), url))
        response = send(method, url, **kwargs)
        span.answered(response.status_code, response.headers, _resends(response))
        return response

    return request


def _resends(response: Any) -> int:
    """Source: urllib3, `Retry.history`."""
    return len(getattr(getattr(response.raw, "retries", None), "history", ()))
