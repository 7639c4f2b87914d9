"""What counts as tighter and looser: laws as properties, and the cases where who may decide matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_authority_resolve import layers, tenant, tighten

from coherence_ft.authority import delegation
from coherence_ft.authority.keys import generate
from coherence_ft.authority.resolve import resolve, resolve_set
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.comparison.changes import Change, Judge, Status
from coherence_ft.comparison.compare import Comparison, compare
from coherence_ft.comparison.constraints import constraint_changes
from coherence_ft.comparison.revisions import Side
from coherence_ft.comparison.rules import rule_changes, wording_changes
from coherence_ft.comparison.taxonomy import taxonomy_changes
from coherence_ft.documents.constraint_set import (
    Act,
    Band,
    Constraint,
    ConstraintSet,
    Enforcement,
    Level,
    NamedConstraint,
    Origin,
    RoleBoundary,
    Scope,
    Wording,
)
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import (
    Authority,
    Countersigning,
    Delegation,
    Layer,
    ListedCertificate,
    ListedIdentity,
    ListedKey,
    Power,
    Revocation,
    Tenant,
    Waiver,
)

TODAY = date(2026, 6, 1)
HERE = Origin("t.yaml", 1, 1)
LOOSENED = (Status.RELAXED, Status.REMOVED)


def found(old: Tenant, new: Tenant) -> list[Change]:
    """Everything that differs in the domain."""
    try:
        a, b = resolve(old, "clinical", today=TODAY), resolve(new, "clinical", today=TODAY)
    except CoherenceError:
        assume(False)
        raise
    judge = Judge("clinical", TODAY, old, new, delegation.in_force(old, TODAY), tuple(w for w in new.waivers))
    return differences(a, b, judge) + list(taxonomy_changes(old, new, TODAY, same_source=True))


def differences(a: ResolvedConstraints, b: ResolvedConstraints, judge: Judge) -> list[Change]:
    constraints = [c for c in constraint_changes(a, b, judge) if c is not None]
    return [*constraints, *rule_changes(a, b, judge), *wording_changes(a, b, judge)]


# --- laws -------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(layers().flatmap(lambda ls: st.tuples(st.just(ls), st.permutations(ls))))
def test_the_same_documents_in_any_order_differ_in_nothing(both: tuple[list[Layer], list[Layer]]) -> None:
    given_, shuffled = both
    assert found(tenant(*given_), tenant(*shuffled)) == []


@settings(max_examples=60)
@given(layers(), st.data())
def test_tightening_any_field_of_any_layer_relaxes_nothing(stated: list[Layer], draw: st.DataObject) -> None:
    places = [(n, i) for n, layer in enumerate(stated) for i in range(len(layer.constraint_set.constraints))]
    assume(places)
    n, i = draw.draw(st.sampled_from(places))
    own = stated[n].constraint_set
    tightened = list(own.constraints)
    tightened[i] = tighten(tightened[i], draw)
    changed = [*stated]
    changed[n] = replace(stated[n], constraint_set=replace(own, constraints=tuple(tightened)))
    assert not [c for c in found(tenant(*stated), tenant(*changed)) if c.status in LOOSENED]


BASE = Constraint(
    "risk",
    "selective_risk",
    Direction.AT_MOST,
    0.3,
    0.95,
    60,
    Enforcement.HARD,
    "unit",
    "a reason",
    waiver_floor=0.5,
    waiver_approvals=2,
    coverage=0.6,
    origin=HERE,
)
FIELDS = {
    "bound": st.floats(0.01, 0.49),
    "confidence": st.floats(0.5, 0.999),
    "minimum_evidence": st.integers(1, 500),
    "enforcement": st.sampled_from(Enforcement),
    "waiver_floor": st.floats(0.31, 0.99) | st.none(),
    "waiver_approvals": st.integers(1, 5),
    "locked": st.booleans(),
    "scope": st.sets(st.sampled_from(["de", "en", "fr"])).map(lambda s: Scope(languages=tuple(sorted(s)))),
}


@given(st.sampled_from(sorted(FIELDS)).flatmap(lambda n: st.tuples(st.just(n), FIELDS[n], FIELDS[n])))
def test_one_way_tightens_exactly_if_the_other_way_relaxes(change: tuple[str, object, object]) -> None:
    name, one, other = change
    sets = [
        ConstraintSet("s", "S", "clinical", (replace(BASE, **{name: value}),), "s.yaml")  # type: ignore[arg-type]
        for value in (one, other)
    ]
    a, b = (resolve_set(s, "clinical") for s in sets)
    judge = Judge("clinical", TODAY)
    there, back = ([c.status for c in differences(*pair, judge)] for pair in ((a, b), (b, a)))
    if one == other:
        assert there == back == []
    elif name == "scope" and not _nested(one, other):
        assert there == back == [Status.RELAXED]  # neither is the wider one
    else:
        assert sorted(there + back) == [Status.RELAXED, Status.TIGHTENED]


def _nested(one: object, other: object) -> bool:
    assert isinstance(one, Scope) and isinstance(other, Scope)
    a, b = set(one.languages), set(other.languages)
    return not a or not b or a <= b or b <= a


PHRASES = st.lists(st.sampled_from(["one", "two", "three", "four"]), min_size=1, max_size=4, unique=True)


@given(PHRASES, PHRASES, PHRASES, st.data())
def test_rules_only_depend_on_which_phrases_they_hold(
    topics: list[str], referral: list[str], forbidden: list[str], draw: st.DataObject
) -> None:
    def of(*lists: list[str]) -> ResolvedConstraints:
        boundary = RoleBoundary("b", *(tuple(each) for each in lists), "unit", "r")  # type: ignore[arg-type]
        named = NamedConstraint("n", tuple(lists[2]), (), "unit", "r")
        own = ConstraintSet(
            "s", "S", "clinical", (BASE,), "s.yaml", role_boundaries=(boundary,), named_constraints=(named,)
        )
        return resolve_set(own, "clinical")

    lists = (topics, referral, forbidden)
    judge = Judge("clinical", TODAY)
    shuffled = [[p.upper() for p in draw.draw(st.permutations(each))] for each in lists]
    assert differences(of(*lists), of(*shuffled), judge) == []
    others = [topics, [*referral, "somebody else"], forbidden]
    assert {c.status for c in differences(of(*lists), of(*others), judge)} == {Status.RELAXED}
    assert {c.status for c in differences(of(*others), of(*lists), judge)} == {Status.TIGHTENED}
    more = [[*topics, "five"], referral, [*forbidden, "six"]]
    assert {c.status for c in differences(of(*lists), of(*more), judge)} == {Status.TIGHTENED}
    assert {c.status for c in differences(of(*more), of(*lists), judge)} == {Status.RELAXED}


@given(st.lists(st.sampled_from(Act), min_size=2, max_size=2), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_wording_is_compared_at_every_confidence(acts: list[Act], one: float, other: float) -> None:
    def of(edge: float) -> ResolvedConstraints:
        upper, lower = sorted(acts, key=lambda a: a.caution)
        bands = (Band(edge, upper, "x", HERE), Band(0, lower, "x", HERE))
        own = ConstraintSet(
            "s", "S", "clinical", (BASE,), "s.yaml", wording=(Wording(None, bands, "unit", "r"),)
        )
        return resolve_set(own, "clinical")

    statuses = [c.status for c in differences(of(one), of(other), Judge("clinical", TODAY))]
    if one == other or acts[0] is acts[1]:
        assert statuses == []
    else:
        assert statuses == [Status.RELAXED if other < one else Status.TIGHTENED]


# --- who may approve --------------------------------------------------------------------------------------


def authority(id: str, level: Level, *powers: Power) -> Authority:
    return Authority(id, id, level, frozenset(powers), (), HERE)


UNIT = authority("unit", Level.REGULATED_UNIT, Power.SET, Power.TIGHTEN, Power.WAIVE, Power.DELEGATE)
RISK = authority("risk", Level.TENANT, Power.TIGHTEN, Power.WAIVE)
LEAD = authority("lead", Level.TENANT, Power.SET, Power.TIGHTEN)
WAIVER = Waiver("risk", "clinical", 0.45, "lead", ("unit", "board"), "a reason", date(2027, 1, 1), HERE)
BOARD = authority("board", Level.REGULATED_UNIT, Power.WAIVE)


def of(
    constraint: Constraint = BASE,
    *,
    level: Level = Level.REGULATED_UNIT,
    authorities: tuple[Authority, ...] = (UNIT, BOARD, RISK, LEAD),
    waivers: tuple[Waiver, ...] = (),
    delegations: tuple[Delegation, ...] = (),
) -> Tenant:
    own = ConstraintSet("s", "S", "clinical", (constraint,), "s.yaml")
    layer = Layer(level, constraint.owner, own, HERE)
    return Tenant("t", "T", authorities, (layer,), waivers, ("clinical",), "t.yaml", delegations)


LOOSER = replace(BASE, bound=0.4)


def only(old: Tenant, new: Tenant) -> Change:
    (change,) = found(old, new)
    return change


def test_whoever_may_waive_at_or_above_the_owner_may_approve() -> None:
    change = only(of(), of(LOOSER))
    assert (change.blocks, change.approvers, change.approvals) == (True, ("board", "unit"), 2)
    lower = only(
        of(replace(BASE, owner="lead"), level=Level.TENANT),
        of(replace(LOOSER, owner="lead"), level=Level.TENANT),
    )
    assert lower.approvers == ("board", "risk", "unit")


def test_a_lent_power_counts_as_the_old_document_lends_it() -> None:
    loan = Delegation("unit", "lead", frozenset({Power.WAIVE}), (), 0, "r", date(2099, 1, 1), HERE)
    assert "lead" in only(of(delegations=(loan,)), of(LOOSER, delegations=(loan,))).approvers
    changes = found(of(), of(LOOSER, delegations=(loan,)))
    assert {(c.kind, c.status, c.approvers) for c in changes} == {
        ("constraint", Status.RELAXED, ("board", "unit")),
        ("delegation", Status.RELAXED, ("board", "unit")),
    }
    over = replace(loan, expires=date(2026, 1, 1))
    assert "lead" not in only(of(delegations=(over,)), of(LOOSER, delegations=(over,))).approvers


@pytest.mark.parametrize(
    ("waiver", "status"),
    [
        (WAIVER, Status.WAIVED),
        (replace(WAIVER, bound=0.4), Status.WAIVED),  # NEW has no use for it, but OLD would have
        (replace(WAIVER, bound=0.35), Status.RELAXED),
        (replace(WAIVER, expires=date(2026, 5, 31)), Status.RELAXED),
        (replace(WAIVER, domain="legal"), Status.RELAXED),
        (replace(WAIVER, recipe="another"), Status.RELAXED),
    ],
    ids=["valid", "just-enough", "not-enough", "expired", "other-domain", "other-recipe"],
)
def test_a_looser_bound_needs_a_waiver_that_the_old_document_accepts(waiver: Waiver, status: Status) -> None:
    old, new = of(), of(LOOSER, waivers=(waiver,))
    waivers = tuple(w for w in new.waivers if (w.domain, w.recipe) == ("clinical", None))
    judge = Judge("clinical", TODAY, old, new, delegation.in_force(old, TODAY), waivers)
    a, b = resolve(old, "clinical", today=TODAY), resolve(new, "clinical", today=TODAY)
    (change,) = differences(a, b, judge)
    assert change.status is status
    assert change.blocks is (status is Status.RELAXED)


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "lead"},
        {"waiver_floor": 0.9},
        {"waiver_approvals": 1},
        {"confidence": 0.9},
        {"enforcement": Enforcement.REPORT},
    ],
)
def test_a_waiver_covers_a_bound_and_nothing_else(change: dict[str, object]) -> None:
    new = of(replace(LOOSER, **change), waivers=(WAIVER,))  # type: ignore[arg-type]
    if change.get("owner") == "lead":
        new = replace(new, layers=(replace(new.layers[0], level=Level.TENANT),))
    if change.get("enforcement"):
        other = replace(BASE, id="other")
        own = replace(
            new.layers[0].constraint_set, constraints=(new.layers[0].constraint_set.constraints[0], other)
        )
        new = replace(new, layers=(replace(new.layers[0], constraint_set=own),))
    relaxed = next(c for c in found(of(), new) if c.id == "risk")
    assert relaxed.blocks


def test_a_waiver_that_only_the_new_document_accepts_covers_nothing() -> None:
    own = replace(WAIVER, approved_by=("board", "risk"))
    promoted = replace(RISK, level=Level.REGULATED_UNIT)
    changes = found(of(), of(waivers=(own,), authorities=(UNIT, BOARD, promoted, LEAD)))
    assert {(c.kind, c.id, c.blocks) for c in changes} == {
        ("authority", "risk", True),
        ("constraint", "risk", True),
    }


def test_waivers_that_come_go_and_grow() -> None:
    longer, stricter = replace(WAIVER, expires=date(2028, 1, 1)), replace(WAIVER, bound=0.35)
    assert only(of(), of(waivers=(WAIVER,))).status is Status.WAIVED
    assert only(of(waivers=(WAIVER,)), of(waivers=(longer,))).status is Status.WAIVED
    assert only(of(waivers=(stricter,)), of(waivers=(WAIVER,))).status is Status.WAIVED
    assert only(of(waivers=(WAIVER,)), of()).status is Status.TIGHTENED
    assert only(of(waivers=(WAIVER,)), of(waivers=(stricter,))).status is Status.TIGHTENED
    assert only(of(waivers=(longer,)), of(waivers=(WAIVER,))).status is Status.TIGHTENED
    # A bound that is tightened and waived back to where it was relaxes nothing.
    back = replace(WAIVER, bound=0.3)
    assert only(of(), of(replace(BASE, bound=0.2), waivers=(back,))).status is Status.TIGHTENED


def test_an_owner_who_falls_protects_less() -> None:
    fallen = replace(UNIT, level=Level.TENANT)
    changes = found(of(level=Level.TENANT), of(level=Level.TENANT, authorities=(fallen, BOARD, RISK, LEAD)))
    by_kind = {c.kind: c for c in changes}
    assert by_kind["authority"].status is Status.TIGHTENED
    assert by_kind["constraint"].status is Status.RELAXED
    assert [f.name for f in by_kind["constraint"].fields] == ["owner"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, None),
        ({"powers": frozenset({Power.SET, Power.WAIVE})}, Status.RELAXED),
        ({"domains": ()}, Status.RELAXED),
        ({"domains": ("clinical", "legal")}, Status.RELAXED),
        ({"depth": 1}, Status.RELAXED),
        ({"expires": date(2099, 1, 2)}, Status.RELAXED),
        ({"reason": "another"}, None),
        ({"expires": date(2098, 1, 1)}, Status.TIGHTENED),
        ({"expires": date(2026, 1, 1)}, Status.TIGHTENED),
    ],
)
def test_loans_are_new_wider_or_narrower(change: dict[str, object], status: Status | None) -> None:
    loan = Delegation("unit", "lead", frozenset({Power.SET}), ("clinical",), 0, "r", date(2099, 1, 1), HERE)
    new = replace(loan, **change)  # type: ignore[arg-type]
    changes = taxonomy_changes(of(delegations=(loan,)), of(delegations=(new,)), TODAY, same_source=True)
    assert [c.status for c in changes] == ([status] if status else [])


def test_an_expired_loan_is_absent_on_both_sides() -> None:
    over = Delegation("unit", "lead", frozenset({Power.SET}), (), 0, "r", date(2026, 5, 31), HERE)
    wider = replace(over, powers=frozenset({Power.SET, Power.WAIVE}))
    old, new = of(delegations=(over,)), of(delegations=(wider,))
    assert list(taxonomy_changes(old, new, TODAY, same_source=True)) == []
    renewed = replace(over, expires=date(2026, 6, 1))
    changes = taxonomy_changes(old, of(delegations=(renewed,)), TODAY, same_source=True)
    assert [c.status for c in changes] == [Status.RELAXED]


# --- keys -------------------------------------------------------------------------------------------------


def keyed(folder: Path, *names: str) -> Tenant:
    signer = replace(
        RISK, powers=frozenset({Power.ATTEST}), public_keys=tuple(ListedKey(folder / n) for n in names)
    )
    return replace(of(authorities=(UNIT, signer)), path=str(folder / "tenant.yaml"))


def test_a_new_key_is_a_new_signer_whatever_its_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        generate(folder, "risk")
    swapped = list(
        taxonomy_changes(keyed(old, "risk.pub.pem"), keyed(new, "risk.pub.pem"), TODAY, same_source=True)
    )
    assert [(c.id, c.status, c.blocks) for c in swapped] == [("risk", Status.RELAXED, True)]
    (new / "moved.pub.pem").write_bytes((old / "risk.pub.pem").read_bytes())
    moved = taxonomy_changes(keyed(old, "risk.pub.pem"), keyed(new, "moved.pub.pem"), TODAY, same_source=True)
    assert list(moved) == []
    lost = taxonomy_changes(keyed(old, "risk.pub.pem"), keyed(new), TODAY, same_source=True)
    assert [c.status for c in lost] == [Status.TIGHTENED]


def test_a_key_that_was_only_listed_counts_from_when_it_is_there(tmp_path: Path) -> None:
    generate(tmp_path / "new", "risk")
    old, new = keyed(tmp_path / "old", "risk.pub.pem"), keyed(tmp_path / "new", "risk.pub.pem")
    assert [c.status for c in taxonomy_changes(old, new, TODAY, same_source=True)] == [Status.RELAXED]
    # A revision without its keys against a working copy with them: they are made on each machine.
    assert list(taxonomy_changes(old, new, TODAY, same_source=False)) == []


_FIRST, _LAST = date(2026, 1, 1), date(2026, 12, 31)


@pytest.mark.parametrize(
    ("was", "now", "status"),
    [
        ({}, {}, None),
        ({}, {"reason": "Replaced in 2027"}, None),
        ({}, {"valid_until": _LAST}, Status.TIGHTENED),
        ({"valid_until": _LAST}, {}, Status.RELAXED),
        ({"valid_until": _FIRST}, {"valid_until": _LAST}, Status.RELAXED),
        ({"valid_from": _FIRST}, {"valid_from": _LAST}, Status.TIGHTENED),
        ({"valid_from": _LAST}, {"valid_from": _FIRST}, Status.RELAXED),
        ({}, {"revoked": _FIRST}, Status.TIGHTENED),
        ({"revoked": _FIRST}, {}, Status.RELAXED),
        ({"revoked": _FIRST}, {"revoked": _LAST}, None),
        ({"revoked": _FIRST}, None, Status.RELAXED),  # another list, or a certificate, may hold the key too
    ],
)
def test_when_a_key_counts(
    tmp_path: Path, was: dict[str, object], now: dict[str, object] | None, status: Status | None
) -> None:
    generate(tmp_path, "risk")

    def of_keys(*keys: dict[str, object] | None) -> Tenant:
        tenant = keyed(tmp_path)
        listed = tuple(ListedKey(tmp_path / "risk.pub.pem", **k) for k in keys if k is not None)  # type: ignore[arg-type]
        unit, signer = tenant.authorities
        return replace(tenant, authorities=(unit, replace(signer, public_keys=listed)))

    changes = list(taxonomy_changes(of_keys(was), of_keys(now), TODAY, same_source=True))
    assert [(c.status, c.blocks) for c in changes] == ([(status, status is Status.RELAXED)] if status else [])


def test_certificates_and_identities(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / f"{name}.pem").write_text(name)
    ours = ListedCertificate(tmp_path / "old.pem", "CN=Risk", "risk@example.com")
    mail = ListedIdentity("https://accounts.example.com", "risk@example.com")

    def status(before: dict[str, object], after: dict[str, object]) -> list[Status]:
        sides = (
            replace(keyed(tmp_path), authorities=(UNIT, replace(RISK, **each)))  # type: ignore[arg-type]
            for each in (before, after)
        )
        return [c.status for c in taxonomy_changes(*sides, TODAY, same_source=True)]

    both = {"certificates": (ours,), "identities": (mail,)}
    assert status(both, both) == []
    assert status({}, both) == [Status.RELAXED]
    assert status(both, {}) == [Status.TIGHTENED]
    for wider in (
        replace(ours, subject=None),
        replace(ours, root=tmp_path / "new.pem"),
        replace(ours, san="lab@example.com"),
    ):
        assert status(both, {**both, "certificates": (wider,)}) == [Status.RELAXED]
    assert status({"certificates": (replace(ours, san=None),)}, {"certificates": (ours,)}) == [
        Status.TIGHTENED
    ]
    other = replace(mail, issuer="https://login.example.com")
    assert status(both, {**both, "identities": (mail, other)}) == [Status.RELAXED]


_TWO = Countersigning(("unit", "board"), 2, (), "Four eyes", HERE)


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ({}, []),
        ({"reason": "another"}, []),
        ({"authorities": ("board", "unit")}, []),
        ({"at_least": 1}, [Status.RELAXED]),
        ({"domains": ("clinical",)}, [Status.RELAXED]),
        ({"authorities": ("unit", "board", "lead")}, [Status.RELAXED]),
        ({"authorities": ("unit", "board", "lead"), "at_least": 3}, [Status.ADDED]),
    ],
)
def test_whose_signature_is_needed(change: dict[str, object], statuses: list[Status]) -> None:
    old = replace(of(), countersignatures=(_TWO,))
    new = replace(of(), countersignatures=(replace(_TWO, **change),))  # type: ignore[arg-type]
    changes = list(taxonomy_changes(old, new, TODAY, same_source=True))
    assert [c.status for c in changes] == statuses
    assert [c.blocks for c in changes] == [s is Status.RELAXED for s in statuses]
    gone = list(taxonomy_changes(old, of(), TODAY, same_source=True))
    assert [(c.status, c.blocks, c.approvers) for c in gone] == [(Status.REMOVED, True, ("board", "unit"))]


def test_a_revocation_is_not_taken_back_in_silence(tmp_path: Path) -> None:
    withdrawn = Revocation("a" * 64, "unit", date(2026, 1, 1), "Data withdrawn", HERE)
    held = replace(of(), revocations=(withdrawn,))
    assert [c.status for c in taxonomy_changes(of(), held, TODAY, same_source=True)] == [Status.ADDED]
    back = list(taxonomy_changes(held, of(), TODAY, same_source=True))
    assert [(c.status, c.blocks, c.kind) for c in back] == [(Status.REMOVED, True, "revocation")]


def test_another_root_of_trust_for_identities(tmp_path: Path) -> None:
    for name in ("old", "same", "new"):
        (tmp_path / name).write_text("new" if name == "new" else "old")

    def rooted(name: str | None) -> Tenant:
        return replace(
            of(), path=str(tmp_path / "t"), sigstore_trusted_root=tmp_path / name if name else None
        )

    for before, after, changed in (
        ("old", "same", False),
        ("old", "new", True),
        (None, "old", True),
        ("old", None, True),
        (None, None, False),
    ):
        found = list(taxonomy_changes(rooted(before), rooted(after), TODAY, same_source=True))
        assert [c.blocks for c in found] == [True] * changed


# --- matching ---------------------------------------------------------------------------------------------

SET = """\
apiVersion: coherence-ft/v1
kind: constraint-set
id: {id}
title: A set
{domain}constraints:
  - id: accuracy
    metric: accuracy
    at_least: {bound}
    confidence: 0.95
    minimum_evidence: 200
    enforcement: hard
    owner: adopter
    reason: A reason.
