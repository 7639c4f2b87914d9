"""Countersignatures: who may give one, over what, whose are demanded, and what a crash leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from derivatives import PLACE, TODAY, Signed, codes, edit, flip, signed_derivative

from coherence_ft.authority.keys import Signer, generate, load_private
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.constraint_set import Level
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Authority, Countersigning, ListedKey, Power, Tenant
from coherence_ft.manifest.countersign import Countersigned, countersign
from coherence_ft.manifest.files import MANIFEST, countersignature
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import verify

KINDS = {"risk": "p256", "regulator": "p384", "board": "ed25519", "auditor": "p256"}


def with_countersigners(signed: Signed, *rules: Countersigning) -> Signed:
    """The tenant with four more authorities; `auditor` has no power to countersign."""
    for name, kind in KINDS.items():
        if not (signed.keys / f"{name}.pem").exists():
            generate(signed.keys, name, kind)
    powers = {name: frozenset({Power.COUNTERSIGN}) for name in KINDS} | {"auditor": frozenset({Power.WAIVE})}
    more = tuple(
        Authority(
            name, name, Level.TENANT, powers[name], (ListedKey(signed.keys / f"{name}.pub.pem"),), PLACE
        )
        for name in KINDS
    )
    tenant = replace(
        signed.tenant, authorities=(*signed.tenant.authorities, *more), countersignatures=tuple(rules)
    )
    return replace(signed, tenant=tenant)


def rule(*authorities: str, at_least: int | None = None, domains: tuple[str, ...] = ()) -> Countersigning:
    return Countersigning(authorities, at_least or len(authorities), domains, "four eyes", PLACE)


def key(signed: Signed, name: str) -> Signer:
    return load_private(signed.keys / f"{name}.pem")


def countersigned(signed: Signed, name: str, tenant: Tenant | None = None) -> Countersigned:
    return countersign(
        signed.folder, name, tenant or signed.tenant, lambda who: key(signed, who.id), today=TODAY
    )


def put(signed: Signed, name: str, signer: Signer, content: bytes | None = None) -> Path:
    """A countersignature written by hand."""
    path = signed.folder / countersignature(name)
    path.write_bytes(canonical_json(sign(content or signed.manifest.read_bytes(), signer).to_json()))
    return path


def relisted(tenant: Tenant, name: str, **changes: Any) -> Tenant:
    """The tenant with that authority's key listed otherwise."""
    authorities = tuple(
        replace(a, public_keys=tuple(replace(k, **changes) for k in a.public_keys)) if a.id == name else a
        for a in tenant.authorities
    )
    return replace(tenant, authorities=authorities)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return with_countersigners(signed_derivative(tmp_path_factory.mktemp("signed")))


def test_an_authority_countersigns_beside_the_maker(signed: Signed) -> None:
    before = signed.manifest.read_bytes(), signed.bundle.read_bytes()
    for n, name in enumerate(("risk", "regulator", "board"), 1):
        done = countersigned(signed, name)
        assert done.made and done.path == signed.folder / f"coherence_manifest.{name}.sigstore.json"
        manifest = verify(signed.folder, signed.tenant, today=TODAY)
        assert len(manifest.countersigners) == n and name in manifest.countersigners
    assert manifest.countersigners == ("board", "regulator", "risk")
    assert manifest.signer == "model-risk"
    assert (signed.manifest.read_bytes(), signed.bundle.read_bytes()) == before
    assert not set(manifest.files) & {countersignature(name) for name in KINDS}


def test_countersigning_again_changes_nothing(signed: Signed) -> None:
    countersigned(signed, "risk")
    before = {path.name: path.read_bytes() for path in signed.folder.iterdir() if path.is_file()}

    def never(who: Authority) -> Signer:
        raise AssertionError("the key is not needed")

    assert not countersign(signed.folder, "risk", signed.tenant, never, today=TODAY).made
    assert {path.name: path.read_bytes() for path in signed.folder.iterdir() if path.is_file()} == before


