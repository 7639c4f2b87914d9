"""Other people's tools on our folders, and ours on theirs. The commands are those of docs/interop.md."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import model_signing
import pytest
from click.testing import CliRunner
from derivatives import NOW, TODAY, Signed, codes, copied, flip, signed_derivative
from google.protobuf.json_format import Parse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message
from model_signing._cli import main as model_signing_command
from securesystemslib.dsse import Envelope as Peer
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from test_manifest_claims import JUNK, _places
from test_manifest_countersign import countersigned, key, put, relisted, with_countersigners

from coherence_ft.authority.keys import load_private
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.manifest.files import countersignature
from coherence_ft.manifest.model_sig import model_signature, write_model_signature
from coherence_ft.manifest.signing import pre_authentication_encoding
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

PAGE = (Path(__file__).parent.parent / "docs" / "interop.md").read_text(encoding="utf-8")
SIGNATURE = "model.sig"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return with_countersigners(signed_derivative(tmp_path_factory.mktemp("signed")))


@pytest.fixture
def signed(original: Signed, tmp_path: Path) -> Signed:
    """As `promote` leaves it: with a model.sig of the maker's."""
    signed = copied(original, tmp_path)
    sealed(signed, "model-risk")
    return signed


def sealed(signed: Signed, name: str) -> str:
    files = verify(signed.folder, signed.tenant, today=TODAY, model_signed=False).files
    return write_model_signature(signed.folder, files, key(signed, name), signed.tenant)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def peer(signed: Signed, name: str = "model-risk") -> tuple[int, str]:
    """The exit code and output of the command in the page, run in this process."""
    [line] = blocks("sh")
    program, *arguments = line.split()
    assert program == "model_signing"
    named = {
        "derivative": signed.folder,
        "derivative/model.sig": signed.folder / SIGNATURE,
        "keys/model-risk.pub.pem": signed.keys / f"{name}.pub.pem",
    }
    result = CliRunner().invoke(model_signing_command, [str(named.get(a, a)) for a in arguments])
    return result.exit_code, result.output


# --- the page ---


def test_the_scripts_of_the_page_pass_and_find_tampering(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signed.folder.parent / "keys").symlink_to(signed.keys)
    monkeypatch.chdir(signed.folder.parent)
    envelope, statement = blocks("python")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(envelope, {})
        exec(statement, {})
    assert said.getvalue() == "clinical-icd certified\n"
    flip(signed.folder / "adapter_config.json", 5)
    with pytest.raises(AssertionError, match="adapter_config"):
        exec(statement, {})
    signed.manifest.write_bytes(signed.manifest.read_bytes().replace(b'"seed":7', b'"seed":6'))
    with pytest.raises(AssertionError):
        exec(envelope, {})


# --- securesystemslib ---


@pytest.mark.parametrize("name", ["risk", "regulator", "board"])
def test_securesystemslib_verifies_countersignatures_of_every_kind_of_key(signed: Signed, name: str) -> None:
    bundle = json.loads(countersigned(signed, name).path.read_bytes())
    public = SSlibKey.from_crypto(
        key(signed, name).public, keyid=bundle["verificationMaterial"]["publicKey"]["hint"]
    )
    envelope = Peer.from_dict(bundle["dsseEnvelope"])
    assert list(envelope.verify([public], 1)) == [public.keyid]
    assert envelope.payload == signed.manifest.read_bytes()
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([public], 1)


# --- in-toto ---


def test_in_toto_attestation_validates_our_statement_and_keeps_every_subject(signed: Signed) -> None:
    content = signed.manifest.read_bytes()
    statement = Statement.copy_from_pb(Parse(content, Message()))
    statement.validate()
    ours = json.loads(content)
    assert {s.name: dict(s.digest) for s in statement.pb.subject} == {
        s["name"]: s["digest"] for s in ours["subject"]
    }
    assert statement.pb.predicate_type == ours["predicateType"]
    assert statement.pb.predicate["base"]["digest"] == "a" * 64
    del ours["subject"][0]["digest"]["sha256"]
    with pytest.raises(ValueError, match="digest"):
        Statement.copy_from_pb(Parse(json.dumps(ours), Message())).validate()


