"""What a tenant document says of keys, certificates, identities, countersignatures and revocations."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import (
    Countersigning,
    ListedCertificate,
    ListedIdentity,
    ListedKey,
    Power,
    Revocation,
    read_tenant,
)

HEAD = """\
apiVersion: coherence-ft/v1
kind: tenant
id: example
title: Example
layers:
  - {set: published:general, level: tenant, authority: lab}
"""
AUTHORITIES = """\
authorities:
  - id: lab
    title: Laboratory
    level: tenant
    powers: [set, attest]
    public_keys:
      - keys/lab.pub.pem
      - {file: keys/lab-2025.pub.pem, from: 2025-01-01, until: 2025-12-31}
      - {file: /etc/keys/lost.pub.pem, revoked: 2025-03-01, reason: Laptop stolen}
  - id: risk
    title: Risk
    level: regulated-unit
    powers: [countersign]
    certificates:
      - {root: ca.pem, subject: "CN=Risk officer,O=Hospital"}
    identities:
      - {issuer: "https://accounts.example.com", identity: risk@example.com}
"""
DIGEST = "a1" * 32


def read(tmp_path: Path, text: str = AUTHORITIES) -> object:
    (tmp_path / "tenant.yaml").write_text(HEAD + text)
    return read_tenant(tmp_path / "tenant.yaml")


def refused(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        read(tmp_path, AUTHORITIES + text)
    return caught.value.codes


def test_all_of_it_is_read(tmp_path: Path) -> None:
    tenant = read(
        tmp_path,
        AUTHORITIES
        + "sigstore_trusted_root: sigstore/root.json\n"
        + "countersignatures:\n"
        + "  - {authorities: [risk], at_least: 1, domains: [clinical], reason: Four eyes}\n"
        + f"revocations:\n  - {{manifest: {DIGEST}, by: risk, since: 2026-01-31, reason: Data withdrawn}}\n",
    )
    lab, risk = tenant.authorities
    assert lab.public_keys == (
        ListedKey(tmp_path / "keys/lab.pub.pem"),
        ListedKey(tmp_path / "keys/lab-2025.pub.pem", date(2025, 1, 1), date(2025, 12, 31)),
        ListedKey(Path("/etc/keys/lost.pub.pem"), revoked=date(2025, 3, 1), reason="Laptop stolen"),
    )
    assert lab.certificates == lab.identities == ()
    assert risk.powers == {Power.COUNTERSIGN} and risk.public_keys == ()
    assert risk.certificates == (ListedCertificate(tmp_path / "ca.pem", "CN=Risk officer,O=Hospital"),)
    assert risk.identities == (ListedIdentity("https://accounts.example.com", "risk@example.com"),)
    assert tenant.sigstore_trusted_root == tmp_path / "sigstore/root.json"
    (rule,) = tenant.countersignatures
    assert rule == Countersigning(("risk",), 1, ("clinical",), "Four eyes", rule.origin)
    (revocation,) = tenant.revocations
    assert revocation == Revocation(DIGEST, "risk", date(2026, 1, 31), "Data withdrawn", revocation.origin)
    assert (rule.origin.line, revocation.origin.line) == (26, 28)


def test_what_is_left_out(tmp_path: Path) -> None:
    tenant = read(tmp_path)
    assert tenant.countersignatures == tenant.revocations == ()
    assert tenant.sigstore_trusted_root is None
    tenant = read(tmp_path, AUTHORITIES + "countersignatures:\n  - {authorities: [risk], reason: All}\n")
    assert tenant.countersignatures[0].at_least == 1  # all of them
    assert tenant.countersignatures[0].domains == ()


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("countersignatures: [{authorities: [risk], at_least: 2, reason: x}]", ("CFT668",)),
        ("countersignatures: [{authorities: [risk], at_least: 0, reason: x}]", ("CFT206",)),
        ("countersignatures: [{authorities: [], reason: x}]", ("CFT208",)),
        ("countersignatures: [{authorities: [risk, risk], reason: x}]", ("CFT208",)),
        ("countersignatures: [{authorities: [risk, risc], reason: x}]", ("CFT301",)),
        ("countersignatures: [{authorities: [risk], domains: [clinicl], reason: x}]", ("CFT307",)),
        (f"revocations: [{{manifest: {DIGEST}, by: nobody, since: 2026-01-31, reason: x}}]", ("CFT301",)),
        (f"revocations: [{{manifest: {DIGEST}, by: risk, since: soon, reason: x}}]", ("CFT207",)),
        (
            f"revocations: [{{manifest: {DIGEST.upper()}, by: risk, since: 2026-01-31, reason: x}}]",
            ("CFT207",),
        ),
    ],
)
def test_rules_that_say_nothing_or_nobody_are_refused(
    tmp_path: Path, text: str, codes: tuple[str, ...]
) -> None:
    assert refused(tmp_path, text) == codes


@pytest.mark.parametrize(
    "text",
    [
        f"revocations: [{{manifest: {DIGEST}, by: board, since: 2026-01-31, reason: x}}]",
        "countersignatures: [{authorities: [board], reason: x}]",
    ],
)
def test_who_signs_nothing_withdraws_and_countersigns_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "tenant.yaml").write_text(
        HEAD.replace("lab}", "board}")
        + "authorities: [{id: board, title: Board, level: tenant, powers: [set, waive, delegate]}]\n"
        + text
    )
    with pytest.raises(CoherenceError) as caught:
        read_tenant(tmp_path / "tenant.yaml")
    assert caught.value.codes == ("CFT302",)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("until: 2025-12-31", "until: 2024-12-31", "CFT669"),
        ("until: 2025-12-31", "until: 2025-02-29", "CFT207"),
        ("until: 2025-12-31", "to: 2025-12-31", "CFT202"),
        ("file: keys/lab-2025.pub.pem, ", "", "CFT203"),
        ("- keys/lab.pub.pem", '- ""', "CFT207"),
        ("- keys/lab.pub.pem", "- 7", "CFT204"),
        ('subject: "CN=Risk officer,O=Hospital"', "reason: x", "CFT202"),
        (', subject: "CN=Risk officer,O=Hospital"', "", "CFT209"),
        ("identity: risk@example.com", "identity: ' '", "CFT207"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert AUTHORITIES.count(old) == 1
    with pytest.raises(CoherenceError) as caught:
        read(tmp_path, AUTHORITIES.replace(old, new))
    assert code in caught.value.codes