def test_another_key_of_an_authority_does_not_take_the_place_of_the_first(signed: Signed) -> None:
    generate(signed.keys, f"risk-{os.getpid()}")
    second = ListedKey(signed.keys / f"risk-{os.getpid()}.pub.pem")
    authorities = tuple(
        replace(a, public_keys=(*a.public_keys, second)) if a.id == "risk" else a
        for a in signed.tenant.authorities
    )
    signed = replace(signed, tenant=replace(signed.tenant, authorities=authorities))
    path = countersigned(signed, "risk").path
    before = path.read_bytes()
    other = load_private(signed.keys / f"risk-{os.getpid()}.pem")
    assert not countersign(signed.folder, "risk", signed.tenant, lambda who: other, today=TODAY).made
    assert path.read_bytes() == before


def _by_hand(name: str, by: str) -> Callable[[Signed], Any]:
    return lambda s: put(s, name, key(s, by))


def _wrong_payload(s: Signed) -> None:
    put(s, "risk", key(s, "risk"), s.manifest.read_bytes() + b" ")


def _bad_signature(s: Signed) -> None:
    def change(bundle: Any) -> None:
        other = sign(b"{}", key(s, "risk")).to_json()
        bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]

    edit(put(s, "risk", key(s, "risk")), change)


def _stranger(s: Signed) -> None:
    generate(s.folder.parent, "stranger")
    put(s, "risk", load_private(s.folder.parent / "stranger.pem"))


def _linked(s: Signed) -> None:
    path = put(s, "risk", key(s, "risk"))
    path.rename(s.folder.parent / "kept")
    path.symlink_to(s.folder.parent / "kept")


