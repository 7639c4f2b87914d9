"""Whose signature counts: keys that are listed, for a time, revoked, shared, broken or unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from derivatives import NOW, Signed, signed_derivative
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.authority.key_kinds import ALGORITHMS, generate_key
from coherence_ft.authority.keys import Signer, generate, load_private
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.tenant import Countersigning, ListedKey, Power, Tenant
from coherence_ft.manifest.files import countersignature
from coherence_ft.manifest.signatures import signed_by
from coherence_ft.manifest.signing import Envelope, sign
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

MADE = NOW.date()
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return signed_derivative(tmp_path_factory.mktemp("signatures"), parents=())


def listing(tenant: Tenant, **keys: tuple[ListedKey, ...]) -> Tenant:
    """The tenant with these public keys: authority's id, with `_` for `-`, to its keys."""
    named = {id.replace("_", "-"): each for id, each in keys.items()}
    return replace(
        tenant,
        authorities=tuple(replace(a, public_keys=named.get(a.id, a.public_keys)) for a in tenant.authorities),
    )


def who(signed: Signed, tenant: Tenant, at: datetime = NOW) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the authorities that signed, and the codes of what is wrong."""
    envelope = sign(b"{}", signed.key)
    authorities, problems = signed_by(envelope, tenant, at, "here")
    assert all(problem.path == "here" for problem in problems if problem.code != "CFT663")
    return tuple(a.id for a in authorities), tuple(problem.code for problem in problems)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, ()),
        ({"valid_from": MADE, "valid_until": MADE}, ()),
        ({"valid_from": MADE + DAY}, ("CFT635",)),
        ({"valid_until": MADE - DAY}, ("CFT636",)),
        ({"revoked": MADE + 365 * DAY}, ("CFT667",)),  # after it was signed: who can say when that was?
        ({"revoked": MADE - DAY, "valid_until": MADE - DAY, "reason": "Lost"}, ("CFT667",)),
    ],
)
def test_the_days_of_a_key_in_verify(
    signed: Signed, changes: dict[str, date], codes: tuple[str, ...]
) -> None:
    key = ListedKey(signed.keys / "model-risk.pub.pem", **changes)
    tenant = listing(signed.tenant, model_risk=(key,))
    assert who(signed, tenant) == (() if codes else ("model-risk",), codes)
    if not codes:
        verify(signed.folder, tenant, today=MADE)
        return
    with pytest.raises(CoherenceError) as caught:
        verify(signed.folder, tenant, today=MADE)
    assert caught.value.codes == codes
    assert ("Lost" in str(caught.value)) == ("reason" in changes)


def test_the_day_is_that_of_greenwich(signed: Signed) -> None:
    key = ListedKey(signed.keys / "model-risk.pub.pem", valid_until=MADE)
    tenant = listing(signed.tenant, model_risk=(key,))
    last = datetime(MADE.year, MADE.month, MADE.day, 23, 59, 59, tzinfo=UTC)
    from zoneinfo import ZoneInfo

    assert who(signed, tenant, last.astimezone(ZoneInfo("Pacific/Auckland")))[1] == ()
    assert who(signed, tenant, last + timedelta(seconds=1))[1] == ("CFT636",)


def test_one_key_of_two_authorities(signed: Signed) -> None:
    path = signed.keys / "model-risk.pub.pem"
    both = listing(signed.tenant, training=(ListedKey(path),))
    assert who(signed, both) == (("model-risk", "training"), ())
    ended = listing(signed.tenant, training=(ListedKey(path, valid_until=MADE - DAY),))
    assert who(signed, ended) == (("model-risk",), ())
    # Revoked by one of them, it is in other hands for both.
    revoked = listing(signed.tenant, training=(ListedKey(path, revoked=MADE),))
    assert who(signed, revoked) == ((), ("CFT667",))


def test_a_revoked_key_whose_file_is_gone_or_broken(signed: Signed, tmp_path: Path) -> None:
    """A revocation that cannot be read takes nothing back, so it lets nothing through either."""
    absent, broken = tmp_path / "absent.pub.pem", tmp_path / "broken.pub.pem"
    broken.write_text("-----BEGIN PUBLIC KEY-----")
    for path in (absent, broken):
        gone = listing(signed.tenant, training=(ListedKey(path, revoked=MADE),))
        authorities, problems = signed_by(sign(b"{}", signed.key), gone, NOW, "here")
        assert (authorities, [(d.code, d.path) for d in problems]) == ((), [("CFT676", str(path))])
    # Whatever else of that authority cannot be read, its revocations count.
    copy = ListedKey(signed.keys / "model-risk.pub.pem", revoked=MADE)
    shadowed = listing(signed.tenant, training=(ListedKey(broken), copy))
    assert who(signed, shadowed) == ((), ("CFT667",))


def test_the_old_and_the_new_key(signed: Signed, tmp_path: Path) -> None:
    """A key is replaced: what the old one signed in its time stays good, and it signs nothing later."""
    old = ListedKey(signed.keys / "model-risk.pub.pem", valid_until=MADE, reason="Replaced")
    private, public = generate(tmp_path, "model-risk-2", "ed25519")
    tenant = listing(signed.tenant, model_risk=(old, ListedKey(public, valid_from=MADE + DAY)))
    verify(signed.folder, tenant, today=MADE + 300 * DAY)
    assert who(signed, tenant, NOW + DAY) == ((), ("CFT636",))
    envelope = sign(b"{}", load_private(private))
    assert [a.id for a in signed_by(envelope, tenant, NOW + DAY, "here")[0]] == ["model-risk"]
    assert [d.code for d in signed_by(envelope, tenant, NOW, "here")[1]] == ["CFT635"]


def test_nobodys_key_and_keys_that_cannot_be_read(signed: Signed, tmp_path: Path) -> None:
    good = ListedKey(signed.keys / "model-risk.pub.pem")
    absent, broken = ListedKey(tmp_path / "absent.pub.pem"), ListedKey(tmp_path / "broken.pub.pem")
    broken.path.write_text("-----BEGIN PUBLIC KEY-----")
    assert who(signed, listing(signed.tenant, model_risk=())) == ((), ("CFT631",))
    assert who(signed, listing(signed.tenant, model_risk=(absent,))) == ((), ("CFT631",))
    assert who(signed, listing(signed.tenant, model_risk=(broken, good))) == ((), ("CFT631", "CFT663"))
    assert who(signed, listing(signed.tenant, training=(broken,))) == (("model-risk",), ())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_kind_of_key_signs_a_manifest(signed: Signed, tmp_path: Path, algorithm: str) -> None:
    private, public = generate(tmp_path, "other", algorithm)
    tenant = listing(signed.tenant, model_risk=(ListedKey(public),))
    before = signed.bundle.read_bytes()
    try:
        signed.resign(lambda statement: None, load_private(private))
        assert verify(signed.folder, tenant, today=MADE).signer == "model-risk"
    finally:
        signed.bundle.write_bytes(before)


KEYS = [Signer.of(generate_key(algorithm)) for algorithm in ALGORITHMS for _ in range(2)]


@given(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS),
    st.binary(max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_no_signature_counts_under_another_name(
    signed: Signed, maker: Signer, other: Signer, payload: bytes, rename: bool, swap: bool
) -> None:
    """A bundle names its key. Another name, or the signature of another key or payload, counts for nobody."""
    from coherence_ft.authority.key_kinds import public_pem

    path = signed.keys / "sampled.pub.pem"
    path.write_bytes(public_pem(maker.public))
    tenant = listing(signed.tenant, model_risk=(ListedKey(path),))
    made = sign(payload, maker)
    envelope = Envelope(
        payload,
        sign(payload + b"x", other).signature if swap else made.signature,
        other.key_id if rename else made.key_id,
    )
    authorities, problems = signed_by(envelope, tenant, NOW, "here")
    renamed = rename and other is not maker
    assert [a.id for a in authorities] == ([] if swap or renamed else ["model-risk"])
    assert [d.code for d in problems] == (["CFT631"] if renamed else ["CFT630"] if swap else [])


def test_one_key_is_one_pair_of_eyes(tmp_path: Path) -> None:
    """Two authorities that share a key countersign nothing with it: one person could be both."""
    signed = signed_derivative(tmp_path, parents=())
    private, public = generate(tmp_path, "office")
    own_private, own = generate(tmp_path, "board")
    first = replace(signed.tenant.authorities[1], powers=frozenset({Power.COUNTERSIGN}))
    eyes = [replace(first, id=id, public_keys=(ListedKey(public),)) for id in ("board", "safety")]
    demand = Countersigning(("board", "safety"), 2, (), "Two further pairs of eyes", first.origin)
    tenant = replace(
        signed.tenant,
        authorities=(signed.tenant.authorities[0], *eyes),
        countersignatures=(demand,),
    )

    def countersign(id: str, key: Path) -> None:
        bundle = sign(signed.manifest.read_bytes(), load_private(key)).to_json()
        (signed.folder / countersignature(id)).write_bytes(canonical_json(bundle))

    for id in ("board", "safety"):
        countersign(id, private)
    with pytest.raises(CoherenceError) as caught:
        verify(signed.folder, tenant, today=MADE)
    assert set(caught.value.codes) >= {"CFT675"}
    countersign("board", own_private)
    apart = replace(
        tenant, authorities=(tenant.authorities[0], replace(eyes[0], public_keys=(ListedKey(own),)), eyes[1])
    )
    assert set(verify(signed.folder, apart, today=MADE).countersigners) == {"board", "safety"}


def test_a_signer_that_fails_leaves_nothing_that_verifies(tmp_path: Path) -> None:
    """A token that is pulled out, or a PIN that expires, in the middle of a save."""
    signed = signed_derivative(tmp_path, parents=())

    def fails(message: bytes) -> bytes:
        raise refusal("CFT674", "the token refuses")

    for error in (fails, lambda message: 1 / 0):
        signer = Signer(signed.key.public, error)  # type: ignore[arg-type]
        with pytest.raises((CoherenceError, ZeroDivisionError)):
            write_manifest(signed.folder, signed.facts, signer, created_at=NOW)
        assert not signed.manifest.exists() and not signed.bundle.exists()
        with pytest.raises(CoherenceError, match="CFT602"):
            verify(signed.folder, signed.tenant, today=MADE)
    write_manifest(signed.folder, signed.facts, signed.key, created_at=NOW)
    verify(signed.folder, signed.tenant, today=MADE)
