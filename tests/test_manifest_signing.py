"""The envelope, checked by somebody else's implementation and against its own bytes."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from derivatives import signed_derivative
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Peer
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from coherence_ft.authority.key_kinds import ALGORITHMS, generate_key, key_id, public_pem
from coherence_ft.authority.keys import Signer
from coherence_ft.manifest.signing import Envelope, pre_authentication_encoding, sign


def new(algorithm: str = "p256") -> Signer:
    return Signer.of(generate_key(algorithm))


def test_securesystemslib_verifies_our_manifest(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path)
    bundle = json.loads(signed.bundle.read_bytes())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    assert hint == key_id(signed.key.public)
    peer = Peer.from_dict(bundle["dsseEnvelope"])
    assert list(peer.verify([SSlibKey.from_crypto(signed.key.public, keyid=hint)], 1)) == [hint]
    assert peer.payload == signed.manifest.read_bytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_securesystemslib_verifies_each_kind_of_key(algorithm: str) -> None:
    signer, other = new(algorithm), new(algorithm)
    peer = Peer.from_dict(sign(b'{"a": 1}', signer).to_json()["dsseEnvelope"])
    # Nothing is said about the scheme: it must follow from the key, as everywhere else.
    key = SSlibKey.from_crypto(signer.public, keyid=signer.key_id)
    assert key.scheme in ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ed25519")
    assert list(peer.verify([key], 1)) == [signer.key_id]
    with pytest.raises(VerificationError):
        peer.verify([SSlibKey.from_crypto(other.public, keyid=signer.key_id)], 1)
    peer.payload += b" "
    with pytest.raises(VerificationError):
        peer.verify([key], 1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_alone_verifies_each_kind_of_key(tmp_path: Path, algorithm: str) -> None:
    """In five years, with nothing of ours: the payload, the signature and the listed public key."""
    signer = new(algorithm)
    envelope = sign(b'{"a": 1}', signer).to_json()["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    for name, content in (
        ("signed", signed),
        ("signature", base64.b64decode(envelope["signatures"][0]["sig"])),
        ("key", public_pem(signer.public)),
    ):
        (tmp_path / name).write_bytes(content)
    by = {"p256": ["dgst", "-sha256"], "p384": ["dgst", "-sha384"], "ed25519": ["pkeyutl", "-verify"]}[
        algorithm
    ]
    if algorithm == "ed25519":
        by += ["-pubin", "-inkey", "key", "-rawin", "-in", "signed", "-sigfile", "signature"]
    else:
        by += ["-verify", "key", "-signature", "signature", "signed"]
    assert subprocess.run(["openssl", *by], cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "signed").write_bytes(signed + b" ")
    assert subprocess.run(["openssl", *by], cwd=tmp_path, capture_output=True).returncode == 1


def test_the_key_id_is_the_sha256_of_the_public_key_in_der() -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = (
        b"-----BEGIN PUBLIC KEY-----\n"
        b"MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
        b"-----END PUBLIC KEY-----\n"
    )  # RFC 8032, section 7.1, test 1; openssl pkey -pubin -outform DER | sha256sum
    expected = "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9"
    assert key_id(load_pem_public_key(pem)) == expected


def test_the_encoding_is_the_one_of_the_dsse_specification() -> None:
    # The test vector of secure-systems-lab/dsse, protocol.md.
    assert (
        pre_authentication_encoding(b"hello world", "http://example.com/HelloWorld")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_holds_for_its_bytes_and_its_key_only(algorithm: str) -> None:
    signer = new(algorithm)
    envelope = sign(b"{}", signer)
    assert envelope.verifies(signer.public)
    for other in ALGORITHMS:
        assert not envelope.verifies(new(other).public)
    assert not Envelope(b"{ }", envelope.signature, envelope.key_id).verifies(signer.public)
    for wrong in (b"", b"no signature", envelope.signature[:-1], envelope.signature + b"\0"):
        assert not Envelope(b"{}", wrong, envelope.key_id).verifies(signer.public)


def test_a_bundle_that_says_more_than_is_checked_is_refused() -> None:
    good = sign(b"{}", new()).to_json()
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


SIGNERS = [new(algorithm) for algorithm in ALGORITHMS]
# Made once: a signature of ECDSA is another each time, and hypothesis wants to draw the same again.
BUNDLES = [(signer, sign(payload, signer).to_json()) for signer in SIGNERS for payload in (b"", b'{"a": 1}')]
_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=8),
    st.builds(list),
    st.builds(dict),
    st.sampled_from(["e30=", "", "AAAA", "application/json", "0" * 64]),
)


@given(st.data(), st.sampled_from(BUNDLES))
def test_no_edit_of_a_bundle_verifies(data: st.DataObject, bundle: tuple[Signer, Any]) -> None:
    """Whatever is changed, added or taken away: refused, or no signature of that key over that payload."""
    signer, good = bundle
    changed = copy.deepcopy(good)
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = changed
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = data.draw(st.sampled_from(keys)) if keys else None
            if key is None or not isinstance(node[key], dict | list) or data.draw(st.booleans()):
                break
            node = node[key]
        if isinstance(node, list):
            node.append(data.draw(st.sampled_from([copy.deepcopy(node[0]) if node else None, None, {}])))
        elif key is None or data.draw(st.integers(0, 3)) == 0:
            node[data.draw(st.text(max_size=8))] = data.draw(_JUNK)
        elif isinstance(node[key], str) and data.draw(st.booleans()):
            text = node[key]
            at = data.draw(st.integers(0, max(len(text) - 1, 0)))
            node[key] = text[:at] + data.draw(st.characters()) + text[at + 1 :]
        elif data.draw(st.booleans()):
            del node[key]
        else:
            node[key] = data.draw(_JUNK)
    try:
        read = Envelope.from_json(changed)
    except ValueError:
        assert changed != good
        return
    whole = changed | {"verificationMaterial": {"tlogEntries": []} | changed["verificationMaterial"]}
    assert read.to_json() == whole  # bundles of earlier versions leave the empty list out
    if whole != good and read.key_id == signer.key_id:
        assert not read.verifies(signer.public)
