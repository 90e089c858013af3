"""A gateway that serves is killed: whatever call was answered is among the records that are left."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.link.journal import leftovers
from sampan.link.messages import Hello
from sampan.wire import signature
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import KEY, Client
from tests.link.memory import in_memory

CLIENTS = 8

CHILD = """
import asyncio, socket, sys
from pathlib import Path
import uvloop
from sampan.gateway.server import Gateway
from sampan.settings import Gateway as Settings

async def main():
    run = Path(sys.argv[2])
    gateway = Gateway(
        Settings(), run / "control.sock", run / "api.sock", "g2", [socket.socket(fileno=int(sys.argv[1]))],
        reports_socket=run / "reports.sock", journals=Path(sys.argv[3]),
    )
    await gateway.learn()
    await gateway.start()
    await asyncio.Event().wait()

uvloop.run(main())
"""


BODY = bytes(100_000)  # is sent at once, not at the end of the loop's turn


def signed() -> bytes:
    """InvokeFunction."""
    target, nonce = "/2023-03-30/functions/web/invocations", f"nonce-{time.monotonic_ns()}"
    lines = signature.sign(KEY, "POST", target, {"host": "localhost"}, BODY, time.time(), nonce)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target} HTTP/1.1\r\n{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@pytest.fixture
def journals() -> Iterator[Path]:
    with in_memory() as directory:
        yield directory


@pytest.mark.parametrize("turn", range(4))
async def test_every_call_that_was_answered_before_a_kill_is_recorded(
    stage: MakeStage, journals: Path, turn: int
) -> None:
    s = await stage()
    function = await s.serve(slots=CLIENTS)
    door = socket.create_server(("127.0.0.1", 0))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(door.fileno()), str(s.directory), str(journals), pass_fds=(door.fileno(),)
    )
    await s.until(lambda: "g2" in {hello.gateway for hello in s.said(Hello)})
    (version,) = s.gateway.routes.versions()
    s.grant(version.key, function, CLIENTS)
    answered: list[str] = []

    async def ask(event: bool) -> None:
        host, port = door.getsockname()[:2]
        client = Client(*await asyncio.open_connection(host, port))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                if event:
                    client.send(signed())
                    answer = await client.answer()
                else:
                    answer = await client.call("GET", "/")
                assert answer.line.endswith("200 OK")
                answered.append(answer["x-fc-request-id"])
        client.writer.close()

    asking = [asyncio.ensure_future(ask(event=bool(n % 2))) for n in range(CLIENTS)]
    enough = random.Random(turn).randrange(100, 600)
    try:
        await s.until(lambda: len(answered) >= enough)
    finally:
        os.kill(child.pid, signal.SIGKILL)
    await asyncio.gather(*asking)
    await child.wait()
    door.close()

    recorded = {record.request for record in s.records()}
    for left in leftovers(journals):
        recorded |= {record.request for record in left.records}
        left.close(taken=True)
    assert set(answered) <= recorded
    assert len(answered) >= enough
