"""Where requests begin and end, against h11 as the oracle, over requests that are nearly right.

What the gateway accepts h11 has to accept too, with the same method, target, body and bounds; and in whatever
pieces bytes come, the outcome is the same. The gateway may refuse more than h11: it knows no obsolete folding, no
bare LF, no repeated Content-Length, only methods that are registered, targets without fragments, only chunked as
coding, and chunk sizes without spaces around. Where it accepts more is told below.
"""

import re
from itertools import pairwise

import h11
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.gateway.hostile.loose import Outcome, heard
from tests.gateway.hostile.requests import TABLES

# Accepted here, refused by h11, as RFC 9112 allows: several spaces between the parts of a request line (§3), and
# empty lines before it, of a CR or LF alone too (§2.2).
_SPACES = re.compile(rb"\A([A-Z-]+) +([^ \r\n]+) +HTTP")
_EMPTY_LINES = b"\r\n"

_METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"])
_TARGETS = st.sampled_from([b"/", b"/a?b=c", b"/%00", b"//x", b"/a;b=/c", b"*", b"http://h/x"])
_BODY = st.binary(max_size=12) | st.sampled_from([b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n"])
_FIELDS = st.lists(
    st.sampled_from(
        [
            b"X: y", b"Accept:*/*", b"X:", b"Connection: keep-alive", b"Connection: close", b"Cookie: a=1; b=2",
            b"Expect: 100-continue", b"content_length: 3", b"X-Long: " + b"v" * 60, b"Content-Length: 0",
            b"Transfer-Encoding: chunked", b"Upgrade: h2c", b"Connection: upgrade",
        ]
    ),
    max_size=3,
)  # fmt: skip
_PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"0", b"5", b"-1", b"+", b"0x", b"\x00", b"\x0b", b"\x7f",
    b"\xff", b"\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Host: h\r\n", b"HTTP/1.0", b"HTTP/1.1", b"chunked", b"GET ", b" \r\n",
    b"#",
]  # fmt: skip


def _chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@st.composite
def _request(draw: st.DrawFn) -> bytes:
    body, framed = draw(_BODY), draw(st.sampled_from(["none", "length", "chunked"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    fields = [b"Host: h", *draw(_FIELDS)]
    if framed == "length":
        fields.append(b"Content-Length: %d" % len(body))
    elif framed == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
        body = _chunked(body, draw(st.integers(1, 9)))
    else:
        body = b""
    line = b"%b %b HTTP/%b" % (draw(_METHODS), draw(_TARGETS), version)
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n" + body


@st.composite
def _stream(draw: st.DrawFn) -> bytes:
    """A few requests, some bytes of which are changed."""
    stream = b"".join(draw(st.lists(_request(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, len(stream))), draw(st.sampled_from([0, 0, 1, 2, 4]))
        stream = stream[:at] + draw(st.sampled_from(_PIECES)) + stream[at + cut :]
    return stream


@st.composite
def _in_pieces(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(_stream())
    if draw(st.booleans()):
        return stream, [stream[at : at + 1] for at in range(len(stream))]
    cuts = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=4))})
    return stream, [stream[a:b] for a, b in pairwise(cuts)]


def oracle(stream: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of the whole requests, up to the first that is refused; never mind when to close."""
    found: list[tuple[bytes, bytes, bytes]] = []
    while True:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        parser.receive_data(_SPACES.sub(rb"\1 \2 HTTP", stream.lstrip(_EMPTY_LINES)))
        try:
            one = _one(parser)
        except h11.RemoteProtocolError:
            return found
        if one is None:
            return found
        found.append(one)
        stream = parser.trailing_data[0]


def _one(parser: h11.Connection) -> tuple[bytes, bytes, bytes] | None:
    request, body = None, b""
    while True:
        match parser.next_event():
            case h11.Request() as request:
                pass
            case h11.Data() as piece:
                body += bytes(piece.data)
            case h11.EndOfMessage() if request is not None:
                return request.method, request.target, body
            case _:
                return None


def accepted(outcome: Outcome) -> list[tuple[bytes, bytes, bytes]]:
    """As the oracle tells it; an absolute target is read as one, so its path is all that is left of it."""
    return [(one[0], one[1], one[3]) for one in outcome if len(one) == 4]  # type: ignore[misc]


def _path(target: bytes) -> bytes:
    return b"/" + target.partition(b"://")[2].partition(b"/")[2] if target.startswith(b"http://") else target


@seed(9112)
@settings(
    max_examples=1000, deadline=None, derandomize=False, database=None, suppress_health_check=list(HealthCheck)
)
@given(_in_pieces())
async def test_what_is_accepted_an_oracle_reads_the_same(given_: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = given_
    whole = await heard([stream])
    assert await heard(pieces) == whole, (stream, whole, await heard(pieces))
    ours, theirs = accepted(whole), [(m, _path(t), b) for m, t, b in oracle(stream)]
    assert ours == theirs[: len(ours)], (stream, whole, theirs)


async def test_however_a_hostile_request_is_cut_in_two_the_outcome_is_the_same() -> None:
    for table in TABLES.values():
        for case in (one for one in table if len(one.sent) < 1000):
            whole = await heard([case.sent])
            for at in range(1, len(case.sent)):
                assert await heard([case.sent[:at], case.sent[at:]]) == whole, (case.name, at)
