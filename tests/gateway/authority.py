"""Certificates for tests: an authority, and pairs that it signs."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM


class Authority:
    """Signs what it is asked to."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority")])
        self._own = self._certificate(self._name, self._key, (), days=30, authority=True)
        self.pem = self._own.public_bytes(PEM)

    def issue(self, *names: str, days: int = 30) -> tuple[bytes, bytes]:
        """Chain and key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        chain = self._certificate(subject, key, names, days, authority=False).public_bytes(PEM)
        return chain, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def write(self, stem: Path, *names: str, days: int = 30) -> Path:
        """`<stem>.crt` and `<stem>.key`; returns the first."""
        chain, key = self.issue(*names, days=days)
        stem.with_suffix(".key").write_bytes(key)
        crt = stem.with_suffix(".crt")
        crt.write_bytes(chain)
        return crt

    def client(self, *protocols: str) -> ssl.SSLContext:
        """A client that trusts this authority. protocols: of ALPN."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: tuple[str, ...],
        days: int,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            told = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(told, critical=False)
        return builder.sign(self._key, hashes.SHA256())
