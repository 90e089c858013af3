"""Heads that were seen before mean what they meant to the parser, and what is unusual is left to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gateway import known
from sampan.gateway.heads import TAKES
from sampan.gateway.known import answer_heads, request_heads

HOST = b"Host: web.localhost"


def test_a_head_is_read_once_and_shared() -> None:
    heads = request_heads(TAKES)
    lines = HOST + b"\r\nAccept:  */* \r\nContent-Length: 12"
    head = heads.read(lines)
    assert head is not None
    assert head.headers == [
        (b"host", b"Host", b"web.localhost"), (b"accept", b"Accept", b"*/*"),
        (b"content-length", b"Content-Length", b"12"),
    ]  # fmt: skip
    assert (head.passed, head.length) == (b"Accept: */*\r\n", 12)
    assert heads.read(lines) is head


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked", b"Upgrade: websocket", b"Expect: 100-continue", b"TE: trailers",
        b"Trailer: X-Sum", b"Connection: close", b"Connection: keep-alive, X-Fc-Mine", b"HTTP2-Settings: AA",
        b"Proxy-Connection: close",
        b"Content-Length: 1\r\nContent-Length: 1", b"Content-Length: +1", b"Content-Length: 0x1",
        b"Content-Length: 1234567890123456789", b"No colon", b"Space : x", b" Folded: x", b"\tx", b"", b": x",
        b"X:", b"Content-Length: ",
        b"X: a\nY: b", b"X: a\rY: b", b"X: \x00", b"X: \x7f", b"X\x80: y", b"X(: y", b"X: a\x0bb",
    ],
)  # fmt: skip
def test_what_is_unusual_is_the_parser_s(line: bytes) -> None:
    for heads in (request_heads(TAKES), answer_heads()):
        for lines in (line, HOST + b"\r\n" + line, line + b"\r\n" + HOST):
            assert heads.read(lines) is None


NAMES = [
    b"Authorization", b"Cookie", b"Proxy-Authorization", b"X-Acs-Security-Token", b"X-Api-Key", b"X-Auth", b"X-JWT",
    b"X-Session-Id", b"Set-Cookie", b"X-Csrf-Token",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_remembered(name: bytes) -> None:
    heads = request_heads(TAKES)
    assert heads.read(HOST + b"\r\n" + name + b": s3cret") is not None
    kept = repr((heads._heads, heads._lines))
    assert "s3cret" not in kept
    assert "web.localhost" in kept


def test_what_is_remembered_is_bounded() -> None:
    heads = request_heads(TAKES)
    for number in range(3 * known._LINES):
        assert heads.read(b"%b\r\nX-Number: %d" % (HOST, number)) is not None
    assert heads.read(HOST + b"\r\nX-Long: " + b"x" * known._LONGEST_HEAD) is not None
    assert heads.read(HOST + b"\r\nA:b" * 300) is not None
    assert len(heads._heads) <= known._HEADS
    assert len(heads._lines) <= known._LINES
    assert max(map(len, heads._lines)) <= known._LONGEST_LINE
    assert max(map(len, heads._heads)) <= known._LONGEST_HEAD
    assert max(len(head.headers) for head in heads._heads.values()) <= known._MOST_LINES


@given(st.binary(max_size=60))
def test_only_what_the_grammar_allows_is_known(value: bytes) -> None:
    """RFC 9110 §5.5: visible characters, spaces and tabs between them, and obsolete text."""
    head = answer_heads().read(b"X-Any: " + value)
    allowed = bool(value.strip(b" \t")) and all((byte >= 0x20 and byte != 0x7F) or byte == 9 for byte in value)
    assert (head is not None) == allowed
    if head is not None:
        assert head.headers == [(b"x-any", b"X-Any", value.strip(b" \t"))]


def test_a_function_s_own_words_to_the_platform_end_here() -> None:
    heads = answer_heads()
    head = heads.read(b"Content-Length: 0\r\nX-Fc-Anything: 1\r\nServer: x\r\nDate: now\r\nX-Kept: 1")
    assert head is not None
    assert head.passed == b"X-Kept: 1\r\n"
    assert heads.read(b"Content-Length: 0\r\nX-Fc-Status: 404") is None
