"""Key pairs: made once, kept private, matched to the authority."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from derivatives import RISK, tenant_of

from coherence_ft.authority import keys
from coherence_ft.documents.diagnostics import CoherenceError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.KEY, raising=False)
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)


def refused(action: object, *arguments: object) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        action(*arguments)  # type: ignore[operator]
    return caught.value.codes


def test_a_pair_fits_together_and_the_private_half_is_private(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path / "keys", "model-risk")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    loaded = keys.load_private(private)
    assert keys.key_id(loaded.public_key()) == keys.key_id(keys.load_public(public))
    assert len(keys.key_id(loaded.public_key())) == 64


@pytest.mark.parametrize("left", ["model-risk.pem", "model-risk.pub.pem"])
def test_no_key_is_overwritten(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("precious")
    assert refused(keys.generate, tmp_path, "model-risk") == ("CFT661",)
    assert (tmp_path / left).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.pem").symlink_to(tmp_path / "elsewhere")
    assert refused(keys.generate, tmp_path, "a") == ("CFT661",)
    assert not (tmp_path / "elsewhere").exists()


def test_a_passphrase_encrypts_and_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.PASSPHRASE, "correct horse")
    private, _ = keys.generate(tmp_path, "a")
    assert b"ENCRYPTED" in private.read_bytes()
    assert keys.load_private(private)
    monkeypatch.setenv(keys.PASSPHRASE, "wrong")
    assert refused(keys.load_private, private) == ("CFT663",)
    monkeypatch.delenv(keys.PASSPHRASE)
    assert refused(keys.load_private, private) == ("CFT663",)


def test_a_passphrase_does_not_lock_out_a_key_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = keys.generate(tmp_path, "a")
    monkeypatch.setenv(keys.PASSPHRASE, "unused")
    assert keys.load_private(private)


@pytest.mark.parametrize(
    "other", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_other_kinds_of_key_are_refused(tmp_path: Path, other: ec.EllipticCurvePrivateKey) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub.pem"
    private.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert refused(keys.load_private, private) == ("CFT663",)
    assert refused(keys.load_public, public) == ("CFT663",)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x00\xff" * 50, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        (tmp_path / "a").write_bytes(content)
        assert refused(keys.load_private, tmp_path / "a") == ("CFT663",)
        assert refused(keys.load_public, tmp_path / "a") == ("CFT663",)
    assert refused(keys.load_public, tmp_path / "absent") == ("CFT662",)
    assert refused(keys.load_public, tmp_path) == ("CFT662",)


def test_the_signing_key_is_found_beside_the_public_one_or_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys.generate(tmp_path, "model-risk")
    authority = tenant_of(tmp_path, RISK).authorities[0]
    expected = keys.key_id(keys.load_public(public))
    assert keys.key_id(keys.signing_key(authority).public_key()) == expected
    moved = private.rename(tmp_path / "vault.pem")
    assert refused(keys.signing_key, authority) == ("CFT662",)
    assert keys.key_id(keys.signing_key(authority, moved).public_key()) == expected
    monkeypatch.setenv(keys.KEY, str(moved))
    assert keys.key_id(keys.signing_key(authority).public_key()) == expected


def test_a_key_of_somebody_else_does_not_sign_for_the_authority(tmp_path: Path) -> None:
    keys.generate(tmp_path, "model-risk")
    other, _ = keys.generate(tmp_path, "training")
    assert refused(keys.signing_key, tenant_of(tmp_path, RISK).authorities[0], other) == ("CFT666",)


def test_a_listed_key_that_is_not_there_verifies_nothing(tmp_path: Path) -> None:
    assert keys.known_keys(tenant_of(tmp_path, RISK).authorities[0]) == {}
