"""Jaeger's datagrams. Source: tracing-contract.md §5.4."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from sampan.collector.intake.intake import Intake
from sampan.collector.intake.sockets import QUEUES, IntakeSockets, Ports, listen
from sampan.collector.intake.udp import lost
from sampan.collector.senders import Sender
from sampan.settings import Telemetry
from tests.collector.intake.conftest import ANY, Running, Store, own_address
from tests.wire.test_jaeger import GOLDEN_COMPACT, batch, emitted, span, tag


async def send(
    running: Running, kind: str, *datagrams: bytes, host: str = "127.0.0.1", own: str = "127.0.0.1"
) -> None:
    """In order: loopback keeps it."""
    loop = asyncio.get_running_loop()
    target = (host, running.port(kind))
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=target, local_addr=(own, 0)
    )
    for datagram in datagrams:
        transport.sendto(datagram)
    transport.close()


async def test_datagrams_of_both_protocols_are_taken_on_their_ports(running: Running) -> None:
    await send(running, "compact", GOLDEN_COMPACT)
    await send(running, "binary", emitted(batch(span()), compact=False))
    await running.store.until(lambda: len(running.store.spans) == 2)
    assert {(one.name, one.function, one.instance) for one in running.store.spans} == {("op", "thumb", "i-1")}


async def test_the_largest_datagram_is_taken(running: Running) -> None:
    largest = emitted(batch(*[span(operationName="o" * 250) for _ in range(240)]), compact=True)
    assert 60_000 < len(largest) <= 65_000
    await send(running, "compact", largest)
    await running.store.until(lambda: len(running.store.spans) == 240)


@pytest.mark.parametrize("noise", [b"\0", b"\x82", b"\xff" * 1000, GOLDEN_COMPACT[:-9], GOLDEN_COMPACT + b"more"])
async def test_noise_is_counted_and_what_follows_is_taken(running: Running, noise: bytes) -> None:
    await send(running, "compact", noise, GOLDEN_COMPACT)
    await running.store.until(lambda: len(running.store.spans) >= 1)
    assert running.intake.dropped == ({} if noise.endswith(b"more") else {("thumb", "malformed"): 1})


async def test_a_function_over_its_rate_loses_spans_that_are_counted_and_the_others_lose_none(start: Any) -> None:
    running = await start(span_rate=0.001, span_burst=3)
    running.who["127.0.0.2"] = Sender("other", "1", "i-2")
    five = emitted(batch(*[span(tags=[tag("n", n)]) for n in range(5)]), compact=True)
    await send(running, "compact", five, five)
    await send(running, "compact", GOLDEN_COMPACT, own="127.0.0.2")
    await running.store.until(
        lambda: running.store.spans[-1:] != [] and running.store.spans[-1].function == "other"
    )
    assert [one.attributes["n"] for one in running.store.spans[:-1]] == [0, 1, 2]
    assert running.intake.dropped == {("thumb", "rate"): 7}


async def test_a_full_store_is_counted(running: Running) -> None:
    running.store.room = 1
    await send(running, "binary", emitted(batch(span(), span()), compact=False))
    await running.store.until(lambda: len(running.store.spans) == 1)
    assert running.intake.dropped == {("thumb", "full"): 1}


def narrow(sockets: IntakeSockets) -> None:
    """Few datagrams wait."""
    for one in sockets.compact:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


async def test_a_flood_fills_the_queue_of_its_sender_and_no_other() -> None:
    """Whatever ports it comes from."""
    sockets = listen("127.0.0.1", ANY)
    narrow(sockets)
    store, who = Store(), {f"127.0.0.{n}": Sender(f"f{n}") for n in range(1, QUEUES)}
    for n in (*[7] * 100, *range(1, QUEUES)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((f"127.0.0.{n}", 0))
            sender.sendto(GOLDEN_COMPACT, sockets.compact[0].getsockname())
    intake = Intake(who.get, store.take, store.take_records, lambda name: 1.0, Telemetry())
    assert 0 < lost(sockets.compact) < 100
    serving = asyncio.create_task(intake.serve(sockets))
    await store.until(lambda: {f"f{n}" for n in range(1, QUEUES)} <= {one.function for one in store.spans})
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def test_a_port_for_datagrams_that_somebody_has_is_not_shared_with_them() -> None:
    ours = listen("127.0.0.1", ANY)
    with pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", Ports(ours.compact[0].getsockname()[1], 0, 0, (0,)))
    ours.close()


async def test_what_the_kernel_drops_is_counted() -> None:
    sockets = listen("127.0.0.1", ANY)
    intake = Intake({}.get, len, len, lambda name: 1.0, Telemetry())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        narrow(sockets)
        for _ in range(100):  # nobody reads
            sender.sendto(bytes(1000), sockets.compact[0].getsockname())
    serving = asyncio.create_task(intake.serve(sockets))
    await intake.listening.wait()
    assert 0 < intake.lost() < 100
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    assert intake.lost() == 0


async def test_who_sends_too_many_bytes_is_not_read(running: Running) -> None:
    running.intake._judge.charge(Sender("thumb"), 1 << 30)
    running.who["127.0.0.2"] = Sender("other", "1", "i-2")
    await send(running, "compact", GOLDEN_COMPACT)
    await send(running, "compact", GOLDEN_COMPACT, own="127.0.0.2")
    await running.store.until(lambda: len(running.store.spans) == 1)
    assert running.intake.dropped == {("thumb", "bytes"): 1}


async def test_an_address_that_is_nobodys_is_counted(start: Any) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but loopback")
    running = await start("0.0.0.0")
    await send(running, "compact", GOLDEN_COMPACT, host=address, own=address)
    await send(running, "compact", GOLDEN_COMPACT)
    await running.store.until(lambda: len(running.store.spans) == 1)
    assert running.intake.dropped == {("?", "unknown"): 1}
