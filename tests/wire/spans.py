"""Spans to write and read: one that has everything, and any."""

from hypothesis import strategies as st

from sampan.model.trace import Kind, Scalar, Span, SpanEvent, SpanLink, Status

FULL = Span(
    trace="000000000000000100f067aa0ba902b7",
    span="a0f067aa0ba902b7",
    parent="00f067aa0ba902b7",
    name="GET /thumbs",
    kind=Kind.SERVER,
    start=1_700_000_000_000_001_000,
    end=1_700_000_000_004_002_000,
    service="thumbs",
    status=Status.ERROR,
    message="no such picture",
    attributes={"http.route": "/thumbs", "size": -5, "ratio": 0.5, "cached": False, "raw": b"\x00\xff"},
    resource={"service.name": "thumbs", "host.name": "box"},
    events=(SpanEvent("exception", 1_700_000_000_002_000_000, {"exception.type": "KeyError"}),),
    links=(SpanLink("f" * 32, "e" * 16, {"opentracing.ref_type": "follows_from"}),),
    state="vendor=1",
    scope="thumbs.web",
)

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_long = st.integers(-(1 << 63), (1 << 63) - 1)
_scalars: st.SearchStrategy[Scalar] = (
    _text | _long | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
_values = _scalars | st.binary(max_size=20)
_keys = st.text("abcdefgh", min_size=1, max_size=8)  # no names that Jaeger's tags have a meaning for
_attributes = st.dictionaries(_keys, _values, max_size=5)
_trace_ids = st.integers(1, (1 << 128) - 1).map(lambda number: f"{number:032x}")
_span_ids = st.integers(1, (1 << 64) - 1).map(lambda number: f"{number:016x}")
_times = st.integers(0, 1 << 50).map(lambda microseconds: microseconds * 1000)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """Any span that no format has to cut or to round."""
    start, service, own = draw(_times), draw(_text), draw(_trace_ids)
    return Span(
        own,
        "1" + draw(_span_ids)[1:],
        draw(st.just("") | _span_ids.map(lambda one: "2" + one[1:])),
        draw(_text),
        draw(st.sampled_from([Kind.INTERNAL, Kind.SERVER, Kind.CLIENT, Kind.PRODUCER, Kind.CONSUMER])),
        start,
        start + draw(_times),
        service,
        status=Status.OK,
        attributes=draw(_attributes),
        resource={**draw(_attributes), "service.name": service},
        events=tuple(
            SpanEvent(name or "event", time, given)
            for name, time, given in draw(st.lists(st.tuples(_text, _times, _attributes), max_size=2))
        ),
        links=tuple(
            SpanLink(trace, span, {"opentracing.ref_type": "follows_from"})
            for trace, span in draw(
                st.lists(st.tuples(_trace_ids.filter(lambda one: one != own), _span_ids), max_size=2)
            )
        ),
        scope=draw(_text),
    )
