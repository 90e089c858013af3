"""Certificates: read from files, looked up by the name a client asks for, read anew when their files change.

A custom domain's own certificate comes first, then the directory's, then the platform's own. A file that cannot
be used leaves the certificate before it in force and a line in the log.
"""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from sampan.model.domain import Domain
from sampan.telemetry.logs import Log

PROTOCOLS = ["h2", "http/1.1"]  # ALPN, as we prefer it
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_LEAST, _MOST = "TLSv1.2", "TLSv1.3"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: those that HTTP/2 allows. Source: RFC 9113 §9.2.2
_KEPT_DOMAINS = 1024  # custom domains whose contexts are kept ready

log = Log("gateway")


class BadCertificate(Exception):
    """A certificate and its key cannot be used; says why."""


@dataclass
class Pair:
    """A certificate with its key, and the contexts that serve it, one for each choice of versions."""

    chain: bytes
    key: bytes
    names: tuple[str, ...]
    ends: float  # Unix seconds
    contexts: dict[tuple[str, str], ssl.SSLContext] = field(default_factory=dict)

    def context(self, least: str = _LEAST, most: str = _MOST) -> ssl.SSLContext:
        """Raises: BadCertificate."""
        found = self.contexts.get((least, most))
        if found is None:
            found = self.contexts[least, most] = _context(self.chain, self.key, least, most)
        return found


def pair_of(chain: bytes, key: bytes) -> Pair:
    """Both as PEM. Raises: BadCertificate."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        own = certificates[0]
        names = _names(own)
        ends = own.not_valid_after_utc.timestamp()
    except (ValueError, IndexError, x509.DuplicateExtension) as error:
        raise BadCertificate(f"the certificate is not PEM: {error}") from error
    pair = Pair(chain, key, names, ends)
    pair.context()
    return pair


class Certificates:
    """All certificates of the gateway but those that custom domains bring."""

    def __init__(self, directory: Path | None, own: Path) -> None:
        """directory: of `<name>.crt` and `<name>.key`.  own: the platform's `.crt`; its `.key` lies beside it.

        Raises: BadCertificate, OSError: the platform's own certificate is always there.
        """
        self._directory = directory
        self._own = pair_of(own.read_bytes(), own.with_suffix(".key").read_bytes())
        self._pairs: dict[str, Pair] = {}  # by the file's name
        self._seen: dict[str, tuple[object, ...]] = {}  # what the files looked like when they were read last
        self._by_name: dict[str, Pair] = {}
        self._domains: dict[str, tuple[object, ssl.SSLContext | None]] = {}
        self._unlisted = ""
        self.refresh()

    def context(self, name: str, domain: Domain | None) -> ssl.SSLContext:
        """For a client that asks for `name`. domain: the custom domain it belongs to, if it does."""
        if domain is None:
            return self._pair(name).context()
        if domain.certificate is not None and (own := self._of_domain(domain)) is not None:
            return own
        return self._pair(name).context(domain.tls_min, domain.tls_max)

    def refresh(self) -> None:
        """Read what has changed. Cheap when nothing has: each file is only looked at."""
        found = dict(self._files())
        if self._unlisted:
            return
        changed = False
        for stem, (crt, key, looks) in found.items():
            if self._seen.get(stem) != looks:
                self._seen[stem] = looks
                changed = self._read(stem, crt, key) or changed
        for stem in [stem for stem in self._pairs if not self._there(stem)]:
            del self._pairs[stem]
            self._seen.pop(stem, None)
            changed = True
            log.info("certificate is gone", name=stem)
        if changed:
            self._index()

    # ── inside ──

    def _pair(self, name: str) -> Pair:
        by_name = self._by_name
        return by_name.get(name) or by_name.get("*." + name.partition(".")[2]) or self._own

    def _of_domain(self, domain: Domain) -> ssl.SSLContext | None:
        told = (domain.certificate, domain.tls_min, domain.tls_max)
        known, context = self._domains.get(domain.name, (None, None))
        if known == told:
            return context
        assert domain.certificate is not None
        try:
            given = domain.certificate
            context = pair_of(given.chain.encode(), given.private_key.encode()).context(*told[1:])
        except BadCertificate as error:
            context = None
            log.warning("a custom domain's certificate cannot be used", domain=domain.name, why=str(error))
        if len(self._domains) >= _KEPT_DOMAINS:
            self._domains.clear()
        self._domains[domain.name] = (told, context)
        return context

    def _files(self) -> Iterator[tuple[str, tuple[Path, Path, tuple[object, ...]]]]:
        """Every certificate that has its key, and what the two look like."""
        if self._directory is None:
            return
        try:
            names = sorted(one.name for one in os.scandir(self._directory) if one.name.endswith(".crt"))
        except OSError as error:
            if str(error) != self._unlisted:
                log.warning("certificates cannot be looked at", why=str(error))
            self._unlisted = str(error)
            return
        self._unlisted = ""
        for name in names:
            crt = self._directory / name
            key = crt.with_suffix(".key")
            try:
                looks = tuple((s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns) for s in (crt.stat(), key.stat()))
            except OSError:
                continue  # one of the two is not there, or not there yet
            yield crt.stem, (crt, key, looks)

    def _there(self, stem: str) -> bool:
        """One of the two is there: the other is being put in place."""
        assert self._directory is not None
        return any(os.path.lexists(self._directory / f"{stem}{end}") for end in (".crt", ".key"))

    def _read(self, stem: str, crt: Path, key: Path) -> bool:
        try:
            pair = pair_of(crt.read_bytes(), key.read_bytes())
        except (BadCertificate, OSError) as error:
            kept = "the one before stays" if stem in self._pairs else "it is not served"
            log.warning(f"certificate cannot be used; {kept}", file=str(crt), why=str(error))
            return False
        self._pairs[stem] = pair
        log.info("certificate read", file=str(crt), names=",".join(pair.names))
        return True

    def _index(self) -> None:
        """Of two certificates with one name, the one that lasts longer serves it."""
        by_name: dict[str, Pair] = {}
        for pair in sorted(self._pairs.values(), key=lambda one: one.ends):
            by_name.update(dict.fromkeys(pair.names, pair))
        self._by_name = by_name


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names it is for. Source: RFC 6125 §6.4.4: the subject's only where there are no others."""
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in told.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        subjects = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(one.value).lower() for one in subjects)


def _context(chain: bytes, key: bytes, least: str, most: str) -> ssl.SSLContext:
    """Raises: BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS.get(least, _VERSIONS[_LEAST])
    context.maximum_version = max(_VERSIONS.get(most, _VERSIONS[_LEAST]), context.minimum_version)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)  # OpenSSL's binding reads files only
    try:
        with open(file, "wb", closefd=False) as out:
            out.write(chain + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise BadCertificate(f"certificate and key do not go together: {error}") from error
    finally:
        os.close(file)
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; only keys without a password can be used")
