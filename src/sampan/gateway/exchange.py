"""One HTTP request and its answer, in flight.

The connection fills the request in; `invoke` and what it calls answer it. The body need not have arrived yet:
it is piped onward as it comes, or collected. An answer is either whole (`answer`) or begun, sent in pieces and
finished; one that was begun and cannot be finished is cut, never ended as if it were complete.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from http import HTTPStatus
from typing import Final, Protocol

from sampan.gateway.body import Body, Client
from sampan.model.errors import SampanError
from sampan.model.instance import Stage
from sampan.model.invocation import Traced
from sampan.model.names import RequestId, new_request_id


class Framing(IntEnum):
    """How the end of an answer's body is told. Source: RFC 9112 §6."""

    EMPTY = 0
    SIZED = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


class Running(Protocol):
    """What is under way for an exchange; told of trouble and of the client's pace."""

    def fail(self, error: SampanError) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class CrossOrigin(Protocol):
    """Rules for pages of other origins, as the answer sees them."""

    def lines(self, origin: bytes, headers: Sequence[tuple[bytes, bytes, bytes]]) -> bytes: ...


class Ending(ABC):
    """Whoever is to hear that the end of an answer is about to be sent."""

    @abstractmethod
    def tell(self, failed: bool) -> None:
        """failed: the function failed."""


STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"  # said to HTTP/1.0 only, where it is not the rule
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_NO_BODY: Final = frozenset((204, 304))
_EMPTY: Final = Framing.EMPTY  # reading a member of an enum takes 40 ns
_SIZED: Final = Framing.SIZED
_CHUNKED_BODY: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE
_NONE: Final[frozenset[bytes]] = frozenset()
_now: Final = time.time_ns


