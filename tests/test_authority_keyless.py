"""Keyless signatures of a private Sigstore instance, and one of the public instance that cosign wrote."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from derivatives import RISK, codes, signed_derivative, tenant_of
from pki import NOW
from private_sigstore import IDENTITY, ISSUER, Instance, token

from coherence_ft.authority.keyless import KeylessSigner
from coherence_ft.authority.keys import KEY, signing_key
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import ListedIdentity, Tenant
from coherence_ft.manifest.signatures import signed_by
from coherence_ft.manifest.signing import Envelope, sign
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

PAYLOAD = canonical_json(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "adapter", "digest": {"sha256": "a" * 64}}],
        "predicateType": "https://example.com/v1",
        "predicate": {},
    }
)
INSTANCE = Instance(NOW)
GOOD = INSTANCE.bundle(PAYLOAD)


def trusting(root: Path | None, *identities: ListedIdentity) -> Tenant:
    tenant = tenant_of(Path("nowhere"), RISK)
    first, *others = tenant.authorities
    identified = replace(first, identities=identities)
    return replace(tenant, authorities=(identified, *others), sigstore_trusted_root=root)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    root = INSTANCE.write_root(tmp_path_factory.mktemp("instance"))
    return trusting(root, ListedIdentity(ISSUER, IDENTITY))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("verifying must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def answer(bundle: Any, tenant: Tenant) -> tuple[list[str], list[str]]:
    envelope = Envelope.from_json(json.loads(json.dumps(bundle)))
    authorities, problems = signed_by(envelope, tenant, NOW, "bundle")
    return [a.id for a in authorities], [d.code for d in problems]


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads(json.dumps(GOOD))
    change(bundle)
    return bundle


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    return bundle["verificationMaterial"]["tlogEntries"][0]  # type: ignore[no-any-return]


def test_an_identity_stands_for_its_authority(tenant: Tenant, offline: None) -> None:
    assert answer(GOOD, tenant) == (["model-risk"], [])


def test_long_after_the_certificate_has_ended_the_log_still_shows_when(tenant: Tenant, offline: None) -> None:
    """Ten minutes is all that such a certificate lasts; NOW is another day than the one this test runs on."""
    certificate = INSTANCE.certify(INSTANCE.log_key.public_key()).certificate
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < timedelta(minutes=11)
    assert answer(GOOD, tenant) == (["model-risk"], [])


@pytest.mark.parametrize(
    "entry",
    [
        ListedIdentity(ISSUER, "Risk@bank.example"),
        ListedIdentity(ISSUER, "bank.example"),
        ListedIdentity(ISSUER + "/", IDENTITY),
        ListedIdentity("https://accounts.elsewhere.example", IDENTITY),
        ListedIdentity(ISSUER, ""),
        ListedIdentity("", IDENTITY),
    ],
)
def test_any_other_identity_is_nobody(entry: ListedIdentity, tenant: Tenant) -> None:
    assert answer(GOOD, trusting(tenant.sigstore_trusted_root, entry)) == ([], ["CFT689"])


def test_a_tenant_without_identities_takes_no_keyless_signature(tenant: Tenant) -> None:
    assert answer(GOOD, trusting(tenant.sigstore_trusted_root)) == ([], ["CFT689"])


@pytest.mark.parametrize("left_out", ["v1", "v2"])
def test_the_issuer_may_stand_in_either_extension(left_out: str, tenant: Tenant) -> None:
    assert answer(INSTANCE.bundle(PAYLOAD, **{left_out: None}), tenant) == (["model-risk"], [])
    assert answer(INSTANCE.bundle(PAYLOAD, v1=None, v2=None), tenant) == ([], ["CFT689"])


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def swap(*path: str | int) -> Callable[[dict[str, Any]], None]:
    """The value at `path` with its last bit flipped."""

    def change(bundle: dict[str, Any]) -> None:
        within: Any = bundle
        for step in path[:-1]:
            within = within[step]
        within[path[-1]] = _flip(within[path[-1]])

    return change


LOG = ("verificationMaterial", "tlogEntries", 0)
FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another payload": lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"{}").decode()),
    "another signature": swap("dsseEnvelope", "signatures", 0, "sig"),
    "another entry": lambda b: b["verificationMaterial"].update(
        tlogEntries=INSTANCE.bundle(PAYLOAD)["verificationMaterial"]["tlogEntries"]
    ),
    "another certificate": lambda b: b["verificationMaterial"].update(
        certificate=INSTANCE.bundle(PAYLOAD)["verificationMaterial"]["certificate"]
    ),
    "another root hash": swap(*LOG, "inclusionProof", "rootHash"),
    "another neighbour": swap(*LOG, "inclusionProof", "hashes", 0),
    "another body": swap(*LOG, "canonicalizedBody"),
    "another time": lambda b: entry(b).update(integratedTime=str(int(entry(b)["integratedTime"]) + 1)),
    "another promise": swap(*LOG, "inclusionPromise", "signedEntryTimestamp"),
    "no promise": lambda b: entry(b).pop("inclusionPromise"),
    "no proof": lambda b: entry(b).pop("inclusionProof"),
    "no checkpoint": lambda b: entry(b)["inclusionProof"].pop("checkpoint"),
    "an empty checkpoint": lambda b: entry(b)["inclusionProof"].update(checkpoint={"envelope": ""}),
    "two entries": lambda b: b["verificationMaterial"]["tlogEntries"].append(entry(b)),
    "an unknown kind": lambda b: entry(b)["kindVersion"].update(kind="hashedrekord"),
    "no kind": lambda b: entry(b).pop("kindVersion"),
    "another index": lambda b: entry(b).update(logIndex="7"),
    "an empty entry": lambda b: b["verificationMaterial"].update(tlogEntries=[{}]),
}


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS)
def test_a_bundle_that_does_not_hold(change: Callable[[dict[str, Any]], Any], tenant: Tenant) -> None:
    assert answer(changed(change), tenant) == ([], ["CFT688"])


OTHERS: dict[str, Callable[[], dict[str, Any]]] = {
    "another instance": lambda: Instance(NOW).bundle(PAYLOAD),
    "no promise of the CT log": lambda: INSTANCE.bundle(PAYLOAD, sct=False),
    "logged after the certificate ended": lambda: INSTANCE.bundle(PAYLOAD, at=NOW + timedelta(minutes=11)),
    "logged before it began": lambda: INSTANCE.bundle(PAYLOAD, at=NOW - timedelta(minutes=1)),
    "not for signing": lambda: INSTANCE.bundle(PAYLOAD, extended=None),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_a_certificate_or_log_that_does_not_hold(make: Callable[[], dict[str, Any]], tenant: Tenant) -> None:
    assert answer(make(), tenant) == ([], ["CFT688"])


def test_a_certificate_without_its_log_is_held_against_the_roots_of_certificates(tenant: Tenant) -> None:
    """It would prove no time, so no identity takes it."""
    without = changed(lambda b: b["verificationMaterial"].update(tlogEntries=[]))
    assert answer(without, tenant) == ([], ["CFT684"])


UNKNOWN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "in the material": lambda b: b["verificationMaterial"].update(note="trust me"),
    "in the entry": lambda b: entry(b).update(note="trust me"),
    "in the proof": lambda b: entry(b)["inclusionProof"].update(note="trust me"),
    "of another type": lambda b: entry(b).update(logIndex=1),
    "a list for an entry": lambda b: b["verificationMaterial"].update(tlogEntries={}),
    "a timestamp's field": lambda b: b["verificationMaterial"].update(timestampVerificationData={"rfc": []}),
}


@pytest.mark.parametrize("change", UNKNOWN.values(), ids=UNKNOWN)
def test_nothing_unknown_rides_along(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(ValueError):
        Envelope.from_json(changed(change))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"mediaType": "else"}'])
def test_a_trusted_root_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "trusted_root.json"
    if content is not None:
        path.write_text(content)
    assert answer(GOOD, trusting(path, ListedIdentity(ISSUER, IDENTITY))) == ([], ["CFT637"])


def test_without_the_extra_it_is_said_what_to_install(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    envelope = Envelope.from_json(GOOD)
    _, problems = signed_by(envelope, tenant, NOW, "bundle")
    assert [(d.code, d.help) for d in problems] == [("CFT687", 'pip install "coherence-ft[sigstore]"')]
    with pytest.raises(CoherenceError, match="CFT687"):  # before anything is measured
        signing_key(tenant.authorities[0], "sigstore:")


# The public instance


COSIGN = Path(__file__).parent / "golden" / "sigstore" / "cosign-attestation.sigstore.json"
GITHUB = "https://github.com/login/oauth"


def test_what_cosign_wrote_verifies_under_the_root_that_sigstore_brings(offline: None) -> None:
    bundle = json.loads(COSIGN.read_bytes())
    assert answer(bundle, trusting(None, ListedIdentity(GITHUB, "cody@soyland.com"))) == (["model-risk"], [])
    assert answer(bundle, trusting(None, ListedIdentity(GITHUB, IDENTITY))) == ([], ["CFT689"])
    assert Envelope.from_json(bundle).to_json() == bundle


def test_a_log_of_the_second_generation_with_a_timestamp_authority_verifies(offline: None) -> None:
    """Rekor v2 gives no time of its own; sigstore-python wrote this against the staging instance."""
    import sigstore

    (root,) = Path(sigstore.__file__).parent.glob("_store/*sigstage.dev/trusted_root.json")
    bundle = json.loads((COSIGN.parent / "rekor-v2-attestation.sigstore.json").read_bytes())
    beacon = (
        "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
        "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
    )
    entry = ListedIdentity("https://token.actions.githubusercontent.com", beacon)
    assert answer(bundle, trusting(root, entry)) == (["model-risk"], [])
    del bundle["verificationMaterial"]["timestampVerificationData"]
    assert answer(bundle, trusting(root, entry)) == ([], ["CFT688"])


def test_a_private_instance_is_not_the_public_one(tenant: Tenant) -> None:
    assert answer(GOOD, trusting(None, ListedIdentity(ISSUER, IDENTITY))) == ([], ["CFT688"])
    bundle = json.loads(COSIGN.read_bytes())
    private = trusting(tenant.sigstore_trusted_root, ListedIdentity(GITHUB, "cody@soyland.com"))
    assert answer(bundle, private) == ([], ["CFT688"])


# Signing


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Instance, Path]]:
    """An instance of today at the other end of COHERENCE_FT_KEY, in a CI job that has an identity."""
    instance = Instance()
    with instance.serving(tmp_path) as config:
        monkeypatch.setenv(KEY, f"sigstore:{config}")
        monkeypatch.setenv("GITLAB_CI", "true")
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", token())
        yield instance, instance.write_root(tmp_path)


def test_a_derivative_is_signed_and_verified_keyless(running: tuple[Instance, Path], tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path / "made")
    first, *others = signed.tenant.authorities
    listed = replace(first, identities=(ListedIdentity(ISSUER, IDENTITY),))
    tenant = replace(signed.tenant, authorities=(listed, *others), sigstore_trusted_root=running[1])
    signer = signing_key(listed)
    assert isinstance(signer, KeylessSigner)
    write_manifest(signed.folder, signed.facts, signer, created_at=NOW)
    assert verify(signed.folder, tenant, today=NOW.date()).signer == "model-risk"
    assert codes(signed) == {"CFT689"}  # nobody of the tenant as it was


def refused(code: str, *identities: ListedIdentity) -> None:
    with pytest.raises(CoherenceError) as caught:
        sign(PAYLOAD, signing_key(trusting(None, *identities).authorities[0]))
    assert caught.value.codes == (code,)


def test_nothing_is_published_under_an_identity_that_is_not_the_authority(
    running: tuple[Instance, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Instance, "certify", lambda *a, **k: asked.append("certificate"))
    refused("CFT689")
    refused("CFT689", ListedIdentity("https://accounts.elsewhere.example", IDENTITY))
    assert not asked


def test_nor_is_a_signature_used_that_its_name_does_not_fit(running: tuple[Instance, Path]) -> None:
    refused("CFT689", ListedIdentity(ISSUER, "else@bank.example"))


def test_what_keyless_signing_needs_and_does_not_find(
    running: tuple[Instance, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ListedIdentity(ISSUER, IDENTITY)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token(life=-60))
    refused("CFT638", here)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "no token")
    refused("CFT638", here)
    monkeypatch.delenv("GITLAB_CI")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    refused("CFT638", here)
    monkeypatch.setenv(KEY, f"sigstore:{tmp_path / 'missing.json'}")
    refused("CFT638", here)


def test_a_service_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Instance().serving(tmp_path) as config:
        pass
    monkeypatch.setenv(KEY, f"sigstore:{config}")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token())
    refused("CFT638", ListedIdentity(ISSUER, IDENTITY))
