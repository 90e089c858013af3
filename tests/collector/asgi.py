"""Asks an ASGI application without a network, and may stop listening in the middle of an answer."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sampan.model.errors import SampanError
from sampan.wire import errors


class Answered:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""


def application(routes: Iterable[Route]) -> Starlette:
    """As the collector serves its parts."""

    async def refuse(request: Request, error: Exception) -> Response:
        status, _, body = errors.answer(error, "1-test")
        return Response(body, status, media_type="application/json")

    return Starlette(routes=list(routes), exception_handlers={SampanError: refuse})


async def get(app: Starlette, target: str, headers: dict[str, str] | None = None, lines: int = 0) -> Answered:
    """lines: go away after so many; 0: read the answer to its end."""
    path, _, query = target.partition("?")
    answered, left = Answered(), asyncio.Event()
    asked = [False]

    async def receive() -> dict[str, Any]:
        if not asked[0]:
            asked[0] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answered.body += message.get("body", b"")
            if lines and answered.body.count(b"\n") >= lines:
                left.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return answered