def test_in_toto_attestation_validates_the_statement_of_model_sig(signed: Signed) -> None:
    bundle = json.loads((signed.folder / SIGNATURE).read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    Statement.copy_from_pb(Parse(payload, Message())).validate()


# --- model_signing on our folder ---


def test_model_signing_verifies_our_folder(signed: Signed) -> None:
    assert peer(signed) == (0, "Verification succeeded\n")
    assert verify(signed.folder, signed.tenant, today=TODAY).model_signed


PEER_REFUSES: dict[str, Callable[[Signed], Any]] = {
    "a bit of the adapter": lambda s: flip(s.folder / "adapter_model.safetensors", 70),
    "a bit of the manifest": lambda s: flip(s.manifest, 70),
    "a bit of the bundle": lambda s: flip(s.bundle, 70),
    "a file added": lambda s: (s.folder / "modeling.py").write_text("import os"),
    "a git file added": lambda s: (s.folder / ".gitattributes").write_text("* text"),
    "a file removed": lambda s: (s.folder / "adapter_config.json").unlink(),
    "a file renamed": lambda s: (s.folder / "adapter_config.json").rename(s.folder / "config.json"),
    "a countersignature by hand": lambda s: put(s, "risk", key(s, "risk")),
    "the signature of another folder": lambda s: (s.folder / SIGNATURE).write_bytes(
        model_signature("other", {"a": "0" * 64}, s.key)
    ),
}


@pytest.mark.parametrize("name", PEER_REFUSES)
def test_both_refuse_what_was_tampered_with(signed: Signed, name: str) -> None:
    PEER_REFUSES[name](signed)
    exit_code, output = peer(signed)
    assert exit_code == 1 and "failed" in output
    assert codes(signed)


def test_a_git_file_of_the_derivative_is_signed_like_any_other(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path)
    (signed.folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    write_manifest(signed.folder, signed.facts, signed.key)
    files = verify(signed.folder, signed.tenant).files
    assert write_model_signature(signed.folder, files, signed.key, signed.tenant) == ""
    assert peer(signed)[0] == 0
    assert verify(signed.folder, signed.tenant).model_signed


@pytest.mark.parametrize(("name", "made"), [("risk", True), ("regulator", True), ("board", False)])
def test_a_countersigner_signs_the_folder_as_it_is_then(signed: Signed, name: str, made: bool) -> None:
    done = countersigned(signed, name)
    assert (signed.folder / SIGNATURE).exists() is made
    assert bool(done.without_model_signature) is not made
    assert verify(signed.folder, signed.tenant, today=TODAY).model_signed is made
    if made:
        assert peer(signed, name)[0] == 0
        assert peer(signed)[0] == 1, "the maker's key is another one"
    else:
        assert "Ed25519" in done.without_model_signature


# --- ours on a folder that model_signing signed ---


def signed_by_peer(signed: Signed, name: str = "model-risk", *ignored: str, git: bool = False) -> None:
    (signed.folder / SIGNATURE).unlink(missing_ok=True)
    hashing = model_signing.hashing.Config().set_ignored_paths(
        paths=[SIGNATURE, *ignored], ignore_git_paths=git
    )
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=signed.keys / f"{name}.pem")
    config.set_hashing_config(hashing).sign(signed.folder, signed.folder / SIGNATURE)


@pytest.mark.parametrize("name", ["model-risk", "risk", "regulator"])
def test_ours_verifies_what_model_signing_signed(signed: Signed, name: str) -> None:
    countersigned(signed, "regulator")
    signed_by_peer(signed, name)
    assert verify(signed.folder, signed.tenant, today=TODAY).model_signed


def test_ours_says_what_theirs_says(signed: Signed) -> None:
    """Byte for byte but for white space and the signature: the statement is the format's."""

    def said() -> Any:
        bundle = json.loads((signed.folder / SIGNATURE).read_bytes())
        return bundle["verificationMaterial"], json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))

    # A name that sorts before `tokenizer/…` as text, and after it as a path.
    (signed.folder / "tokenizer-note").write_text("")
    write_manifest(signed.folder, signed.facts, signed.key, created_at=NOW)
    sealed(signed, "model-risk")
    ours = said()
    signed_by_peer(signed)
    assert said() == ours


