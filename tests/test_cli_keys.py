"""`coherence-ft keys`: kinds of key, keys that replace others, and what a person sees of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coherence_ft.authority import keys
from coherence_ft.authority.key_kinds import TITLES, algorithm, key_id
from coherence_ft.cli import main
from coherence_ft.documents.tenant import read_tenant

TENANT = """\
apiVersion: coherence-ft/v1
kind: tenant
id: example
title: Example
authorities:
  - id: risk
    title: Risk
    level: tenant
    powers: [set, attest]
    public_keys:
      - {file: keys/lost.pub.pem, revoked: 2024-06-01, reason: Laptop stolen}
      - {file: keys/old.pub.pem, until: 2024-12-31}
      - keys/now.pub.pem
      - {file: keys/next.pub.pem, from: 2999-01-01, reason: Yearly}
  - id: board
    title: Board
    level: regulated-unit
    powers: [countersign]
    certificates:
      - {root: ca.pem, subject: CN=Board, san: board@example.com}
    identities:
      - {issuer: "https://accounts.example.com", identity: board@example.com}
layers:
  - {set: published:general, level: tenant, authority: risk}
"""


@pytest.fixture
def tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (keys.KEY, keys.KEY_PEM, keys.PASSPHRASE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tenant.yaml").write_text(TENANT)
    return tmp_path / "tenant.yaml"


def run(*arguments: object) -> int:
    return main._run([*map(str, arguments)])


def init(tenant: Path, *more: str) -> int:
    return run("keys", "init", "--authority", "risk", "--tenant", tenant, *more)


@pytest.mark.parametrize("kind", TITLES)
def test_each_kind_of_key_is_made_and_shown(
    tenant: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tenant, "--algorithm", kind) == 0
    public = keys.load_public(tenant.parent / "keys/now.pub.pem")
    assert algorithm(public) == kind
    capsys.readouterr()
    assert run("keys", "show", "--tenant", tenant) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "now.pub.pem" in line]
    assert line.endswith(f"  {TITLES[kind]}  sha256:{key_id(public)}")


def test_a_kind_that_others_cannot_verify_is_not_made(tenant: Path) -> None:
    assert init(tenant, "--algorithm", "rsa") == 2
    assert not (tenant.parent / "keys").exists()


def test_the_next_key_is_made_before_the_present_one_ends(tenant: Path) -> None:
    """And those that have ended or were revoked are not made again."""
    folder = tenant.parent / "keys"
    assert init(tenant) == 0
    assert {p.name for p in folder.iterdir()} == {"now.pem", "now.pub.pem"}
    assert init(tenant, "--algorithm", "ed25519") == 0
    assert {p.name for p in folder.iterdir()} == {"now.pem", "now.pub.pem", "next.pem", "next.pub.pem"}
    assert init(tenant) == 0
    assert len([*folder.iterdir()]) == 4
    risk = read_tenant(tenant).authority("risk")
    assert risk and keys.signing_key(risk).key_id == key_id(keys.load_public(folder / "now.pub.pem"))


def test_show_says_when_each_key_counts(tenant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.generate(tenant.parent / "keys", "lost")
    assert run("keys", "show", "--tenant", tenant) == 0
    shown = capsys.readouterr().out.replace(str(tenant.parent) + "/", "")
    lost = key_id(keys.load_public(tenant.parent / "keys/lost.pub.pem"))
    assert shown == (
        "risk (attest, set)\n"
        f"  keys/lost.pub.pem  ECDSA P-256  sha256:{lost}  REVOKED on 2024-06-01 (Laptop stolen)\n"
        "  keys/old.pub.pem  not there: verifies nothing  until 2024-12-31\n"
        "  keys/now.pub.pem  not there: verifies nothing\n"
        "  keys/next.pub.pem  not there: verifies nothing  from 2999-01-01 (Yearly)\n"
        "board (countersign)\n"
        "  certificate of CN=Board and board@example.com  under ca.pem\n"
        "  identity board@example.com  of https://accounts.example.com\n"
    )


def test_the_public_half_of_any_key(tenant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = keys.generate(tenant.parent, "a", "p384")
    assert run("keys", "public", private) == 0
    assert capsys.readouterr().out == public.read_text()
    assert run("keys", "public", public) == 1
    assert "CFT670" in capsys.readouterr().err  # a public file is no secret, so it is no private key
    assert run("keys", "public", "pkcs11:object=a") == 1
    assert "CFT671" in capsys.readouterr().err


def test_a_key_that_others_can_read_is_not_used(tenant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tenant) == 0
    (tenant.parent / "keys/now.pem").chmod(0o644)
    (tenant.parent / "keys/next.pub.pem").write_text("there")
    assert init(tenant) == 1
    told = capsys.readouterr().err
    assert "CFT670" in told and "mode 0644" in told and "chmod 600" in told
