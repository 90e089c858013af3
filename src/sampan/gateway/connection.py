"""One HTTP/1.1 connection to an upstream: it carries one request at a time, and tells what comes back."""

import asyncio
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import Any, Final, Protocol

import httptools

from sampan.gateway.known import Heads
from sampan.model.errors import BadResponse, SampanError

_INTERIM = 64  # answers before the answer, such as early hints; more is no answer
_PLAIN_STATUS: Final = {
    f"HTTP/1.1 {status.value} {status.phrase}".encode(): status.value
    for status in HTTPStatus
    if status >= 200 and status not in (204, 304)
}
"""Status lines that need no parser: an answer with a body whose length is told."""

_STRAY = 16 << 10  # bytes in a row that are neither body nor the end of it: chunk extensions, trailers


class ConnectionDied(SampanError):
    """The connection ended before the answer did."""


class Receiver(ABC):
    """What an upstream's answer is told to, in this order; `on_flush` after each piece read from the socket."""

    @abstractmethod
    def on_head(self, connection: "Connection") -> None: ...

    @abstractmethod
    def on_body(self, piece: bytes) -> None: ...

    @abstractmethod
    def on_end(self) -> None: ...

    @abstractmethod
    def on_broken(self, error: SampanError) -> None: ...

    @abstractmethod
    def on_congested(self, congested: bool) -> None: ...

    def on_flush(self) -> None:  # noqa: B027
        """All that came at once has been told."""

    def on_raw(self, data: bytes) -> None:  # noqa: B027
        """Bytes after a switch of protocols."""


