"""A web application as one writes it anyway: WSGI on waitress, four threads. It imports nothing of Sampan.

GET  /            who answered: version, instance, how many requests so far
GET  /slow?ms=N   the same after N milliseconds, to see scale-out
GET  /headers     the request headers as received
GET  /env         the environment, names only
POST /invoke      an event call: returns the event, so that a caller sees what arrived
POST /initialize  called once before the first request, when the function asks for it
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from waitress import serve

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

VERSION = Path(__file__).with_name("VERSION").read_text().strip()
INSTANCE = os.environ.get("FC_INSTANCE_ID", socket.gethostname())
REQUESTS = count(1)


def hello(environ: Environ) -> dict[str, Any]:
    return {"hello": "from Python", "version": VERSION, "instance": INSTANCE, "request": next(REQUESTS)}


def slow(environ: Environ) -> dict[str, Any]:
    time.sleep(int(parse_qs(environ["QUERY_STRING"]).get("ms", ["100"])[0]) / 1000)
    return hello(environ)


def headers(environ: Environ) -> dict[str, Any]:
    return {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}


def env(environ: Environ) -> list[str]:
    return sorted(os.environ)


def invoke(environ: Environ) -> dict[str, Any]:
    event = environ["wsgi.input"].read().decode(errors="replace")
    print(f"event of {len(event)} characters")
    return {"event": event, "version": VERSION, "request_id": environ.get("HTTP_X_FC_REQUEST_ID", "")}


def initialize(environ: Environ) -> dict[str, Any]:
    print(f"initialised version {VERSION}")
    return {"initialized": True}


ROUTES: dict[str, Callable[[Environ], object]] = {
    "/": hello,
    "/slow": slow,
    "/headers": headers,
    "/env": env,
    "/invoke": invoke,
    "/initialize": initialize,
}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI entry point."""
    route = ROUTES.get(environ["PATH_INFO"])
    status, answer = ("200 OK", route(environ)) if route else ("404 Not Found", {"error": "no such path"})
    body = json.dumps(answer).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    print(f"hello-python {VERSION} listens")
    serve(application, host="0.0.0.0", port=int(os.environ.get("FC_CUSTOM_LISTEN_PORT", "8000")), _quiet=True)
