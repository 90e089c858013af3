"""Whether a certificate can serve a domain: its key fits, its chain is in order, its names cover the domain.

No error repeats anything of the key.
"""

from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sampan.model.errors import InvalidArgument

MAX_CHAIN, MAX_KEY = 64 << 10, 16 << 10  # characters; FC's own limits are 20 kB and 4 kB
MIN_RSA = 2048  # bits: OpenSSL's security level 2, its default
_CHAIN, _KEY = "certConfig.certificate", "certConfig.privateKey"


def check(domain: str, chain: str, private_key: str, now: float) -> None:
    """now: Unix seconds. Raises: InvalidArgument."""
    certificates, key = _certificates(chain), _key(private_key)
    own = certificates[0]
    try:
        _refuse_weak(key)
        if _spki(key) != own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
            raise InvalidArgument(_KEY, "the key of another certificate", "the key of the first certificate")
        for certificate, issuer in pairwise(certificates):
            certificate.verify_directly_issued_by(issuer)
        names = _names(own)
    except (InvalidSignature, TypeError) as error:
        allowed = "the domain's own certificate first, each followed by the one that issued it"
        raise InvalidArgument(_CHAIN, "certificates in another order", allowed) from error
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise InvalidArgument(_CHAIN, f"one that cannot be used: {error}", "a valid X.509 certificate") from error
    if own.not_valid_after_utc.timestamp() <= now:
        ended = own.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        today = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
        raise InvalidArgument(_CHAIN, f"one that expired at {ended}", f"one that is valid after {today}")
    if not covers(names, domain):
        raise InvalidArgument(_CHAIN, f"one for {', '.join(names) or 'no name'}", f"one for '{domain}'")


def covers(names: list[str], domain: str) -> bool:
    """Whether one of a certificate's names is the domain, or the wildcard one level up. Source: RFC 6125 §6.4.3."""
    above = "*." + domain.partition(".")[2]
    return any(name.lower() in (domain, above) for name in names)


def _certificates(chain: str) -> list[x509.Certificate]:
    allowed = f"PEM certificates, at most {MAX_CHAIN} characters, the domain's own first"
    if not chain.strip() or len(chain) > MAX_CHAIN:
        raise InvalidArgument(_CHAIN, f"{len(chain)} characters", allowed)
    try:
        return x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise InvalidArgument(_CHAIN, "text that is no certificate", allowed) from error


def _key(private_key: str) -> PrivateKeyTypes:
    allowed = f"a PEM private key without a password, at most {MAX_KEY} characters"
    if not private_key.strip() or len(private_key) > MAX_KEY:
        raise InvalidArgument(_KEY, f"{len(private_key)} characters", allowed)
    try:
        return load_pem_private_key(private_key.encode(), None)
    except TypeError:
        raise InvalidArgument(_KEY, "a key with a password", allowed) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidArgument(_KEY, "text that is no private key", allowed) from None


def _refuse_weak(key: PrivateKeyTypes) -> None:
    """What a TLS library would not take would be found out by the domain's first visitor."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_RSA:
        raise InvalidArgument(
            _KEY, "another kind of key, or a shorter one", f"an RSA key of {MIN_RSA} bits or more, EC or Ed25519"
        )


def _spki(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []  # what stands in the subject counts no more. Source: RFC 9110 §4.3.4
    return alternative.value.get_values_for_type(x509.DNSName)
