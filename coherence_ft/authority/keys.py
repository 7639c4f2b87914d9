"""Key pairs of authorities: ECDSA on P-256, PEM files, private key in PKCS#8.

A tenant document lists public keys; the private half lies beside the public one (`NAME.pub.pem`,
`NAME.pem`) or wherever `COHERENCE_FT_KEY` says. A key is known by the sha256 of its SubjectPublicKeyInfo.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.tenant import Authority

KEY = "COHERENCE_FT_KEY"
PASSPHRASE = "COHERENCE_FT_KEY_PASSPHRASE"  # noqa: S105 the variable's name, not its value
PUBLIC_SUFFIX = ".pub.pem"
_LARGEST = 64 * 1024  # bytes; a PEM of P-256 takes 300


def generate(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair, `NAME.pem` (mode 0600) and `NAME.pub.pem`, and return both paths, private first.

    The private key is encrypted when `COHERENCE_FT_KEY_PASSPHRASE` is set. Raises CoherenceError
    (CFT661) when either file exists: a key is never overwritten.
    """
    private_path, public_path = directory / f"{name}.pem", directory / f"{name}{PUBLIC_SUFFIX}"
    for path in (private_path, public_path):
        if path.exists() or path.is_symlink():
            raise refusal(
                "CFT661",
                "a key file is already there, and a key is never overwritten",
                path=path,
                help="move both halves of the old pair away, or choose another name",
            )
    private = ec.generate_private_key(ec.SECP256R1())
    passphrase = os.environ.get(PASSPHRASE)
    private_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    )
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_new(private_path, private_pem, 0o600)
        try:
            _write_new(public_path, public_pem, 0o644)
        except OSError:
            private_path.unlink()
            raise
    except OSError as error:
        raise refusal(
            "CFT662", "the key pair cannot be written", path=directory, found=error.strerror or str(error)
        ) from error
    return private_path, public_path


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """O_EXCL: a file that appeared meanwhile is not overwritten, and the mode holds from the first byte."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises CoherenceError (CFT662 unreadable, CFT663 not a usable P-256 key)."""
    passphrase = os.environ.get(PASSPHRASE)
    content = _read(path)
    try:
        # A passphrase in the environment must not lock out a key that has none.
        encrypted = b"ENCRYPTED" in content
        key = serialization.load_pem_private_key(
            content, passphrase.encode() if passphrase and encrypted else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise refusal(
            "CFT663",
            "the private key cannot be opened",
            path=path,
            expected="a P-256 private key in PEM (PKCS#8)",
            help=f"if it has a passphrase, set {PASSPHRASE}",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise refusal("CFT663", "the private key is not on the curve P-256", path=path)
    return key


def load_public(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key. Raises CoherenceError (CFT662 unreadable, CFT663 not a usable P-256 key)."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise refusal(
            "CFT663", "the public key cannot be read", path=path, expected="a P-256 public key in PEM"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise refusal("CFT663", "the public key is not on the curve P-256", path=path)
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise refusal(
            "CFT662",
            "the key file cannot be read",
            path=path,
            found=error.strerror or str(error),
            help="`coherence-ft keys init --authority ID` makes the pair that the tenant document lists",
        ) from error


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """sha256 (hex) of the key's SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def private_path(public_path: Path) -> Path:
    """`NAME.pub.pem` to `NAME.pem` beside it. Raises CoherenceError (CFT665) for any other name."""
    if not public_path.name.endswith(PUBLIC_SUFFIX):
        raise refusal(
            "CFT665",
            "the private key beside this public key has no certain name",
            path=public_path,
            expected=f"a name that ends in {PUBLIC_SUFFIX}",
            help=f"rename the file in the tenant document, or name the private key in {KEY}",
        )
    return public_path.with_name(public_path.name.removesuffix(PUBLIC_SUFFIX) + ".pem")


def signing_key(authority: Authority, explicit: Path | None = None) -> ec.EllipticCurvePrivateKey:
    """The private key with which `authority` signs.

    Looked for at `explicit`, else at `COHERENCE_FT_KEY`, else beside the authority's first public key.
    Raises CoherenceError (CFT662, CFT663, CFT665), and CFT666 when it is no half of a key that the
    tenant document lists for the authority: what it signed could never verify.
    """
    if explicit is None and (named := os.environ.get(KEY)):
        explicit = Path(named)
    if explicit is None:
        explicit = private_path(first_public_key(authority))
    private = load_private(explicit)
    if key_id(private.public_key()) not in known_keys(authority):
        raise refusal(
            "CFT666",
            f"this private key belongs to no public key listed for the authority {authority.id!r}",
            path=explicit,
            help=f"list its public half under public_keys of {authority.id!r} in the tenant document",
        )
    return private


def first_public_key(authority: Authority) -> Path:
    """The path at which `keys init` puts the public key. Raises CoherenceError (CFT665) if none is listed."""
    if not authority.public_keys:
        raise refusal(
            "CFT665",
            f"the tenant document lists no public key for the authority {authority.id!r}",
            path=authority.origin.path,
            line=authority.origin.line,
            column=authority.origin.column,
            help=f"add `public_keys: [keys/{authority.id}{PUBLIC_SUFFIX}]` to it",
        )
    return authority.public_keys[0]


def known_keys(authority: Authority) -> dict[str, ec.EllipticCurvePublicKey]:
    """The authority's listed keys by key id. A listed file that is not there verifies nothing.

    One that is there and is no key raises CoherenceError (CFT662, CFT663).
    """
    keys = [load_public(path) for path in authority.public_keys if os.path.exists(path)]
    return {key_id(key): key for key in keys}
