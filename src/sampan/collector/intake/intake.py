"""The intake as a whole: every port, one judge."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from sampan.collector.intake.answers import Otlp
from sampan.collector.intake.bodies import Decoding
from sampan.collector.intake.connections import Connections
from sampan.collector.intake.grpc_server import GrpcServer
from sampan.collector.intake.http_app import app
from sampan.collector.intake.http_server import serve_http
from sampan.collector.intake.judge import Judge
from sampan.collector.intake.sockets import IntakeSockets
from sampan.collector.intake.udp import Datagrams, lost
from sampan.collector.senders import Who
from sampan.model.trace import Span
from sampan.settings import Telemetry
from sampan.wire.otlp_logs import LogRecord


class Intake:
    """Takes what functions report, and gives it on."""

    def __init__(
        self,
        who: Who,
        take: Callable[[Sequence[Span]], int],
        take_logs: Callable[[Sequence[LogRecord]], int],
        sampling: Callable[[str], float],
        settings: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """take, take_logs: keep the first ones, and tell how many; they must not wait.

        sampling: the share of a function's traces that is kept; a program of this machine is asked for by the
        service it names.
        """
        self._judge = Judge(who, take, take_logs, settings, clock)
        self._sampling = sampling
        self._sockets = IntakeSockets()
        self.listening = asyncio.Event()

    @property
    def dropped(self) -> Counter[tuple[str, str]]:
        """By function and by reason, as `judge.Reason` lists and explains them."""
        return self._judge.dropped

    @property
    def taken(self) -> Counter[str]:
        """Spans and log records by function; "": of this machine's programs."""
        return self._judge.taken

    def lost(self) -> int:
        """Datagrams that the kernel dropped before they were ours, of whom nobody can tell."""
        return lost((*self._sockets.compact, *self._sockets.binary))

    async def serve(self, sockets: IntakeSockets) -> None:
        """For ever, once; closes the sockets in the end. `listening` is set when all of them are served."""
        self._sockets = sockets
        decoding = Decoding(self._judge)
        otlp, connections = Otlp(self._judge, decoding), Connections(self._judge)
        application = app(self._judge, decoding, otlp, self._sampling)
        http, grpc = asyncio.Event(), asyncio.Event()
        udp: list[asyncio.DatagramTransport] = []
        try:
            await self._datagrams(sockets, udp)
            async with asyncio.TaskGroup() as group:
                group.create_task(serve_http(application, sockets.http, connections, http))
                group.create_task(GrpcServer(self._judge, otlp, connections).serve(sockets.grpc, grpc))
                await http.wait()
                await grpc.wait()
                self.listening.set()
        finally:
            for transport in udp:
                transport.close()
            decoding.close()
            sockets.close()

    async def _datagrams(self, sockets: IntakeSockets, made: list[asyncio.DatagramTransport]) -> None:
        """made: where they go one by one, so that whoever ends this in the middle can close them."""
        loop = asyncio.get_running_loop()
        for ones, compact in ((sockets.compact, True), (sockets.binary, False)):
            speak = partial(Datagrams, self._judge, compact)
            for one in ones:
                transport, _ = await loop.create_datagram_endpoint(speak, sock=one)
                made.append(transport)
