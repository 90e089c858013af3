"""How much of a span is kept: the number of its attributes, events and links, the length of names and values.

What is beyond is cut, not refused, and the number of attributes, events and links that were cut is told in an
attribute. Source: OpenTelemetry specification, "Attribute limits" and "Span limits".
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from sampan.model.trace import Attributes, AttributeValue, Scalar, Span

ATTRIBUTES = 128  # of a span, an event, a link, a resource; the specification's default, as the next two
EVENTS = 128
LINKS = 128
VALUE = 4096  # characters of a text, bytes of a binary value, in all the elements of a list
NAME = 256  # characters of a span's, an event's, an attribute's or a service's name
STATE = 512  # characters of a tracestate; W3C Trace Context §3.3.1.5 asks for at least as many

DROPPED_ATTRIBUTES = "otel.dropped_attributes_count"
DROPPED_EVENTS = "otel.dropped_events_count"
DROPPED_LINKS = "otel.dropped_links_count"

MAX_SPANS = 20_000  # of a message

_MAX = (1 << 63) - 1
LAST = _MAX  # Unix ns: the latest time there is


class Decoded(NamedTuple):
    """What a message held. invalid: spans without ids, which nobody could find again."""

    spans: list[Span]
    invalid: int


def time(nanoseconds: int) -> int:
    """Within what a database's integer holds."""
    return min(max(nanoseconds, 0), LAST)


def attributes(pairs: Iterable[tuple[str, object]], dropped: int = 0) -> Attributes:
    """The first ones, and how many more there were. dropped: by the sender already."""
    kept: Attributes = {}
    for key, value in pairs:
        if len(key) > NAME:
            key = key[:NAME]
        if len(kept) >= ATTRIBUTES and key not in kept:
            dropped += 1
        elif type(value) is str and len(value) <= VALUE:
            kept[key] = value
        elif value is not None:
            kept[key] = bounded(value)
    if dropped > 0:
        kept[DROPPED_ATTRIBUTES] = min(dropped, _MAX)
    return kept


def count_dropped(given: Attributes, events: int, links: int) -> None:
    """Add to a span's attributes how many events and links it has lost."""
    if events > 0:
        given[DROPPED_EVENTS] = min(events, _MAX)
    if links > 0:
        given[DROPPED_LINKS] = min(links, _MAX)


def bounded(value: object) -> AttributeValue:
    """A value in its bounds; what no attribute can hold as text."""
    if isinstance(value, bytes):
        return value[:VALUE]
    if isinstance(value, list):
        return _elements(value)
    return _scalar(value)


def _elements(values: list[object]) -> list[Scalar]:
    kept: list[Scalar] = []
    room = VALUE
    for value in values[:ATTRIBUTES]:
        one = _scalar(value)
        if isinstance(one, str):
            one = one[:room]
            room -= len(one)
            if room <= 0:
                kept.append(one)
                break
        kept.append(one)
    return kept


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_MAX - 1 <= value <= _MAX else hex(value)[:VALUE]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no such numbers
    if isinstance(value, bytes):
        return value[: VALUE // 2].hex()
    return str(value)[:VALUE]


def parent_of(span: str, parent: str) -> str:
    """ "": a root. Nothing is its own parent, which would be a tree without an end."""
    return parent if real(parent) and parent != span else ""


def real(identity: str) -> bool:
    """Whether an id of hex digits names something: zero is none. Source: W3C Trace Context §3.2.2.3."""
    return bool(identity.strip("0"))
