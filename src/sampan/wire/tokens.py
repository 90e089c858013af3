"""JSON web keys, and the tokens they sign.

A key verifies with algorithms of its own type alone, whatever a token's header says: a public RSA key is never
taken for a shared secret, and `none` is no algorithm. Source: RFC 7515, 7517, 7518, 7519, 8037; triggers.md §3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cryptography.hazmat.backends.openssl.backend  # noqa: F401  # else imported at the first use: see ADR 5
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import algorithms

from sampan.model.errors import InvalidArgument, TokenRefused

LEEWAY = 30  # seconds that the issuer's clock may differ from ours
MAX_TOKEN = 16 << 10  # bytes; beyond, nobody looks at it
MAX_KEYS = 50
MIN_RSA, MAX_RSA = 2048, 8192  # bits; RFC 7518 §3.3, and what a verification may cost

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_EDWARDS = ("Ed25519", "Ed448")
_HMAC = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes a secret has at least; RFC 7518 §3.2
_ALGORITHMS = {*_RSA, *_HMAC, "ES256", "ES384", "ES512", "EdDSA"}
_PUBLIC = {"kty", "kid", "alg", "use", "key_ops", "n", "e", "crv", "x", "y"}
_OPTIONS: Any = {"verify_aud": False, "verify_sub": False, "verify_jti": False}  # we know of none to compare with


@dataclass(frozen=True, slots=True, repr=False)
class VerifyKey:
    """One key, parsed, and what it may verify. May hold a shared secret: no repr."""

    id: str | None
    key: Any
    algorithms: tuple[str, ...]


class KeySet:
    """Who may sign."""

    def __init__(self, keys: tuple[VerifyKey, ...]) -> None:
        self._named = {key.id: key for key in keys if key.id is not None}
        self._unnamed = next((key for key in keys if key.id is None), None)

    def claims(self, token: bytes) -> dict[str, Any]:
        """What a token says, once it is known to be signed and in its time.

        A token names its key by `kid`; one that names none of ours is checked with the key that has no name.
        Raises: TokenRefused, whatever is wrong.
        """
        if not 0 < len(token) <= MAX_TOKEN:
            raise TokenRefused
        try:
            name = jwt.get_unverified_header(token).get("kid")
            key = self._named.get(name, self._unnamed) if name is not None else self._unnamed
            if key is None:
                raise TokenRefused
            return jwt.decode(token, key=key.key, algorithms=list(key.algorithms), options=_OPTIONS, leeway=LEEWAY)
        except Exception:  # hostile bytes: nothing they can raise may count as anything but a refusal
            raise TokenRefused from None


def read_keys(jwks: object, where: str) -> KeySet:
    """The keys of a JSON web key set. where: its field's name, for errors; no value is repeated in them.

    Raises: InvalidArgument.
    """
    given = jwks.get("keys", jwks.get("Keys")) if isinstance(jwks, Mapping) else None
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_KEYS:
        raise InvalidArgument(f"{where}.keys", _kind(given), f"a list of 1–{MAX_KEYS} JSON web keys")
    keys: list[VerifyKey] = []
    names: set[str | None] = set()
    for index, one in enumerate(given):
        field = f"{where}.keys[{index}]"
        if not isinstance(one, Mapping):
            raise InvalidArgument(field, _kind(one), "a JSON web key, which is an object")
        if one.get("use", "sig") != "sig":
            continue  # issuers publish keys for encryption beside those for signatures
        key = _key(one, field)
        if key.id in names:
            allowed = "at most one key without" if key.id is None else "each name once"
            raise InvalidArgument(f"{field}.kid", key.id, allowed)
        names.add(key.id)
        keys.append(key)
    if not keys:
        raise InvalidArgument(f"{where}.keys", "keys of other uses alone", "at least one with use 'sig'")
    return KeySet(tuple(keys))


def public_part(jwks: Mapping[str, Any]) -> str:
    """The set as JSON, without what only a signer needs. Takes what `read_keys` has accepted."""
    kept = [
        {name: value for name, value in key.items() if name in _PUBLIC or (name == "k" and key["kty"] == "oct")}
        for key in jwks.get("keys") or jwks["Keys"]
    ]
    return msgspec.json.encode({"keys": kept}).decode()


def _key(given: Mapping[str, Any], field: str) -> VerifyKey:
    name = given.get("kid") or None
    if name is not None and not isinstance(name, str):
        raise InvalidArgument(f"{field}.kid", _kind(name), "a string")
    kind = given.get("kty")
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidArgument(f"{field}.kty", kind if isinstance(kind, str) else _kind(kind), "RSA, EC, oct or OKP")
    key, possible = _READERS[kind](given, field)
    wanted = given.get("alg") or None
    if wanted is None:
        return VerifyKey(name, key, possible)
    if not isinstance(wanted, str) or wanted not in possible:
        told = wanted if isinstance(wanted, str) else _kind(wanted)
        raise InvalidArgument(f"{field}.alg", told, f"with this key, one of {', '.join(possible)}")
    return VerifyKey(name, key, (wanted,))


def _rsa(given: Mapping[str, Any], field: str) -> tuple[Any, tuple[str, ...]]:
    key = _parsed(algorithms.RSAAlgorithm, given, field, ("kty", "n", "e"))
    size = key.key_size if isinstance(key, RSAPublicKey) else 0
    if not MIN_RSA <= size <= MAX_RSA:
        raise InvalidArgument(f"{field}.n", f"a key of {size} bits", f"{MIN_RSA}–{MAX_RSA} bits")
    return key, _RSA


def _curve(given: Mapping[str, Any], field: str) -> tuple[Any, tuple[str, ...]]:
    curve = given.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise InvalidArgument(f"{field}.crv", curve, ", ".join(_CURVES))
    return _parsed(algorithms.ECAlgorithm, given, field, ("kty", "crv", "x", "y")), _CURVES[curve]


def _edwards(given: Mapping[str, Any], field: str) -> tuple[Any, tuple[str, ...]]:
    if given.get("crv") not in _EDWARDS:
        raise InvalidArgument(f"{field}.crv", given.get("crv"), ", ".join(_EDWARDS))
    return _parsed(algorithms.OKPAlgorithm, given, field, ("kty", "crv", "x")), ("EdDSA",)


def _secret(given: Mapping[str, Any], field: str) -> tuple[Any, tuple[str, ...]]:
    key = _parsed(algorithms.HMACAlgorithm, given, field, ("kty", "k"))
    possible = tuple(name for name, least in _HMAC.items() if len(key) >= least)
    if not possible:
        raise InvalidArgument(f"{field}.k", f"a secret of {len(key)} bytes", "at least 32, for HS256")
    return key, possible


_READERS = {"RSA": _rsa, "EC": _curve, "OKP": _edwards, "oct": _secret}


def _parsed(kind: Any, given: Mapping[str, Any], field: str, members: tuple[str, ...]) -> Any:
    """The key, of its public members alone."""
    for member in members:
        if not isinstance(given.get(member), str):
            raise InvalidArgument(f"{field}.{member}", _kind(given.get(member)), "a string")
    try:
        key = kind.from_jwk({member: given[member] for member in members})
        if kind is algorithms.HMACAlgorithm:
            algorithms.HMACAlgorithm(algorithms.HMACAlgorithm.SHA256).prepare_key(key)  # no PEM taken for a secret
    except Exception:  # of base64, of numbers, of curves: and its text may hold the key
        raise InvalidArgument(field, "members that make no key", f"a JSON web key of type {given['kty']}") from None
    return key


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
