"""The port for other people's tools: Jaeger's query API and the page for Prometheus, for who has an access key.

HTTP Basic authentication (RFC 7617), the key's id as the user and its secret as the password: what Grafana,
Prometheus and curl can all be told.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from sampan.model.access import AccessKey

_HOW = (
    "This asks for an access key by HTTP Basic authentication: the key's id is the user, its secret the password.\n"
    "`sampan config` says where the platform's own key is kept.\n"
)


_WHAT = (
    "Here are Jaeger's query API, below /api, for Grafana and Jaeger's UI, and /metrics for Prometheus; no pages.\n"
    "On a terminal: `sampan traces`, `sampan top`.\n"
)


def app(routes: Sequence[BaseRoute], key: Callable[[str], AccessKey | None]) -> ASGIApp:
    """key: by its id."""
    return _Guarded(Starlette(routes=list(routes), exception_handlers={404: _nothing}), key)


async def _nothing(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(_WHAT, 404)


class _Guarded:
    def __init__(self, inner: ASGIApp, key: Callable[[str], AccessKey | None]) -> None:
        self._inner, self._key = inner, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._admits(HTTPConnection(scope).headers.get("authorization", "")):
            challenge = {"www-authenticate": 'Basic realm="sampan", charset="UTF-8"'}
            await PlainTextResponse(_HOW, 401, challenge)(scope, receive, send)
            return
        await self._inner(scope, receive, send)

    def _admits(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        key = self._key(user)
        return key is not None and hmac.compare_digest(key.secret.encode(), password.encode())