class Keeper(Protocol):
    """Who keeps connections that rest."""

    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection to an upstream."""

    def __init__(self, header_limit: int, heads: Heads[None] | None) -> None:
        self._header_limit, self._heads = header_limit, heads
        self._parser: Any = None
        self._receiver: Receiver | None = None
        self._keeper: Keeper | None = None
        self._head_only = False
        self._fault: SampanError | None = None
        self._head_done = False
        self._head_size = 0
        self._interim = False
        self._interims = 0
        self._until_close = False
        self._quiet = 0
        self._upload_chunked = False
        self._upload_open = False
        self._congested = False  # more is written than the socket takes
        self._raw = False
        self._left = 0  # bytes of the body of an answer that the parser does not see
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self.status = 0
        self.headers: list[tuple[bytes, bytes, bytes]] = []  # lower-case name, name as sent, value
        self.passed: bytes | None = None  # the lines of them that go on; None: nobody has looked yet
        self.length: int | None = None  # as told by the upstream
        self.chunked = False
        self.upgraded = False
        self.used = False  # has carried a request before this one
        self.idle_since = 0.0
        self.reusable = False
        self.answering = False  # a byte of the answer has come

    @property
    def stale(self) -> bool:
        """It was kept, and died before a byte of an answer came: most likely it had been closed while idle."""
        return self.used and not self.answering

    # ── sending ──

    def send(self, receiver: Receiver, data: bytes, head_only: bool, upload: bool | None) -> None:
        """Send a request. upload: None when `data` holds the body, else whether what follows is chunked."""
        self._receiver = receiver
        self._head_only = head_only
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._upload_open = upload is not None
        self._upload_chunked = upload is True
        self.reusable = self.answering = self._head_done = False
        self._quiet = self._interims = 0
        self.transport.write(data)

    def send_body(self, piece: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._upload_chunked:
            self.transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
        else:
            self.transport.write(piece)

    def end_body(self) -> None:
        if self._upload_chunked and not self.transport.is_closing():
            self.transport.write(b"0\r\n\r\n")
        self._upload_open = False

    def forsake(self) -> None:
        """The request has failed: an answer that comes now would begin what is to be refused."""
        self._receiver = None

    def abort(self) -> None:
        self._receiver = None
        self.transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None or (self._parser is None and not self._raw):
            self.transport.abort()  # nobody asked
            return
        if self._raw:
            receiver.on_raw(data)
            return
        if self._left:
            self._take_body(receiver, data)
            return
        if not (self.answering or self._head_only) and self._read_known(receiver, data):
            return
        self.answering = True
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw = True
            receiver.on_flush()
            if rest := data[upgrade.args[0] :]:
                receiver.on_raw(rest)
            return
        except httptools.HttpParserError as error:
            self._end_with_head(reusable=False)
            self._break(self._fault or BadResponse(f"the function's answer is not HTTP: {error}"))
            return
        if self._fault is None and self._quiet > (_STRAY if self._head_done else self._header_limit + 1024):
            self._fault = self._too_large()
        if self._fault is not None:
            self._end_with_head(reusable=False)
            self._break(self._fault)
            return
        if self._head_only and self._head_done:
            self._parser = None  # it waits for a body that does not come after an answer to HEAD
            self._end_with_head(self.reusable)
        receiver.on_flush()

    def eof_received(self) -> None:
        if self._until_close and self._receiver is not None:
            self._end(reusable=False)

    def connection_lost(self, error: Exception | None) -> None:
        if self._keeper is not None:
            self._keeper.forget(self)
        self._parser = None  # which refers to us
        self._break(ConnectionDied("the connection was reset" if error else "the connection was closed"))

    def pause_writing(self) -> None:
        self._congested = True
        if self._receiver is not None:
            self._receiver.on_congested(True)

    def resume_writing(self) -> None:
        self._congested = False
        if self._receiver is not None:
            self._receiver.on_congested(False)

    # ── httptools ──

    def on_message_begin(self) -> None:
        self.status, self.headers, self.passed, self.length, self.chunked = 0, [], None, None, False
        self._head_done, self._head_size, self._until_close = False, 0, False
        if self._receiver is None or self.reusable:
            self._fault = BadResponse("the function sent an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._header_limit:
            self._fault = self._too_large()
            return
        lower = name.lower()
        self.headers.append((lower, name, value))
        if lower == b"content-length":
            self.length = int(value)  # the parser has checked it
        elif lower == b"transfer-encoding":
            if self.chunked or value.strip().lower() != b"chunked":  # RFC 9112 §7; the parser lets some through
                told = value.decode("latin-1")
                self._fault = BadResponse(f"the function's transfer coding is {told!r}; only chunked is understood")
            self.chunked = True

    def on_headers_complete(self) -> None:
        if self._fault is not None:
            return
        self._quiet = 0
        self.status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version != "1.1" and (version != "1.0" or self.chunked):  # RFC 9112 §6.1
            self._fault = BadResponse(f"the function answered in HTTP {version}{' with chunks' * self.chunked}")
            return
        if self.status < 100:
            self._fault = BadResponse(f"the function answered with status {self.status:03}")
            return
        if self.status < 200 and self.status != 101:
            self._interim = True
            self._interims += 1
            if self._interims > _INTERIM:
                self._fault = BadResponse(f"the function sent more than {_INTERIM} interim answers")
            return
        self._head_done = True
        self.upgraded = self.status == 101
        bodyless = self._head_only or self.status in (101, 204, 304)
        self._until_close = not bodyless and self.length is None and not self.chunked
        receiver = self._receiver
        if receiver is None:
            return
        receiver.on_head(self)
        if self._head_only:
            self.reusable = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._quiet = 0
        if self._head_only:
            self.reusable = (
                False  # a body where there can be none: the rest of it would be in the next answer's way
            )
        elif self._receiver is not None and self._fault is None:
            self._receiver.on_body(piece)

    def on_message_complete(self) -> None:
        self._quiet = 0
        if self._interim:
            self._interim = False
        elif self._fault is None and not self.upgraded and not self._head_only:
            self._end(reusable=self._parser.should_keep_alive())

    # ── without the parser ──

    def _read_known(self, receiver: Receiver, data: bytes) -> bool:
        """Take `data` for an answer with a head of known lines and a length; False: it is the parser's."""
        if self._heads is None:
            return False
        whole, end, body = data.partition(b"\r\n\r\n")  # `find` takes twice as long
        first, _, lines = whole.partition(b"\r\n")
        status = _PLAIN_STATUS.get(first, 0)
        if not status or not end or not lines or len(whole) >= self._header_limit:
            return False
        head = self._heads.read(lines)
        if head is None or head.length < 0:
            return False
        length = head.length
        self.status, self.headers, self.passed, self.length = status, head.headers, head.passed, length
        self.answering = self._head_done = True
        self.chunked = self.upgraded = self._until_close = False
        self._left = length
        receiver.on_head(self)
        self._take_body(receiver, body)
        return True

    def _take_body(self, receiver: Receiver, piece: bytes) -> None:
        left = self._left - len(piece)
        if left > 0:
            self._left = left
        else:
            if left < 0:
                piece = piece[: self._left]  # what follows, nobody asked for: the connection ends with this answer
            self._left = 0
        if piece:
            receiver.on_body(piece)
        if left <= 0:
            self._end(reusable=left == 0)
        receiver.on_flush()

    # ── ends ──

    def _end(self, reusable: bool) -> None:
        self.reusable = reusable and not (self._upload_open or self._congested)
        receiver = self._receiver
        if receiver is not None:
            receiver.on_end()

    def _end_with_head(self, reusable: bool) -> None:
        """An answer to HEAD is whole; not before all that came with it has been looked at."""
        if self._head_only and self._head_done and self._receiver is not None:
            self._end(reusable)

    def _break(self, error: SampanError) -> None:
        receiver, self._receiver = self._receiver, None
        if not self.transport.is_closing():
            self.transport.abort()
        if receiver is not None:
            receiver.on_broken(error)

    def _too_large(self) -> BadResponse:
        return BadResponse(f"the function's response headers exceed {self._header_limit} bytes")

    def park(self, keeper: Keeper, now: float, used: bool = True) -> None:
        """It rests. used: it has carried a request."""
        self._keeper, self._receiver = keeper, None
        self.used, self.idle_since = used, now
