"""Requests that a server must refuse, and some that look bad and are good: bytes, where it is written, what then.

Every case is followed by a second request on the same connection. Behind a refusal nobody may read it; behind an
accepted request it has to be answered next, unless the connection was to be closed.
"""

from dataclasses import dataclass

LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: web.localhost\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    clause: str  # RFC and section, or our own document
    status: int
    seen: tuple[bytes, bytes, bytes] | None = None  # method, target and body, as the function gets them
    kept: bool = False  # the connection carries the next request


def refused(name: str, sent: bytes, clause: str, status: int = 400) -> Case:
    return Case(name, sent, clause, status)


def taken(
    name: str,
    sent: bytes,
    clause: str,
    body: bytes = b"",
    target: bytes = b"/",
    method: bytes = b"",
    kept: bool = True,
) -> Case:
    return Case(name, sent, clause, 200, (method or sent.lstrip().partition(b" ")[0], target, body), kept)


def _length(value: bytes) -> bytes:
    return POST + b"Content-Length:" + value + b"\r\n\r\nhello"


def _coding(value: bytes, more: bytes = b"") -> bytes:
    return POST + b"Transfer-Encoding:" + value + b"\r\n" + more + b"\r\n5\r\nhello\r\n0\r\n\r\n"


LENGTHS = (
    taken("plain", _length(b" 5"), "9112 §6.2", b"hello"),
    taken("no space", _length(b"5"), "9112 §5", b"hello"),
    taken("tab and space around it", _length(b"\t 5 \t"), "9112 §5", b"hello"),
    taken("leading zeros", _length(b" 0005"), "9110 §8.6", b"hello"),
    taken("thousands of leading zeros", _length(b" " + b"0" * 6000 + b"5"), "9110 §8.6", b"hello"),
    refused("repeated, the same", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "9112 §6.3 5"),
    refused("repeated, differing", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "9112 §6.3 5"),
    refused("a list of one value", _length(b" 5, 5"), "9110 §8.6"),
    refused("a list of two values", _length(b" 5, 6"), "9112 §6.3 5"),
    refused("negative", _length(b" -5"), "9110 §8.6"),
    refused("with a plus", _length(b" +5"), "9110 §8.6"),
    refused("hexadecimal", _length(b" 0x5"), "9110 §8.6"),
    refused("with an exponent", _length(b" 5e0"), "9110 §8.6"),
    refused("with an underscore", _length(b" 1_0"), "9110 §8.6"),
    refused("with a fraction", _length(b" 5.0"), "9110 §8.6"),
    refused("quoted", _length(b' "5"'), "9110 §8.6"),
    refused("two numbers", _length(b" 5 5"), "9110 §8.6"),
    refused("empty", _length(b""), "9110 §8.6"),
    refused("only a space", _length(b" "), "9110 §8.6"),
    refused("vertical tab before", _length(b" \x0b5"), "9110 §8.6"),
    refused("form feed behind", _length(b" 5\x0c"), "9110 §8.6"),
    refused("other script's digit", _length(" ٥".encode()), "9110 §8.6"),
    refused("over 64 bits", _length(b" 18446744073709551621"), "9110 §8.6"),
    refused("far over 64 bits", _length(b" " + b"9" * 200), "9110 §8.6"),
    taken("one that has an underscore is none", POST + b"content_length: 5\r\n\r\n", "9110 §5.1"),
    taken("with GET", LINE + HOST + b"Content-Length: 5\r\n\r\nhello", "9110 §9.3.1", b"hello"),
    taken("nothing, with GET", LINE + HOST + b"Content-Length: 0\r\n\r\n", "9110 §9.3.1"),
)

