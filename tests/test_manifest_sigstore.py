"""Whole derivatives signed with a certificate or keyless, and other people's tools on our bundles."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from derivatives import NOW, TODAY, Signed, codes, signed_derivative
from pki import SAN, SUBJECT, Issued, root, write
from private_sigstore import IDENTITY, ISSUER, Instance
from sigstore.models import Bundle, InvalidBundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity
from sigstore_models.bundle.v1 import Bundle as Format

from coherence_ft.authority.key_kinds import ALGORITHMS, fits, generate_key, sign_with
from coherence_ft.authority.keys import Signer
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.tenant import ListedCertificate, ListedIdentity, Tenant, read_tenant
from coherence_ft.manifest.files import countersignature
from coherence_ft.manifest.signing import pre_authentication_encoding, sign
from coherence_ft.manifest.statement import PREDICATE_TYPE
from coherence_ft.manifest.verify import verify

PAGE = Path(__file__).parent.parent / "docs" / "signing.md"
ADAPTER = "adapter_model.safetensors"
ROOT = root()
ISSUING = ROOT.ca()


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return signed_derivative(tmp_path)


def signer(issued: Issued) -> Signer:
    return Signer(issued.key.public_key(), partial(sign_with, issued.key), (issued.der,))


def store(path: Path, bundle: Any) -> None:
    path.write_bytes(canonical_json(bundle))


def with_authority(tenant: Tenant, id: str, **changes: Any) -> Tenant:
    return replace(
        tenant, authorities=tuple(replace(a, **changes) if a.id == id else a for a in tenant.authorities)
    )


def certified(signed: Signed, issued: Issued, id: str = "model-risk") -> Tenant:
    """The derivative signed anew with a certificate, and the tenant that lists it under `id`."""
    store(signed.bundle, sign(signed.manifest.read_bytes(), signer(issued)).to_json())
    file = write(signed.folder.parent / "root.pem", ROOT, ISSUING)
    return with_authority(signed.tenant, id, certificates=(ListedCertificate(file, SUBJECT, SAN),))


def keyless(signed: Signed, instance: Instance) -> Tenant:
    store(signed.bundle, instance.bundle(signed.manifest.read_bytes()))
    tenant = with_authority(signed.tenant, "model-risk", identities=(ListedIdentity(ISSUER, IDENTITY),))
    return replace(tenant, sigstore_trusted_root=instance.write_root(signed.folder.parent))


# Whole derivatives


def test_a_derivative_signed_with_a_certificate_verifies(signed: Signed) -> None:
    tenant = certified(signed, ISSUING.leaf())
    assert verify(signed.folder, tenant, today=TODAY).signer == "model-risk"
    assert codes(signed) == {"CFT684"}  # nobody of the tenant as it was


def test_years_later_it_still_does(signed: Signed) -> None:
    tenant = certified(signed, ISSUING.leaf(end=NOW + timedelta(seconds=1)))
    assert verify(signed.folder, tenant, today=TODAY.replace(year=2031)).signer == "model-risk"


def test_a_certificate_that_had_ended_by_then_does_not(signed: Signed) -> None:
    assert codes(signed, certified(signed, ISSUING.leaf(end=NOW - timedelta(seconds=1)))) == {"CFT682"}


def test_a_certificate_of_another_authority_is_no_maker(signed: Signed) -> None:
    tenant = certified(signed, ISSUING.leaf(), id="training")
    assert codes(signed, tenant) == {"CFT632"}
    powers = signed.tenant.authorities[0].powers
    assert codes(signed, with_authority(tenant, "training", powers=powers)) == {"CFT633"}


def test_a_countersigner_may_use_a_certificate_that_is_younger_than_the_manifest(signed: Signed) -> None:
    tenant = certified(signed, ISSUING.leaf())
    entry = tenant.authorities[0].certificates[0]
    officer = replace(
        tenant.authorities[0],
        id="officer",
        public_keys=(),
        certificates=(replace(entry, subject="CN=Officer"),),
    )
    tenant = replace(tenant, authorities=(*tenant.authorities, officer))
    young = ISSUING.leaf(subject="CN=Officer", start=NOW + timedelta(days=1), end=NOW + timedelta(days=2))
    beside = signed.folder / countersignature("officer")
    store(beside, sign(signed.manifest.read_bytes(), signer(young)).to_json())
    assert codes(signed, tenant) == {"CFT682"}  # today it has not begun
    later = TODAY + timedelta(days=5)
    assert verify(signed.folder, tenant, today=later).countersigners == ("officer",)
    old = ISSUING.leaf(subject="CN=Officer", end=NOW - timedelta(days=1))
    store(beside, sign(signed.manifest.read_bytes(), signer(old)).to_json())
    assert codes(signed, tenant, today=later) == {"CFT682"}


def test_a_derivative_signed_keyless_verifies(signed: Signed) -> None:
    assert verify(signed.folder, keyless(signed, Instance(NOW)), today=TODAY).signer == "model-risk"


@pytest.mark.parametrize("way", ["certificate", "keyless"])
def test_whatever_is_written_otherwise_in_such_a_bundle_is_refused(signed: Signed, way: str) -> None:
    """Also what means the same to sigstore-python: other base64 for the same bytes, `01` for 1."""
    tenant = keyless(signed, Instance(NOW)) if way == "keyless" else certified(signed, ISSUING.leaf())
    good = signed.bundle.read_text()
    texts = {match[0] for match in re.finditer(r'(?<=:)"[^"]+"|(?<=\[)"[^"]+"', good)}
    assert len(texts) > (12 if way == "keyless" else 4)
    for text in texts:
        inner = text[1:-1]
        others = {f"{inner}=", f"0{inner}", f"{inner} ", inner[:-1], inner.swapcase(), _spare_bits(inner)}
        for other in others - {inner}:
            signed.bundle.write_text(good.replace(text, f'"{other}"', 1))
            assert codes(signed, tenant), (text, other)
    signed.bundle.write_text(good)
    assert verify(signed.folder, tenant, today=TODAY)


def _spare_bits(encoded: str) -> str:
    """Base64 of the same bytes where its last digit has bits to spare."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = encoded.rstrip("=")
    if body == encoded or body[-1:] not in digits:
        return encoded
    return body[:-1] + digits[digits.index(body[-1]) ^ 1] + encoded[len(body) :]