@pytest.mark.parametrize(
    "sign",
    [
        lambda s: signed_by_peer(s, "model-risk", "tokenizer"),
        lambda s: signed_by_peer(s, git=True),
    ],
)
def test_a_list_of_ignored_paths_is_refused_though_model_signing_believes_it(
    signed: Signed, sign: Callable[[Signed], None]
) -> None:
    sign(signed)
    assert peer(signed)[0] == 0
    assert codes(signed) == {"CFT625"}


def _payload(change: Callable[[Any], Any]) -> Callable[[Signed], None]:
    """What a holder of the key could sign."""

    def make(signed: Signed) -> None:
        bundle = json.loads((signed.folder / SIGNATURE).read_bytes())
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        change(statement)
        payload = canonical_json(statement)
        signature = signed.key.sign(pre_authentication_encoding(payload))
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        (signed.folder / SIGNATURE).write_bytes(canonical_json(bundle))

    return make


def _bundle(change: Callable[[Any], Any]) -> Callable[[Signed], None]:
    def make(signed: Signed) -> None:
        bundle = json.loads((signed.folder / SIGNATURE).read_bytes())
        change(bundle)
        (signed.folder / SIGNATURE).write_bytes(canonical_json(bundle))

    return make


def _serialization(**changes: Any) -> Callable[[Signed], None]:
    return _payload(lambda m: m["predicate"]["serialization"].update(changes))


def _swap_names(statement: Any) -> None:
    first, second = statement["predicate"]["resources"][:2]
    first["name"], second["name"] = second["name"], first["name"]


