"""The kinds of key that sign: ECDSA on P-256 with SHA-256, ECDSA on P-384 with SHA-384, and Ed25519.

The three that verifiers of DSSE and Sigstore bundles have in common. Signatures of ECDSA are in DER (RFC
3279, section 2.2.3), those of Ed25519 the 64 bytes of RFC 8032.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

ALGORITHMS = ("p256", "p384", "ed25519")
TITLES = {"p256": "ECDSA P-256", "p384": "ECDSA P-384", "ed25519": "Ed25519"}
EXPECTED = "a key on P-256 or P-384, or an Ed25519 key"

_CURVES: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}
_HASHES: dict[str, hashes.HashAlgorithm] = {"p256": hashes.SHA256(), "p384": hashes.SHA384()}


def generate_key(algorithm: str) -> PrivateKey:
    """A new private key of one of `ALGORITHMS`."""
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[algorithm])


def algorithm(key: Any) -> str | None:
    """Which of `ALGORITHMS` a key, private or public, is of; None for any other."""
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return next((name for name, curve in _CURVES.items() if curve.name == key.curve.name), None)
    return None


def digest_of(public: PublicKey) -> hashes.HashAlgorithm | None:
    """The hash with which this key signs; None for Ed25519, which brings its own."""
    return _HASHES.get(algorithm(public) or "")


def sign_with(private: PrivateKey, message: bytes) -> bytes:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(message)
    return private.sign(message, ec.ECDSA(_HASHES[algorithm(private) or ""]))


def fits(public: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` was made over `message` by the private half of `public`."""
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, message)
        else:
            public.verify(signature, message, ec.ECDSA(_HASHES[algorithm(public) or ""]))
    except InvalidSignature:
        return False
    return True


def public_pem(public: PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(public: PublicKey) -> str:
    """sha256 (hex) of the key's SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()
