"""X.509 certificates of authorities: reading a chain to sign with, and whose certificate a signature carries.

A certificate counts for an authority when it chains to the root of one of its `certificates` entries, was
valid when the manifest says that it was made, may sign code, and has the name that the entry gives. Paths are
built and checked by `cryptography.x509.verification` (RFC 5280, with the web PKI's rules for algorithms and
extensions); nothing is fetched, so neither CRLs nor OCSP are asked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from coherence_ft.authority.key_kinds import EXPECTED, PublicKey, algorithm, key_id
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, ListedCertificate

CERTIFICATE = "COHERENCE_FT_CERTIFICATE"
CERTIFICATE_SUFFIX = ".crt.pem"
_LARGEST = 256 * 1024  # bytes; a chain takes a few thousand
_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.ExtensionNotFound,
)
_EMAIL = {"emailAddress": NameOID.EMAIL_ADDRESS, "E": NameOID.EMAIL_ADDRESS}


def signing_chain(authority: Authority, public: PublicKey, key: object) -> tuple[bytes, ...]:
    """The certificates (DER, leaf first) of the key at `key`; none where there is no file of them.

    Read from the file that `COHERENCE_FT_CERTIFICATE` names, else from NAME.crt.pem beside NAME.pem. Raises
    CoherenceError: CFT680 unreadable, CFT686 the leaf is another key's, and what `holders` says where the
    leaf does not stand for the authority today: what was signed with it could never verify.
    """
    path = Path(os.environ.get(CERTIFICATE) or str(key).removesuffix(".pem") + CERTIFICATE_SUFFIX)
    # Nothing lies beside a token's key, nor beside one from the environment.
    if not os.environ.get(CERTIFICATE) and not (str(key).endswith(".pem") and path.exists()):
        return ()
    chain = _read(path)
    if key_id(certified_key(chain[0], path)) != key_id(public):
        raise refusal(
            "CFT686",
            "the first certificate of the chain is for another key than the one that signs",
            path=path,
            help=f"the signer's own certificate comes first; {CERTIFICATE} names the file of the key in use",
        )
    _, problems = holders(chain[0], (authority,), datetime.now(UTC), str(path))
    if problems:
        raise CoherenceError(problems)
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)


def certified_key_id(leaf: bytes) -> str:
    """sha256 (hex) of a certificate's SubjectPublicKeyInfo. Raises ValueError for what is no certificate."""
    try:
        certificate = x509.load_der_x509_certificate(leaf)
        key = certificate.public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    except _MALFORMED as error:
        raise ValueError(f"a certificate that cannot be read: {error}") from error


def begins(leaf: bytes) -> datetime:
    """The first moment (UTC) at which a certificate (DER) is valid."""
    return x509.load_der_x509_certificate(leaf).not_valid_before_utc


def certified_key(certificate: x509.Certificate, where: object) -> PublicKey:
    """The key of a certificate. Raises CoherenceError (CFT685) for one that is of no kind used here."""
    key = certificate.public_key()
    if not isinstance(key, PublicKey) or algorithm(key) is None:
        raise refusal(
            "CFT685", "a certificate for a kind of key that is not used here", path=where, expected=EXPECTED
        )
    return key


def holders(
    certificate: x509.Certificate, authorities: Sequence[Authority], signed_at: datetime, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    """The authorities that a certificate stood for at `signed_at` (UTC), or why it stood for none.

    Diagnostics: CFT680 (a root that cannot be read), CFT681 (no path to the root), CFT682 (not valid then),
    CFT683 (not for signing), CFT684 (nobody's name).
    """
    try:
        usable, names = _unusable(certificate), _alternative_names(certificate)
        subject = certificate.subject
        valid = certificate.not_valid_before_utc <= signed_at <= certificate.not_valid_after_utc
    except _MALFORMED as error:
        return (), [Diagnostic("CFT680", "the certificate cannot be read", where, found=str(error)[:200])]
    if usable:
        return (), [Diagnostic("CFT683", f"the certificate is not for signing: {usable}", where)]
    named = [
        (authority, entry)
        for authority in authorities
        for entry in authority.certificates
        if _carries(entry, subject, names)
    ]
    if not named:
        shown = "; ".join(filter(None, (subject.rfc4514_string(), *sorted(names))))
        return (), [
            Diagnostic(
                "CFT684",
                f"the names of the certificate are none of {', '.join(a.id for a in authorities)[:200]}",
                where,
                found=shown[:300],
                help="list its subject or alternative name, exactly, under `certificates` of an authority in "
                "the tenant document",
            )
        ]
    if not valid:
        return (), [_not_valid(certificate, signed_at, where)]
    found: dict[str, Authority] = {}
    problems: list[Diagnostic] = []
    for authority, entry in named:
        try:
            _follow(certificate, entry.root, signed_at, where)
            found[authority.id] = authority
        except CoherenceError as error:
            problems += error.diagnostics
    return tuple(found.values()), [] if found else list(dict.fromkeys(problems))


def _carries(entry: ListedCertificate, subject: x509.Name, names: Iterable[str]) -> bool:
    """Whether the names are those of the entry, each that it gives. An entry without any fits nobody."""
    if entry.subject is None and entry.san is None:
        return False
    if entry.san is not None and entry.san not in names:
        return False
    if entry.subject is None:
        return True
    try:
        return bool(x509.Name.from_rfc4514_string(entry.subject, _EMAIL) == subject)
    except ValueError:
        return False


def _alternative_names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return {name.value for name in names if isinstance(name, kinds)}


def _unusable(certificate: x509.Certificate) -> str:
    """Why a leaf may not sign, or nothing. Asked here, so that the answer is plainer than a failed path."""
    usage: x509.KeyUsage | None = None
    extended: Sequence[x509.ObjectIdentifier] = ()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            return "it is the certificate of an authority that issues others"
        if isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            extended = list(extension.value)
    if usage is None or not usage.digital_signature:
        return "its key usage lacks digitalSignature"
    if ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        return "its extended key usage lacks codeSigning"
    return ""


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200] or "nobody named"


