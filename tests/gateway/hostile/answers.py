"""Answers of functions that break HTTP, and what a caller may be told of them."""

from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BAD = 502


@dataclass(frozen=True)
class Answer:
    name: str
    sent: bytes
    clause: str
    status: int
    body: bytes | None  # None: must not seem whole
    reused: bool | None = False  # the connection to the function carries the next request
    method: str = "GET"
    closes: bool = False  # the function closes behind it


def bad(name: str, sent: bytes, clause: str) -> Answer:
    """Nothing of it may reach the caller."""
    return Answer(name, sent, clause, BAD, b"BadResponse")


def torn(name: str, sent: bytes, clause: str, closes: bool = False) -> Answer:
    """Its head did reach the caller."""
    return Answer(name, sent, clause, 200, None, closes=closes)


def good(
    name: str, sent: bytes, clause: str, body: bytes = b"hello", reused: bool | None = True, **more: object
) -> Answer:
    return Answer(name, sent, clause, 200, body, reused, **more)  # type: ignore[arg-type]


HEADS = (
    bad("a coding and a length", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "9112 §6.3"),
    bad("a length and a coding", OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "9112 §6.3"),
    bad("two lengths that differ", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "9112 §6.3"),
    bad("two lengths, the same", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "9112 §6.3"),
    bad("a list of lengths", OK + b"Content-Length: 5, 5\r\n\r\nhello", "9110 §8.6"),
    bad("a negative length", OK + b"Content-Length: -5\r\n\r\nhello", "9110 §8.6"),
    bad("a length with a plus", OK + b"Content-Length: +5\r\n\r\nhello", "9110 §8.6"),
    bad("a length over 64 bits", OK + b"Content-Length: 18446744073709551621\r\n\r\nhello", "9110 §8.6"),
    bad("no length told", OK + b"Content-Length:\r\n\r\nhello", "9110 §8.6"),
    bad("chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "9112 §7"),
    bad("gzip, then chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "9112 §7.4"),
    bad("gzip alone", OK + b"Transfer-Encoding: gzip\r\n\r\nhello", "9112 §7.4"),
    bad("chunked in HTTP/1.0", CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", "9112 §6.1"),
    bad("LF behind the status line", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello", "9112 §2.2"),
    bad("LF behind a field", OK + b"X: 1\nContent-Length: 5\r\n\r\nhello", "9112 §2.2"),
    bad("CR in a value", OK + b"X: 1\r2\r\nContent-Length: 5\r\n\r\nhello", "9112 §2.2"),
    bad("NUL in a value", OK + b"X: 1\x002\r\nContent-Length: 5\r\n\r\nhello", "9110 §5.5"),
    bad("folded", OK + b"X: 1\r\n 2\r\nContent-Length: 5\r\n\r\nhello", "9112 §5.2"),
    bad("space before the colon", OK + b"X : 1\r\nContent-Length: 5\r\n\r\nhello", "9112 §5.1"),
    bad("space in a name", OK + b"X Y: 1\r\nContent-Length: 5\r\n\r\nhello", "9110 §5.1"),
    bad("no name", OK + b": 1\r\nContent-Length: 5\r\n\r\nhello", "9110 §5.1"),
    bad("no colon", OK + b"XYZ\r\nContent-Length: 5\r\n\r\nhello", "9112 §5"),
    bad("garbage", b"\x00\x01\x02\x03\r\n\r\n", "9112 §4"),
    bad("words", b"hello, world\r\n\r\n", "9112 §4"),
    bad("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "9112 §4"),
    bad("no status", b"HTTP/1.1 OK\r\n\r\n", "9112 §4"),
    bad("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "9112 §4"),
    bad("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "9112 §4"),
    bad("a status below 100", b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n", "9110 §15"),
    bad("a status above 599", b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n", "9110 §15"),
    bad("HTTP/2", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "9112 §2.3"),
    bad("HTTP/0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", "9112 §2.3"),
    bad("CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", "9112 §4"),
    bad("one large field", OK + b"X: " + b"x" * 9000 + b"\r\n\r\n", "container-contract A2.2"),
    bad("many fields", OK + b"X: x\r\n" * 2000 + b"\r\n", "container-contract A2.2"),
    bad("a field without end", OK + b"X: " + b"x" * 20_000, "container-contract A2.2"),
    bad("fields without end", OK + b"X: x\r\n" * 5000, "container-contract A2.2"),
    bad("a reason without end", b"HTTP/1.1 200 " + b"x" * 20_000, "container-contract A2.2"),
    bad("interim answers without end", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20_000, "9110 §15.2"),
    bad(
        "a switch that nobody asked for",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "9110 §15.2.2",
    ),
)

BODIES = (
    torn("shorter than told", SIZED + b"hel", "9112 §8", closes=True),
    torn("chunks that end early", CHUNKED + b"5\r\nhel", "9112 §8", closes=True),
    torn("no last chunk", CHUNKED + b"5\r\nhello\r\n", "9112 §8", closes=True),
    torn("no end behind the last chunk", CHUNKED + b"5\r\nhello\r\n0\r\n", "9112 §8", closes=True),
    torn("a chunk size that is none", CHUNKED + b"5\r\nhello\r\nxyz\r\n", "9112 §7.1"),
    torn("a chunk size over 64 bits", CHUNKED + b"5\r\nhello\r\n10000000000000000\r\n", "9112 §7.1"),
    torn("a negative chunk size", CHUNKED + b"5\r\nhello\r\n-1\r\n", "9112 §7.1"),
    torn("LF behind a chunk size", CHUNKED + b"5\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    torn("more data in a chunk than told", CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    torn("a broken trailer", CHUNKED + b"5\r\nhello\r\n0\r\nX Y: 1\r\n\r\n", "9112 §7.1.2"),
    good("more than told", SIZED + b"hello, world", "9112 §6.3", reused=False),
    good("another answer behind it", (SIZED + b"hello") * 2, "9112 §9.2", reused=False),
    good("an empty line behind it", SIZED + b"hello\r\n", "9112 §2.2", reused=None),
    good("a trailer", CHUNKED + b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n", "9110 §6.5.1"),
    good("an extension", CHUNKED + b"5;a=b\r\nhello\r\n0;c\r\n\r\n", "9112 §7.1.1"),
    good("until it closes", OK + b"\r\nhello", "9112 §6.3", reused=False, closes=True),
    good(
        "it said it would close",
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        "9112 §9.6",
        reused=False,
    ),
    good("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "9112 §9.3", reused=False),
    good(
        "behind an early hint", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SIZED + b"hello", "9110 §15.2"
    ),
    good("behind an unasked 100", b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED + b"hello", "9110 §15.2.1"),
    Answer("a body with 204", b"HTTP/1.1 204 No Content\r\n\r\nhello", "9110 §15.3.5", 204, b""),
    Answer(
        "a length with 204", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "9110 §15.3.5", 204, b""
    ),
    Answer(
        "chunks with 204",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "9112 §6.3",
        204,
        b"",
    ),
    Answer(
        "a body with 304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", "9110 §15.4.5", 304, b""
    ),
    Answer(
        "a length with 304",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "9110 §15.4.5",
        304,
        b"",
        True,
    ),
    good("a body with HEAD", SIZED + b"hello", "9110 §9.3.2", b"", reused=False, method="HEAD"),
    good("chunks with HEAD", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", "9110 §9.3.2", b"", reused=False, method="HEAD"),
    good("no body with HEAD", SIZED, "9110 §9.3.2", b"", method="HEAD"),
)

TABLES = {"heads": HEADS, "bodies": BODIES}
