"""Key pairs: made once, kept private, matched to the authority."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from derivatives import RISK, tenant_of
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.authority import key_kinds, keys
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Authority, ListedKey


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (keys.KEY, keys.KEY_PEM, keys.PASSPHRASE):
        monkeypatch.delenv(name, raising=False)


def refused(action: object, *arguments: object) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        action(*arguments)  # type: ignore[operator]
    return caught.value.codes


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


@pytest.mark.parametrize("algorithm", key_kinds.ALGORITHMS)
def test_a_pair_fits_together_and_the_private_half_is_private(tmp_path: Path, algorithm: str) -> None:
    private, public = keys.generate(tmp_path / "keys", "model-risk", algorithm)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    signer, listed = keys.load_private(private), keys.load_public(public)
    assert key_kinds.algorithm(listed) == algorithm
    assert signer.key_id == key_kinds.key_id(listed)
    assert len(signer.key_id) == 64
    assert key_kinds.fits(listed, signer.sign(b"message"), b"message")


@pytest.mark.parametrize("algorithm", key_kinds.ALGORITHMS)
@given(message=st.binary(max_size=200), flip=st.integers(0, 10_000))
def test_no_other_message_or_signature_fits(algorithm: str, message: bytes, flip: int) -> None:
    private = key_kinds.generate_key(algorithm)
    public, signature = private.public_key(), key_kinds.sign_with(private, message)
    assert key_kinds.fits(public, signature, message)
    assert not key_kinds.fits(public, signature, message + b"\0")
    index, bit = flip // 8 % len(signature), flip % 8
    changed = bytearray(signature)
    changed[index] ^= 1 << bit
    assert not key_kinds.fits(public, bytes(changed), message)


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


@pytest.mark.parametrize("algorithm", key_kinds.ALGORITHMS)
def test_a_passphrase_encrypts_and_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setenv(keys.PASSPHRASE, "correct horse")
    private, _ = keys.generate(tmp_path, "a", algorithm)
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


OTHERS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "DSA": lambda: dsa.generate_private_key(1024),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "Ed448": ed448.Ed448PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_key_are_refused(tmp_path: Path, kind: str) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub.pem"
    other = OTHERS[kind]()
    write(
        private,
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    public.write_bytes(
        other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert refused(keys.load_private, private) == ("CFT663",)
    assert refused(keys.load_public, public) == ("CFT663",)


def test_a_private_key_in_the_place_of_a_public_one(tmp_path: Path) -> None:
    private, _ = keys.generate(tmp_path, "a")
    with pytest.raises(CoherenceError, match="a private key is listed as a public one") as caught:
        keys.load_public(private)
    assert caught.value.codes == ("CFT663",)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x00\xff" * 50, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        write(tmp_path / "a", content)
        assert refused(keys.load_private, tmp_path / "a") == ("CFT663",)
        assert refused(keys.load_public, tmp_path / "a") == ("CFT663",)
    assert refused(keys.load_public, tmp_path / "absent") == ("CFT662",)
    assert refused(keys.load_public, tmp_path) == ("CFT662",)


def test_the_signing_key_is_found_beside_the_public_one_or_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys.generate(tmp_path, "model-risk")
    authority = tenant_of(tmp_path, RISK).authorities[0]
    expected = key_kinds.key_id(keys.load_public(public))
    assert keys.signing_key(authority).key_id == expected
    moved = private.rename(tmp_path / "vault.pem")
    assert refused(keys.signing_key, authority) == ("CFT662",)
    assert keys.signing_key(authority, moved).key_id == expected
    monkeypatch.setenv(keys.KEY, str(moved))
    assert keys.signing_key(authority).key_id == expected


def test_a_key_of_somebody_else_does_not_sign_for_the_authority(tmp_path: Path) -> None:
    keys.generate(tmp_path, "model-risk")
    other, _ = keys.generate(tmp_path, "training")
    assert refused(keys.signing_key, tenant_of(tmp_path, RISK).authorities[0], other) == ("CFT666",)


def test_a_listed_key_that_is_not_there_verifies_nothing(tmp_path: Path) -> None:
    assert keys.listed_keys(tenant_of(tmp_path, RISK).authorities[0]) == []


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_key_may_come_as_text_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str | None
) -> None:
    if passphrase:
        monkeypatch.setenv(keys.PASSPHRASE, passphrase)
    private, public = keys.generate(tmp_path, "model-risk")
    authority = tenant_of(tmp_path, RISK).authorities[0]
    monkeypatch.setenv(keys.KEY_PEM, private.read_text())
    private.unlink()
    assert keys.signing_key(authority).key_id == key_kinds.key_id(keys.load_public(public))
    monkeypatch.setenv(keys.KEY_PEM, "-----BEGIN PRIVATE KEY-----")
    assert refused(keys.signing_key, authority) == ("CFT663",)
    monkeypatch.setenv(keys.KEY, str(private))
    assert refused(keys.signing_key, authority) == ("CFT665",)  # two keys are named: which?


def test_a_passphrase_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.PASSPHRASE, "correct horse")
    private, _ = keys.generate(tmp_path, "a")
    monkeypatch.setenv(keys.PASSPHRASE, "battery staple")
    with pytest.raises(CoherenceError) as caught:
        keys.load_private(private)
    assert "staple" not in str(caught.value)
    assert "staple" not in str(caught.value.__cause__)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_private_key_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    private, public = keys.generate(tmp_path, "a")
    private.chmod(mode)
    assert refused(keys.load_private, private) == ("CFT670",)
    private.chmod(0o400)
    assert keys.load_private(private)
    public.chmod(0o666)
    assert keys.load_public(public)


# --- validity ---------------------------------------------------------------------------------------------

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def listed(tmp_path: Path, *keys_: ListedKey) -> Authority:
    return replace(tenant_of(tmp_path, RISK).authorities[0], public_keys=keys_)


def test_nothing_is_signed_with_a_key_that_does_not_count_today(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path, "model-risk")

    def signing(*listings: ListedKey) -> object:
        return keys.signing_key(listed(tmp_path, *listings), private)

    assert signing(ListedKey(public, TODAY - DAY, TODAY + DAY))
    later, earlier = ListedKey(public, valid_from=TODAY + 2 * DAY), ListedKey(public, None, TODAY - 2 * DAY)
    assert refused(signing, later) == ("CFT635",)
    assert refused(signing, earlier) == ("CFT636",)
    assert refused(signing, ListedKey(public, revoked=TODAY - DAY)) == ("CFT667",)
    # A key may be listed for several spans; revoked is revoked.
    assert signing(later, ListedKey(public, valid_from=TODAY - DAY))
    assert refused(signing, later, earlier) == ("CFT635", "CFT636")
    assert refused(signing, ListedKey(public), ListedKey(public, revoked=TODAY + 9 * DAY)) == ("CFT667",)


_DAYS = st.none() | st.dates(date(2025, 1, 1), date(2025, 1, 9))


@given(st.lists(st.builds(ListedKey, st.just(Path("a.pub.pem")), _DAYS, _DAYS, _DAYS), min_size=1), _DAYS)
def test_a_key_counts_within_its_days_and_never_once_revoked(
    listings: list[ListedKey], day: date | None
) -> None:
    day = day or date(2025, 1, 5)
    reasons = keys.out_of_use(listings, day, "somewhere")
    within = [
        key
        for key in listings
        if not (key.valid_from and day < key.valid_from) and not (key.valid_until and key.valid_until < day)
    ]
    if any(key.revoked for key in listings):
        assert {d.code for d in reasons} == {"CFT667"}
    else:
        assert bool(reasons) == (not within)
        assert {d.code for d in reasons} <= {"CFT635", "CFT636"}
