"""A small certificate authority, for tests of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
SUBJECT = "CN=Model risk,O=Bank"
SAN = "risk@bank.example"
_NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


def usage(**allowed: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**(_NO_USAGE | allowed))


class Issued:
    """A certificate, its key, and what it issues."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate, self.key = certificate, key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def ca(self, name: str = "CN=Issuing CA,O=Bank", **changes: Any) -> Issued:
        return _issue(self, name, **(_CA | changes))

    def leaf(self, key: Any = None, subject: str = SUBJECT, san: str | None = SAN, **changes: Any) -> Issued:
        """A certificate for signing. An extension may be changed by name, or left out with None."""
        names = {"san": x509.SubjectAlternativeName([x509.RFC822Name(san)])} if san else {}
        return _issue(self, subject, key, **(_LEAF | names | changes))


_CA = {
    "basic": x509.BasicConstraints(True, None),
    "usage": usage(key_cert_sign=True, crl_sign=True),
}
_LEAF = {
    "basic": x509.BasicConstraints(False, None),
    "usage": usage(digital_signature=True),
    "extended": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
}
_CRITICAL = (x509.BasicConstraints, x509.KeyUsage, x509.NameConstraints)


def root(name: str = "CN=Root CA,O=Bank", key: Any = None, **changes: Any) -> Issued:
    return _issue(None, name, key, **(_CA | changes))


def _issue(
    issuer: Issued | None,
    name: str,
    key: Any = None,
    *,
    start: datetime = NOW - timedelta(days=30),
    end: datetime = NOW + timedelta(days=30),
    serial: int | None = None,
    critical: x509.ExtensionType | None = None,
    **extensions: Any,
) -> Issued:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signing = issuer.key if issuer else key
    subject = x509.Name.from_rfc4514_string(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    added = {
        "ski": x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        "aki": x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
    }
    for extension in (added | extensions).values():
        if extension is not None:
            nameless = isinstance(extension, x509.SubjectAlternativeName) and not name
            builder = builder.add_extension(extension, nameless or isinstance(extension, _CRITICAL))
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signing, algorithm), key)


def write(path: Path, *issued: Issued) -> Path:
    path.write_bytes(b"".join(each.pem for each in issued))
    return path
