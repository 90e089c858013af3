"""What a span is taken to weigh: never less than its text."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sampan.collector.export.weights import span_size
from sampan.model.trace import SpanEvent, SpanLink
from tests.collector.export.peers import span

values = st.text() | st.binary() | st.booleans() | st.integers() | st.floats() | st.lists(st.text() | st.integers())
attributes = st.dictionaries(st.text(), values, max_size=5)


@given(st.text(), attributes, attributes, st.lists(attributes, max_size=3))
def test_a_span_weighs_more_than_its_text(name: str, given: dict, resource: dict, parts: list[dict]) -> None:  # type: ignore[type-arg]
    heavy = msgspec.structs.replace(
        span(),
        name=name,
        attributes=given,
        resource=resource,
        events=tuple(SpanEvent("e", 1, part) for part in parts),
        links=tuple(SpanLink("0" * 32, "0" * 16, part) for part in parts),
    )
    text = len(name)
    for one in (given, resource, *parts, *parts):
        for key, value in one.items():
            texts = value if isinstance(value, list) else [value]
            text += len(key) + sum(len(part) for part in texts if isinstance(part, (str, bytes)))
    assert span_size(heavy) > text


def test_a_large_value_weighs_what_it_is() -> None:
    light, heavy = span(), msgspec.structs.replace(span(), attributes={"body": "x" * 1_000_000})
    assert span_size(heavy) - span_size(light) > 999_000