CODINGS = (
    taken("plain", _coding(b" chunked"), "9112 §7.1", b"hello"),
    taken("capitals", _coding(b" CHUNKED"), "9112 §7", b"hello"),
    taken("spaces around", _coding(b"   chunked  "), "9112 §5", b"hello"),
    taken("tab before", _coding(b"\tchunked"), "9112 §5", b"hello"),
    refused("tab behind", _coding(b" chunked\t"), "9112 §6.1, stricter"),
    refused("with a length behind", _coding(b" chunked", b"Content-Length: 5\r\n"), "9112 §6.1"),
    refused(
        "with a length before",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "9112 §6.1",
    ),
    refused("in HTTP/1.0", _coding(b" chunked").replace(b"/1.1", b"/1.0"), "9112 §6.1"),
    refused(
        "in HTTP/1.0, with a length",
        b"POST / HTTP/1.0\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "9112 §6.1",
    ),
    refused("chunked twice", _coding(b" chunked, chunked"), "9112 §7"),
    refused("chunked in two lines", _coding(b" chunked", b"Transfer-Encoding: chunked\r\n"), "9112 §7"),
    refused("gzip, then chunked", _coding(b" gzip, chunked"), "9112 §6.1", 501),
    refused(
        "gzip, then chunked in two lines", _coding(b" gzip", b"Transfer-Encoding: chunked\r\n"), "9112 §6.1", 501
    ),
    refused("chunked, then gzip", _coding(b" chunked, gzip"), "9112 §6.3 4"),
    refused("chunked, then gzip in two lines", _coding(b" chunked", b"Transfer-Encoding: gzip\r\n"), "9112 §6.3 4"),
    refused("identity", _coding(b" identity"), "9112 §6.3 4"),
    refused("identity with a length", _coding(b" identity", b"Content-Length: 5\r\n"), "9112 §6.3"),
    refused("identity, then chunked", _coding(b" identity, chunked"), "9112 §6.1", 501),
    refused("xchunked", _coding(b" xchunked"), "9112 §6.3 4"),
    refused("chunkedx", _coding(b" chunkedx"), "9112 §6.3 4"),
    refused("chunk", _coding(b" chunk"), "9112 §6.3 4"),
    refused("with a parameter", _coding(b" chunked;q=1"), "9112 §7"),
    refused("quoted", _coding(b' "chunked"'), "9112 §7"),
    refused("vertical tab before", _coding(b" \x0bchunked"), "9110 §5.5"),
    refused("vertical tab behind", _coding(b" chunked\x0b"), "9110 §5.5"),
    refused("form feed before", _coding(b"\x0cchunked"), "9110 §5.5"),
    refused("NUL behind", _coding(b" chunked\x00"), "9110 §5.5"),
    refused("high bit", _coding(b" chunked\xa0"), "9112 §7"),
    refused("comma before", _coding(b" ,chunked"), "9112 §6.1", 501),
    refused("comma behind", _coding(b" chunked,"), "9112 §6.1"),
    refused("empty", _coding(b""), "9112 §6.1"),
    refused("folded", _coding(b"\r\n chunked"), "9112 §5.2"),
    refused("space before the colon", _coding(b" chunked").replace(b"Encoding:", b"Encoding :"), "9112 §5.1"),
    taken("one that has an underscore is none", POST + b"Transfer_Encoding: chunked\r\n\r\n", "9110 §5.1"),
)

