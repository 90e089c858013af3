"""The platform's own certificate: made at the first start, for names that no authority vouches for.

It lets `https://<function>.localhost` be tried at once; clients have to be told to trust it, or not to ask.
"""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

VALID = timedelta(days=397)  # what browsers accept at most of any certificate
RENEW = timedelta(days=60)  # before its end, at the start of the platform


def ensure(certificate: Path, domain: str) -> None:
    """See that `certificate` (`.crt`; its `.key` beside it) is there, for `domain` too, and lasts a while."""
    names = list(dict.fromkeys(("localhost", "*.localhost", domain.lower(), f"*.{domain.lower()}")))
    key = certificate.with_suffix(".key")
    if key.exists() and _serves(certificate, names):
        return
    private = ec.generate_private_key(ec.SECP256R1())
    _write(key, _pem(private))
    _write(certificate, _signed(private, names).public_bytes(serialization.Encoding.PEM))


def _serves(certificate: Path, names: list[str]) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = found.not_valid_after_utc - datetime.now(UTC) > RENEW
    return lasts and set(names) <= set(told.get_values_for_type(x509.DNSName))


def _signed(private: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Sampan")])
    now = datetime.now(UTC)
    loopback = [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, names), *loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for nobody else to read."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
    fresh.replace(path)
