"""Traces through the gateway: tracing-contract.md §4, §5, §8."""

import asyncio
import base64
from typing import Any

import msgspec
import pytest

from sampan.gateway.tracing import Tracing
from sampan.link.messages import Opened, Refuse, Want
from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import Stage as Step
from sampan.model.invocation import InvocationRecord, Outcome, Traced, VersionFacts
from sampan.model.names import InstanceId, RequestId
from sampan.model.trace import Status
from sampan.telemetry.layout import layout
from sampan.telemetry.spans import coverage, platform_spans
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Request, Stage, reply

T, S = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FC = "x-fc-tracing-opentracing-span-context"
FACTS = VersionFacts("web", "LATEST", 512, 0.5, 512, 1, 10.0)


async def recorded(s: Stage, count: int = 1) -> list[tuple[InvocationRecord, Traced]]:
    await s.until(lambda: len(s.records()) >= count)
    found = []
    for one in s.records():
        assert one.traced is not None
        found.append((one, one.traced))
    return found


async def send(s: Stage, event: bool, **headers: str) -> Request:
    return await (s.invoke(b"event", **headers) if event else s.call(**headers))


@pytest.mark.parametrize("event", [False, True])
async def test_a_callers_trace_goes_on_through_the_platforms_span(stage: MakeStage, event: bool) -> None:
    """§8 test 1"""
    s = await stage()
    function = await s.serve()
    await send(s, event, traceparent=f"00-{T}-{S}-01", tracestate="a=1", baggage="user=7", uber_trace_id="1:2:0:1")
    ((record, traced),) = await recorded(s)
    seen = function.requests[0]
    assert (traced.trace, traced.parent, traced.sampled, traced.state) == (T, S, True, "a=1")
    assert seen["traceparent"] == f"00-{T}-{traced.invocation}-01"
    assert seen["uber-trace-id"] == f"{T}:{traced.invocation}:0:1"
    assert seen[FC].startswith(f"{T}:{traced.invocation.lstrip('0')}:")
    assert (seen["tracestate"], seen["baggage"]) == ("a=1", "user=7")
    assert msgspec.json.decode(base64.b64decode(seen["x-fc-tracing-opentracing-span-baggages"])) == {"user": "7"}
    root, *rest = platform_spans(record, FACTS, "1", "local")
    assert (root.parent, rest[-1].span) == (S, traced.invocation)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": "00-" + "0" * 32 + f"-{S}-01", "tracestate": "a=1"},
        {"traceparent": "hello"},
        {"uber_trace_id": "0:0:0:1"},
        {"b3": "x" * 4000},
        {FC.replace("-", "_"): ":::"},
        {"tracestate": "a=1"},
    ],
)
@pytest.mark.parametrize("event", [False, True])
async def test_without_a_context_or_with_a_broken_one_a_new_trace_begins(
    stage: MakeStage, event: bool, headers: dict[str, str]
) -> None:
    """§4 rule 5: the trace has the request's own digits, so one is found by the other."""
    s = await stage()
    function = await s.serve()
    assert (await send(s, event, **headers)).status == 200
    ((record, traced),) = await recorded(s)
    seen = function.requests[0]
    assert traced.trace == RequestId(record.request).removeprefix("1-").replace("-", "")
    assert (traced.parent, traced.sampled) == ("", True)
    assert seen["traceparent"] == f"00-{traced.trace}-{traced.invocation}-01"
    assert seen[FC].split(":")[2] == "0"
    assert "tracestate" not in seen


