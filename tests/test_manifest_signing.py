"""The envelope, checked by somebody else's implementation and against its own bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from derivatives import signed_derivative
from securesystemslib.dsse import Envelope as Peer
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from coherence_ft.authority.keys import key_id
from coherence_ft.manifest.signing import Envelope, pre_authentication_encoding, sign


def test_securesystemslib_verifies_our_envelope(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path)
    bundle = json.loads(signed.bundle.read_bytes())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    public = signed.key.public_key()
    key = SSlibKey.from_crypto(public, keyid=bundle["verificationMaterial"]["publicKey"]["hint"])
    assert key.keyid == key_id(public)
    peer = Peer.from_dict(bundle["dsseEnvelope"])
    assert list(peer.verify([key], 1)) == [key.keyid]
    assert peer.payload == signed.manifest.read_bytes()
    peer.payload += b" "
    with pytest.raises(VerificationError):
        peer.verify([key], 1)


def test_the_encoding_is_the_one_of_the_dsse_specification() -> None:
    # The test vector of secure-systems-lab/dsse, protocol.md.
    assert (
        pre_authentication_encoding(b"hello world", "http://example.com/HelloWorld")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_signature_holds_for_its_bytes_and_its_key_only() -> None:
    private, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    envelope = sign(b"{}", private)
    assert envelope.verifies(private.public_key())
    assert not envelope.verifies(other.public_key())
    assert not Envelope(b"{ }", envelope.signature, envelope.key_id).verifies(private.public_key())
    assert not Envelope(b"{}", b"no signature", envelope.key_id).verifies(private.public_key())


def test_a_bundle_that_says_more_than_is_checked_is_refused() -> None:
    good = sign(b"{}", ec.generate_private_key(ec.SECP256R1())).to_json()
    assert Envelope.from_json(good).to_json() == good
    envelope = good["dsseEnvelope"]
    signature = envelope["signatures"][0]
    wrong = [
        None,
        [],
        {},
        good | {"mediaType": "application/vnd.dev.sigstore.bundle.v0.2+json"},
        good | {"note": "approved"},
        good | {"verificationMaterial": {"publicKey": {"hint": "0" * 64}}},
        good | {"dsseEnvelope": envelope | {"payloadType": "text/plain"}},
        good | {"dsseEnvelope": envelope | {"payload": "e30"}},
        good | {"dsseEnvelope": envelope | {"payload": "e31="}},  # the same bytes, other padding bits
        good | {"dsseEnvelope": envelope | {"payload": 7}},
        good | {"dsseEnvelope": envelope | {"signatures": []}},
        good | {"dsseEnvelope": envelope | {"signatures": [signature, signature]}},
        good | {"dsseEnvelope": envelope | {"signatures": [{"sig": signature["sig"]}]}},
        good | {"dsseEnvelope": envelope | {"signatures": {"0": signature}}},
    ]
    for bundle in wrong:
        with pytest.raises(ValueError):
            Envelope.from_json(bundle)
