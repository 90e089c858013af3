"""A plain request that lies whole in one piece of data, read without the parser: most requests are.

What is read here is less than what the parser and `heads` accept; everything else is left to them.
"""

import re
from typing import Final

from sampan.gateway.body import Body, Client
from sampan.gateway.exchange import Exchange
from sampan.gateway.heads import Take, fault_of_any
from sampan.gateway.known import Heads
from sampan.model.errors import EntityTooLarge
from sampan.settings import Gateway as Limits

_LONGEST: Final = 16 << 10  # bytes of a head
_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
_TARGET: Final = re.compile(rb"/[A-Za-z0-9._~:/?[\]@!$&'()*+,;=%-]*").fullmatch


def read_plain(data: bytes, heads: Heads[Take], client: Client, limits: Limits) -> Exchange | None:
    """The request that `data` is, no more and no less; None: it is the parser's."""
    whole, end, body = data.partition(b"\r\n\r\n")  # `find` takes twice as long
    first, _, lines = whole.partition(b"\r\n")
    if not end or not lines or len(whole) >= _LONGEST:
        return None
    words = first.split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1" or words[0] not in _METHODS:
        return None
    target = words[1]
    if _TARGET(target) is None:
        return None
    head = heads.read(lines)
    if head is None or len(body) != max(0, head.length):
        return None
    exchange = Exchange(client)
    exchange.method, exchange.target = words[0], target
    exchange.headers, exchange.passed = head.headers, head.passed
    for take, value in head.takes:
        take(exchange, value)
    if exchange.refusal is None:
        exchange.refusal = fault_of_any(exchange, "1.1", len(lines) + 2, limits)
    if exchange.refusal is not None:
        exchange.keep_alive = isinstance(exchange.refusal, EntityTooLarge)
    if head.length > 0:
        exchange.body = Body(client)
        exchange.body.feed(body)
        exchange.body.end()
    return exchange
