"""Trace contexts as the headers of the open formats carry them: one reader per format. Pure; nothing here raises.

Each reader takes a header's value as it came and says what it means, or None: it is malformed. Ids become
lower-case hex of full length (tracing-contract.md §4, conversion rules 1 and 2).
"""

import re
from urllib.parse import unquote_to_bytes

import msgspec

SINGLE, MULTI = 1, 2  # the forms that B3 has

_HEX = b"0123456789abcdef"
_LOOSE_HEX = re.compile(rb"[0-9a-fA-F]+").fullmatch
_DIGITS = {digit: value for value, digit in enumerate(_HEX)}
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_JAEGER = re.compile(rb"([0-9a-fA-F]{1,32}):([0-9a-fA-F]{1,16}):[0-9a-fA-F]{0,16}:([0-9a-fA-F]{1,2})").fullmatch
_B3_DECISIONS: dict[bytes, tuple[bool | None, bool]] = {  # → sampled, debug
    b"": (None, False),
    b"0": (False, False),
    b"1": (True, False),
    b"d": (True, True),
    b"false": (False, False),
    b"true": (True, False),
}
_B3_SINGLE_DECISIONS = frozenset((b"0", b"1", b"d"))
_AMAZON_ROOT = re.compile(rb"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})").fullmatch
_AMAZON_SAMPLED = {b"1": True, b"0": False}


class Context(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What came with a request about the trace it belongs to. `trace` "": it belongs to none yet."""

    trace: str = ""  # 32 hex digits
    span: str = ""  # of the caller, 16 hex digits; "": the trace has an id, but no span yet
    sampled: bool | None = None  # None: nobody has decided
    debug: bool = False  # asked for: sampled whatever the ratio
    random: bool = False  # the id's lower 56 bits are random (W3C level 2)
    state: str = ""  # W3C tracestate
    baggage: str = ""  # as W3C writes it
    b3: int = 0  # B3 came, too, in these forms: SINGLE | MULTI
    debug_id: str = ""  # the word by which whoever asked for it will look for the trace


NONE = Context()
"""Nothing came."""


def traceparent(value: bytes) -> Context | None:
    """W3C. Of a version that is not known yet, the part that is. Source: tracing-contract.md §5.1."""
    if len(value) != 55:
        if len(value) < 55 or value[:2] == b"00" or value[55] != 45:
            return None
        value = value[:55]
    # Deleting the digits is four times as fast as a pattern; where the dashes are is looked at by place.
    if value.translate(None, _HEX) != b"---" or not value[2] == value[35] == value[52] == 45:
        return None
    text = value.decode("ascii")
    trace, span, flags = text[3:35], text[36:52], _DIGITS[value[54]]
    if trace == _NO_TRACE or span == _NO_SPAN or text[:2] == "ff":
        return None
    return Context(trace, span, flags & 1 == 1, False, flags & 2 == 2)


def jaeger(value: bytes) -> Context | None:
    """`{trace}:{span}:{parent}:{flags}`, percent-encoded or not. Source: tracing-contract.md §4, §5.2."""
    match = _JAEGER(unquote_to_bytes(value) if b"%" in value else value)
    if match is None:
        return None
    trace, span = _padded(match[1], 32), _padded(match[2], 16)
    if not (trace and span):
        return None
    flags = int(match[3], 16)
    return Context(trace, span, flags & 3 != 0, flags & 2 == 2)


def b3_single(value: bytes) -> Context | None:
    """`{trace}-{span}[-{1|0|d}[-{parent}]]`, or a decision alone. Source: tracing-contract.md §5.3."""
    if value in _B3_SINGLE_DECISIONS:
        return Context("", "", *_B3_DECISIONS[value])
    parts = value.split(b"-", 4)
    if not 2 <= len(parts) <= 4:
        return None
    decision = parts[2] if len(parts) > 2 else b""
    if len(parts) > 2 and decision not in _B3_SINGLE_DECISIONS:
        return None
    if len(parts) == 4 and _b3_id(parts[3], (16,)) is None:
        return None
    return _b3(parts[0], parts[1], *_B3_DECISIONS[decision])


def b3_multi(trace: bytes, span: bytes, sampled: bytes, flags: bytes) -> Context | None:
    """The X-B3-* headers, b"" for those that did not come. Source: tracing-contract.md §5.3."""
    decision = _B3_DECISIONS.get(b"d" if flags == b"1" else sampled.lower())
    if decision is None or sampled.lower() == b"d":
        return None
    if not trace and not span:
        return Context("", "", *decision) if decision[0] is not None else None
    return _b3(trace, span, *decision)


def amazon(value: bytes) -> Context | None:
    """`Root=1-{8}-{24};Parent={16};Sampled={1|0|?}` in any order; a load balancer sends the root alone."""
    told: dict[bytes, bytes] = {}
    for field in value.split(b";", 16)[:16]:
        name, _, text = field.partition(b"=")
        told.setdefault(name.strip().lower(), text.strip())
    root = _AMAZON_ROOT(told.get(b"root", b""))
    parent = told.get(b"parent", b"")
    if root is None or (parent and _b3_id(parent, (16,)) is None):
        return None
    trace = _padded(root[1] + root[2], 32)
    if not trace:
        return None
    return Context(trace, _padded(parent, 16) if parent else "", _AMAZON_SAMPLED.get(told.get(b"sampled", b"")))


def _b3(trace: bytes, span: bytes, sampled: bool | None, debug: bool) -> Context | None:
    trace_id, span_id = _b3_id(trace, (16, 32)), _b3_id(span, (16,))
    return Context(trace_id, span_id, sampled, debug) if trace_id and span_id else None


def _b3_id(digits: bytes, lengths: tuple[int, ...]) -> str | None:
    """None: malformed, or zero."""
    if len(digits) not in lengths or _LOOSE_HEX(digits) is None:
        return None
    return _padded(digits, lengths[-1]) or None


def _padded(digits: bytes, length: int) -> str:
    """An id at its full length; "": it is zero. digits: hex."""
    text = digits.decode("ascii").lower()
    return text.rjust(length, "0") if text.strip("0") else ""
