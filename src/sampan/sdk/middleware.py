"""`trace_context` for a whole web application, so that no handler has to name it.

    app = asgi(app)                    # Starlette, FastAPI, Quart …
    app.wsgi_app = wsgi(app.wsgi_app)  # Flask; for Django wrap what `get_wsgi_application` returns

With OpenTelemetry's instrumentation of the framework this is not needed.
"""

import contextvars
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from sampan.sdk.propagation import Headers, adopt, trace_context

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[Any]]], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def asgi(app: AsgiApp) -> AsgiApp:
    """Each request and WebSocket is answered within its own trace. Source: ASGI 3.0."""

    async def traced(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        pairs = scope.get("headers") or ()
        with trace_context([(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]):
            await app(scope, receive, send)

    return traced


def wsgi(app: WsgiApp) -> WsgiApp:
    """Each request is answered within its own trace, and so is what yields a streamed body. Source: PEP 3333."""

    def traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        context = contextvars.copy_context()
        body = context.run(_answer, app, environ, start_response)
        file = environ.get("wsgi.file_wrapper")
        whole = isinstance(body, (list, tuple)) or (isinstance(file, type) and isinstance(body, file))
        return body if whole else _Body(body, context)  # servers look at the type of those that are whole

    return traced


def _answer(app: WsgiApp, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    adopt(_headers(environ))  # until the end of the context that this is run in
    return app(environ, start_response)


def _headers(environ: dict[str, Any]) -> Headers:
    return [
        (name[5:].replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    ]


class _Body:
    """Yields each part within the request's context."""

    def __init__(self, parts: Iterable[bytes], context: contextvars.Context) -> None:
        self._parts, self._context = parts, context
        self._iterator: Iterator[bytes] = context.run(iter, parts)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._iterator)

    def close(self) -> None:
        if close := getattr(self._parts, "close", None):
            self._context.run(close)