def _not_valid(certificate: x509.Certificate, signed_at: datetime, where: str) -> Diagnostic:
    return Diagnostic(
        "CFT682",
        f"the certificate of {_name(certificate)} was not valid when the manifest was made",
        where,
        found=f"made at {signed_at:%Y-%m-%dT%H:%M:%SZ}",
        expected=f"from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} "
        f"to {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        help="sign with a certificate that is valid, or renew the issuer's in the tenant's file",
    )


def _follow(certificate: x509.Certificate, file: Path, signed_at: datetime, where: str) -> None:
    """Follow a path of valid certificates to a root in `file`. Raises CoherenceError (CFT680 to CFT682)."""
    anchors, others = _roots(file)
    # The web PKI wants more than RFC 5280: names of servers or clients, issuers' keys named in a certain way,
    # a key usage in every root. Here the name is matched by `_carries`, signatures show who issued, and the
    # roots that openssl makes count.
    ca = (
        ExtensionPolicy.webpki_defaults_ca()
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _issues)
        .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
        .may_be_present(x509.SubjectKeyIdentifier, Criticality.AGNOSTIC, None)
    )
    leaf = (
        ExtensionPolicy.webpki_defaults_ee()
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code)
        .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
        .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    )
    policy = PolicyBuilder().store(Store(anchors)).time(signed_at)
    verifier = policy.extension_policies(ca_policy=ca, ee_policy=leaf).build_client_verifier()
    try:
        verifier.verify(certificate, others)
    except (VerificationError, *_MALFORMED) as error:
        for issuer in (*others, *anchors):
            if not issuer.not_valid_before_utc <= signed_at <= issuer.not_valid_after_utc:
                raise CoherenceError(_not_valid(issuer, signed_at, where)) from error
        raise refusal(
            "CFT681",
            f"no path leads from the certificate of {_name(certificate)} to the root in {file}",
            path=where,
            found=str(error)[:300],
            help="that file must hold the root, and every certificate between it and the signer's",
        ) from error


def _signs_code(_policy: object, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise ValueError("the extended key usage lacks codeSigning")


def _issues(_policy: object, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key usage lacks keyCertSign")


def _roots(file: Path) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """The trusted roots in a file, and the certificates that only help to reach them.

    Self-signed certificates are roots. A file with one certificate alone trusts that one, whoever issued it.
    """
    certificates = _read(file)
    anchors = [each for each in certificates if _self_signed(each)]
    if len(certificates) == 1:
        anchors = list(certificates)
    if not anchors:
        raise refusal("CFT680", "the file holds no root certificate", path=file)
    return anchors, [each for each in certificates if each not in anchors]


def _self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, *_MALFORMED):
        return False
    return True


def _read(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, in its order. Raises CoherenceError (CFT680)."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST)
        certificates = x509.load_pem_x509_certificates(content)
        for each in certificates:  # parsed when asked, so ask here, where the file is known
            each.extensions, each.public_key(), each.subject, each.not_valid_after_utc
    except (OSError, *_MALFORMED) as error:
        raise refusal(
            "CFT680",
            "the file of certificates cannot be read",
            path=path,
            found=error.strerror or str(error) if isinstance(error, OSError) else str(error)[:200],
            expected="X.509 certificates in PEM",
        ) from error
    return certificates
