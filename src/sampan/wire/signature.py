"""ACS3-HMAC-SHA256: signing a request and checking one that was signed. Pure: no clock, no I/O.

Source: function-compute-api.md §2 for API calls; triggers.md §3 for HTTP triggers with `authType` function,
which sign no body, write `$` in the path as `%24` and take the first value of each query key.

Header values are text as HTTP/1.1 reads it (latin-1); times are Unix seconds.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from sampan.model.access import AccessKey
from sampan.model.errors import (
    InvalidAccessKey,
    MissingHeader,
    NonceReplayed,
    RequestTimeSkewed,
    SignatureMismatch,
)

SCHEME = "ACS3-HMAC-SHA256"
WINDOW = 900  # seconds a request's date may differ from ours, either way. Source: function-compute-api.md §2.2
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_AUTHORIZATION = re.compile(
    rf"{SCHEME} +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9A-Fa-f]{{64}})\s*\Z"
)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)
_MUST_SIGN = frozenset(("x-acs-date", "x-acs-signature-nonce"))
_MUST_SIGN_TRIGGER = frozenset(("x-acs-date",))


class Nonces:
    """Remembers which nonces were used, as long as their requests' dates are still accepted.

    Bounded: when `capacity` is reached the oldest second is forgotten and requests dated then, or before, are
    refused, so a replay is never let in; the window merely becomes narrower.
    """

    def __init__(self, capacity: int = 1_000_000) -> None:
        self._capacity = capacity
        self._seen: dict[int, set[int]] = {}  # second of the request's date → hashes of (key, nonce)
        self._count = 0
        self._floor = 0  # dates up to this second have been forgotten

    def __len__(self) -> int:
        return self._count

    def use(self, key: str, nonce: str, date: float, now: float) -> None:
        """Raises: NonceReplayed; RequestTimeSkewed when that time has been forgotten already."""
        second = int(date)
        if second <= self._floor:
            raise RequestTimeSkewed(_text(date), _text(now))
        seen = self._seen.get(second)
        if seen is None:
            seen = self._seen[second] = set()
            self._forget(int(now) - WINDOW - 1)
        mark = hash((key, nonce))
        if mark in seen:
            raise NonceReplayed
        seen.add(mark)
        self._count += 1
        while self._count > self._capacity:
            self._floor = max(self._floor, min(self._seen))
            self._forget(self._floor)

    def _forget(self, until: int) -> None:
        for second in [second for second in self._seen if second <= until]:
            self._count -= len(self._seen.pop(second))


def sign(
    key: AccessKey,
    method: str,
    raw_target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    now: float,
    nonce: str,
) -> dict[str, str]:
    """The headers to send: those given, in lower case, and the signature's own.

    `headers` must hold `host` as it will be sent; signed are `host`, `content-type` and all `x-acs-*`.
    """
    sent = {name.lower(): value.strip() for name, value in headers.items()}
    digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
    sent["x-acs-date"], sent["x-acs-signature-nonce"] = _text(now), nonce
    sent["x-acs-content-sha256"] = digest
    _authorize(sent, key, method, raw_target, digest, trigger=False)
    return sent


def sign_trigger(
    key: AccessKey, method: str, raw_target: str, headers: Mapping[str, str], now: float
) -> dict[str, str]:
    """As `sign`, for a call of an HTTP trigger with `authType` function."""
    sent = {name.lower(): value.strip() for name, value in headers.items()}
    sent["x-acs-date"] = _text(now)
    _authorize(sent, key, method, raw_target, "", trigger=True)
    return sent


def verify(
    method: str,
    raw_target: str,
    headers: Sequence[tuple[str, str]],
    key_of: Callable[[str], AccessKey | None],
    now: float,
    nonces: Nonces,
    body_sha256: str | None,
) -> AccessKey:
    """Whose call this is. Header names are in lower case, in the order received.

    body_sha256: of the body received; None when the caller does not check it here.
    Raises: MissingHeader, InvalidAccessKey, SignatureMismatch, RequestTimeSkewed, NonceReplayed.
    """
    digest = _header(headers, "x-acs-content-sha256")
    if body_sha256 is not None and not hmac.compare_digest(digest.encode("latin-1"), body_sha256.encode()):
        raise SignatureMismatch
    nonce = _header(headers, "x-acs-signature-nonce")
    key, date = _check(method, raw_target, headers, key_of, now, digest, _MUST_SIGN, trigger=False)
    nonces.use(key.id, nonce, date, now)
    return key


def verify_trigger(
    method: str,
    raw_target: str,
    headers: Sequence[tuple[str, str]],
    key_of: Callable[[str], AccessKey | None],
    now: float,
) -> AccessKey:
    """Whose call of an HTTP trigger this is. The scheme has no nonce: within the window a call can be repeated.

    Raises: MissingHeader, InvalidAccessKey, SignatureMismatch, RequestTimeSkewed.
    """
    key, _ = _check(method, raw_target, headers, key_of, now, "", _MUST_SIGN_TRIGGER, trigger=True)
    return key


def _authorize(
    sent: dict[str, str], key: AccessKey, method: str, raw_target: str, digest: str, trigger: bool
) -> None:
    names = sorted(n for n in sent if n.startswith("x-acs-") or n in ("host", "content-type"))
    canonical = "".join([f"{name}:{sent[name]}\n" for name in names])
    signature = _signature(key.secret, method, raw_target, canonical, ";".join(names), digest, trigger)
    sent["authorization"] = f"{SCHEME} Credential={key.id},SignedHeaders={';'.join(names)},Signature={signature}"


def _check(
    method: str,
    raw_target: str,
    headers: Sequence[tuple[str, str]],
    key_of: Callable[[str], AccessKey | None],
    now: float,
    digest: str,
    must_sign: frozenset[str],
    trigger: bool,
) -> tuple[AccessKey, float]:
    authorization = _AUTHORIZATION.match(_header(headers, "authorization"))
    date = _date(_header(headers, "x-acs-date"), now)
    if authorization is None:
        raise SignatureMismatch
    key_id, signed, given = authorization.groups()
    if (key := key_of(key_id)) is None:
        raise InvalidAccessKey(key_id)
    names = sorted(signed.lower().split(";"))
    if not must_sign.issubset(names):
        raise SignatureMismatch
    canonical = _canonical_headers(headers, names)
    expected = _signature(key.secret, method, raw_target, canonical, ";".join(names), digest, trigger)
    if not hmac.compare_digest(expected, given.lower()):
        raise SignatureMismatch
    return key, date


def _header(headers: Sequence[tuple[str, str]], name: str) -> str:
    for given, value in headers:
        if given == name:
            return value
    raise MissingHeader(name)


def _date(given: str, now: float) -> float:
    if _DATE.match(given):
        try:
            date = datetime.fromisoformat(given).timestamp()
        except ValueError:  # a 31st of February
            date = 0.0
        if abs(date - now) <= WINDOW:
            return date
    raise RequestTimeSkewed(given, _text(now))


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _canonical_headers(headers: Sequence[tuple[str, str]], names: Collection[str]) -> str:
    values: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for name, value in headers:
        if name in names:
            if name in values:
                repeated.setdefault(name, [values[name]]).append(value.strip())
            else:
                values[name] = value.strip()
    for name, several in repeated.items():
        values[name] = ",".join(sorted(several))
    try:
        return "".join([f"{name}:{values[name]}\n" for name in names])
    except KeyError as error:
        raise MissingHeader(str(error.args[0])) from None


def _signature(
    secret: str, method: str, raw_target: str, headers: str, names: str, digest: str, trigger: bool
) -> str:
    path, _, query = raw_target.partition("?")
    if trigger:
        path = path.replace("$", "%24")
    canonical = "\n".join(
        (method, path or "/", canonical_query(query, trigger) if query else "", headers, names, digest)
    )
    to_sign = f"{SCHEME}\n{hashlib.sha256(canonical.encode('latin-1')).hexdigest()}"
    return hmac.digest(secret.encode(), to_sign.encode(), "sha256").hex()


def canonical_query(query: str, first_only: bool = False) -> str:
    """The query as it is signed: decoded, encoded again by RFC 3986, sorted by name.

    Works on bytes, so that two queries are one only if they mean the same.
    """
    pairs: list[tuple[str, str]] = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_encoded(name), _encoded(value)))
    if first_only:
        pairs = list(dict(reversed(pairs)).items())
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def _encoded(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    return quote(unquote_to_bytes(text.replace("+", " ").encode("latin-1")), safe="~")
