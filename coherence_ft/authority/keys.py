"""Key pairs of authorities: PEM files, private key in PKCS#8.

A tenant document lists public keys; the private half lies beside the public one (`NAME.pub.pem`,
`NAME.pem`) or wherever `COHERENCE_FT_KEY` says. A key is known by the sha256 of its SubjectPublicKeyInfo.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from coherence_ft.authority.key_kinds import (
    EXPECTED,
    PrivateKey,
    PublicKey,
    algorithm,
    generate_key,
    key_id,
    public_pem,
    sign_with,
)
from coherence_ft.authority.keyless import SCHEME, KeylessSigner
from coherence_ft.authority.pkcs11 import PKCS11, load_token_key
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, ListedKey

KEY = "COHERENCE_FT_KEY"
KEY_PEM = "COHERENCE_FT_KEY_PEM"
PASSPHRASE = "COHERENCE_FT_KEY_PASSPHRASE"  # noqa: S105 the variable's name, not its value
PUBLIC_SUFFIX = ".pub.pem"
_LARGEST = 64 * 1024  # bytes; a PEM of P-384 takes 400


@dataclass(frozen=True, slots=True)
class Signer:
    """Something that signs: `sign` makes a signature (ECDSA in DER, Ed25519 raw) over a message.

    `certificates`: the X.509 chain of the key in DER, leaf first, where there is one.
    """

    public: PublicKey
    sign: Callable[[bytes], bytes]
    certificates: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, private: PrivateKey) -> Signer:
        return cls(private.public_key(), partial(sign_with, private))

    @property
    def key_id(self) -> str:
        return key_id(self.public)


AnySigner = Signer | KeylessSigner
"""What `signing_key` gives."""


def generate(directory: Path, name: str, algorithm: str = "p256") -> tuple[Path, Path]:
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
    private = generate_key(algorithm)
    passphrase = os.environ.get(PASSPHRASE)
    private_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_new(private_path, private_pem, 0o600)
        try:
            _write_new(public_path, public_pem(private.public_key()), 0o644)
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


def load_private(path: Path | str) -> Signer:
    """Open a private key: a PEM file, or the PKCS#11 URI (RFC 7512) of one on a token.

    Raises CoherenceError: CFT662 unreadable, CFT663 not a usable key, CFT670 a file that others can read,
    CFT671 to CFT674 for tokens.
    """
    if str(path).startswith(PKCS11):
        return Signer(*load_token_key(str(path)))
    return _from_pem(_read(Path(path), secret=True), path)


def _from_pem(content: bytes, where: object) -> Signer:
    passphrase = os.environ.get(PASSPHRASE)
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
            path=where,
            expected=f"{EXPECTED}, in PEM (PKCS#8)",
            help=f"if it has a passphrase, set {PASSPHRASE}",
        ) from error
    if not isinstance(key, PrivateKey) or algorithm(key) is None:
        raise refusal(
            "CFT663", "the private key is of a kind that is not used here", path=where, expected=EXPECTED
        )
    return Signer.of(key)


def load_public(path: Path) -> PublicKey:
    """Read a public key. Raises CoherenceError (CFT662 unreadable, CFT663 not a usable key)."""
    content = _read(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        secret = b"PRIVATE KEY-----" in content
        raise refusal(
            "CFT663",
            "a private key is listed as a public one" if secret else "the public key cannot be read",
            path=path,
            expected=f"{EXPECTED}, in PEM",
            help="if others may have seen it, make a new one; `coherence-ft keys public` prints a public half"
            if secret
            else "",
        ) from error
    if not isinstance(key, PublicKey) or algorithm(key) is None:
        raise refusal(
            "CFT663", "the public key is of a kind that is not used here", path=path, expected=EXPECTED
        )
    return key


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # As ssh does: files of somebody else, such as mounted secrets, are theirs to protect.
            if secret and os.name == "posix" and status.st_uid == os.getuid() and status.st_mode & 0o077:
                raise refusal(
                    "CFT670",
                    "others can read the private key",
                    path=path,
                    found=f"mode {stat.S_IMODE(status.st_mode):04o}",
                    expected="mode 0600 or 0400",
                    help=f"chmod 600 {path}; if anybody else had access, revoke the key",
                )
            return file.read(_LARGEST)
    except OSError as error:
        raise refusal(
            "CFT662",
            "the key file cannot be read",
            path=path,
            found=error.strerror or str(error),
            help="`coherence-ft keys init --authority ID` makes the pair that the tenant document lists",
        ) from error


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


def signing_key(authority: Authority, explicit: Path | str | None = None) -> AnySigner:
    """What `authority` signs with.

    Looked for at `explicit`, a path or PKCS#11 URI, else at `COHERENCE_FT_KEY`, else in
    `COHERENCE_FT_KEY_PEM`, else beside the authority's first public key. Raises CoherenceError as
    `load_private`, CFT665 for no certain place, CFT666 when it is no half of a key that the tenant document
    lists for the authority, and CFT635, CFT636 or CFT667 when that key does not count today: what it signed
    could never verify. Of an authority with certificates also CFT680 to CFT686. `sigstore:` in place of a
    path signs keyless, `sigstore:FILE` on a private instance (CFT638, CFT687, CFT689).
    """
    named = str(explicit or os.environ.get(KEY) or "")
    if named.startswith(SCHEME):
        return KeylessSigner.named(named, authority)
    signer, where = _find(authority, explicit)
    listings = [key for key, public in listed_keys(authority) if key_id(public) == signer.key_id]
    if authority.certificates and not any(key.revoked for key in listings):
        from coherence_ft.authority.certificates import signing_chain  # few sign with one

        if chain := signing_chain(authority, signer.public, where):
            return replace(signer, certificates=chain)
    if not listings:
        raise refusal(
            "CFT666",
            f"this private key belongs to no public key listed for the authority {authority.id!r}",
            path=where,
            help=f"list its public half under public_keys of {authority.id!r} in the tenant document",
        )
    if problems := out_of_use(listings, datetime.now(UTC).date(), str(where)):
        raise CoherenceError(problems)
    return signer


def _find(authority: Authority, explicit: Path | str | None) -> tuple[Signer, object]:
    """The key and its place. A key that is named and unusable is never passed over for another one."""
    named, pem = explicit or os.environ.get(KEY), os.environ.get(KEY_PEM)
    if pem and not explicit:
        if named:
            raise refusal(
                "CFT665", f"{KEY} and {KEY_PEM} both name a key to sign with", help="unset one of them"
            )
        return _from_pem(pem.encode(), KEY_PEM), KEY_PEM
    place = named or private_path(first_public_key(authority))
    return load_private(place), place


def first_public_key(authority: Authority) -> Path:
    """The path of the listed key that counts today, the first if several do, or if none does.

    Raises CoherenceError (CFT665) if none is listed.
    """
    if not authority.public_keys:
        raise refusal(
            "CFT665",
            f"the tenant document lists no public key for the authority {authority.id!r}",
            path=authority.origin.path,
            line=authority.origin.line,
            column=authority.origin.column,
            help=f"add `public_keys: [keys/{authority.id}{PUBLIC_SUFFIX}]` to it",
        )
    today = datetime.now(UTC).date()
    counting = (key for key in authority.public_keys if not out_of_use([key], today, ""))
    return next(counting, authority.public_keys[0]).path


def listed_keys(authority: Authority) -> list[tuple[ListedKey, PublicKey]]:
    """The authority's listed keys. A listed file that is not there verifies nothing.

    One that is there and is no key raises CoherenceError (CFT662, CFT663).
    """
    return [(key, load_public(key.path)) for key in authority.public_keys if os.path.exists(key.path)]


def out_of_use(listings: Sequence[ListedKey], day: date, where: str) -> list[Diagnostic]:
    """Why a key that is listed like this does not count for what is signed on `day`; nothing if it does.

    One listing that holds on the day is enough, unless any says that the key was revoked.
    """
    revoked = [key for key in listings if key.revoked]
    outside = [key for key in listings if not _in_use(key, day)]
    if not revoked and len(outside) < len(listings):
        return []
    return [_why(key, day, where) for key in revoked or outside]


def _in_use(key: ListedKey, day: date) -> bool:
    return (key.valid_from or date.min) <= day <= (key.valid_until or date.max)


def _why(key: ListedKey, day: date, where: str) -> Diagnostic:
    because = f" ({key.reason})" if key.reason else ""
    if key.revoked:
        return Diagnostic(
            "CFT667",
            f"the key was revoked on {key.revoked}{because}",
            where,
            found=key.path.name,
            help="nothing that it signed counts any more, whenever that was",
        )
    if key.valid_from and day < key.valid_from:
        return Diagnostic(
            "CFT635",
            f"the key is not valid before {key.valid_from}{because}",
            where,
            found=f"signed on {day} with {key.path.name}",
        )
    return Diagnostic(
        "CFT636",
        f"the key is not valid after {key.valid_until}{because}",
        where,
        found=f"signed on {day} with {key.path.name}",
        help="sign with the key that has taken its place",
    )
