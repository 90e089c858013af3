"""What a span takes in memory, about: enough to bound a buffer by, at a microsecond or two a span."""

from sampan.model.trace import Attributes, AttributeValue, Span

_SPAN, _PART, _ENTRY = 700, 150, 100  # bytes of a span, an event or link, an attribute, without their text


def span_size(span: Span) -> int:
    """Bytes. A resource that many spans share counts with each: better to drop early than to hold too much."""
    size = _SPAN + len(span.name) + len(span.message) + len(span.state)
    size += _attributes(span.attributes) + _attributes(span.resource)
    size += sum(_PART + _attributes(event.attributes) for event in span.events)
    return size + sum(_PART + _attributes(link.attributes) for link in span.links)


def _attributes(given: Attributes) -> int:
    return sum(_ENTRY + len(name) + _value(value) for name, value in given.items())


def _value(value: AttributeValue) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list):
        return sum(_ENTRY // 2 + _value(one) for one in value)
    return 0
