"""Answers that the gateway gives itself: errors, and the pieces all answers are put together from."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from sampan.gateway.exchange import Exchange
from sampan.model.errors import SampanError
from sampan.wire import errors as wire_errors

JSON = b"Content-Type: application/json\r\n"
_time: Final = time.time
_REQUEST_ID: Final = b"X-Fc-Request-Id: %b\r\n"


class Clock:
    """The `Date` line, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(_time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


def refuse(exchange: Exchange, error: SampanError) -> None:
    """Answer with the error; an answer that has begun is cut off, so that it cannot pass for a whole one."""
    if exchange.refuse(error):
        return
    if exchange.begun:
        exchange.cut()
        return
    status, _, body = wire_errors.answer(error, exchange.request)
    lines = [JSON, _REQUEST_ID % exchange.request.encode()]
    for name, value in wire_errors.extra_headers(error):
        lines.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
    if exchange.cors is not None:
        lines.append(exchange.cors.lines(exchange.origin, ()))  # else the page could not read what went wrong
    exchange.answer(status, b"".join(lines), body)


OK = HTTPStatus.OK.value
