"""Issuers of tokens for tests: a key, its JSON web key, and what it signs."""

import base64
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = b"0123456789abcdef" * 4


@dataclass(frozen=True)
class Issuer:
    key: Any
    jwk: dict[str, Any]

    def sign(self, algorithm: str, kid: str | None = None, **claims: Any) -> str:
        claims = {"sub": "me", "exp": int(time.time()) + 60} | claims
        headers = {"kid": kid} if kid is not None else None
        return jwt.encode({k: v for k, v in claims.items() if v is not None}, self.key, algorithm, headers=headers)

    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def named(self, kid: str, **more: Any) -> dict[str, Any]:
        return self.jwk | {"kid": kid} | more


@cache
def issuer(kind: str) -> Issuer:
    """kind: RSA, weak, P-256, P-384, P-521, Ed25519, Ed448 or oct."""
    if kind == "oct":
        return Issuer(SECRET, {"kty": "oct", "k": b64(SECRET)})
    if kind in ("RSA", "weak"):
        key: Any = rsa.generate_private_key(65537, 2048 if kind == "RSA" else 1024)
        text = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())
    elif kind.startswith("P-"):
        key = ec.generate_private_key({"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}[kind]())
        text = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())
    else:
        key = (ed25519.Ed25519PrivateKey if kind == "Ed25519" else ed448.Ed448PrivateKey).generate()
        text = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())
    jwk = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
    return Issuer(key, jwk)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand."""
    return ".".join((b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)))
