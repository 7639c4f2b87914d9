"""`extends`: what a set takes over, at which content, and what it may not do to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from coherence_ft.authority.resolve import resolve, resolve_set
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.schemas import schema_root
from coherence_ft.documents.tenant import read_tenant


def constraint(id: str = "risk", **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "metric": "violation_rate",
        "at_most": 0.1,
        "confidence": 0.95,
        "minimum_evidence": 70,
        "enforcement": "hard",
        "owner": "adopter",
        "reason": "Because",
        **changes,
    }


def write(path: Path, *constraints: dict[str, Any], extends: tuple[str, ...] = (), **more: Any) -> Path:
    """A set at `path`; what it extends is pinned at its present content, a name that is no file at zeros."""
    document: dict[str, Any] = {
        "apiVersion": "coherence-ft/v1",
        "kind": "constraint-set",
        "id": path.stem,
        "title": path.stem,
        "constraints": list(constraints),
        **more,
    }
    if extends:
        document["extends"] = [{"set": name, "sha256": pin(path.parent / name)} for name in extends]
    path.write_text(json.dumps(document, indent=1))
    return path


def pin(path: Path) -> str:
    return file_digest(path) if path.is_file() else "0" * 63 + "1"


def refused(path: Path) -> list[str]:
    """The codes for which a set is refused; none if it is read."""
    try:
        read_constraint_set(path)
    except CoherenceError as error:
        return list(error.codes)
    return []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return write(tmp_path / "house.yaml", constraint(), constraint("format", category="format"))


def test_takes_over_what_it_does_not_say_and_tightens_what_it_does(house: Path) -> None:
    own = write(house.with_name("own.yaml"), constraint(at_most=0.08), extends=("house.yaml",))
    read = read_constraint_set(own)
    assert [c.id for c in read.constraints] == ["risk"]
    assert [s.id for s in read.ancestors()] == ["house"]
    resolved = resolve_set(read, "clinical")
    assert {r.constraint.id: r.constraint.bound for r in resolved.constraints} == {
        "risk": 0.08,
        "format": 0.1,
    }


def test_published_sets_can_be_extended(tmp_path: Path) -> None:
    published = schema_root() / "domains" / "clinical.yaml"
    write(tmp_path / "own.yaml", constraint("own", category="preference"), domain="clinical")
    document = json.loads((tmp_path / "own.yaml").read_text())
    document["extends"] = [{"set": "published:clinical", "sha256": pin(published)}]
    (tmp_path / "own.yaml").write_text(json.dumps(document))
    read = read_constraint_set(tmp_path / "own.yaml")
    assert [s.id for s in read.ancestors()] == ["clinical"]
    document["extends"] = [{"set": "published:clincal", "sha256": pin(published)}]
    (tmp_path / "own.yaml").write_text(json.dumps(document))
    assert refused(tmp_path / "own.yaml") == ["CFT410"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed Python package whose code must never run."""
    folder = tmp_path / "site" / "acme_policy"
    (folder / "sets").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('a document ran the code of a package')")
    write(folder / "sets" / "house.yaml", constraint())
    write(folder.parent / "outside.yaml", constraint())
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def extending(path: Path, name: str, digest: str) -> Path:
    write(path, constraint(at_most=0.05))
    document = json.loads(path.read_text())
    document["extends"] = [{"set": name, "sha256": digest}]
    path.write_text(json.dumps(document))
    return path


def test_a_package_is_looked_up_and_never_imported(tmp_path: Path, package: Path) -> None:
    digest = pin(package / "sets" / "house.yaml")
    own = extending(tmp_path / "own.yaml", "package:acme_policy/sets/house.yaml", digest)
    assert [s.id for s in read_constraint_set(own).ancestors()] == ["house"]
    assert "acme_policy" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "package:acme_policy/sets/other.yaml",
        "package:acme_policy",
        "package:acme_policy/",
        "package:acme_policy/../outside.yaml",
        "package:acme_policy/sets",
        "package:acme_policies/sets/house.yaml",
        "package:acme_policy.sets/house.yaml",
        "package:../site/acme_policy/sets/house.yaml",
        "package:/sets/house.yaml",
        "package:",
        "package:json/decoder.py.yaml",
        "package:sys/house.yaml",
    ],
)
def test_what_no_package_holds_is_refused(tmp_path: Path, package: Path, name: str) -> None:
    own = extending(tmp_path / "own.yaml", name, pin(package.parent / "outside.yaml"))
    assert refused(own) == ["CFT416"]
    assert "acme_policy" not in sys.modules


def test_a_link_out_of_a_package_is_no_way_around(tmp_path: Path, package: Path) -> None:
    """The pin holds whatever a path leads to, so a link changes nothing that was not reviewed."""
    (package / "link.yaml").symlink_to(package.parent / "outside.yaml")
    digest = pin(package / "sets" / "house.yaml")
    assert refused(extending(tmp_path / "own.yaml", "package:acme_policy/link.yaml", digest)) == ["CFT414"]


