"""Which pages of other origins may call, and what they are told. Pure.

With rules of a trigger's or a domain's own the gateway answers the browser's question itself; without, it says what
FC says: any page, with credentials. Either way a function that says something itself has the last word.
Source: triggers.md §3; the Fetch standard §3.2.
"""

from collections.abc import Sequence

from sampan.gateway.exchange import Exchange
from sampan.model.trigger import Cors

Headers = Sequence[tuple[bytes, bytes, bytes]]  # lower-case name, name as sent, value

_ORIGIN, _CREDENTIALS = b"access-control-allow-origin", b"access-control-allow-credentials"
_EXPOSE = b"access-control-expose-headers"
_CREDENTIALS_LINE = b"Access-Control-Allow-Credentials: true\r\n"
_VARY = b"Vary: Origin\r\n"
_VARY_PREFLIGHT = b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
# Source: function-compute-api.md §6.2, as seen.
_EXPOSED = (
    "Date", "x-fc-request-id", "x-fc-error-type", "x-fc-code-checksum", "x-fc-invocation-duration",
    "x-fc-max-memory-usage", "x-fc-log-result", "x-fc-invocation-code-version", "x-fc-instance-id",
)  # fmt: skip


class Policy:
    """The rules of one trigger or domain, encoded."""

    def __init__(self, cors: Cors, methods: tuple[str, ...]) -> None:
        """methods: of the trigger; they are allowed where the rules name none."""
        self._everyone = "*" in cors.origins
        self._https = "https://*" in cors.origins
        self._origins = frozenset(origin.encode() for origin in cors.origins if "*" not in origin)
        named = [method for method in cors.methods or methods if method != "OPTIONS"]
        self._methods = frozenset(method.encode() for method in named)
        self._any_header = "*" in cors.headers
        self._headers = frozenset(header.lower().encode() for header in cors.headers)
        self._credentials = _CREDENTIALS_LINE if cors.credentials else b""
        self._exposed = _line("Access-Control-Expose-Headers", cors.exposed)
        self._allowed = _line("Access-Control-Allow-Methods", named)
        self._age = f"Access-Control-Max-Age: {cors.max_age}\r\n".encode()
        self._vary = b"" if self._everyone else _VARY

    def preflight(self, exchange: Exchange) -> bytes | None:
        """The lines that answer a browser's question; None when it is none, or not one that these rules answer."""
        if exchange.method != b"OPTIONS" or not (allowed := self._origin(exchange.origin)):
            return None
        if exchange.header(b"access-control-request-method") not in self._methods:
            return None
        asked = exchange.header(b"access-control-request-headers") or b""
        names = [name for one in asked.split(b",") if (name := one.strip())]
        if not self._any_header and not self._headers.issuperset(name.lower() for name in names):
            return None
        told = b"Access-Control-Allow-Headers: %b\r\n" % b", ".join(names) if names else b""
        return b"".join((allowed, self._credentials, self._allowed, told, self._age, _VARY_PREFLIGHT))

    def lines(self, origin: bytes, headers: Headers) -> bytes:
        """The lines to add to an answer. origin: of the page; b"" when none asks.  headers: of the answer."""
        if not origin or not (allowed := self._origin(origin)):
            return self._vary
        said = {lower for lower, _, _ in headers}
        if _ORIGIN in said:
            return b""
        credentials = b"" if _CREDENTIALS in said else self._credentials
        return b"".join((allowed, credentials, b"" if _EXPOSE in said else self._exposed, self._vary))

    def _origin(self, origin: bytes) -> bytes:
        if self._everyone:
            return b"Access-Control-Allow-Origin: *\r\n"
        if origin in self._origins or (self._https and origin[:8] == b"https://" and len(origin) > 8):
            return b"Access-Control-Allow-Origin: %b\r\n" % origin
        return b""


class Anybody(Policy):
    """Without rules: each page is allowed by name, and what it asks beforehand is the function's to answer."""

    def __init__(self) -> None:
        super().__init__(Cors(origins=("https://*",), exposed=_EXPOSED, credentials=True), ())

    def preflight(self, exchange: Exchange) -> bytes | None:
        return None

    def _origin(self, origin: bytes) -> bytes:
        return b"Access-Control-Allow-Origin: %b\r\n" % origin


def prepare(cors: Cors | None, methods: tuple[str, ...]) -> Policy | None:
    """The policy of a trigger's or a domain's rules; None where it has none, which means `ANYBODY`."""
    return None if cors is None else Policy(cors, methods)


def _line(name: str, values: Sequence[str]) -> bytes:
    return f"{name}: {', '.join(values)}\r\n".encode() if values else b""


ANYBODY = Anybody()
