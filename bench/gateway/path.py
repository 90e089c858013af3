"""What one warm request costs the gateway's own code: all of it but the sockets, which only hand bytes over.

python -m bench.gateway.path [ROUNDS]

The gateway stands whole in this process; its links go to a staged control and collector in another. Clients and
instances are transports that answer at the next turn of the loop, so that nothing waits and the figure is steady
where the whole benchmark's is not: it is for judging a change, and it is no promise. CPU time of the process, the
least of all rounds, since what disturbs can only add.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from operator import length_hint
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import uvloop

from bench.gateway import machine, sides
from sampan.gateway.connection import Connection
from sampan.gateway.instance import Instance
from sampan.gateway.protocol import ClientConnection
from sampan.gateway.server import Gateway
from sampan.gateway.tracing import Tracing
from sampan.serve import role
from sampan.serve.layout import Layout
from sampan.settings import Gateway as Settings
from sampan.settings import load

CLIENTS, INSTANCES = 64, 4
REQUESTS = 3_000
"""Of a round."""

TURNS = 3
"""Of the loop, until the far end answers: by then the request before is wholly over, as behind a real socket."""

REQUEST = f"GET / HTTP/1.1\r\nHost: {sides.HOST}\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n".encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 38\r\n\r\n" + 38 * b"x"
ENDPOINT = "http://169.254.1.1:14268/api/traces"
WAYS = {
    "no tracing": Tracing(on=False),
    "tracing, none sampled": Tracing(0.0, ENDPOINT),
    "tracing, all sampled": Tracing(1.0, ENDPOINT),
}


class Far:
    """A transport whose other end answers whatever is written to it."""

    def __init__(
        self,
        protocol: ClientConnection | Connection,
        answer: bytes,
        budget: Iterator[int] | None = None,
        expected: bytes = b"",
    ) -> None:
        """budget: of answers; where it ends the other end is silent.  expected: how all that is written begins."""
        self._protocol, self._answer, self._budget, self._expected = protocol, answer, budget, expected
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        if self._expected and not data.startswith(self._expected):
            raise machine.Unmeasured(f"answered {data[:200]!r}")
        if self._budget is None or next(self._budget, None) is not None:
            self._loop.call_soon(self._come, TURNS)

    def _come(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._come, turns - 1)
        else:
            self._protocol.data_received(self._answer)

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        """There is nothing behind it."""

    close = pause_reading = resume_reading = abort


def main(rounds: int) -> None:
    with TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as made:
        directory = Path(made)
        directory.chmod(0o755)
        settings = load(
            None, {}, {"platform.state": str(directory / "state"), "platform.run": str(directory / "run")}
        )
        with sides.laid_out(settings) as file:
            words = (sys.executable, "-m", "bench.gateway.control", str(file), "1", str(INSTANCES), str(CLIENTS))
            with machine.running(machine.LOAD, *words, log=directory / "log"):
                layout = Layout(settings)
                machine.until(lambda: layout.reports_socket.exists(), "no staged control", directory / "log")
                for name, cost in uvloop.run(_measured(settings.gateway, layout, rounds)).items():
                    print(f"{name:24} {cost * 1e6:6.2f} µs")


async def _measured(given: Settings, layout: Layout, rounds: int) -> dict[str, float]:
    """Seconds of CPU per request, each way."""
    gateways = {
        name: Gateway(
            given, layout.link_socket, layout.api_socket, f"gateway-{number}", (), tracing=tracing,
            reports_socket=layout.reports_socket, journals=layout.journals,
        )
        for number, (name, tracing) in enumerate(WAYS.items(), 1)
    }  # fmt: skip
    for gateway in gateways.values():
        await gateway.learn()
        while len(gateway.leases._instances) < INSTANCES:  # noqa: ASYNC110  # nothing here tells of grants
            await asyncio.sleep(0.01)
        for instance in gateway.leases._instances.values():
            _connect(instance)
    role.settle()
    taken = [{name: await _round(gateway, given) for name, gateway in gateways.items()} for _ in range(rounds)]
    for gateway in gateways.values():
        await gateway.stop()
    return {name: min(each[name] for each in taken) for name in WAYS}


def _connect(instance: Instance) -> None:
    """Keep as many connections to it as there can be requests."""
    for _ in range(CLIENTS):
        connection = Connection(instance.upstream._header_limit, instance.upstream._heads)
        connection.connection_made(cast(asyncio.Transport, Far(connection, ANSWER)))
        connection.reusable = True
        instance.upstream.put(connection, 0.0)


async def _round(gateway: Gateway, given: Settings) -> float:
    """Seconds of CPU per request."""
    budget = iter(range(REQUESTS - CLIENTS))
    clients = [ClientConnection(gateway, given) for _ in range(CLIENTS)]
    begun = time.process_time()
    for client in clients:
        client.connection_made(cast(asyncio.Transport, Far(client, REQUEST, budget, b"HTTP/1.1 200 ")))
        client.data_received(REQUEST)
    while (  # noqa: ASYNC110  # as above
        length_hint(budget) or gateway.reports.unconfirmed or not all(client.idle for client in clients)
    ):
        await asyncio.sleep(0.005)
    taken = (time.process_time() - begun) / REQUESTS
    for client in clients:
        client.connection_lost(None)
    return taken


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
