"""The loop that the processes run on."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import uvloop
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

from sampan.collector.intake.intake import Intake
from sampan.collector.intake.sockets import listen
from sampan.settings import Telemetry
from tests.collector.intake.conftest import ANY, Store
from tests.collector.intake.test_clients import record_spans
from tests.wire.test_jaeger import GOLDEN_COMPACT


def test_every_port_is_served_on_uvloop() -> None:
    store = Store()

    async def run() -> None:
        sockets = listen("127.0.0.1", ANY)
        compact, grpc, http = (one[0].getsockname() for one in (sockets.compact, sockets.grpc, sockets.http))
        intake = Intake({}.get, store.take, store.take_records, lambda name: 1.0, Telemetry())
        serving = asyncio.create_task(intake.serve(sockets))
        await intake.listening.wait()
        exporters: list[Any] = [
            GrpcSpans(endpoint=f"http://127.0.0.1:{grpc[1]}", insecure=True),
            HttpSpans(endpoint=f"http://127.0.0.1:{http[1]}/v1/traces"),
        ]
        for exporter in exporters:
            await asyncio.to_thread(record_spans, exporter)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(GOLDEN_COMPACT, compact)
            await store.until(lambda: len(store.spans) == 5)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    uvloop.run(run())
    assert [span.name for span in store.spans] == ["inner", "outer", "inner", "outer", "op"]