BAD: dict[str, tuple[Callable[[Signed], Any], set[str]]] = {
    "an unknown authority": (_by_hand("nobody", "risk"), {"CFT301"}),
    "another payload": (_wrong_payload, {"CFT608"}),
    "a bad signature": (_bad_signature, {"CFT630"}),
    "a key that nobody has": (_stranger, {"CFT631"}),
    "no power": (_by_hand("auditor", "auditor"), {"CFT632"}),
    "another's name": (_by_hand("regulator", "risk"), {"CFT623"}),
    "the maker": (_by_hand("model-risk", "model-risk"), {"CFT624"}),
    "the maker under another's name": (_by_hand("risk", "model-risk"), {"CFT623"}),
    "no bundle": (lambda s: (s.folder / countersignature("risk")).write_text("{}"), {"CFT607"}),
    "no JSON": (lambda s: (s.folder / countersignature("risk")).write_text("{"), {"CFT604"}),
    "a link": (_linked, {"CFT611"}),
    "a huge one": (
        lambda s: os.truncate(put(s, "risk", key(s, "risk")), 2**36),
        {"CFT603"},
    ),
    "a name that is no authority's": (
        lambda s: (s.folder / "coherence_manifest.Risk.sigstore.json").write_text("{}"),
        {"CFT616"},
    ),
    "in a folder below": (
        lambda s: (s.folder / "tokenizer" / countersignature("risk")).write_text("{}"),
        {"CFT616"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_countersignature_that_does_not_count_is_refused(signed: Signed, name: str) -> None:
    make, expected = BAD[name]
    make(signed)
    assert codes(signed) == expected


def test_the_makers_key_listed_for_another_authority_too(signed: Signed) -> None:
    twice = replace(
        signed.tenant,
        authorities=tuple(
            replace(a, public_keys=(*a.public_keys, ListedKey(signed.keys / "model-risk.pub.pem")))
            if a.id == "risk"
            else a
            for a in signed.tenant.authorities
        ),
    )
    with pytest.raises(CoherenceError) as caught:
        countersign(signed.folder, "risk", twice, lambda who: key(signed, "model-risk"), today=TODAY)
    assert caught.value.codes == ("CFT624",)
    assert not (signed.folder / countersignature("risk")).exists()
    put(signed, "risk", key(signed, "model-risk"))
    assert codes(signed, twice) == {"CFT624"}


def test_another_key_of_the_maker(signed: Signed) -> None:
    tenant = replace(
        signed.tenant,
        authorities=tuple(
            replace(a, public_keys=(*a.public_keys, ListedKey(signed.keys / "risk.pub.pem")))
            if a.id == "model-risk"
            else a
            for a in signed.tenant.authorities
            if a.id != "risk"
        ),
    )
    put(signed, "model-risk", key(signed, "risk"))
    assert codes(signed, tenant) == {"CFT624"}


def test_a_manifest_that_lists_a_countersignature(signed: Signed) -> None:
    name = countersignature("risk")
    signed.resign(lambda m: m["subject"].append({"name": name, "digest": {"sha256": "0" * 64}}))
    assert codes(signed) == {"CFT612"}


def test_a_countersignature_over_an_older_manifest(signed: Signed) -> None:
    put(signed, "risk", key(signed, "risk"))
    signed.resign(lambda m: m["predicate"]["recipe"].update(seed=8))
    assert codes(signed) == {"CFT608"}


# --- when a key counts ---


def test_a_revoked_key_countersigns_nothing(signed: Signed) -> None:
    countersigned(signed, "risk")
    assert "CFT667" in codes(signed, relisted(signed.tenant, "risk", revoked=date(2030, 1, 1)))


@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        ({"valid_until": date(2026, 5, 19)}, "CFT636"),  # before the manifest was made
        ({"valid_until": date(2026, 5, 20)}, None),
        ({"valid_from": date(2026, 7, 1)}, None),  # it countersigned later than the manifest was made
        ({"valid_from": date(2026, 7, 1), "valid_until": date(2026, 7, 31)}, None),
        ({"valid_from": date(2026, 12, 2)}, "CFT635"),  # not even today
    ],
)
def test_a_countersigners_key_counts_on_any_day_since(
    signed: Signed, listed: dict[str, Any], refused: str | None
) -> None:
    put(signed, "risk", key(signed, "risk"))
    tenant, today = relisted(signed.tenant, "risk", **listed), date(2026, 12, 1)
    if refused:
        assert codes(signed, tenant, today=today) == {refused}
    else:
        assert verify(signed.folder, tenant, today=today).countersigners == ("risk",)


# --- the tenant's rules ---

RULES: dict[str, tuple[Countersigning, tuple[str, ...], str]] = {
    "both": (rule("risk", "regulator"), ("risk", "regulator"), ""),
    "one of both is missing": (rule("risk", "regulator"), ("risk",), "regulator"),
    "none of both": (rule("risk", "regulator"), (), "risk, regulator"),
    "one of three": (rule("risk", "regulator", "board", at_least=1), ("board",), ""),
    "one more of three": (rule("risk", "regulator", "board", at_least=2), ("board",), "1 of risk, regulator"),
    "another's does not count": (rule("risk"), ("regulator",), "risk"),
    "another domain": (rule("risk", domains=("legal",)), (), ""),
    "this domain": (rule("risk", domains=("legal", "clinical")), (), "risk"),
    "the maker cannot": (rule("model-risk"), ("risk",), "model-risk"),
}


@pytest.mark.parametrize("name", RULES)
def test_what_the_tenant_demands(signed: Signed, name: str) -> None:
    demanded, given, missing = RULES[name]
    tenant = replace(signed.tenant, countersignatures=(demanded,))
    for authority in given:
        countersigned(signed, authority, tenant)
    lenient = verify(signed.folder, tenant, today=TODAY, countersigned=False)
    assert lenient.awaited == ((missing,) if missing else ())
    if not missing:
        assert verify(signed.folder, tenant, today=TODAY).awaited == ()
        return
    with pytest.raises(CoherenceError) as caught:
        verify(signed.folder, tenant, today=TODAY)
    assert caught.value.codes == ("CFT622",)
    assert missing in str(caught.value)


def test_each_rule_is_held(signed: Signed) -> None:
    tenant = replace(signed.tenant, countersignatures=(rule("risk"), rule("regulator", "board", at_least=1)))
    done = countersigned(signed, "risk", tenant)
    assert done.awaited == ("1 of regulator, board",)
    assert codes(signed, tenant) == {"CFT622"}
    assert countersigned(signed, "board", tenant).awaited == ()
    assert verify(signed.folder, tenant, today=TODAY)


def test_a_checkpoint_needs_no_countersignature_and_gets_none(tmp_path: Path) -> None:
    signed = with_countersigners(signed_derivative(tmp_path, Stage.MONITORING), rule("risk"))
    assert verify(signed.folder, signed.tenant, today=TODAY).awaited == ()
    with pytest.raises(CoherenceError) as caught:
        countersigned(signed, "risk")
    assert caught.value.codes == ("CFT647",)


# --- the command refuses ---


@pytest.mark.parametrize(
    ("name", "code"), [("nobody", "CFT301"), ("auditor", "CFT632"), ("model-risk", "CFT624")]
)
def test_who_may_not_countersign(signed: Signed, name: str, code: str) -> None:
    with pytest.raises(CoherenceError) as caught:
        countersigned(signed, name)
    assert caught.value.codes == (code,)
    assert not (signed.folder / countersignature(name)).exists()


def test_what_does_not_verify_is_not_countersigned(signed: Signed) -> None:
    flip(signed.folder / "adapter_config.json", 3)
    with pytest.raises(CoherenceError) as caught:
        countersigned(signed, "risk")
    assert caught.value.codes == ("CFT614",)
    assert not (signed.folder / countersignature("risk")).exists()


def test_a_countersignature_that_does_not_count_is_not_overwritten(signed: Signed) -> None:
    path = put(signed, "risk", key(signed, "regulator"))
    before = path.read_bytes()
    with pytest.raises(CoherenceError) as caught:
        countersigned(signed, "risk")
    assert caught.value.codes == ("CFT623",)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_what_was_there(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    from coherence_ft.manifest import write

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(write.os, "fsync", full)
        with pytest.raises(CoherenceError) as caught:
            countersigned(signed, "risk")
    assert caught.value.codes == ("CFT617",)
    assert not list(signed.folder.glob("*risk*")) and not list(signed.folder.glob("*.partial"))
    assert verify(signed.folder, signed.tenant, today=TODAY)
    assert countersigned(signed, "risk").made


def test_a_kill_at_any_step_costs_nothing(signed: Signed, tmp_path: Path) -> None:
    """Killed before each change on the disk in turn. What is left verifies, or the next run mends it."""
    from test_manifest_write import _die_before

    countersigned(signed, "regulator")  # there is a model.sig, which must not stay beside one file more
    kept = tmp_path / "kept"
    shutil.copytree(signed.folder, kept)
    for step in range(100):
        shutil.rmtree(signed.folder)
        shutil.copytree(kept, signed.folder)
        child = os.fork()
        if not child:
            _die_before(step)
            countersigned(signed, "risk")
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        if not list(signed.folder.glob("*.partial")):
            verify(signed.folder, signed.tenant, today=TODAY)
        countersigned(signed, "risk")
        manifest = verify(signed.folder, signed.tenant, today=TODAY)
        assert manifest.countersigners == ("regulator", "risk") and manifest.model_signed
    assert step > 5


def test_saving_over_a_derivative_takes_its_signatures_away(signed: Signed) -> None:
    from coherence_ft.manifest.write import write_manifest

    countersigned(signed, "risk")
    write_manifest(signed.folder, replace(signed.facts, seed=9), signed.key)
    names = {path.name for path in signed.folder.iterdir()}
    assert countersignature("risk") not in names and "model.sig" not in names and MANIFEST in names
    assert json.loads(signed.manifest.read_bytes())["predicate"]["recipe"]["seed"] == 9
