"""Whose certificate signed: one broken thing at a time, each refused by its own code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from derivatives import RISK, tenant_of
from hypothesis import given
from hypothesis import strategies as st
from pki import NOW, SAN, SUBJECT, Issued, root, usage, write

from coherence_ft.authority.certificates import CERTIFICATE
from coherence_ft.authority.key_kinds import algorithm, sign_with
from coherence_ft.authority.keys import KEY, KEY_PEM, Signer, signing_key
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import ListedCertificate, ListedKey, Tenant
from coherence_ft.manifest.signatures import signed_by
from coherence_ft.manifest.signing import Envelope, sign

PAYLOAD = b'{"_type": "https://in-toto.io/Statement/v1"}'
ROOT = root()
ISSUING = ROOT.ca()
LEAF = ISSUING.leaf()


def tenant(folder: Path, *entries: ListedCertificate, keys: tuple[ListedKey, ...] = ()) -> Tenant:
    """One whose authority `model-risk` has these certificates and keys."""
    made = tenant_of(folder, RISK)
    first, *others = (replace(authority, public_keys=()) for authority in made.authorities)
    first = replace(first, certificates=entries, public_keys=keys)
    return replace(made, authorities=(first, *others))


def trusting(folder: Path, *issued: Issued, subject: str | None = SUBJECT, san: str | None = SAN) -> Tenant:
    return tenant(folder, ListedCertificate(write(folder / "root.pem", *issued), subject, san))


def signer(issued: Issued) -> Signer:
    return Signer(issued.key.public_key(), partial(sign_with, issued.key), (issued.der,))


def answer(issued: Issued, tenant: Tenant, at: datetime = NOW) -> tuple[list[str], list[str]]:
    """Who signed with it, and the codes of why nobody did. Read back from JSON, as a bundle is."""
    envelope = Envelope.from_json(json.loads(json.dumps(sign(PAYLOAD, signer(issued)).to_json())))
    authorities, problems = signed_by(envelope, tenant, at, "bundle")
    return [a.id for a in authorities], [d.code for d in problems]


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=algorithm,
)
def test_a_certificate_of_each_kind_of_key_stands_for_its_authority(key: Any, tmp_path: Path) -> None:
    assert answer(ISSUING.leaf(key), trusting(tmp_path, ROOT, ISSUING)) == (["model-risk"], [])


@pytest.mark.parametrize(
    ("subject", "san"),
    [(SUBJECT, None), (None, SAN), ("CN=Model\\20risk,O=Bank", SAN), ("CN=Model risk,2.5.4.10=Bank", None)],
)
def test_the_name_is_subject_or_alternative_name_or_both(
    subject: str | None, san: str | None, tmp_path: Path
) -> None:
    assert answer(LEAF, trusting(tmp_path, ROOT, ISSUING, subject=subject, san=san)) == (["model-risk"], [])


@pytest.mark.parametrize(
    ("subject", "san"),
    [
        ("O=Bank,CN=Model risk", None),
        ("CN=model risk,O=Bank", None),
        ("CN=Model risk, O=Bank", None),
        ("CN=Model risk", None),
        ("CN=Model risk,O=Bank,C=DE", None),
        (SUBJECT, "Risk@bank.example"),
        ("CN=Other", SAN),
        (None, "bank.example"),
        (None, ""),
        ("", None),
        ("not a name", None),
        (None, None),
    ],
)
def test_any_other_name_is_nobody(subject: str | None, san: str | None, tmp_path: Path) -> None:
    assert answer(LEAF, trusting(tmp_path, ROOT, ISSUING, subject=subject, san=san)) == ([], ["CFT684"])


def test_a_certificate_without_names_is_nobody(tmp_path: Path) -> None:
    nameless = ISSUING.leaf(subject="", san=None)
    assert answer(nameless, trusting(tmp_path, ROOT, ISSUING, subject="", san=None)) == (["model-risk"], [])
    assert answer(nameless, trusting(tmp_path, ROOT, ISSUING)) == ([], ["CFT684"])


def test_an_e_mail_address_in_the_subject_as_openssl_prints_it(tmp_path: Path) -> None:
    leaf = ISSUING.leaf(subject="1.2.840.113549.1.9.1=risk@bank.example,CN=Model risk")
    printed = "emailAddress=risk@bank.example,CN=Model risk"
    assert answer(leaf, trusting(tmp_path, ROOT, ISSUING, subject=printed)) == (["model-risk"], [])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (x509.DNSName("risk.bank.example"), "risk.bank.example"),
        (x509.UniformResourceIdentifier("spiffe://bank/risk"), "spiffe://bank/risk"),
    ],
)
def test_alternative_names_of_other_kinds(name: x509.GeneralName, kind: str, tmp_path: Path) -> None:
    leaf = ISSUING.leaf(san=None, names=x509.SubjectAlternativeName([name]))
    assert answer(leaf, trusting(tmp_path, ROOT, ISSUING, subject=None, san=kind)) == (["model-risk"], [])


NOT_FOR_SIGNING: dict[str, dict[str, Any]] = {
    "no key usage": {"usage": None},
    "another key usage": {"usage": usage(key_agreement=True)},
    "no extended key usage": {"extended": None},
    "a server": {"extended": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])},
    "anything": {"extended": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])},
    "an issuer": {
        "basic": x509.BasicConstraints(True, 0),
        "usage": usage(digital_signature=True, key_cert_sign=True),
    },
}


@pytest.mark.parametrize("changes", NOT_FOR_SIGNING.values(), ids=NOT_FOR_SIGNING)
def test_a_certificate_that_is_not_for_signing(changes: dict[str, Any], tmp_path: Path) -> None:
    assert answer(ISSUING.leaf(**changes), trusting(tmp_path, ROOT, ISSUING)) == ([], ["CFT683"])


CODE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
SHORT = ROOT.ca(basic=x509.BasicConstraints(True, 0))
DEEP = SHORT.ca("CN=Deep,O=Bank")
TWIN = root()


def below(issuer: Issued, **changes: Any) -> tuple[Issued, tuple[Issued, ...]]:
    """A leaf of an issuer that is in the file beside its root."""
    return issuer.leaf(**changes), (ROOT, issuer)


NO_PATH: dict[str, tuple[Issued, tuple[Issued, ...]]] = {
    "another root of the same name": (LEAF, (TWIN, ISSUING)),
    "no intermediate": (LEAF, (ROOT,)),
    "another intermediate of the same name": (TWIN.ca().leaf(), (ROOT, ISSUING)),
    "a leaf that issued": below(ROOT.leaf(subject="CN=Somebody,O=Bank", san=None)),
    "an intermediate that may not issue": below(ROOT.ca(basic=x509.BasicConstraints(False, None))),
    "an intermediate without keyCertSign": below(ROOT.ca(usage=usage(digital_signature=True))),
    "a path longer than allowed": (DEEP.leaf(), (ROOT, SHORT, DEEP)),
    "a root without keyCertSign": below(root(usage=usage(crl_sign=True))),
    "an issuer of servers": below(ROOT.ca(extended=SERVER)),
    "outside the issuer's names": below(
        ROOT.ca(names=x509.NameConstraints([x509.RFC822Name("elsewhere.example")], None))
    ),
    "an unknown critical extension": below(
        ISSUING, critical=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    ),
    "an issuer with a key that the web PKI does not know": below(
        root(key=ed25519.Ed25519PrivateKey.generate())
    ),
    "an issuer with a short key": below(root(key=rsa.generate_private_key(65537, 1024))),
    "self-signed": (root(SUBJECT, basic=None, usage=usage(digital_signature=True), extended=CODE), (ROOT,)),
}


@pytest.mark.parametrize(("leaf", "file"), NO_PATH.values(), ids=NO_PATH)
def test_a_certificate_that_does_not_lead_to_the_root(
    leaf: Issued, file: tuple[Issued, ...], tmp_path: Path
) -> None:
    trusted = trusting(tmp_path, *file, subject=leaf.certificate.subject.rfc4514_string(), san=None)
    assert answer(leaf, trusted) == ([], ["CFT681"])


@pytest.mark.parametrize(
    ("at", "codes"),
    [
        (LEAF.certificate.not_valid_before_utc, []),
        (LEAF.certificate.not_valid_after_utc, []),
        (LEAF.certificate.not_valid_before_utc - timedelta(seconds=1), ["CFT682"]),
        (LEAF.certificate.not_valid_after_utc + timedelta(seconds=1), ["CFT682"]),
        (datetime.min.replace(tzinfo=UTC), ["CFT682"]),
        (datetime.max.replace(tzinfo=UTC), ["CFT682"]),
    ],
)
def test_it_must_have_been_valid_when_the_manifest_was_made(
    at: datetime, codes: list[str], tmp_path: Path
) -> None:
    assert answer(LEAF, trusting(tmp_path, ROOT, ISSUING), at)[1] == codes


def test_so_must_its_issuers(tmp_path: Path) -> None:
    ended = ROOT.ca(end=NOW - timedelta(days=1))
    assert answer(ended.leaf(), trusting(tmp_path, ROOT, ended)) == ([], ["CFT682"])
    old = root(end=NOW - timedelta(days=1))
    assert answer(old.leaf(), trusting(tmp_path, old)) == ([], ["CFT682"])


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP521R1())],
    ids=["rsa", "p521"],
)
def test_a_key_that_is_not_used_here(key: Any, tmp_path: Path) -> None:
    leaf = ISSUING.leaf(key)
    made = sign(PAYLOAD, replace(signer(LEAF), certificates=(leaf.der,)))
    envelope = Envelope.from_json(made.to_json())
    _, problems = signed_by(envelope, trusting(tmp_path, ROOT, ISSUING), NOW, "bundle")
    assert [d.code for d in problems] == ["CFT685"]


def test_a_signature_of_another_key_under_the_certificate(tmp_path: Path) -> None:
    stolen = replace(signer(LEAF), sign=signer(ISSUING.leaf()).sign)
    _, problems = signed_by(sign(PAYLOAD, stolen), trusting(tmp_path, ROOT, ISSUING), NOW, "bundle")
    assert [d.code for d in problems] == ["CFT630"]


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_root_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    trusted = trusting(tmp_path, ROOT, ISSUING)
    (tmp_path / "root.pem").unlink() if content is None else (tmp_path / "root.pem").write_bytes(content)
    assert answer(LEAF, trusted) == ([], ["CFT680"])


def test_a_file_of_intermediates_alone_is_no_root_but_one_certificate_is(tmp_path: Path) -> None:
    assert answer(DEEP.leaf(), trusting(tmp_path, SHORT, ROOT.ca("CN=Other"))) == ([], ["CFT680"])
    assert answer(LEAF, trusting(tmp_path, ISSUING)) == (["model-risk"], [])  # an issuing CA may be pinned


def test_one_entry_that_holds_is_enough(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    entries = (
        ListedCertificate(write(tmp_path / "other" / "root.pem", TWIN), None, SAN),
        ListedCertificate(write(tmp_path / "root.pem", ROOT, ISSUING), None, SAN),
    )
    assert answer(LEAF, tenant(tmp_path, *entries)) == (["model-risk"], [])
    assert answer(LEAF, tenant(tmp_path, entries[0], entries[0])) == ([], ["CFT681"])


def test_a_key_that_the_tenant_has_revoked_signs_with_no_certificate_either(tmp_path: Path) -> None:
    public = tmp_path / "lost.pub.pem"
    public.write_bytes(LEAF.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    entry = ListedCertificate(write(tmp_path / "root.pem", ROOT, ISSUING), None, SAN)
    assert answer(LEAF, tenant(tmp_path, entry, keys=(ListedKey(public),))) == (["model-risk"], [])
    lost = ListedKey(public, revoked=NOW.date())
    assert answer(LEAF, tenant(tmp_path, entry, keys=(lost,))) == ([], ["CFT667"])
    public.write_bytes(b"no key")
    assert answer(LEAF, tenant(tmp_path, entry, keys=(lost,))) == ([], ["CFT676"])


@given(position=st.integers(0, len(LEAF.der) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_certificate_is_accepted(
    position: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(LEAF.der)
    changed[position] ^= 1 << bit
    trusted = trusting(tmp_path_factory.getbasetemp(), ROOT, ISSUING)
    data = sign(PAYLOAD, replace(signer(LEAF), certificates=(bytes(changed),)))
    try:
        envelope = Envelope.from_json(data.to_json())
    except ValueError:
        return
    authorities, problems = signed_by(envelope, trusted, NOW, "bundle")
    assert not authorities
    assert problems


# Signing with one


def key_with_chain(folder: Path, issued: Issued, *chain: Issued) -> Path:
    (folder / "risk.pem").write_bytes(
        issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "risk.pem").chmod(0o600)
    write(folder / "risk.crt.pem", issued, *chain)
    return folder / "risk.pem"


@pytest.fixture
def today() -> Issued:
    """A CA whose certificates hold today: signing asks the clock."""
    now = datetime.now(UTC)
    return root(start=now - timedelta(days=1), end=now + timedelta(days=1))


def leaf_of(ca: Issued, **changes: Any) -> Issued:
    now = datetime.now(UTC)
    return ca.leaf(**({"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)} | changes))


def test_the_chain_beside_the_key_is_signed_with(today: Issued, tmp_path: Path) -> None:
    leaf = leaf_of(today)
    trusted = trusting(tmp_path, today)
    made = signing_key(trusted.authorities[0], key_with_chain(tmp_path, leaf))
    assert isinstance(made, Signer)
    assert made.certificates == (leaf.der,)
    envelope = sign(PAYLOAD, made)
    assert envelope.certificate == leaf.der
    authorities, problems = signed_by(envelope, trusted, datetime.now(UTC), "bundle")
    assert ([a.id for a in authorities], problems) == (["model-risk"], [])


def test_the_environment_names_key_and_chain(
    today: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = leaf_of(today)
    authority = trusting(tmp_path, today).authorities[0]
    key = key_with_chain(tmp_path, leaf)
    chain = (tmp_path / "risk.crt.pem").rename(tmp_path / "elsewhere.pem")
    monkeypatch.setenv(KEY, str(key))
    with pytest.raises(CoherenceError, match="CFT666"):
        signing_key(authority)
    monkeypatch.setenv(CERTIFICATE, str(chain))
    made = signing_key(authority)
    assert isinstance(made, Signer)
    assert made.certificates == (leaf.der,)


def test_both_may_come_from_the_environment(
    today: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = leaf_of(today)
    authority = trusting(tmp_path, today).authorities[0]
    pem = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv(KEY_PEM, pem)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / f"{KEY_PEM}.crt.pem", leaf)
    with pytest.raises(CoherenceError, match="CFT666"):  # nothing lies beside a variable
        signing_key(authority)
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / f"{KEY_PEM}.crt.pem"))
    made = signing_key(authority)
    assert isinstance(made, Signer)
    assert made.certificates == (leaf.der,)


def refused(code: str, trusted: Tenant, key: Path) -> None:
    with pytest.raises(CoherenceError) as caught:
        signing_key(trusted.authorities[0], key)
    assert caught.value.codes == (code,)


def test_what_could_never_verify_is_not_signed(today: Issued, tmp_path: Path) -> None:
    trusted = trusting(tmp_path, today)
    past = {"start": datetime.now(UTC) - timedelta(hours=2), "end": datetime.now(UTC) - timedelta(hours=1)}
    refused("CFT682", trusted, key_with_chain(tmp_path, leaf_of(today, **past)))
    refused("CFT684", trusted, key_with_chain(tmp_path, leaf_of(today, san="else@bank.example")))
    refused("CFT681", trusted, key_with_chain(tmp_path, leaf_of(TWIN)))
    leaf = leaf_of(today)
    key = key_with_chain(tmp_path, leaf)
    write(tmp_path / "risk.crt.pem", leaf_of(today))
    refused("CFT686", trusted, key)
    write(tmp_path / "risk.crt.pem", today, leaf)
    refused("CFT686", trusted, key)
    (tmp_path / "risk.crt.pem").write_bytes(b"")
    refused("CFT680", trusted, key)


# Interop


def test_openssl_follows_the_same_path(tmp_path: Path) -> None:
    """The tool that every auditor has: `openssl verify` accepts the chain, and refuses another root's."""
    write(tmp_path / "root.pem", ROOT), write(tmp_path / "twin.pem", TWIN)
    write(tmp_path / "issuing.pem", ISSUING), write(tmp_path / "leaf.pem", LEAF)

    def verified(root: str) -> bool:
        when = int(NOW.timestamp())
        command = f"openssl verify -CAfile {root} -untrusted issuing.pem -x509_strict -attime {when}"
        ran = subprocess.run([*command.split(), "leaf.pem"], cwd=tmp_path, capture_output=True, check=False)
        return ran.returncode == 0

    assert verified("root.pem")
    assert not verified("twin.pem")


EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
subjectAltName = email:risk@bank.example
authorityKeyIdentifier = keyid, issuer:always
subjectKeyIdentifier = hash
"""


def test_a_certificate_of_an_rsa_ca_as_openssl_makes_it(tmp_path: Path) -> None:
    """The CA of most organisations. The web PKI would miss a key usage, and not name the issuer's serial."""
    (tmp_path / "extensions").write_text(EXTENSIONS)
    for command in (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out root.pem -days 2 -subj /O=Bank/CN=CA",
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout risk.key -out risk.csr "
        "-subj /O=Bank/CN=Risk",
        "openssl x509 -req -in risk.csr -CA root.pem -CAkey ca.key -CAcreateserial -out risk.pem -days 1 "
        "-extfile extensions",
    ):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    subject = subprocess.run(
        ["openssl", "x509", "-in", "risk.pem", "-noout", "-subject", "-nameopt", "RFC2253"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    key: Any = load_pem_private_key((tmp_path / "risk.key").read_bytes(), None)
    issued = Issued(x509.load_pem_x509_certificate((tmp_path / "risk.pem").read_bytes()), key)
    entry = ListedCertificate(tmp_path / "root.pem", subject.removeprefix("subject="), SAN)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert answer(issued, tenant(tmp_path, entry), now) == (["model-risk"], [])


def test_the_format_carries_the_leaf_alone(tmp_path: Path) -> None:
    chain = replace(signer(LEAF), certificates=(LEAF.der, ISSUING.der))
    material = sign(PAYLOAD, chain).to_json()["verificationMaterial"]
    assert material == {"certificate": material["certificate"], "tlogEntries": []}
    assert answer(LEAF, trusting(tmp_path, ROOT, ISSUING))[0]


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a chain": lambda b: b["verificationMaterial"].update(
        x509CertificateChain={"certificates": [b["verificationMaterial"].pop("certificate")]}
    ),
    "a key beside it": lambda b: b["verificationMaterial"].update(publicKey={"hint": "0" * 64}),
    "a key id": lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64),
    "a second signature": lambda b: b["dsseEnvelope"]["signatures"].append({"sig": "AA=="}),
    "another field": lambda b: b["verificationMaterial"].update(note="trust me"),
    "a field within": lambda b: b["verificationMaterial"]["certificate"].update(note="trust me"),
    "no certificate": lambda b: b["verificationMaterial"]["certificate"].update(rawBytes="AA=="),
    "bytes after it": lambda b: b["verificationMaterial"]["certificate"].update(
        rawBytes=_with_a_byte_more(b)
    ),
}


def _with_a_byte_more(bundle: dict[str, Any]) -> str:
    import base64

    return base64.b64encode(LEAF.der + b"\0").decode()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_unknown_rides_along(change: Callable[[dict[str, Any]], Any]) -> None:
    bundle = sign(PAYLOAD, signer(LEAF)).to_json()
    Envelope.from_json(bundle)
    change(bundle)
    with pytest.raises(ValueError):
        Envelope.from_json(bundle)