class Exchange:
    """The state of one request and its answer. Times are Unix nanoseconds, 0 when not reached."""

    __slots__ = (
        "_pieces",
        "added",
        "answered",
        "asynchronous",
        "authorization",
        "begun",
        "body",
        "bytes_out",
        "chunked",
        "client",
        "connection_names",
        "content_length",
        "context_told",
        "cors",
        "deadline",
        "error",
        "expects_continue",
        "finished",
        "first_byte",
        "forwarded",
        "forwarded_for",
        "framing",
        "headers",
        "host",
        "host_told",
        "hosts",
        "http10",
        "keep_alive",
        "leased",
        "method",
        "origin",
        "passed",
        "proto_told",
        "reason",
        "received",
        "recorded",
        "refusal",
        "request",
        "running",
        "sampled",
        "secure",
        "standing",
        "startup",
        "status",
        "target",
        "trace_lines",
        "traceparent",
        "upgrade",
    )  # fmt: skip
    grpc = False  # carried over HTTP/2, answered with trailers; only exchanges of HTTP/2 can be
    due = math.inf  # of the loop's clock; the deadline that a caller of gRPC told

    def __init__(self, client: Client) -> None:
        self.client = client
        self.received = now = _now()
        self.request: RequestId = new_request_id(now)
        self.leased = 0
        self.first_byte = 0
        self.deadline = 0.0  # of the loop's clock, for a slot; 0: it has not had to wait
        self.method = b""
        self.target = b""
        self.headers: list[tuple[bytes, bytes, bytes]] = []  # lower-case name, name as sent, value
        self.passed: bytes | None = None  # the lines of `headers` that go on; None: nobody has looked yet
        self.host = b""
        self.hosts = 0  # Host headers that came; there has to be one
        self.chunked = False  # the body, as it comes
        self.host_told = False  # an X-Forwarded-Host came in
        self.asynchronous = False  # `x-fc-invocation-type: Async`
        self.http10 = False
        self.keep_alive = True
        self.upgrade = b""  # the protocol asked for
        self.expects_continue = False
        self.content_length: int | None = None
        self.connection_names: frozenset[bytes] = _NONE  # headers that `Connection` names
        self.authorization = b""
        self.origin = b""  # of the page that calls
        self.cors: CrossOrigin | None = None  # what pages of other origins are told
        self.traceparent = b""  # as it came
        self.context_told = False  # other headers about a trace came, too
        self.standing: Traced | bool | None = None  # in a trace, as of `InvocationRecord`
        self.sampled = False
        self.trace_lines = b""  # by which the function is told of its trace
        self.startup: tuple[Stage, ...] = ()  # of the instance, where it was started for this request
        self.error = ""  # the code of what went wrong
        self.reason = ""  # the same, for people
        self.forwarded = b""
        self.forwarded_for = b""
        self.proto_told = False  # an X-Forwarded-Proto came in
        self.secure = False  # the client's connection is TLS
        self.body: Body | None = None
        self.refusal: SampanError | None = None  # found by the parser; to be answered in its turn
        self.running: Running | None = None
        self.status = 0
        self.bytes_out = 0
        self.begun = False
        self.finished = False
        self.framing: Framing = _EMPTY
        self.added = b""  # header lines that the answer gets, whatever it is
        self.answered: Ending | None = None
        self.recorded = False
        self._pieces: list[bytes] = []

    # ── the request ──

    def header(self, name: bytes) -> bytes | None:
        """The first value. `name` in lower case."""
        for lower, _, value in self.headers:
            if lower == name:
                return value
        return None

    def let_body_come(self) -> None:
        """The body is wanted: a client that asked first is told so."""
        if self.expects_continue:
            self.expects_continue = False
            if self.body is not None and not self.body.size:
                self.client.write(_CONTINUE)

    def fail(self, error: SampanError) -> None:
        """Something befell the request while it was under way."""
        self.refusal = error
        if self.body is not None:
            self.body.fail(error)
        if self.running is not None:
            self.running.fail(error)

    @property
    def body_open(self) -> bool:
        return self.body is not None and not self.body.complete

    # ── the answer ──

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """All of it at once. `lines`: header lines but those about length and connection."""
        self.begin(status, lines, len(body))
        if body:
            self.send(body)
        if self.answered is not None:
            self.answered.tell(False)
        self.finish()

    def begin(self, status: int, lines: bytes, length: int | None) -> None:
        """length: of the body to come; None when it is not known."""
        self.begun = True
        self.status = status
        if self.expects_continue or self.client.draining:
            self.keep_alive = False  # a body may come or not, there is no telling it from a next request
        pieces = self._pieces
        pieces.append(STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status)
        pieces.append(lines)
        if self.added:
            pieces.append(self.added)
        if status in _NO_BODY or self.method == b"HEAD":
            self.framing = _EMPTY
            if length is not None and status != 204:
                pieces.append(b"Content-Length: %d\r\n" % length)
        elif length is not None:
            self.framing = _SIZED
            pieces.append(b"Content-Length: %d\r\n" % length)
        elif self.http10:
            self.framing = _UNTIL_CLOSE
            self.keep_alive = False
        else:
            self.framing = _CHUNKED_BODY
            pieces.append(_CHUNKED)
        if not self.keep_alive:
            pieces.append(_CLOSE)
        elif self.http10:
            pieces.append(_KEEP)
        pieces.append(b"\r\n")

    def switch(self, lines: bytes) -> None:
        """101: from here on the bytes are the two ends' own affair."""
        self.begun = True
        self.status = 101
        self.keep_alive = False
        self.client.writelines([STATUS_LINES[101], lines, self.added, b"\r\n"])

    def send(self, piece: bytes) -> None:
        """Sent with the next `flush`."""
        if self.framing is _EMPTY:
            return
        self.bytes_out += len(piece)
        if self.framing is _CHUNKED_BODY:
            self._pieces += (b"%x\r\n" % len(piece), piece, b"\r\n")
        else:
            self._pieces.append(piece)

    def finish(self) -> None:
        self.finished = True
        if self.framing is _CHUNKED_BODY:
            self._pieces.append(b"0\r\n\r\n")
        self.flush()

    def flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._pieces = []
            self.client.writelines(pieces)

    def refuse(self, error: SampanError) -> bool:
        """Tell the error in a way of the exchange's own; False: it has none."""
        return False

    def cut(self) -> None:
        """Break the connection off, in a way that no client takes for the end of an answer."""
        self._pieces = []
        self.client.cut()