async def test_two_traceparents_are_none(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    line = f"traceparent: 00-{T}-{S}-01\r\n"
    client.send(f"GET / HTTP/1.1\r\nHost: web.localhost\r\n{line}{line}\r\n")
    await client.answer()
    assert T not in function.requests[0]["traceparent"]


@pytest.mark.parametrize("event", [False, True])
async def test_an_unsampled_trace_goes_on_unsampled(stage: MakeStage, event: bool) -> None:
    """§8 test 5"""
    s = await stage()
    function = await s.serve()
    await send(s, event, traceparent=f"00-{T}-{S}-00")
    ((_, traced),) = await recorded(s)
    assert not traced.sampled
    assert function.requests[0]["traceparent"] == f"00-{T}-{traced.invocation}-00"
    assert function.requests[0][FC].endswith(":0")


async def test_what_came_in_other_forms_is_replaced_and_not_repeated(stage: MakeStage) -> None:
    """§4 rule 4"""
    s = await stage()
    function = await s.serve()
    low = "a3ce929d0e0e4736"
    await s.call(X_B3_TraceId=low, X_B3_SpanId=S, X_B3_Sampled="1", uberctx_k="v", x_amzn_trace_id="Root=1")
    ((_, traced),) = await recorded(s)
    seen = function.requests[0]
    assert traced.trace == "0" * 16 + low  # §8 test 7
    assert (seen["x-b3-traceid"], seen["x-b3-spanid"]) == (low, traced.invocation)
    assert (seen["x-b3-parentspanid"], seen["x-b3-sampled"]) == (traced.root, "1")
    assert seen["traceparent"] == f"00-{traced.trace}-{traced.invocation}-01"
    assert (seen["uberctx-k"], seen["x-amzn-trace-id"]) == ("v", "Root=1")


async def test_a_function_that_calls_another_stays_in_one_trace(stage: MakeStage) -> None:
    """§8 test 2: with the headers it got, two roots are nested."""
    s = await stage()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.target == "/outer":
            await s.call("GET", "/inner", traceparent=request["traceparent"])
        writer.write(reply(b"done"))

    function = await s.function(play)
    version = await s.route(concurrency=2)
    s.grant(version.key, function, slots=2)
    await s.call("GET", "/outer")
    (inner, within), (outer, around) = await recorded(s, 2)
    assert (inner.path, outer.path) == ("/inner", "/outer")
    assert within.trace == around.trace
    assert within.parent == around.invocation


@pytest.mark.parametrize("event", [False, True])
async def test_with_tracing_off_a_context_goes_through_as_it_came(stage: MakeStage, event: bool) -> None:
    """§4: the three x-fc-tracing headers are empty; §5.1: a hop that records nothing leaves the rest alone."""
    s = await stage(tracing=Tracing(on=False))
    function = await s.serve()
    given = {"traceparent": f"00-{T}-{S}-01", "tracestate": "A=", "baggage": "k=v", "b3": "0"}
    await send(s, event, **given)
    seen = function.requests[0]
    assert {name: seen[name] for name in given} == given
    assert [value for name, value in seen.headers if name.lower().startswith("x-fc-tracing-")] == ["", "", ""]
    assert "uber-trace-id" not in seen
    assert (await s.record()).traced is None


async def test_a_functions_own_ratio_counts_more_and_all_forms_name_the_endpoint(stage: MakeStage) -> None:
    """§2, §4"""
    s = await stage(tracing=Tracing(1.0, "http://10.0.0.1:14268/api/traces"))
    function = await s.serve(sampling=0.0)
    await s.call()
    ((_, traced),) = await recorded(s)
    assert not traced.sampled
    assert function.requests[0]["x-fc-tracing-jaeger-endpoint"] == "http://10.0.0.1:14268/api/traces"


async def test_headers_about_traces_are_not_remembered(stage: MakeStage) -> None:
    """They are new with every request, and would push out those that are not."""
    s = await stage()
    await s.serve()
    client = await s.client()
    for n in range(1, 20):
        await client.call("GET", "/", traceparent=f"00-{n:032x}-{S}-01", x_same="1")
    lines = s.gateway.heads._lines
    assert b"x-same: 1" in lines
    assert not [line for line in lines if line.startswith(b"traceparent")]
    assert not [head for head in s.gateway.heads._heads if b"traceparent" in head]


async def test_a_record_says_who_asked_for_what(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    await s.call("GET", "/a%20b?secret=1")
    await s.invoke(b"event")
    (called, _), (event, _) = await recorded(s, 2)
    assert (called.method, called.path, called.client, called.qualifier) == ("GET", "/a%20b", "127.0.0.1", "LATEST")
    assert (event.method, event.path, event.secure) == ("", "", False)
    for one in (called, event):
        assert one.leased <= one.first_byte <= one.ended
        assert (one.error, one.startup) == ("", ())


STEPS = ("pull", "prepare", "create", "start", "ready", "initialize")


async def test_a_cold_start_has_the_stages_that_the_grant_tells(stage: MakeStage) -> None:
    """§8 test 3"""
    s = await stage()
    function = await s.function()
    version = await s.route()

    def grant(want: Want) -> None:
        began = want.oldest
        steps = tuple(Step(name, began + n * 100, began + n * 100 + 90) for n, name in enumerate(STEPS))
        s.grant(version.key, function, cold=True, startup=steps)

    s.on_want = grant
    await s.call()
    await s.call()
    (cold, _), (warm, _) = await recorded(s, 2)
    assert (cold.cold, [step.name for step in cold.startup]) == (True, list(STEPS))
    assert (warm.cold, warm.startup) == (False, ())
    spans = platform_spans(cold, FACTS, "1", "local")
    assert {"ColdStart", "PrepareCode", "RuntimeInitialization", "Initializer"} < {span.name for span in spans}
    assert coverage(spans) == 1.0
    assert [piece.name for piece in layout(warm)] == ["Schedule", "Invocation"]


@pytest.mark.parametrize(
    ("settings", "refusal", "outcome", "code"),
    [
        ({}, {"failure": Failure(FailureKind.EXITED, "it exited")}, Outcome.START_FAILED, "CAExited"),
        ({}, {"throttled": "enough"}, Outcome.THROTTLED, "ResourceExhausted"),
        ({}, {"no_capacity": "memory"}, Outcome.PLATFORM_ERROR, "ResourceThrottled"),
        ({"queue_length": 0}, {}, Outcome.THROTTLED, "ResourceExhausted"),
    ],
)
async def test_what_went_wrong_is_recorded_by_its_code(
    stage: MakeStage, settings: dict[str, Any], refusal: dict[str, Any], outcome: Outcome, code: str
) -> None:
    s = await stage(**settings)
    version = await s.route()
    s.on_want = lambda want: s.tell(Refuse(version.key, **refusal))
    await s.call()
    ((record, _),) = await recorded(s)
    assert (record.outcome, record.error, record.startup) == (outcome, code, ())
    assert platform_spans(record, FACTS, "1", "local")[0].attributes["error.type"] == code


async def test_a_failed_start_has_the_stages_that_were_done(stage: MakeStage) -> None:
    s = await stage()
    version = await s.route()

    def refuse(want: Want) -> None:
        steps = tuple(
            Step(name, want.oldest + n * 100, want.oldest + n * 100 + 90) for n, name in enumerate(STEPS[:4])
        )
        failure = Failure(FailureKind.PORT_NEVER_OPENED, "nothing listens", stages=steps)
        s.tell(Refuse(version.key, failure=failure))

    s.on_want = refuse
    await s.call()
    ((record, _),) = await recorded(s)
    failed = [span.name for span in platform_spans(record, FACTS, "1", "local") if span.status is Status.ERROR]
    assert failed == ["web", "ColdStart", "RuntimeInitialization", "ready"]


async def test_stages_that_are_told_after_the_grant_are_in_the_record(stage: MakeStage) -> None:
    """An instance is granted while it starts; its gateway may see its port open before sandboxd does."""
    s = await stage()
    opened = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        await s.until(lambda: s.gateway.leases._instances[instance].startup != ())
        writer.write(reply(b"done"))

    function = await s.function(play)
    version = await s.route()
    instance = InstanceId("c-0")
    began = 0

    def grant(want: Want) -> None:
        nonlocal began
        began = want.oldest
        s.grant(version.key, function, cold=True, opening=True, instance=instance)

    s.on_want = grant
    calling = asyncio.ensure_future(s.call())
    await opened.wait()
    late = began + 60 * 10**9  # after the slot was had
    s.tell(
        Opened(
            instance, (Step("create", began, began + 9), Step("start", began + 9, late), Step("ready", late, late))
        )
    )
    await calling
    ((record, _),) = await recorded(s)
    assert (record.cold, [step.name for step in record.startup]) == (True, ["create", "start", "ready"])
    spans = platform_spans(record, FACTS, "1", "local")
    assert coverage(spans) == 1.0
    assert [span.end for span in spans if span.name in ("ColdStart", "start")] == [record.leased, record.leased]
    assert "ready" not in {span.name for span in spans}
