"""For orientation: a reverse proxy as one would write it on aiohttp.

python -m bench.gateway.aiohttp_proxy PORT BACKEND-PORT
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
BACKEND: web.AppKey[str] = web.AppKey("backend", str)
SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
    body = request.content if request.body_exists else None
    url = request.app[BACKEND] + request.raw_path
    async with request.app[SESSION].request(request.method, url, headers=headers, data=body) as answer:
        told = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
        response = web.StreamResponse(status=answer.status, headers=told)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def connections(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as app[SESSION]:
        yield


def main(port: str, backend: str) -> None:
    app = web.Application(client_max_size=1 << 40)
    app[BACKEND] = f"http://127.0.0.1:{backend}"
    app.cleanup_ctx.append(connections)
    app.router.add_route("*", "/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(port), loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
