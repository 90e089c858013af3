"""The stored spans of a trace as one that can be drawn. Pure."""

from collections.abc import Iterable

import msgspec

from sampan.model.trace import Kind, Span
from sampan.traces.merging import key


def joined(spans: Iterable[Span]) -> list[Span]:
    """Each span once, by start. Where both ends of a call share an id, as in B3, the server's gets one of its own;
    where a report took the id of one of the platform's spans, the report does.

    The server's end is then a child of the client's, and parent of what named the shared id as its parent from the
    server's service.
    """
    once = {key(span): span for span in spans}
    by_id: dict[str, list[Span]] = {}
    for span in once.values():
        by_id.setdefault(span.span, []).append(span)
    renamed: dict[tuple[str, str], str] = {}  # of a service's spans: shared id → its own
    whole = []
    for shared, some in by_id.items():
        if len(some) > 1:
            some.sort(key=lambda span: (not span.platform, span.kind is not Kind.CLIENT, span.start))
        whole.append(some[0])
        for other in some[1:]:
            own = key(other).hex()
            renamed[other.service, shared] = own
            whole.append(msgspec.structs.replace(other, span=own, parent=shared))
    if renamed:
        whole = [_reparented(span, renamed) for span in whole]
    return sorted(whole, key=lambda span: (span.start, -span.end, span.span))


def _reparented(span: Span, renamed: dict[tuple[str, str], str]) -> Span:
    own = renamed.get((span.service, span.parent))
    return span if own is None or own == span.span else msgspec.structs.replace(span, parent=own)
