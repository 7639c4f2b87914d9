"""Private keys that never leave a token: PKCS#11 modules, named by URIs of RFC 7512.

    pkcs11:token=risk;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so

A PIN comes from the file that `pin-source` names, else from `COHERENCE_FT_PKCS11_PIN`; never from the URI,
which shells and process lists show. Needs the extra `pkcs11`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from coherence_ft.authority.key_kinds import EXPECTED, PublicKey, digest_of, fits
from coherence_ft.documents.diagnostics import CoherenceError, refusal

if TYPE_CHECKING:
    from pkcs11 import Session, Token

PKCS11 = "pkcs11:"
PIN = "COHERENCE_FT_PKCS11_PIN"

# Of RFC 7512, section 2.3. Those of the library and the slot say little about which key it is.
_TOKEN = ("token", "manufacturer", "model", "serial")
_PATH = (*_TOKEN, "slot-id", "object", "id", "type")
_QUERY = ("module-path", "pin-source")
# CKA_EC_PARAMS in DER: the OID of the curve (RFC 5480, RFC 8410), or its name (PKCS#11 3.0).
_CURVES: dict[bytes, ec.EllipticCurve | None] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    bytes.fromhex("06032b6570"): None,
    b"\x13\x0cedwards25519": None,
}
# A token knows one login for the whole process, so sessions are opened one after the other.
_ONE_SESSION = threading.Lock()


@dataclass(frozen=True, slots=True)
class KeyUri:
    """A URI of RFC 7512 that names one private key. `text`: without its query, for people."""

    text: str
    path: dict[str, bytes]
    module: str
    pin_source: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, uri: str) -> KeyUri:
        """Raises CoherenceError (CFT671) for what is not understood: a key must never be guessed."""
        written, _, query = uri.partition("?")
        text = written.partition("pin-value")[0]  # diagnostics must not tell a PIN, even in the wrong place
        path = _attributes(text, written.removeprefix(PKCS11), ";", _PATH)
        options = _attributes(text, query, "&", _QUERY)
        if not {"object", "id"} & path.keys():
            raise _unusable(text, "it names no key", help="add `object=LABEL` or `id=%01`")
        if path.get("type", b"private") != b"private":
            raise _unusable(text, "it names no private key", help="write `type=private`, or leave it out")
        if "module-path" not in options:
            raise _unusable(
                text, "it does not say which module to load", help="add `?module-path=/path/to/module.so`"
            )
        texts = {name: value.decode(errors="replace") for name, value in options.items()}
        return cls(text, path, texts["module-path"], texts.get("pin-source"))

    def text_of(self, name: str) -> str | None:
        return self.path[name].decode(errors="replace") if name in self.path else None


def load_token_key(uri: str) -> tuple[PublicKey, Any]:
    """The public half of the key that `uri` names, and what signs with the private one: bytes to bytes.

    Signatures are as `key_kinds` has them. Each signature opens a session of its own, so that a training run
    of hours does not depend on one. Raises CoherenceError: CFT671 (the URI), CFT672 (the module), CFT673 (no
    such key, or several), CFT663 (its kind), CFT674 (the PIN, or what else the token refuses), and when it
    signs CFT664 (the two halves do not fit).
    """
    wanted = KeyUri.parse(uri)
    with _session(wanted) as session:
        _private(session, wanted)
        public = _public(session, wanted)
    return public, partial(_sign, wanted, public)


def _sign(wanted: KeyUri, public: PublicKey, message: bytes) -> bytes:
    from pkcs11 import Mechanism

    with _session(wanted) as session:
        private = _private(session, wanted)
        digest = digest_of(public)
        if digest is None:
            signature = bytes(private.sign(message, mechanism=Mechanism.EDDSA))
        else:
            hashed = hashes.Hash(digest)
            hashed.update(message)
            raw = bytes(private.sign(hashed.finalize(), mechanism=Mechanism.ECDSA))
            # PKCS#11 gives r and s one after the other, verifiers want them in DER.
            half = len(raw) // 2
            signature = utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))
    if not fits(public, signature, message):
        raise refusal(
            "CFT664", "the public key beside the private one on the token is no half of it", path=wanted.text
        )
    return signature


@contextmanager
def _session(wanted: KeyUri) -> Iterator[Session]:
    try:
        import pkcs11
    except ImportError as error:
        raise refusal(
            "CFT672",
            "keys on tokens need the package python-pkcs11",
            path=wanted.text,
            help="pip install 'coherence-ft[pkcs11]'",
        ) from error
    try:
        library = pkcs11.lib(wanted.module)
    except (pkcs11.PKCS11Error, OSError) as error:
        raise refusal(
            "CFT672", "the PKCS#11 module cannot be loaded", path=wanted.module, found=str(error)[:200]
        ) from error
    with _ONE_SESSION:
        try:
            token = _token(library.get_tokens(token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED), wanted)
            with token.open(user_pin=_pin(token, wanted)) as session:
                yield session
        except (pkcs11.PKCS11Error, OSError) as error:
            raise refusal(
                "CFT674",
                "the token refuses",
                path=wanted.text,
                found=f"{type(error).__name__} {error}".strip()[:200],
                help=f"check the PIN in {PIN} or `pin-source`"
                if "Pin" in type(error).__name__
                else "see what the token's own tool says of it",
            ) from error


def _token(tokens: Iterator[Token], wanted: KeyUri) -> Token:
    found = []
    for token in tokens:
        facts = {
            "token": token.label,
            "manufacturer": token.manufacturer_id,
            "model": token.model,
            "serial": token.serial.decode(errors="replace").rstrip(" \0"),
            "slot-id": str(token.slot.slot_id),
        }
        if all(wanted.text_of(name) in (None, value) for name, value in facts.items()):
            found.append(token)
    if len(found) != 1:
        raise _not_one(wanted, "token", len(found))
    return found[0]


def _pin(token: Token, wanted: KeyUri) -> str | None:
    from pkcs11 import TokenFlag

    if source := wanted.pin_source:
        place = source.removeprefix("file:").removeprefix("//")
        try:
            pin = Path(place).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise refusal(
                "CFT674", "the file with the PIN cannot be read", path=place, found=type(error).__name__
            ) from error
    else:
        pin = os.environ.get(PIN, "")
    if pin or not token.flags & TokenFlag.LOGIN_REQUIRED:
        return pin or None
    raise refusal("CFT674", "the token needs a PIN", path=wanted.text, help=f"set {PIN}, or add `pin-source`")


def _private(session: Session, wanted: KeyUri) -> Any:
    from pkcs11 import ObjectClass

    return _only(session, wanted, ObjectClass.PRIVATE_KEY, "private key")


def _only(session: Session, wanted: KeyUri, kind: Any, noun: str) -> Any:
    from pkcs11 import Attribute

    asked: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if "object" in wanted.path:
        asked[Attribute.LABEL] = wanted.text_of("object")
    if "id" in wanted.path:
        asked[Attribute.ID] = wanted.path["id"]
    found = list(session.get_objects(asked))
    if len(found) != 1:
        raise _not_one(wanted, noun, len(found))
    return found[0]


def _public(session: Session, wanted: KeyUri) -> PublicKey:
    from pkcs11 import Attribute, ObjectClass, PKCS11Error

    stored = _only(session, wanted, ObjectClass.PUBLIC_KEY, "public key beside the private one")
    try:
        curve = _CURVES[bytes(stored[Attribute.EC_PARAMS])]
        point = bytes(stored[Attribute.EC_POINT])
        if curve is None:
            return ed25519.Ed25519PublicKey.from_public_bytes(_last(point, 32))
        uncompressed = 1 + 2 * (curve.key_size // 8)
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, _last(point, uncompressed))
    except (PKCS11Error, KeyError, ValueError) as error:  # a key of another kind has no EC_PARAMS at all
        raise refusal(
            "CFT663",
            "the key on the token is of a kind that is not used here",
            path=wanted.text,
            expected=EXPECTED,
        ) from error


def _last(point: bytes, size: int) -> bytes:
    """Without the tag and length of an OCTET STRING, which PKCS#11 asks for and some tokens leave out."""
    if len(point) not in (size, size + 2):
        raise ValueError("a point of another length")
    return point[-size:]


def _attributes(text: str, written: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, written.split(separator)):
        name, _, value = part.partition("=")
        if name == "pin-value":
            raise _unusable(
                text,
                "a PIN must not stand in a URI, which others can see",
                help=f"set {PIN}, or use `pin-source`",
            )
        if name not in known or name in found:
            raise _unusable(
                text,
                f"the attribute `{name[:40]}` is {'there twice' if name in found else 'not known here'}",
                expected=", ".join(known),
            )
        if not value:
            raise _unusable(text, f"the attribute `{name}` is empty")
        found[name] = unquote_to_bytes(value)
    return found


def _unusable(text: str, why: str, expected: str = "", help: str = "") -> CoherenceError:
    return refusal(
        "CFT671", f"the PKCS#11 URI cannot be used: {why}", path=text, expected=expected, help=help
    )


def _not_one(wanted: KeyUri, noun: str, count: int) -> CoherenceError:
    if count:
        message, help = f"several of the kind: {noun}", "name one by `token`, `serial`, `object` and `id`"
    else:
        message, help = f"there is no such {noun}", "see what the token's own tool lists"
    return refusal("CFT673", message, path=wanted.text, found=str(count), expected="1", help=help)