"""


def write(folder: Path, **bounds: tuple[str, float, str]) -> Side:
    folder.mkdir()
    for name, (id, bound, domain) in bounds.items():
        text = SET.format(id=id, bound=bound, domain=f"domain: {domain}\n" if domain else "")
        (folder / f"{name}.yaml").write_text(text)
    return Side(str(folder), folder, (folder,))


def compared(old: Side, new: Side) -> Comparison:
    return compare(old, new, TODAY)


def test_documents_are_matched_by_id_and_then_by_path(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=("one", 0.8, "legal"), b=("one", 0.6, "legal"), c=("two", 0.7, "legal"))
    same = write(tmp_path / "same", a=("one", 0.8, "legal"), b=("one", 0.6, "legal"), z=("two", 0.7, "legal"))
    assert compared(old, same).changes == ()
    fewer = write(tmp_path / "fewer", b=("one", 0.6, "legal"), z=("two", 0.7, "legal"))
    (gone,) = compared(old, fewer).changes
    assert (gone.status, gone.blocks, gone.old_at.path) == (
        Status.REMOVED,
        True,
        str(tmp_path / "old" / "a.yaml"),
    )


def test_the_same_change_in_every_domain_is_said_once(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=("all", 0.8, ""))
    new = write(tmp_path / "new", a=("all", 0.7, ""))
    (change,) = compared(old, new).changes
    assert len(change.domains) == 5
    narrower = write(tmp_path / "narrower", a=("all", 0.8, "legal"))
    changes = compared(old, narrower).changes
    assert {(c.kind, c.status) for c in changes} == {("domain", Status.REMOVED)}
    assert {c.id for c in changes} == {"general", "clinical", "financial", "code"}
    assert {c.status for c in compared(narrower, old).changes} == {Status.ADDED}
