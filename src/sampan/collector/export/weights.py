"""What a span takes in memory, about: enough to bound a buffer by, at a microsecond or two a span."""

from sampan.model.trace import Attributes, AttributeValue, Span

_SPAN, _PART, _ENTRY = 700, 150, 100  # bytes of a span, an event or link, an attribute, without their text


def span_size(span: Span) -> int:
    """Bytes. A resource that many spans share counts with each: better to drop early than to hold too much."""
    size = _SPAN + len(span.name) + len(span.message) + len(span.state)
    size += _attributes(span.attributes) + _attributes(span.resource)
    for event in span.events:
        size += _PART + _attributes(event.attributes)
    for link in span.links:
        size += _PART + _attributes(link.attributes)
    return size


def _attributes(given: Attributes) -> int:
    size = _ENTRY * len(given)
    for name, value in given.items():
        size += len(name) + _value(value)
    return size


def _value(value: AttributeValue) -> int:
    kind = type(value)
    if kind is int or kind is bool or kind is float:
        return 0
    if isinstance(value, list):
        size = 0
        for one in value:
            size += _ENTRY // 2 + _value(one)
        return size
    return len(value) if isinstance(value, (str, bytes)) else 0
