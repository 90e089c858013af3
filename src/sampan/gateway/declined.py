"""The body of a request that asks for an upgrade which is not offered.

The parser stops behind the head of such a request and leaves all that follows to the other protocol. Read as a
next request, that body would be one that nobody sent; so another parser takes it up, behind a head made up for it.
Clients that would rather speak HTTP/2 ask so with every request, those with a body too. Source: RFC 9110 §7.8.
"""

from typing import Protocol

from sampan.gateway.exchange import Exchange


class Callbacks(Protocol):
    """What a parser of requests calls."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, piece: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class BodyAfterAll:
    """Passes on what a parser calls, but for the head that was made up."""

    def __init__(self, connection: Callbacks) -> None:
        self._connection = connection
        self._made_up = True
        self.on_body, self.on_message_complete = connection.on_body, connection.on_message_complete

    @staticmethod
    def head(exchange: Exchange) -> bytes:
        """For the parser of the exchange's body."""
        length = exchange.content_length
        told = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        return b"POST / HTTP/1.1\r\n%b\r\n\r\n" % told

    def on_message_begin(self) -> None:
        if not self._made_up:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._made_up:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._made_up:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._made_up:
            self._made_up = False
        else:
            self._connection.on_headers_complete()
