"""gRPC through the gateway: a real client, a real server, the gateway's frames between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from sampan.gateway.certificates import Certificates
from sampan.gateway.upstream_http2 import Http2Upstream
from sampan.model.invocation import Outcome
from sampan.model.trigger import AuthType
from tests.gateway.authority import Authority
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import PATIENCE, Request, Stage

OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
Context = Any  # `grpc.aio.ServicerContext`, which is generic for type checkers only


class Echo(grpc.GenericRpcHandler):
    """A server of four kinds of call, and of some that go wrong."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.left: float | None = None
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.taken = 0

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return {
            "/Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/Echo/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/Echo/Flood": grpc.unary_stream_rpc_method_handler(self.flood),
            "/Echo/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/Echo/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/Echo/FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "/Echo/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "/Echo/Ignore": grpc.stream_unary_rpc_method_handler(self.ignore),
        }.get(details.method)

    async def unary(self, request: bytes, context: Context) -> bytes:
        self.metadata = dict(context.invocation_metadata() or ())
        self.left = context.time_remaining()
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last", "2"), ("raw-bin", b"\x00\xff")))
        return request

    async def down(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def flood(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            self.taken += 1
            yield bytes(1 << 16)

    async def up(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"%d" % sum([len(one) async for one in requests])

    async def both(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for one in requests:
            yield one.upper()

    async def fail(self, request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "grün, 100 %", (("why", "so"),))
        raise AssertionError

    async def fail_late(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one"
        await context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    async def hang(self, request: bytes, context: Context) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def ignore(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"enough"


class Play:
    """A stage with a function of gRPC behind it."""

    def __init__(self, stage: Stage, echo: Echo, server: grpc.aio.Server, channel: grpc.aio.Channel) -> None:
        self.stage, self.echo, self.server, self.channel = stage, echo, server, channel


MakePlay = Callable[..., Awaitable[Play]]


@pytest.fixture
async def play(stage: MakeStage) -> AsyncIterator[MakePlay]:
    """Makes the play; what changes of the route by keyword."""
    made: list[Play] = []

    async def make(settings: dict[str, object] | None = None, lease: bool = True, **changes: object) -> Play:
        one = await stage(**(settings or {}))
        echo = Echo()
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((echo,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        slots = int(str(changes.pop("slots", 100)))
        version = await one.route(concurrency=slots, **changes)
        if lease:
            function = await one.function()
            function.port = port
            one.grant(version.key, function, slots)
            await one.until(lambda: bool(one.gateway.leases.held()))
        host, front = one.gateway.addresses[0]
        channel = grpc.aio.insecure_channel(
            f"{host}:{front}", options=[*OPTIONS, ("grpc.default_authority", "web.localhost")]
        )
        made.append(Play(one, echo, server, channel))
        return made[-1]

    yield make
    for one in made:
        await one.channel.close()
        await one.server.stop(None)


async def failed(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_unary_call_and_its_metadata_go_both_ways(play: MakePlay) -> None:
    one = await play()
    call = one.channel.unary_unary("/Echo/Unary")(
        b"hello", metadata=(("mine", "yes"), ("blob-bin", b"\x01\x00"), ("x-fc-forged", "no")), timeout=PATIENCE
    )
    assert await call == b"hello"
    assert dict(await call.initial_metadata())["first"] == "1"
    trailing = dict(await call.trailing_metadata())
    assert (trailing["last"], trailing["raw-bin"]) == ("2", b"\x00\xff")
    seen = one.echo.metadata
    assert (seen["mine"], seen["blob-bin"]) == ("yes", b"\x01\x00")
    assert seen["x-fc-function-name"] == "web"
    assert "x-fc-forged" not in seen
    assert one.echo.left is not None
    assert 0 < one.echo.left <= PATIENCE
    record = await one.stage.record()
    assert (record.outcome, record.status) == (Outcome.OK, 200)


async def test_a_call_over_tls(play: MakePlay, tmp_path: Path) -> None:
    authority = Authority()
    own = authority.write(tmp_path / "own", "web.localhost")
    one = await play({"certificates": Certificates(None, own)})
    options = [("grpc.ssl_target_name_override", "web.localhost")]
    trusted = grpc.ssl_channel_credentials(authority.pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{one.stage.tls_port}", trusted, options=options) as channel:
        assert await channel.unary_unary("/Echo/Unary")(b"hello", timeout=PATIENCE) == b"hello"
    assert one.echo.metadata["x-forwarded-proto"] == "https"


async def test_messages_stream_from_the_function(play: MakePlay) -> None:
    one = await play()
    got = [message async for message in one.channel.unary_stream("/Echo/Down")(b"200", timeout=PATIENCE)]
    assert got == [b"%d" % number for number in range(200)]


async def test_messages_stream_to_the_function(play: MakePlay) -> None:
    one = await play()

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield bytes(10_000)

    assert await one.channel.stream_unary("/Echo/Up")(messages(), timeout=PATIENCE) == b"3000000"


async def test_both_ends_talk_in_turn(play: MakePlay) -> None:
    one = await play()
    call = one.channel.stream_stream("/Echo/Both")(timeout=PATIENCE)
    for number in range(20):
        await call.write(b"m%d" % number)
        assert await call.read() == b"M%d" % number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_message_larger_than_every_window_goes_both_ways(play: MakePlay) -> None:
    one = await play()
    message = bytes(range(256)) * (20 << 12)  # 20 MiB
    assert await one.channel.unary_unary("/Echo/Unary")(message, timeout=PATIENCE) == message


async def test_many_calls_share_one_connection_to_the_instance(play: MakePlay) -> None:
    one = await play()
    call = one.channel.unary_unary("/Echo/Unary")
    got = await asyncio.gather(*(call(b"%d" % number, timeout=PATIENCE) for number in range(60)))
    assert got == [b"%d" % number for number in range(60)]
    assert len(one.stage.gateway.leases.held()) == 1


async def test_a_slow_reader_makes_the_function_wait(play: MakePlay) -> None:
    one = await play()
    call = one.channel.unary_stream("/Echo/Flood")(b"2000", timeout=60)
    assert len(await call.read()) == 1 << 16
    before = -1
    while before != one.echo.taken:
        before = one.echo.taken
        await asyncio.sleep(0.2)
    assert before < 1000  # 64 MB; it would have sent all 128 MB by now
    count = 1
    while await call.read() is not grpc.aio.EOF:
        count += 1
    assert count == 2000


async def test_callers_that_are_slow_stop_nobody_else(play: MakePlay) -> None:
    one = await play({"idle_timeout": 3 * PATIENCE})
    host, port = one.stage.gateway.addresses[0]
    options = [("grpc.default_authority", "web.localhost"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel:
        slow = [channel.unary_stream("/Echo/Flood")(b"1000", timeout=60) for _ in range(20)]
        for call in slow:
            assert len(await call.read()) == 1 << 16
        before = -1
        while before != one.echo.taken:
            before = one.echo.taken
            await asyncio.sleep(0.2)
        message = bytes(1 << 20)
        assert await one.channel.unary_unary("/Echo/Unary")(message, timeout=PATIENCE) == message
        for call in slow:
            call.cancel()


async def test_an_error_of_the_function_comes_through_as_it_is(play: MakePlay) -> None:
    one = await play()
    error = await failed(one.channel.unary_unary("/Echo/Fail")(b"", timeout=PATIENCE))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "grün, 100 %")
    assert dict(error.trailing_metadata())["why"] == "so"
    error = await failed(one.channel.unary_unary("/Echo/Nothing")(b"", timeout=PATIENCE))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_error_after_messages_comes_through(play: MakePlay) -> None:
    one = await play()
    call = one.channel.unary_stream("/Echo/FailLate")(b"", timeout=PATIENCE)
    assert await call.read() == b"one"
    error = await failed(call.read())
    assert error.code() is grpc.StatusCode.DATA_LOSS


async def test_a_cancelled_call_is_cancelled_in_the_function(play: MakePlay) -> None:
    one = await play()
    call = one.channel.unary_unary("/Echo/Hang")(b"", timeout=PATIENCE)
    task = asyncio.ensure_future(call)
    async with asyncio.timeout(PATIENCE):
        await one.echo.entered.wait()
        call.cancel()
        await one.echo.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await one.stage.record()).outcome is Outcome.CLIENT_GONE
    assert await one.channel.unary_unary("/Echo/Unary")(b"again", timeout=PATIENCE) == b"again"


async def test_a_callers_deadline_ends_the_call_everywhere(play: MakePlay) -> None:
    one = await play()
    error = await failed(one.channel.unary_unary("/Echo/Hang")(b"", timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(PATIENCE):
        await one.echo.cancelled.wait()


async def test_the_functions_timeout_is_a_deadline(play: MakePlay) -> None:
    one = await play(timeout=0.3)
    error = await failed(one.channel.unary_unary("/Echo/Hang")(b""))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "0.3 seconds" in (error.details() or "")
    assert (await one.stage.record()).outcome is Outcome.TIMED_OUT


async def test_an_answer_that_does_not_wait_for_the_messages_is_whole(play: MakePlay) -> None:
    one = await play()

    async def messages() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    call = one.channel.stream_unary("/Echo/Ignore")(messages(), timeout=PATIENCE)
    assert await call == b"enough"


async def test_no_such_function_is_unimplemented(play: MakePlay) -> None:
    one = await play(trigger=False)
    error = await failed(one.channel.unary_unary("/Echo/Unary")(b"", timeout=PATIENCE))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "web" in (error.details() or "")


async def test_a_call_that_is_not_signed_is_told_so(play: MakePlay) -> None:
    one = await play(auth=AuthType.FUNCTION)
    error = await failed(one.channel.unary_unary("/Echo/Unary")(b"", timeout=PATIENCE))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_no_room_is_unavailable(play: MakePlay) -> None:
    one = await play(lease=False, queue_wait=0.2)
    error = await failed(one.channel.unary_unary("/Echo/Unary")(b"", timeout=PATIENCE))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "queue wait" in (error.details() or "")


async def test_a_deadline_that_passes_while_a_slot_is_awaited_is_a_deadline(play: MakePlay) -> None:
    one = await play(lease=False)
    call = one.channel.unary_unary("/Echo/Unary")
    error = await failed(call(b"", timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await one.stage.record()


async def test_a_limit_is_resource_exhausted(play: MakePlay) -> None:
    one = await play({"queue_length": 1}, lease=False, queue_wait=2.0)
    call = one.channel.unary_unary("/Echo/Unary")
    errors = await asyncio.gather(*(failed(call(b"", timeout=PATIENCE)) for _ in range(2)))
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_function_that_goes_down_in_order_finishes_its_calls(play: MakePlay) -> None:
    one = await play()
    call = one.channel.stream_stream("/Echo/Both")(timeout=PATIENCE)
    await call.write(b"a")
    assert await call.read() == b"A"
    stopping = asyncio.ensure_future(one.server.stop(PATIENCE))  # says goodbye, and waits
    await asyncio.sleep(0.1)
    await call.write(b"b")
    assert await call.read() == b"B"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    await stopping


async def test_a_function_that_dies_is_unavailable(play: MakePlay) -> None:
    one = await play()
    call = asyncio.ensure_future(failed(one.channel.unary_unary("/Echo/Hang")(b"", timeout=PATIENCE)))
    async with asyncio.timeout(PATIENCE):
        await one.echo.entered.wait()
        await one.server.stop(0)
        error = await call
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)


async def test_a_function_that_speaks_no_http2_is_told_apart(stage: MakeStage) -> None:
    one = await stage()
    await one.serve(slots=10)
    host, port = one.gateway.addresses[0]
    async with grpc.aio.insecure_channel(
        f"{host}:{port}", options=[("grpc.default_authority", "web.localhost")]
    ) as channel:
        error = await failed(channel.unary_unary("/Echo/Unary")(b"", timeout=PATIENCE))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "h2c" in (error.details() or "")


async def test_a_draining_gateway_finishes_calls_and_takes_no_more(play: MakePlay) -> None:
    one = await play()
    call = one.channel.stream_stream("/Echo/Both")(timeout=PATIENCE)
    await call.write(b"a")
    assert await call.read() == b"A"
    stopping = asyncio.ensure_future(one.stage.gateway.stop())
    await asyncio.sleep(0.05)
    await call.write(b"b")
    assert await call.read() == b"B"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    async with asyncio.timeout(PATIENCE):
        await stopping


@pytest.mark.parametrize("status", [b"2x0", b"99", b"2000"])
async def test_a_status_that_is_none_fails_its_call_alone(stage: MakeStage, status: bytes) -> None:
    s = await stage()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine = H2Connection(H2Configuration(False, validate_outbound_headers=False))
        machine.initiate_connection()
        data = f"{request.line}\r\n\r\n".encode()
        while data:
            for event in machine.receive_data(data):
                if isinstance(event, StreamEnded):
                    told = [(b":status", status), (b"content-type", b"application/grpc"), (b"grpc-status", b"0")]
                    machine.send_headers(event.stream_id, told, end_stream=True)
            writer.write(machine.data_to_send())
            data = await reader.read(1 << 16)

    await s.serve(play, slots=5)
    host, front = s.gateway.addresses[0]
    options = [("grpc.default_authority", "web.localhost")]
    async with grpc.aio.insecure_channel(f"{host}:{front}", options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="a status that is none"):
            await channel.unary_unary("/Echo/Unary")(b"", timeout=5)
        link = await next(iter(s.gateway.leases._instances.values())).upstream.http2(Http2Upstream).link()
        assert (link._calls, link.usable) == ({}, True)
        assert s.gateway.leases.held()