BAD: dict[str, tuple[Callable[[Signed], Any], set[str]]] = {
    "a folder ignored": (_serialization(ignore_paths=["model.sig", "tokenizer"]), {"CFT625"}),
    "nothing ignored": (_serialization(ignore_paths=[]), {"CFT625"}),
    "links allowed": (_serialization(allow_symlinks=True), {"CFT625"}),
    "a number for a truth value": (_serialization(allow_symlinks=0), {"CFT625"}),
    "by shards": (_serialization(method="shards", shard_size=10), {"CFT625"}),
    "another hash": (_serialization(hash_type="blake2"), {"CFT625"}),
    "a resource left out": (_payload(lambda m: m["predicate"]["resources"].pop(0)), {"CFT626"}),
    "a resource twice": (
        _payload(lambda m: m["predicate"]["resources"].append(m["predicate"]["resources"][0])),
        {"CFT626"},
    ),
    "names exchanged, which the root digest does not bind": (_payload(_swap_names), {"CFT626"}),
    "another root digest": (
        _payload(lambda m: m["subject"][0]["digest"].update(sha256="0" * 64)),
        {"CFT626"},
    ),
    "a second subject": (_payload(lambda m: m["subject"].append(m["subject"][0])), {"CFT626"}),
    "another algorithm": (
        _payload(lambda m: m["predicate"]["resources"][0].update(algorithm="blake3")),
        {"CFT626"},
    ),
    "the format before 1.0": (
        _payload(lambda m: m.update(predicateType="https://model_signing/Digests/v0.1")),
        {"CFT609"},
    ),
    "a statement that is a list": (_payload(lambda m: m["predicate"].update(resources="")), {"CFT626"}),
    "no resources": (_payload(lambda m: m["predicate"].pop("resources")), {"CFT607"}),
    "a name that is a number": (
        _payload(lambda m: m["predicate"]["resources"][0].update(name=7)),
        {"CFT626"},
    ),
    "names that are lists": (
        _payload(lambda m: m["predicate"]["resources"][0].update(name=["a"])),
        {"CFT607"},
    ),
    "a subject without a name": (_payload(lambda m: m.update(subject=[{}])), {"CFT607"}),
    "another media type": (_bundle(lambda b: b.update(mediaType="application/json")), {"CFT607"}),
    "a field more": (_bundle(lambda b: b.update(note="approved")), {"CFT607"}),
    "two signatures": (
        _bundle(lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0])),
        {"CFT607"},
    ),
    "a payload of another type": (_bundle(lambda b: b["dsseEnvelope"].update(payloadType="x")), {"CFT607"}),
    "a hint that is a number": (
        _bundle(lambda b: b["verificationMaterial"]["publicKey"].update(hint=7)),
        {"CFT607"},
    ),
    "a certificate": (
        _bundle(lambda b: b.update(verificationMaterial={"x509CertificateChain": {"certificates": []}})),
        {"CFT607"},
    ),
    "a list": (lambda s: (s.folder / SIGNATURE).write_text("[]"), {"CFT607"}),
    "no JSON": (lambda s: (s.folder / SIGNATURE).write_text("{"), {"CFT604"}),
    "a key twice": (lambda s: (s.folder / SIGNATURE).write_text('{"a":1,"a":2}'), {"CFT605"}),
    "a key that nobody has": (
        _bundle(lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64)),
        {"CFT631"},
    ),
    "a signature of other bytes": (
        _bundle(
            lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=base64.b64encode(b"0" * 70).decode())
        ),
        {"CFT630"},
    ),
    "a signer without power": (lambda s: signed_by_peer(s, "auditor"), {"CFT632"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_model_sig_that_does_not_fit_is_refused(signed: Signed, name: str) -> None:
    make, expected = BAD[name]
    make(signed)
    assert codes(signed) == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_content_of_model_sig_whatever_ends_in_anything_but_a_refusal(
    signed: Signed, data: st.DataObject
) -> None:
    path = signed.folder / SIGNATURE
    before = path.read_bytes()
    bundle = json.loads(before)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    inner = data.draw(st.booleans())
    place = data.draw(st.sampled_from(_places(statement if inner else bundle)))
    junk = data.draw(JUNK)

    def change(document: Any) -> None:
        for step in place[:-1]:
            document = document[step]
        assume((type(document[place[-1]]), document[place[-1]]) != (type(junk), junk))
        document[place[-1]] = junk

    try:
        (_payload if inner else _bundle)(change)(signed)
        if place == ("subject", 0, "name"):  # it is for people
            verify(signed.folder, signed.tenant, today=TODAY)
        else:
            assert codes(signed)
    finally:
        path.write_bytes(before)


def test_a_model_sig_of_a_revoked_key(signed: Signed) -> None:
    sealed(signed, "risk")
    revoked = relisted(signed.tenant, "risk", revoked=TODAY)
    assert codes(signed, revoked) == {"CFT667"}


def test_a_countersignature_by_hand_leaves_model_sig_short_until_it_is_taken_away(signed: Signed) -> None:
    put(signed, "risk", key(signed, "risk"))
    assert codes(signed) == {"CFT626"}
    assert countersigned(signed, "regulator").made  # and model.sig with it
    assert verify(signed.folder, signed.tenant, today=TODAY).countersigners == ("regulator", "risk")
    assert peer(signed, "regulator")[0] == 0
    (signed.folder / countersignature("risk")).unlink()
    assert codes(signed) == {"CFT626"}
    (signed.folder / SIGNATURE).unlink()
    assert not verify(signed.folder, signed.tenant, today=TODAY).model_signed


def test_a_key_that_the_tenant_does_not_list_makes_no_model_sig(signed: Signed) -> None:
    stranger = replace(signed.tenant, authorities=signed.tenant.authorities[1:])
    files = verify(signed.folder, signed.tenant, today=TODAY).files
    assert write_model_signature(signed.folder, files, load_private(signed.keys / "model-risk.pem"), stranger)
    assert not (signed.folder / SIGNATURE).exists()


def test_what_model_sig_lists_is_what_lies_there(signed: Signed) -> None:
    payload = json.loads(
        base64.b64decode(json.loads((signed.folder / SIGNATURE).read_bytes())["dsseEnvelope"]["payload"])
    )
    there = {
        path.relative_to(signed.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in signed.folder.rglob("*")
        if path.is_file() and path.name != SIGNATURE
    }
    assert {r["name"]: r["digest"] for r in payload["predicate"]["resources"]} == there
    shutil.rmtree(signed.folder)
