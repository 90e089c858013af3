"""How a session is told on the wire: by a header of the caller's, or by a cookie that the gateway gives out.

Source: function-compute-api.md §7.12.
"""

import secrets

from sampan.gateway.exchange import Exchange
from sampan.model.affinity import COOKIE, COOKIE_MAX_AGE, SESSION_ID, Affinity, AffinityKind
from sampan.model.errors import InvalidArgument

_COOKIE = COOKIE.encode() + b"="
_LINE = b"Set-Cookie: " + _COOKIE + b"%%b; Max-Age=%d; Path=/; HttpOnly; SameSite=Lax%%b\r\n" % COOKIE_MAX_AGE


def told(exchange: Exchange, affinity: Affinity) -> str | None:
    """The id of the session that the request says it belongs to; None: it says nothing. Raises: InvalidArgument."""
    if affinity.kind is AffinityKind.COOKIE:
        return _cookie(exchange)
    value = exchange.header(affinity.header.encode())
    if not value:
        return None
    id_ = value.decode("latin-1")
    if SESSION_ID.match(id_) is None:
        allowed = "1–64 letters, digits, '_' and '-', not beginning with '-'"
        raise InvalidArgument(f"header {affinity.header}", id_[:80], allowed)
    return id_


def begin(exchange: Exchange, affinity: Affinity) -> str:
    """The id of a new session, which the answer tells."""
    id_ = secrets.token_hex(16)
    if affinity.kind is AffinityKind.COOKIE:
        exchange.added += _LINE % (id_.encode(), b"; Secure" if exchange.secure else b"")
    else:
        exchange.added += b"%b: %b\r\n" % (affinity.header.encode(), id_.encode())
    return id_


def over(affinity: Affinity, id_: str) -> InvalidArgument:
    """A header names a session that is over, and whose id may not be used again."""
    return InvalidArgument(f"header {affinity.header}", id_, "a session that is not over (disableSessionIdReuse)")


def _cookie(exchange: Exchange) -> str | None:
    """Of several, the first that could be ours. Source: RFC 6265 §5.4: `name=value; name=value`."""
    for lower, _, value in exchange.headers:
        if lower != b"cookie" or _COOKIE not in value:
            continue
        for pair in value.split(b";"):
            pair = pair.strip()
            if pair.startswith(_COOKIE):
                id_ = pair[len(_COOKIE) :].decode("latin-1")
                if SESSION_ID.match(id_) is not None:
                    return id_
    return None