# The format, as its own models have it


def kinds(signed: Signed) -> dict[str, dict[str, Any]]:
    payload = signed.manifest.read_bytes()
    made = {f"key {name}": sign(payload, Signer.of(generate_key(name))).to_json() for name in ALGORITHMS}
    made |= {
        f"certificate {name}": sign(payload, signer(ISSUING.leaf(generate_key(name)))).to_json()
        for name in ALGORITHMS
    }
    return made | {"keyless": Instance(NOW).bundle(payload)}


def test_the_format_s_own_models_read_every_bundle(signed: Signed) -> None:
    """Strict ones: an unknown field or a wrong type is refused."""
    for bundle in kinds(signed).values():
        read = Format.from_json(json.dumps(bundle))
        assert read.dsse_envelope is not None
        assert read.dsse_envelope.payload == signed.manifest.read_bytes()
        assert json.loads(read.to_json()) == bundle
        bundle["note"] = "x"
        with pytest.raises(ValueError):
            Format.from_json(json.dumps(bundle))


def test_sigstore_python_reads_what_is_logged_and_says_so_of_the_rest(signed: Signed) -> None:
    """docs/signing.md tells which of its demands the others do not meet."""
    for kind, bundle in kinds(signed).items():
        if kind == "keyless":
            assert Bundle.from_json(json.dumps(bundle)).to_json()
        else:
            lacking = "expected certificate" if kind.startswith("key ") else "exactly one log entry"
            with pytest.raises(InvalidBundle, match=lacking):
                Bundle.from_json(json.dumps(bundle))


