"""The two lists that travel with a trace, `tracestate` and `baggage`: read, kept within bounds, written. Pure.

Source: tracing-contract.md §5.1.
"""

import base64
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

import msgspec

STATE_MEMBERS = 32  # W3C Trace Context §3.3.1.1
STATE_LENGTH = 2048  # characters; 512 at least must be carried, and each kept span holds a copy
STATE_SHORT = 128  # characters of a member that is kept for longer than others
BAGGAGE_MEMBERS = 180
BAGGAGE_LENGTH = 8192  # bytes
JSON_LENGTH = 4096  # bytes of baggage in JSON: a function's server takes 8 to 16 KB of headers in all

_STATE_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
).fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_VALUE_SAFE = "!#$&'()*-./:<=>?@[]^_`{|}~"  # baggage-octets; not `+`, which some readers take for a space

_encode = msgspec.json.Encoder().encode


def tracestate(values: list[bytes]) -> str:
    """The header's lines as one; "": one of its members is malformed, so it is dropped as a whole."""
    joined = ",".join([value.decode("latin-1") for value in values])
    members = [member for part in joined.split(",") if (member := part.strip(" \t"))]
    if not all(map(_STATE_MEMBER, members)):
        return ""
    if len(members) <= STATE_MEMBERS and len(joined) <= STATE_LENGTH:
        return joined if members else ""
    return ",".join(_trimmed(members))


def _trimmed(members: list[str]) -> list[str]:
    """As many whole members as may be: long ones go first, then those at the end."""
    count, length = len(members), sum(map(len, members)) + len(members) - 1
    kept = []
    for member in reversed(members):
        over = count > STATE_MEMBERS or length > STATE_LENGTH
        if over and len(member) > STATE_SHORT:
            count, length = count - 1, length - len(member) - 1
        else:
            kept.append(member)
    while count > STATE_MEMBERS or length > STATE_LENGTH:
        dropped = kept.pop(0)
        count, length = count - 1, length - len(dropped) - 1
    return kept[::-1]


def baggage(values: list[bytes], others: Sequence[tuple[str, str]] = ()) -> str:
    """The header's lines as one, as they came while within bounds; then what came in `others`' ways only.

    others: keys and values of formats that have other headers for it.  "": none, or none that is fit to be sent on.
    """
    joined = ",".join([value.decode("latin-1") for value in values])
    if _CONTROL(joined):
        joined = ""
    added = [f"{key}={quote(value, _VALUE_SAFE)}" for key, value in _new(joined, others)]
    whole = ",".join([joined, *added] if joined else added)
    if not whole:
        return ""
    if len(whole) <= BAGGAGE_LENGTH and whole.count(",") < BAGGAGE_MEMBERS:
        return whole
    kept, length = [], -1
    for member in whole.split(",", BAGGAGE_MEMBERS)[:BAGGAGE_MEMBERS]:
        length += len(member) + 1
        if length > BAGGAGE_LENGTH:
            break
        kept.append(member)
    return ",".join(kept)


def entries(text: str) -> dict[str, str]:
    """What baggage says, decoded, without its properties; members that say nothing are left out."""
    found: dict[str, str] = {}
    for member in text.split(","):
        key, equals, value = member.partition(";")[0].partition("=")
        key = key.strip(" \t")
        if equals and _TOKEN(key):
            decoded = unquote_to_bytes(value.strip(" \t").encode("latin-1", "replace"))
            found[key] = decoded.decode("utf-8", "replace")
    return found


def as_json(text: str) -> str:
    """Baggage as Function Compute tells it to a function: base64 of a JSON object. Source: §4."""
    found = entries(text) if text else {}
    document = _encode(found)
    while len(document) > JSON_LENGTH:
        for key in list(found)[-max(1, len(found) // 8) :]:
            del found[key]
        document = _encode(found)
    return base64.b64encode(document).decode("ascii")


def _new(joined: str, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of `others` that can be written, and that the header does not tell already."""
    if not others:
        return []
    told = entries(joined)
    return [(key, value) for key, value in dict(others).items() if key not in told and _TOKEN(key)]
