"""A server on loopback that checks every signature as the platform does, and answers by a script."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from sampan.model.access import AccessKey
from sampan.wire.signature import Nonces, verify, verify_trigger

KEY = AccessKey("test-key", "test-secret", "1")


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Answer:
    body = {"Code": code, "Message": message, "RequestId": "1-refused"}
    return Answer(status, body, {"x-fc-request-id": "1-refused", **headers})


Script = Answer | list[Answer] | Callable[[Asked], Answer]


class Loopback:
    """`script[("GET", "/2023-03-30/functions")] = Answer(...)`; a list is used up, its last entry stays."""

    def __init__(self) -> None:
        self.script: dict[tuple[str, str], Script] = {}
        self.asked: list[Asked] = []
        self.url = ""
        self._nonces = Nonces()

    def answer(self, asked: Asked, target: str, headers: list[tuple[str, str]]) -> Answer:
        self.check(asked, target, headers)
        self.asked.append(asked)
        planned = self.script.get((asked.method, asked.path))
        if planned is None:
            return refusal(404, "ResourceNotFound", f"nothing scripted for {asked.method} {asked.path}")
        if isinstance(planned, list):
            return planned.pop(0) if len(planned) > 1 else planned[0]
        return planned if isinstance(planned, Answer) else planned(asked)

    def check(self, asked: Asked, target: str, headers: list[tuple[str, str]]) -> None:
        """Raises what is wrong with the signature."""
        keys = {KEY.id: KEY}
        if asked.path.startswith("/fn/"):
            verify_trigger(asked.method, target, headers, keys.get, time.time())
        else:
            digest = sha256(asked.body).hexdigest()
            verify(asked.method, target, headers, keys.get, time.time(), self._nonces, digest)

    def requests(self, method: str, path: str) -> list[Asked]:
        return [each for each in self.asked if (each.method, each.path) == (method, path)]


@contextmanager
def loopback(kind: type[Loopback] = Loopback) -> Iterator[Loopback]:
    """Serves until the block ends."""
    server = kind()

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path, _, query = self.path.partition("?")
            headers = [(name.lower(), value) for name, value in self.headers.items()]
            asked = Asked(self.command, path, dict(parse_qsl(query)), dict(headers), body)
            try:
                answer = server.answer(asked, self.path, headers)
            except Exception as error:
                answer = refusal(403, type(error).__name__, str(error))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = serve

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    listener.daemon_threads = True
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(10)


def function(name: str = "web", **changed: object) -> dict[str, object]:
    """A function as the API shows it."""
    return {
        "functionName": name,
        "functionArn": f"acs:fc:local:1:functions/{name}",
        "functionId": "id",
        "runtime": "custom-container",
        "handler": "index.handler",
        "cpu": 0.35,
        "memorySize": 512,
        "diskSize": 512,
        "timeout": 3,
        "instanceConcurrency": 1,
        "internetAccess": True,
        "createdTime": "2026-01-02T03:04:05Z",
        "lastModifiedTime": "2026-01-02T03:04:05Z",
        "customContainerConfig": {"image": "localhost:5000/web:1", "port": 8080},
        "state": "Active",
        "lastUpdateStatus": "Successful",
        **changed,
    }