def test_any_change_of_the_extended_file_breaks_its_pin(house: Path) -> None:
    own = write(house.with_name("own.yaml"), constraint(), extends=("house.yaml",))
    read_constraint_set(own)
    house.write_text(house.read_text() + "\n# a comment\n")
    with pytest.raises(CoherenceError) as error:
        read_constraint_set(own)
    (found,) = error.value.diagnostics
    assert (found.code, found.path) == ("CFT414", str(own))
    assert pin(house) in found.help


def test_the_pin_of_a_grandparent_is_held_by_the_parent(tmp_path: Path, house: Path) -> None:
    write(tmp_path / "middle.yaml", constraint(at_most=0.09), extends=("house.yaml",))
    own = write(tmp_path / "own.yaml", constraint(at_most=0.08), extends=("middle.yaml",))
    house.write_text(house.read_text() + "\n")
    with pytest.raises(CoherenceError) as error:
        read_constraint_set(own)
    assert [(d.code, Path(d.path).name) for d in error.value.diagnostics] == [("CFT414", "middle.yaml")]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cycles_are_refused_from_wherever_they_are_entered(
    tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sets that extend each other no pin can be right: the cycle is found although they are believed."""
    monkeypatch.setattr("coherence_ft.documents.extends._hold", lambda *_: None)
    paths = [tmp_path / f"{n}.yaml" for n in range(length)]
    for n, path in enumerate(paths):
        write(path, constraint(), extends=(paths[(n + 1) % length].name,))
    for path in paths:
        assert refused(path) == ["CFT415"]
    outside = write(tmp_path / "outside.yaml", constraint(), extends=(paths[0].name,))
    assert refused(outside) == ["CFT415"]


def test_a_cycle_is_refused_before_its_pin_is_held(tmp_path: Path) -> None:
    path = write(tmp_path / "own.yaml", constraint(), extends=("own.yaml",))
    assert refused(path) == ["CFT415"]
    (tmp_path / "link.yaml").symlink_to(path)
    assert refused(write(path, constraint(), extends=("link.yaml",))) == ["CFT415"]


@pytest.mark.parametrize(
    ("own", "parent", "codes"),
    [
        ("clinical", "clinical", []),
        ("clinical", None, []),
        (None, None, []),
        ("clinical", "legal", ["CFT413"]),
        (None, "legal", ["CFT413"]),
    ],
)
def test_domains_that_can_be_extended(
    tmp_path: Path, own: str | None, parent: str | None, codes: list[str]
) -> None:
    write(tmp_path / "parent.yaml", constraint(), **({"domain": parent} if parent else {}))
    path = write(
        tmp_path / "own.yaml", constraint(), extends=("parent.yaml",), **({"domain": own} if own else {})
    )
    assert refused(path) == codes


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"at_most": 0.2}, ["CFT305"]),
        ({"confidence": 0.9}, ["CFT305"]),
        ({"minimum_evidence": 69}, ["CFT305"]),
        ({"enforcement": "report"}, ["CFT305"]),
        ({"waiver_floor": 0.3}, ["CFT305"]),
        ({"at_most": 0.2, "confidence": 0.9}, ["CFT305", "CFT305"]),
        ({"category": "format"}, ["CFT304"]),
        ({"scope": {"languages": ["de"]}}, ["CFT304"]),
        ({"metric": "accuracy", "at_most": None, "at_least": 0.9}, ["CFT304"]),
        ({"at_most": 0.05, "confidence": 0.99, "minimum_evidence": 120, "waiver_floor": 0.1}, []),
        ({"scope": {"domains": ["clinical"]}}, []),  # says where, not what is measured
    ],
)
def test_a_parent_is_tightened_or_left_alone(house: Path, changes: dict[str, Any], codes: list[str]) -> None:
    stated = {k: v for k, v in constraint(**changes).items() if v is not None}
    own = write(house.with_name("own.yaml"), stated, extends=("house.yaml",))
    assert refused(own) == codes


def test_a_locked_parent_cannot_be_touched_even_from_two_levels_below(tmp_path: Path) -> None:
    write(tmp_path / "house.yaml", constraint(locked=True))
    write(tmp_path / "middle.yaml", constraint("own", category="format"), extends=("house.yaml",))
    own = write(tmp_path / "own.yaml", constraint(at_most=0.05), extends=("middle.yaml",))
    assert refused(own) == ["CFT306"]


def test_a_chain_of_three_holds_the_strictest_of_each_value(tmp_path: Path) -> None:
    write(tmp_path / "top.yaml", constraint(confidence=0.99))
    write(tmp_path / "middle.yaml", constraint(confidence=0.99, at_most=0.08), extends=("top.yaml",))
    own = write(
        tmp_path / "own.yaml",
        constraint(confidence=0.99, at_most=0.08, minimum_evidence=100),
        extends=("middle.yaml",),
    )
    read = read_constraint_set(own)
    assert [s.id for s in read.ancestors()] == ["middle", "top"]
    (merged,) = resolve_set(read, "clinical").constraints
    assert (merged.constraint.bound, merged.constraint.confidence) == (0.08, 0.99)
    assert merged.constraint.minimum_evidence == 100


def test_a_grandchild_may_not_loosen_what_its_parent_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "top.yaml", constraint())
    write(tmp_path / "middle.yaml", constraint("own", category="format"), extends=("top.yaml",))
    own = write(tmp_path / "own.yaml", constraint(at_most=0.2), extends=("middle.yaml",))
    assert refused(own) == ["CFT305"]


def test_a_diamond_takes_its_top_over_once(tmp_path: Path) -> None:
    write(tmp_path / "top.yaml", constraint(), named_constraints=[named("no-names")])
    for side, bound in (("left", 0.09), ("right", 0.07)):
        write(tmp_path / f"{side}.yaml", constraint(at_most=bound), extends=("top.yaml",))
    own = write(tmp_path / "own.yaml", constraint(at_most=0.06), extends=("left.yaml", "right.yaml"))
    read = read_constraint_set(own)
    assert [s.id for s in read.ancestors()] == ["left", "right", "top"]
    resolved = resolve_set(read, "clinical")
    assert len(resolved.named_constraints) == 1
    between = write(tmp_path / "own.yaml", constraint(at_most=0.08), extends=("left.yaml", "right.yaml"))
    assert refused(between) == ["CFT305"]  # looser than the right one


def named(id: str) -> dict[str, Any]:
    return {"id": id, "forbidden": ["a name"], "owner": "adopter", "reason": "Because"}


def test_everything_wrong_in_parents_is_reported_with_what_is_wrong_here(tmp_path: Path) -> None:
    write(tmp_path / "wrong.yaml", constraint(at_most=5))
    own = write(tmp_path / "own.yaml", constraint(at_most=7), extends=("wrong.yaml", "missing.yaml"))
    assert sorted(refused(own)) == ["CFT405", "CFT405", "CFT411"]


def test_what_is_extended_belongs_to_who_adopts(tmp_path: Path, house: Path) -> None:
    write(tmp_path / "own.yaml", constraint(at_most=0.08), extends=("house.yaml",))
    tenant = {
        "apiVersion": "coherence-ft/v1",
        "kind": "tenant",
        "id": "t",
        "title": "T",
        "authorities": [
            {"id": "unit", "title": "U", "level": "regulated-unit", "powers": ["set", "tighten"]}
        ],
        "layers": [{"set": "own.yaml", "level": "regulated-unit", "authority": "unit"}],
    }
    (tmp_path / "tenant.yaml").write_text(json.dumps(tenant))
    resolved = resolve(read_tenant(tmp_path / "tenant.yaml"), "clinical")
    by_id = {r.constraint.id: r for r in resolved.constraints}
    assert {r.constraint.owner for r in by_id.values()} == {"unit"}
    assert by_id["format"].layer == "regulated-unit: house"
    assert by_id["risk"].layer == "regulated-unit: own"
    assert [lost.layer for lost in by_id["risk"].replaced] == ["regulated-unit: house"]


def test_sets_that_share_parents_are_read_once(tmp_path: Path) -> None:
    """Thirty levels that each extend the next one twice would be read a thousand million times."""
    write(tmp_path / "0.yaml", constraint())
    for n in range(1, 31):
        write(tmp_path / f"{n}.yaml", constraint(), extends=(f"{n - 1}.yaml", f"./{n - 1}.yaml"))
    assert len([*read_constraint_set(tmp_path / "30.yaml").ancestors()]) == 30
    write(tmp_path / "0.yaml", constraint(at_most=5))
    for n in range(1, 31):
        write(tmp_path / f"{n}.yaml", constraint(), extends=(f"{n - 1}.yaml", f"./{n - 1}.yaml"))
    assert refused(tmp_path / "30.yaml") == ["CFT405"]


def test_a_chain_beyond_the_limit_on_nesting_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "0.yaml", constraint())
    for n in range(1, 200):
        write(tmp_path / f"{n}.yaml", constraint(), extends=(f"{n - 1}.yaml",))
    assert refused(tmp_path / "40.yaml") == []
    assert refused(tmp_path / "199.yaml") == ["CFT104"]


def test_parents_that_mean_different_things_by_one_id_cannot_be_extended_together(tmp_path: Path) -> None:
    write(tmp_path / "left.yaml", constraint())
    write(tmp_path / "right.yaml", constraint(category="format"))
    own = write(tmp_path / "own.yaml", constraint("own"), extends=("left.yaml", "right.yaml"))
    assert refused(own) == ["CFT304"]