def test_sigstore_python_verifies_what_is_logged(signed: Signed, tmp_path: Path) -> None:
    instance = Instance(NOW)
    keyless(signed, instance)
    stock = Verifier(trusted_root=TrustedRoot.from_file(str(instance.write_root(tmp_path))))
    bundle = Bundle.from_json(signed.bundle.read_bytes())
    kind, payload = stock.verify_dsse(bundle, Identity(identity=IDENTITY, issuer=ISSUER))
    assert (kind, payload) == ("application/vnd.in-toto+json", signed.manifest.read_bytes())


# docs/signing.md


def test_what_the_page_writes_into_a_tenant_document_is_valid(tmp_path: Path) -> None:
    found = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 2
    rest = """\
apiVersion: coherence-ft/v1
kind: tenant
id: bank
title: Bank
layers:
  - set: published:general
    level: tenant
    authority: model-risk
"""
    for shown in found:
        (tmp_path / "tenant.yaml").write_text(rest + shown)
        (authority,) = read_tenant(tmp_path / "tenant.yaml").authorities
        assert authority.certificates or authority.identities


def commands(heading: str) -> str:
    part = PAGE.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n### ")[0]
    found: list[str] = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    assert found, heading
    return "\n".join(found)


def shell(signed: Signed, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=signed.folder.parent,
        env={**os.environ, "PATH": scripts, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


stock = pytest.mark.skipif(not (shutil.which("jq") and shutil.which("openssl")), reason="no jq or openssl")


@stock
def test_openssl_verifies_a_key(signed: Signed) -> None:
    script = commands("openssl, for a key")
    assert shell(signed, script).stdout == "Verified OK\n"
    signed.manifest.write_bytes(signed.manifest.read_bytes().replace(b"0.14", b"0.13"))
    assert shell(signed, script).returncode


@stock
@pytest.mark.parametrize(
    ("algorithm", "check"),
    [
        ("p384", "openssl dgst -sha384 -verify k.pem -signature signature signed"),
        ("ed25519", "openssl pkeyutl -verify -pubin -inkey k.pem -rawin -in signed -sigfile signature"),
    ],
)
def test_openssl_verifies_the_other_kinds(algorithm: str, check: str, signed: Signed) -> None:
    key = Signer.of(generate_key(algorithm))
    store(signed.bundle, sign(signed.manifest.read_bytes(), key).to_json())
    (signed.folder.parent / "k.pem").write_bytes(
        key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    prepare = commands("openssl, for a key").rpartition("openssl dgst")[0]
    assert shell(signed, prepare + check).returncode == 0
    store(signed.bundle, sign(b"{}", key).to_json())
    assert shell(signed, prepare + check).returncode


@stock
def test_openssl_verifies_a_certificate(signed: Signed) -> None:
    certified(signed, ISSUING.leaf(end=NOW + timedelta(hours=1)))
    (signed.folder.parent / "pki").mkdir()
    (signed.folder.parent / "root.pem").rename(signed.folder.parent / "pki" / "root.pem")
    prepare = commands("openssl, for a key").rpartition("openssl dgst")[0]
    ran = shell(signed, prepare + commands("openssl, for a certificate"))
    assert f"subject={SUBJECT}" in ran.stdout
    assert SAN in ran.stdout
    assert ran.stdout.endswith("signer.pem: OK\nVerified OK\n")
    write(signed.folder.parent / "pki" / "root.pem", root())
    assert shell(signed, prepare + commands("openssl, for a certificate")).returncode


def test_the_sigstore_command_verifies_a_keyless_signature(signed: Signed, tmp_path: Path) -> None:
    instance = Instance()
    keyless(signed, instance)
    with instance.serving(tmp_path) as config:
        pass  # it needs the file, and nothing that answers
    script = commands("sigstore-python, for a keyless signature").replace(
        "sigstore verify", f"sigstore --trust-config {config} verify"
    )
    home = {"HOME": str(tmp_path), "ISSUER": ISSUER}
    assert shell(signed, script, IDENTITY=IDENTITY, **home).returncode == 0
    assert shell(signed, script, IDENTITY="else@bank.example", **home).returncode
    (signed.folder / ADAPTER).write_bytes(b"other weights")
    assert "no subject" in shell(signed, script, IDENTITY=IDENTITY, **home).stderr


# sigstore-js, which comes with npm

MODULES = Path(shutil.which("npm") or "/missing/bin/npm").resolve().parents[1] / "node_modules"


@pytest.mark.skipif(not (MODULES / "@sigstore" / "verify").exists(), reason="npm is not installed")
def test_sigstore_js_verifies_keys_and_keyless_signatures(signed: Signed, tmp_path: Path) -> None:
    instance = Instance(NOW)
    trusted, payload = instance.write_root(tmp_path), signed.manifest.read_bytes()

    def says(bundle: dict[str, Any], key: Signer | None = None) -> str:
        (tmp_path / "bundle.json").write_text(json.dumps(bundle))
        command: list[Any] = ["node", Path(__file__).with_name("sigstore_verify.js"), MODULES]
        command += [tmp_path / "bundle.json", trusted]
        if key:
            pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (tmp_path / "key.pem").write_bytes(pem)
            command.append(tmp_path / "key.pem")
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()[0]

    assert says(instance.bundle(payload)) == IDENTITY
    assert says(Instance(NOW).bundle(payload)) == "CERTIFICATE_ERROR"
    for algorithm, verdict in (("p256", "key"), ("ed25519", "key"), ("p384", "SIGNATURE_ERROR")):
        key = Signer.of(generate_key(algorithm))
        assert says(sign(payload, key).to_json(), key) == verdict
    assert says(sign(payload, Signer.of(generate_key("p256"))).to_json(), key) == "SIGNATURE_ERROR"
    assert says(sign(payload, signer(ISSUING.leaf())).to_json()) == "TIMESTAMP_ERROR"


# cosign's checks of `verify-blob-attestation --key --bundle --type --insecure-ignore-tlog FILE`, one by one.
# From cosign's documentation and from sigstore-go, which does them (bundle.go, signature.go; July 2026).


def cosign_would_take(bundle: dict[str, Any], public: Any, predicate_type: str, blob: bytes) -> bool:
    version = re.fullmatch(r"application/vnd\.dev\.sigstore\.bundle\.v(\d)\.(\d)\+json", bundle["mediaType"])
    if version is None or version.groups() != ("0", "3"):
        return False
    material = bundle["verificationMaterial"]
    if material.keys() != {"publicKey", "tlogEntries"} or material["tlogEntries"]:
        return False
    envelope = bundle["dsseEnvelope"]
    if len(envelope["signatures"]) != 1:
        return False
    # The hint of the material is what the key is asked for; DSSE's may be empty or must be the same.
    if envelope["signatures"][0].get("keyid", "") not in ("", material["publicKey"]["hint"]):
        return False
    payload = base64.b64decode(envelope["payload"])
    encoded = pre_authentication_encoding(payload, envelope["payloadType"])
    if not fits(public, base64.b64decode(envelope["signatures"][0]["sig"]), encoded):
        return False
    statement = json.loads(payload)
    if envelope["payloadType"] != "application/vnd.in-toto+json":
        return False
    if statement["predicateType"] != predicate_type or not 0 < len(statement["subject"]) <= 1024:
        return False
    return hashlib.sha256(blob).hexdigest() in {s["digest"].get("sha256") for s in statement["subject"]}


def test_cosign_s_documented_checks_are_met(signed: Signed) -> None:
    bundle, blob = json.loads(signed.bundle.read_bytes()), (signed.folder / ADAPTER).read_bytes()
    public = signed.key.public
    assert cosign_would_take(bundle, public, PREDICATE_TYPE, blob)
    assert not cosign_would_take(bundle, public, "https://slsa.dev/provenance/v1", blob)
    assert not cosign_would_take(bundle, public, PREDICATE_TYPE, blob + b"x")
    assert not cosign_would_take(bundle, generate_key("p256").public_key(), PREDICATE_TYPE, blob)
    changes: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"),
        lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64),
        lambda b: b["verificationMaterial"].pop("publicKey"),
        lambda b: b["dsseEnvelope"].update(payloadType="application/json"),
        lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]),
    )
    for change in changes:
        changed = json.loads(json.dumps(bundle))
        change(changed)
        assert not cosign_would_take(changed, public, PREDICATE_TYPE, blob)
