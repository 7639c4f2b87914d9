"""A DSSE envelope in a Sigstore bundle v0.3, signed with ECDSA on P-256 over SHA-256.

Sources: the DSSE protocol (secure-systems-lab/dsse, protocol.md), the Sigstore bundle format v0.3
(sigstore/protobuf-specs). Nothing is written to a transparency log; the key is known by its id.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coherence_ft.authority.keys import key_id

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ALGORITHM = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a bundle holds: the signed bytes, one signature (DER), and the id of the key that made it."""

    payload: bytes
    signature: bytes
    key_id: str

    def verifies(self, public: ec.EllipticCurvePublicKey) -> bool:
        try:
            public.verify(self.signature, pre_authentication_encoding(self.payload), _ALGORITHM)
        except InvalidSignature:
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.key_id}},
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}],
            },
        }

    @classmethod
    def from_json(cls, data: Any) -> Envelope:
        """Raises ValueError for anything but a bundle such as `to_json` makes.

        A bundle with a field or a second signature that is not checked here is refused: what is not
        understood must not ride along under a good signature.
        """
        try:
            envelope = data["dsseEnvelope"]
            read = cls(
                base64.b64decode(envelope["payload"], validate=True),
                base64.b64decode(envelope["signatures"][0]["sig"], validate=True),
                str(envelope["signatures"][0]["keyid"]),
            )
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if read.to_json() != data:
            raise ValueError("a field, a media type or an encoding that this version does not write")
        return read


def sign(payload: bytes, private: ec.EllipticCurvePrivateKey) -> Envelope:
    """Sign `payload` as an in-toto statement."""
    signature = private.sign(pre_authentication_encoding(payload), _ALGORITHM)
    return Envelope(payload, signature, key_id(private.public_key()))


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's PAE: binds the type to the bytes, without canonicalising either."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