CHUNKS = (
    taken("two", CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "9112 §7.1", b"hello"),
    taken("capitals", CHUNKED + b"A\r\nhellohello\r\n0\r\n\r\n", "9112 §7.1", b"hellohello"),
    taken("leading zeros", CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n", "9112 §7.1", b"hello"),
    taken("an extension", CHUNKED + b'5;a=b;c;d="e f"\r\nhello\r\n0;x\r\n\r\n', "9112 §7.1.1", b"hello"),
    taken("data that looks like an end", CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "9112 §7.1", b"0\r\n\r\n"),
    refused("negative size", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("size with a plus", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("size of more than 64 bits", CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("size of 0x", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("size of no digits", CHUNKED + b"g\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("size and garbage", CHUNKED + b"5g\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("no size", CHUNKED + b"\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("no size but an extension", CHUNKED + b";a\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("space before the size", CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("space behind the size", CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", "9112 §7.1.1, stricter"),
    refused("tab behind the size", CHUNKED + b"5\t\r\nhello\r\n0\r\n\r\n", "9112 §7.1.1, stricter"),
    refused("LF behind the size", CHUNKED + b"5\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("CR behind the size", CHUNKED + b"5\rhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("LF behind the data", CHUNKED + b"5\r\nhello\n0\r\n\r\n", "9112 §7.1"),
    refused("CR behind the data", CHUNKED + b"5\r\nhello\r0\r\n\r\n", "9112 §7.1"),
    refused("nothing behind the data", CHUNKED + b"5\r\nhello0\r\n\r\n", "9112 §7.1"),
    refused("more data than told", CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", "9112 §7.1"),
    refused("LF in an extension", CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n", "9112 §7.1.1"),
    refused("CR in an extension", CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n", "9112 §7.1.1"),
    refused("CRLF in a quoted extension", CHUNKED + b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n', "9112 §7.1.1"),
    refused("NUL in an extension", CHUNKED + b"5;a=\x00\r\nhello\r\n0\r\n\r\n", "9112 §7.1.1"),
    refused("an extension without end", CHUNKED + b"5;" + b"a" * 600_000, "9112 §7.1.1"),
    refused("LF behind the last size", CHUNKED + b"5\r\nhello\r\n0\n\r\n", "9112 §7.1"),
    refused("LF as the end", CHUNKED + b"5\r\nhello\r\n0\r\n\n", "9112 §7.1"),
    refused("CR as the end", CHUNKED + b"5\r\nhello\r\n0\r\n\rX", "9112 §7.1"),
)

TRAILERS = (
    taken("one", CHUNKED + b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n", "9110 §6.5", b"hello"),
    taken(
        "names that no trailer may have",
        CHUNKED + b"5\r\nhello\r\n0\r\nHost: evil\r\nAuthorization: x\r\nX-Fc-Account-Id: 7\r\n"
        b"Cookie: a=1\r\nExpect: x\r\nX-Forwarded-For: 7\r\nX-Check: 1\r\n\r\n",
        "9110 §6.5.1",
        b"hello",
    ),
    refused("a length", CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", "9110 §6.5.1, stricter"),
    refused(
        "a coding", CHUNKED + b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", "9110 §6.5.1, stricter"
    ),
    refused("bare LF", CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\n\r\n", "9112 §7.1.2"),
    refused("space in the name", CHUNKED + b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n", "9112 §5.1"),
    refused("folded", CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n", "9112 §5.2"),
    refused("without end", CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"x" * 600_000, "9110 §6.5"),
)


def _field(line: bytes) -> bytes:
    return LINE + HOST + line + b"\r\n\r\n"


FIELDS = (
    taken("empty value", _field(b"X:"), "9110 §5.5"),
    taken("high bytes in a value", _field(b"X: caf\xe9"), "9110 §5.5"),
    taken("tab in a value", _field(b"X: a\tb"), "9110 §5.5"),
    taken("every character of a token", _field(b"!#$%&'*+-.^_`|~09azAZ: 1"), "9110 §5.6.2"),
    refused("LF ends the request line", LINE.replace(b"\r\n", b"\n") + HOST + END, "9112 §2.2, stricter"),
    refused("LF ends a line", _field(b"X: a\nY: b"), "9112 §2.2, stricter"),
    refused("LF ends the head", LINE + HOST + b"\n", "9112 §2.2, stricter"),
    refused(
        "LF ends every line", LINE.replace(b"\r", b"") + HOST.replace(b"\r", b"") + b"\n", "9112 §2.2, stricter"
    ),
    refused("CR ends the request line", LINE.replace(b"\n", b"") + HOST + END, "9112 §2.2"),
    refused("CR in a value", _field(b"X: a\rb"), "9112 §2.2"),
    refused("CR in an empty value", _field(b"X:\rb"), "9112 §2.2"),
    refused("CR in a name", _field(b"X\rY: b"), "9112 §2.2"),
    refused("two CR before LF", _field(b"X: a\r"), "9112 §2.2"),
    refused("folded with a space", _field(b"X: a\r\n b"), "9112 §5.2"),
    refused("folded with a tab", _field(b"X: a\r\n\tb"), "9112 §5.2"),
    refused("folded when empty", _field(b"X:\r\n "), "9112 §5.2"),
    refused("space before the first field", LINE + b" X: a\r\n" + HOST + END, "9112 §2.2"),
    refused("space before the colon", _field(b"X : a"), "9112 §5.1"),
    refused("tab before the colon", _field(b"X\t: a"), "9112 §5.1"),
    refused("space in a name", _field(b"X Y: a"), "9110 §5.1"),
    refused("no name", _field(b": a"), "9110 §5.1"),
    refused("no colon", _field(b"XYZ"), "9112 §5"),
    *(
        refused(f"{char!r} in a name", _field(b"X" + char + b"Y: a"), "9110 §5.1")
        for char in (
            b"\x00",
            b"\x01",
            b"\x7f",
            b"\xe9",
            b'"',
            b"(",
            b")",
            b"/",
            b"@",
            b"[",
            b"{",
            b"<",
            b"=",
            b";",
            b",",
            b"?",
            b"\\",
        )
    ),
    *(
        refused(f"{char!r} in a value", _field(b"X: a" + char + b"b"), "9110 §5.5")
        for char in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x7f")
    ),
)

LONG = (
    refused("target", b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n" + HOST + END, "9112 §3", 414),
    refused("target without end", b"GET /" + b"x" * 30_000, "9112 §3", 414),
    refused("query", b"GET /?" + b"x" * 5000 + b" HTTP/1.1\r\n" + HOST + END, "9112 §3", 414),
    refused("one field", _field(b"X: " + b"x" * 9000), "6585 §5", 431),
    refused("one field without end", LINE + HOST + b"X: " + b"x" * 30_000, "6585 §5", 431),
    refused("a name without end", LINE + HOST + b"x" * 30_000, "6585 §5", 431),
    refused("all fields", LINE + HOST + b"X: x\r\n" * 2000 + END, "6585 §5", 431),
    refused("all fields without end", LINE + HOST + b"X: x\r\n" * 5000, "6585 §5", 431),
    refused("method", b"G" * 30_000 + b" / HTTP/1.1\r\n" + HOST + END, "9112 §3"),
    refused("version", b"GET / HTTP/1.1" + b"1" * 30_000, "9112 §2.3"),
    refused(
        "target of the API",
        b"POST /2023-03-30/functions/" + b"x" * 5000 + b"/invocations HTTP/1.1\r\n" + HOST + END,
        "function-compute-api §3.2",
    ),
    refused(
        "fields to the API",
        b"POST /2023-03-30/functions/web/invocations HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 9000 + b"\r\n\r\n",
        "function-compute-api §3.2",
    ),
)


def _line(line: bytes) -> bytes:
    return line + b"\r\n" + HOST + END


LINES = (
    taken("an empty line before", b"\r\n" + _line(b"GET / HTTP/1.1"), "9112 §2.2"),
    taken("HTTP/1.0", _line(b"GET / HTTP/1.0"), "9110 §2.5", kept=False),
    taken(
        "HTTP/1.0 that stays", LINE.replace(b"1.1", b"1.0") + HOST + b"Connection: keep-alive\r\n\r\n", "9112 §9.3"
    ),
    refused("space before", _line(b" GET / HTTP/1.1"), "9112 §3"),
    refused("NUL before", _line(b"\x00GET / HTTP/1.1"), "9112 §3"),
    refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, "9112 §3"),
    refused("HTTP/0.9", b"GET /\r\n", "9112 §3"),
    refused("told to be 0.9", _line(b"GET / HTTP/0.9"), "9110 §15.6.6", 505),
    refused("told to be 1.2", _line(b"GET / HTTP/1.2"), "9110 §15.6.6", 505),
    refused("told to be 2.0", _line(b"GET / HTTP/2.0"), "9110 §15.6.6", 505),
    refused("told to be 3.0", _line(b"GET / HTTP/3.0"), "9110 §15.6.6", 505),
    refused("two digits", _line(b"GET / HTTP/1.10"), "9112 §2.3"),
    refused("no dot", _line(b"GET / HTTP/11"), "9112 §2.3"),
    refused("a comma", _line(b"GET / HTTP/1,1"), "9112 §2.3"),
    refused("no minor", _line(b"GET / HTTP/1."), "9112 §2.3"),
    refused("small letters", _line(b"GET / http/1.1"), "9112 §2.3"),
    refused("another protocol", _line(b"GET / HTCPCP/1.0"), "9112 §2.3"),
    refused("space behind", _line(b"GET / HTTP/1.1 "), "9112 §3"),
    refused("tabs between", _line(b"GET\t/\tHTTP/1.1"), "9112 §3"),
    refused("no target", _line(b"GET HTTP/1.1"), "9112 §3"),
    refused("no version", _line(b"GET / "), "9112 §3"),
    refused("nearly the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", "9113 §3.4"),
    refused("method in small letters", _line(b"get / HTTP/1.1"), "9110 §9.1"),
    refused("method that nobody knows", _line(b"FROB / HTTP/1.1"), "9110 §9.1"),
    *(
        refused(f"{char!r} in the method", _line(b"GE" + char + b"T / HTTP/1.1"), "9110 §9.1")
        for char in (b"\x00", b"\x01", b"\x7f", b"\xe9", b":", b"\r")
    ),
    refused("CONNECT", b"CONNECT web.localhost:80 HTTP/1.1\r\n" + HOST + END, "9110 §9.1", 501),
    refused("CONNECT to a path", _line(b"CONNECT / HTTP/1.1"), "9110 §9.1", 501),
    Case(
        "a method that the trigger does not have",
        _line(b"PROPFIND / HTTP/1.1"),
        "triggers §3",
        405,
        None,
        kept=True,
    ),
)

TARGETS = (
    taken("path and query", _line(b"GET /a%20b;c?d=/e?f&g HTTP/1.1"), "9112 §3.2.1", target=b"/a%20b;c?d=/e?f&g"),
    taken("two slashes", _line(b"GET //evil/x HTTP/1.1"), "9112 §3.2.1", target=b"//evil/x"),
    taken("dots", _line(b"GET /../a/./b HTTP/1.1"), "9112 §3.2.1", target=b"/../a/./b"),
    taken("absolute", _line(b"GET http://web.localhost/x?y HTTP/1.1"), "9112 §3.2.2", target=b"/x?y"),
    taken("absolute, in capitals", _line(b"GET HTTP://WEB.localhost/x HTTP/1.1"), "9112 §3.2.2", target=b"/x"),
    taken("absolute without a path", _line(b"GET http://web.localhost HTTP/1.1"), "9112 §3.2.2"),
    taken(
        "absolute with a query alone",
        _line(b"GET http://web.localhost?x=/y HTTP/1.1"),
        "9112 §3.2.2",
        target=b"/?x=/y",
    ),
    taken(
        "absolute, another host told",
        b"GET http://web.localhost/x HTTP/1.1\r\nHost: other\r\n\r\n",
        "9112 §3.2.2",
        target=b"/x",
    ),
    taken("asterisk", _line(b"OPTIONS * HTTP/1.1"), "9112 §3.2.4", target=b"*"),
    refused("asterisk with GET", _line(b"GET * HTTP/1.1"), "9112 §3.2.4"),
    refused("asterisk and more", _line(b"OPTIONS *x HTTP/1.1"), "9112 §3.2.4"),
    refused("authority", _line(b"GET web.localhost:80 HTTP/1.1"), "9112 §3.2.3"),
    refused("no slash", _line(b"GET x HTTP/1.1"), "9112 §3.2"),
    refused("fragment", _line(b"GET /a#b HTTP/1.1"), "9112 §3.2"),
    refused("fragment behind a query", _line(b"GET /a?b#c HTTP/1.1"), "9112 §3.2"),
    refused("fragment in absolute form", _line(b"GET http://web.localhost/#a HTTP/1.1"), "9112 §3.2.2"),
    refused("fragment at once", _line(b"GET # HTTP/1.1"), "9112 §3.2"),
    refused("userinfo", _line(b"GET http://u:p@web.localhost/ HTTP/1.1"), "9110 §4.2.4"),
    refused("absolute without a host", _line(b"GET http:///x HTTP/1.1"), "9110 §4.2.1"),
    refused("absolute with a port alone", _line(b"GET http://:80:80/x HTTP/1.1"), "9110 §4.2.1"),
    refused("another scheme", _line(b"GET ftp://web.localhost/ HTTP/1.1"), "9112 §3.2"),
    refused("a space", _line(b"GET /a b HTTP/1.1"), "9112 §3.2"),
    *(
        refused(f"{char!r}", _line(b"GET /a" + char + b"b HTTP/1.1"), "9112 §3.2")
        for char in (b"\x00", b"\x01", b"\x09", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80", b"\xe9")
    ),
    refused("LF", b"GET /a\nb HTTP/1.1\r\n" + HOST + END, "9112 §3.2"),
)


def _host(*lines: bytes) -> bytes:
    return LINE + b"".join(b"Host:" + line + b"\r\n" for line in lines) + END


HOSTS = (
    taken("plain", _host(b" web.localhost"), "9110 §7.2"),
    taken("spaces around", _host(b" \tweb.localhost  "), "9112 §5"),
    taken("capitals and a dot", _host(b" WEB.LocalHost."), "9110 §4.2.3"),
    taken("port", _host(b" web.localhost:65535"), "9110 §7.2"),
    taken("empty port", _host(b" web.localhost:"), "9110 §7.2"),
    refused("missing", _host(), "9112 §3.2"),
    refused("two", _host(b" web.localhost", b" web.localhost"), "9112 §3.2"),
    refused("two that differ", _host(b" web.localhost", b" other"), "9112 §3.2"),
    refused("one as a target, none told", b"GET http://web.localhost/ HTTP/1.1\r\n\r\n", "9112 §3.2"),
    refused("a bad one beside a target", b"GET http://web.localhost/ HTTP/1.1\r\nHost: a b\r\n\r\n", "9112 §3.2"),
    Case("empty", _host(b""), "9110 §7.2", 404, None, kept=True),
    Case("an address", _host(b" [::1]:80"), "9110 §7.2", 404, None, kept=True),
    *(
        refused(f"{value!r}", _host(b" " + value), "9112 §3.2")
        for value in (
            b"u@web.localhost",
            b"u:p@web.localhost",
            b"web.localhost:65536",
            b"web.localhost:99999",
            b"web.localhost:x",
            b"web.localhost:-1",
            b"web.localhost:+80",
            b"web.localhost:1:2",
            b"web.localhost:000080",
            b"]web.localhost[",
            b"[::1",
            b"[]",
            b"web.localhost/x",
            b"web.localhost?x",
            b"web.localhost#x",
            b"web.localhost, other",
            b"web.localhost other",
            b'"web.localhost"',
            b"web.localhost\xe9",
            b"\\web.localhost",
            b"web;localhost",
            b"<web.localhost>",
        )
    ),
    refused("space before the colon", LINE + b"Host : web.localhost\r\n\r\n", "9112 §5.1"),
)

_SETTINGS = b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + END


def _upgrade(protocol: bytes, more: bytes = b"", line: bytes = LINE) -> bytes:
    return line + HOST + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n" + more + b"\r\n"


_SIZED = b"Content-Length: %d\r\n" % len(_SMUGGLED)
UPGRADES = (
    taken("to h2c", _upgrade(b"h2c", _SETTINGS), "9110 §7.8"),
    taken("to h2c in a list", _upgrade(b"websocket, h2c", _SETTINGS), "9110 §7.8"),
    taken(
        "to h2c with a body that is a request",
        _upgrade(b"h2c", _SIZED, b"POST / HTTP/1.1\r\n") + _SMUGGLED,
        "9110 §7.8",
        _SMUGGLED,
    ),
    taken(
        "to h2c with a chunked body that is a request",
        _upgrade(b"h2c", b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.1\r\n")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(_SMUGGLED), _SMUGGLED),
        "9110 §7.8",
        _SMUGGLED,
    ),
    taken("in HTTP/1.0", _upgrade(b"websocket", line=b"GET / HTTP/1.0\r\n"), "9110 §7.8", kept=False),
    taken(
        "in HTTP/1.0 with a body that is a request",
        _upgrade(b"websocket", _SIZED, b"POST / HTTP/1.0\r\n") + _SMUGGLED,
        "9110 §7.8",
        _SMUGGLED,
        kept=False,
    ),
    taken("that Connection does not name", LINE + HOST + b"Upgrade: websocket\r\n\r\n", "9110 §7.8"),
    taken("ignored by the function", _upgrade(b"websocket"), "9110 §7.8"),
    taken("ignored by the function, without a body", _upgrade(b"x", b"Content-Length: 0\r\n"), "9110 §7.8"),
    refused(
        "with a body that is a request",
        _upgrade(b"websocket", _SIZED, b"POST / HTTP/1.1\r\n") + _SMUGGLED,
        "9110 §7.8, stricter",
    ),
)

EXPECTS = (
    taken("100-continue without a body", _field(b"Expect: 100-continue"), "9110 §10.1.1", kept=False),
    refused("something else", _field(b"Expect: 200-ok"), "9110 §10.1.1", 417),
    refused("both", _field(b"Expect: 100-continue, x=y"), "9110 §10.1.1", 417),
    refused("empty", _field(b"Expect:"), "9110 §10.1.1", 417),
    taken(
        "100-continue in HTTP/1.0",
        b"POST / HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "9110 §10.1.1",
        b"hello",
        kept=False,
    ),
)

TABLES = {
    "lengths": LENGTHS,
    "codings": CODINGS,
    "chunks": CHUNKS,
    "trailers": TRAILERS,
    "fields": FIELDS,
    "long": LONG,
    "lines": LINES,
    "targets": TARGETS,
    "hosts": HOSTS,
    "upgrades": UPGRADES,
    "expects": EXPECTS,
}
