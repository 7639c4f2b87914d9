"""A DSSE envelope in a Sigstore bundle v0.3, signed with a key, a certificate or an identity of an authority.

Sources: the DSSE protocol (secure-systems-lab/dsse, protocol.md), the Sigstore bundle format v0.3
(sigstore/protobuf-specs). A listed key is known by its id. Of an X.509 chain the format carries the signer's
certificate alone. Only a keyless signature is written to a transparency log, whose proof rides along.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coherence_ft.authority.key_kinds import PublicKey, fits
from coherence_ft.authority.keyless import KeylessSigner, known
from coherence_ft.authority.keys import AnySigner

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_WITHOUT_LIST = b'"schemaVersion":"1.0"'  # manifests of that version have bundles without `tlogEntries`


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a bundle holds: the signed bytes, one signature, and the id of the key that made it.

    `certificate` (DER): where the key is known by one. `log`: the proof that a keyless signature was logged
    (`tlogEntries`, `timestampVerificationData`).
    """

    payload: bytes
    signature: bytes
    key_id: str
    certificate: bytes | None = None
    log: Mapping[str, Any] | None = None

    def verifies(self, public: PublicKey) -> bool:
        return fits(public, self.signature, pre_authentication_encoding(self.payload))

    def to_json(self) -> dict[str, Any]:
        signature = {"sig": base64.b64encode(self.signature).decode()}
        # Protobuf lets an empty list be left out; sigstore_models, which has its readers, does not.
        material: dict[str, Any] = {"tlogEntries": []}
        if self.certificate is None:
            # With a key, both hints are there and the same; with a certificate the format has no hint.
            material |= {"publicKey": {"hint": self.key_id}}
            signature["keyid"] = self.key_id
        else:
            material |= {"certificate": {"rawBytes": base64.b64encode(self.certificate).decode()}}
            material |= self.log or {}
        return {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [signature],
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
            payload = base64.b64decode(envelope["payload"], validate=True)
            material = data["verificationMaterial"]
            if _WITHOUT_LIST in payload:
                material = {"tlogEntries": []} | material
            signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
            if "certificate" in material:
                certificate = base64.b64decode(material["certificate"]["rawBytes"], validate=True)
                read = _certified(payload, signature, certificate, material)
            else:
                read = cls(payload, signature, str(envelope["signatures"][0]["keyid"]))
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if read.to_json() != data | {"verificationMaterial": material}:
            raise ValueError("a field, a media type or an encoding that this version does not write")
        return read


def _certified(payload: bytes, signature: bytes, certificate: bytes, material: Mapping[str, Any]) -> Envelope:
    """The envelope of a signature by a certificate's key. Raises ValueError for what format v0.3 lacks."""
    from coherence_ft.authority.certificates import certified_key_id  # costs time, and few bundles need it

    log = {name: value for name, value in material.items() if name != "certificate" and value != []}
    if not known(log):
        raise ValueError("a proof of logging with a field or a spelling that the bundle format does not have")
    return Envelope(payload, signature, certified_key_id(certificate), certificate, log or None)


def sign(payload: bytes, signer: AnySigner) -> Envelope:
    """Sign `payload` as an in-toto statement. Raises CoherenceError where that fails (CFT638, CFT689)."""
    if isinstance(signer, KeylessSigner):
        made = signer.bundle(payload)
        material = made["verificationMaterial"]
        certificate = base64.b64decode(material["certificate"]["rawBytes"])
        signature = base64.b64decode(made["dsseEnvelope"]["signatures"][0]["sig"])
        return _certified(payload, signature, certificate, material)
    leaf = signer.certificates[0] if signer.certificates else None
    return Envelope(payload, signer.sign(pre_authentication_encoding(payload)), signer.key_id, leaf)


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's PAE: binds the type to the bytes, without canonicalising either."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
