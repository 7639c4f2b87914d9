"""The two laws over everything that a tenant may say.

Order changes nothing, and tightening an input never loosens the output. One waiver a constraint: of several
in force the strictest holds, so that taking that one away lets the next one relax further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_authority_wording import CONFIDENCES

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
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
from coherence_ft.documents.tenant import Authority, Delegation, Layer, Power, Tenant, Waiver

TODAY = date(2026, 6, 1)
PLACE = Origin("t.yaml", 1, 1)
DAYS = st.integers(-20, 60).map(lambda days: TODAY + timedelta(days=days))
ALL = frozenset(Power)
AUTHORITIES = (
    Authority("unit", "U", Level.REGULATED_UNIT, ALL, (), PLACE),
    Authority("board", "B", Level.REGULATED_UNIT, ALL, (), PLACE),
    Authority("lead", "L", Level.TENANT, frozenset({Power.SET, Power.TIGHTEN, Power.WAIVE}), (), PLACE),
    Authority("clerk", "C", Level.CONVERSATION, frozenset(), (), PLACE),
)
OWNERS = st.sampled_from([*["unit", "board", "adopter"] * 3, "lead"])
IDS = ("risk", "format")


@st.composite
def constraints(draw: st.DrawFn, id: str) -> Constraint:
    bound = draw(st.sampled_from([0.05, 0.1, 0.2]))
    return Constraint(
        id,
        "violation_rate",
        Direction.AT_MOST,
        bound,
        draw(st.sampled_from([0.9, 0.95])),
        draw(st.sampled_from([60, 100])),
        draw(st.sampled_from([*[Enforcement.HARD] * 3, Enforcement.REPORT])),
        draw(OWNERS),
        "Because",
        waiver_floor=draw(st.sampled_from([0.25, 0.3, 0.3, 0.3, None])),
        waiver_approvals=draw(st.sampled_from([1, 1, 1, 2])),
        scope=Scope(domains=draw(st.sampled_from([(), (), ("clinical",), ("legal",)]))),
    )


@st.composite
def wordings(draw: st.DrawFn) -> Wording:
    acts = sorted(draw(st.lists(st.sampled_from(Act), min_size=2, max_size=2)), key=lambda act: act.caution)
    upper = Band(draw(st.sampled_from([0.3, 0.8])), acts[0], f"{acts[0]} {{answer}}", PLACE)
    audience = draw(st.sampled_from([None, None, "nurses"]))
    return Wording(audience, (upper, Band(0.0, acts[1], f"{acts[1]}", PLACE)), draw(OWNERS), "Because", PLACE)


BOUNDARY = RoleBoundary("dosage", ("dose",), ("a physician",), (), "unit", "Because", PLACE)
RESTRICTION = NamedConstraint("no-names", ("Mr.",), (), "unit", "Because", PLACE)


@st.composite
def sets(draw: st.DrawFn, depth: int = 1) -> ConstraintSet:
    number = draw(st.integers(0, 99))
    extends: list[ConstraintSet] = draw(st.lists(sets(depth - 1), max_size=2)) if depth else []
    return ConstraintSet(
        f"set-{number}",
        "S",
        None,
        tuple(draw(constraints(id)) for id in IDS if draw(st.booleans())),
        f"{number}-{depth}.yaml",
        role_boundaries=tuple(
            replace(BOUNDARY, id=f"b{n}") for n in range(draw(st.sampled_from([0, 0, 1, 2])))
        ),
        named_constraints=(RESTRICTION,) if draw(st.booleans()) else (),
        wording=(draw(wordings()),) if draw(st.booleans()) else (),
        extends=tuple({s.path: s for s in extends}.values()),
    )


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    layers = tuple(
        Layer(
            draw(st.sampled_from([Level.REGULATED_UNIT, Level.REGULATED_UNIT, Level.TENANT, Level.QUERY])),
            draw(st.sampled_from([*["unit", "board"] * 3, "lead"])),
            draw(sets()),
            PLACE,
        )
        for _ in range(draw(st.integers(1, 3)))
    )
    delegations = tuple(
        Delegation(
            lender,
            draw(st.sampled_from(["lead", "clerk"])),
            frozenset(draw(st.sets(st.sampled_from([Power.SET, Power.TIGHTEN, Power.WAIVE]), min_size=1))),
            draw(st.sampled_from([(), (), ("clinical",), ("legal",)])),
            draw(st.integers(0, 2)),
            "Because",
            draw(DAYS),
            PLACE,
        )
        for lender in draw(st.lists(st.sampled_from(["unit", "board"]), max_size=2))
    )
    waivers = tuple(
        Waiver(
            id,
            "clinical",
            draw(st.sampled_from([0.12, 0.22, 0.25])),
            "clerk",
            tuple(draw(st.sampled_from([("unit",), ("board", "unit"), ("board", "unit"), ("lead",)]))),
            "Pilot",
            draw(DAYS),
            PLACE,
            recipe=draw(st.sampled_from([None, "ours", "other"])),
        )
        for id in IDS
        if draw(st.booleans())
    )
    return Tenant("t", "T", AUTHORITIES, layers, waivers, ("clinical", "legal"), "t.yaml", delegations)


def resolved(tenant: Tenant) -> ResolvedConstraints:
    return resolve(tenant, "clinical", recipe="ours", today=TODAY)


def outcome(tenant: Tenant) -> Any:
    """What resolution says, places and the order of diagnostics aside."""
    try:
        found = resolved(tenant)
    except CoherenceError as error:
        return sorted(map(str, error.diagnostics))
    return found.digest, sorted(map(str, found.warnings))


# --- what is looser ---------------------------------------------------------------------------------------


def effective(each: ResolvedConstraint) -> float:
    """The loosest value that is let through today."""
    return each.waiver.bound if each.waiver else each.constraint.bound


def looser(now: ResolvedConstraints, before: ResolvedConstraints) -> list[str]:
    """Everything that is less strict than before: nothing where the document is no looser."""
    found = []
    after = {r.constraint.id: r for r in now.constraints}
    level = {a.id: a.level.rank for a in AUTHORITIES}
    for old in before.constraints:
        id = old.constraint.id
        if id not in after:
            found.append(f"{id} is gone")
            continue
        new = after[id]
        a, b = new.constraint, old.constraint
        if a.bound > b.bound or effective(new) > max(effective(old), b.bound):
            found.append(f"bound of {id}")
        if a.confidence < b.confidence or a.minimum_evidence < b.minimum_evidence:
            found.append(f"evidence of {id}")
        if b.enforcement is Enforcement.HARD is not a.enforcement:
            found.append(f"enforcement of {id}")
        if b.locked and not a.locked:
            found.append(f"lock of {id}")
        if (a.waiver_floor or a.bound) > (b.waiver_floor or b.bound):
            found.append(f"floor of {id}")
        if a.waiver_floor is not None and a.waiver_approvals < b.waiver_approvals:
            found.append(f"approvals of {id}")
        if level[a.owner] > level[b.owner]:
            found.append(f"owner of {id}")
    signed, was = now.to_json(), before.to_json()
    for kind in ("role_boundaries", "named_constraints"):
        found += [f"{rule['id']} of {kind}" for rule in was[kind] if rule not in signed[kind]]
    for audience in (None, "nurses", "public"):
        old_words, new_words = before.wording_for(audience), now.wording_for(audience)
        for confidence in CONFIDENCES if old_words else ():
            if new_words is None or (
                new_words.band(confidence).act.caution < old_words.band(confidence).act.caution
            ):
                found.append(f"wording for {audience} at {confidence}")
    if now.sources != before.sources:
        found.append("sources")
    return found


EXAMPLE = Tenant(
    "t",
    "T",
    AUTHORITIES,
    (
        Layer(
            Level.REGULATED_UNIT,
            "unit",
            ConstraintSet(
                "s",
                "S",
                None,
                (
                    Constraint(
                        "risk",
                        "violation_rate",
                        Direction.AT_MOST,
                        0.1,
                        0.95,
                        60,
                        Enforcement.HARD,
                        "unit",
                        "Because",
                        locked=True,
                        waiver_floor=0.3,
                        waiver_approvals=2,
                    ),
                ),
                "",
                role_boundaries=(BOUNDARY,),
                named_constraints=(RESTRICTION,),
                wording=(
                    Wording(
                        None,
                        (Band(0.8, Act.HEDGE, "{answer}?", PLACE), Band(0, Act.DEFER, "Ask.", PLACE)),
                        "unit",
                        "Because",
                        PLACE,
                    ),
                ),
            ),
            PLACE,
        ),
    ),
    (Waiver("risk", "clinical", 0.2, "clerk", ("board", "unit"), "Pilot", TODAY, PLACE),),
    ("clinical", "legal"),
    "t.yaml",
)


def changed(**changes: Any) -> ResolvedConstraints:
    """The example with its constraint changed after the fact, as no tightening could do it."""
    before = resolved(EXAMPLE)
    (each,) = before.constraints
    return replace(before, constraints=(replace(each, constraint=replace(each.constraint, **changes)),))


@pytest.mark.parametrize(
    "change",
    [
        {"bound": 0.11},
        {"confidence": 0.94},
        {"minimum_evidence": 59},
        {"enforcement": Enforcement.REPORT},
        {"locked": False},
        {"waiver_floor": 0.31},
        {"waiver_approvals": 1},
        {"owner": "lead"},
        {"id": "another"},
    ],
)
def test_looser_sees_every_value_of_a_constraint(change: dict[str, Any]) -> None:
    assert looser(resolved(EXAMPLE), resolved(EXAMPLE)) == []
    assert looser(changed(**change), resolved(EXAMPLE))


@pytest.mark.parametrize("gone", ["role_boundaries", "named_constraints", "wording", "sources"])
def test_looser_sees_what_is_gone(gone: str) -> None:
    assert looser(replace(resolved(EXAMPLE), **{gone: ()}), resolved(EXAMPLE))


def test_looser_sees_a_waiver_and_bolder_words() -> None:
    unwaived = resolved(replace(EXAMPLE, waivers=()))
    assert looser(resolved(EXAMPLE), unwaived) == ["bound of risk"]
    assert looser(unwaived, resolved(EXAMPLE)) == []
    (words,) = unwaived.wording
    bold = replace(words, bands=tuple(replace(band, act=Act.ASSERT) for band in words.bands))
    assert looser(replace(unwaived, wording=(bold,)), unwaived)


# --- order ------------------------------------------------------------------------------------------------


def shuffled(data: st.DataObject, own: ConstraintSet) -> ConstraintSet:
    parents = [shuffled(data, parent) for parent in own.extends]
    return replace(
        own,
        extends=tuple(data.draw(st.permutations(parents))),
        constraints=tuple(data.draw(st.permutations(own.constraints))),
        role_boundaries=tuple(data.draw(st.permutations(own.role_boundaries))),
    )


@settings(deadline=None, max_examples=150)
@given(tenants(), st.data())
def test_order_changes_nothing(tenant: Tenant, data: st.DataObject) -> None:
    """Of layers, of sets within `extends`, of constraints and rules, authorities, delegations and waivers."""
    layers = [replace(lay, constraint_set=shuffled(data, lay.constraint_set)) for lay in tenant.layers]
    other = replace(
        tenant,
        layers=tuple(data.draw(st.permutations(layers))),
        delegations=tuple(data.draw(st.permutations(tenant.delegations))),
        waivers=tuple(data.draw(st.permutations(tenant.waivers))),
    )
    assert outcome(other) == outcome(tenant)


# --- tightening -------------------------------------------------------------------------------------------

TIGHTER: dict[str, Callable[[Constraint], Constraint]] = {
    "bound": lambda c: replace(c, bound=c.bound * 0.9),
    "confidence": lambda c: replace(c, confidence=0.99),
    "minimum_evidence": lambda c: replace(c, minimum_evidence=c.minimum_evidence + 1),
    "enforcement": lambda c: replace(c, enforcement=Enforcement.HARD),
    "locked": lambda c: replace(c, locked=True),
    "no floor": lambda c: replace(c, waiver_floor=None),
    "floor": lambda c: replace(c, waiver_floor=c.waiver_floor and c.waiver_floor - 0.04),
    "approvals": lambda c: replace(c, waiver_approvals=c.waiver_approvals + 1),
}


def tighter_set(own: ConstraintSet, data: st.DataObject) -> ConstraintSet:
    """One thing in the set, or in one that it extends, made stricter."""
    ways = ["boundary", "restriction", "wording"]
    ways += ["constraint"] if own.constraints else []
    ways += ["parent"] if own.extends else []
    ways += ["act"] if own.wording else []
    way = data.draw(st.sampled_from(ways))
    if way == "boundary":
        return replace(own, role_boundaries=(*own.role_boundaries, replace(BOUNDARY, id="added")))
    if way == "restriction":
        return replace(own, named_constraints=(*own.named_constraints, replace(RESTRICTION, id="added")))
    if way == "wording":
        return replace(own, wording=(*own.wording, data.draw(wordings())))
    if way == "act":
        (made, *others) = own.wording
        bands = tuple(replace(band, act=Act.DEFER) for band in made.bands)
        kept = data.draw(st.integers(0, len(bands) - 1))  # the upper ones: below, nothing may be bolder
        return replace(own, wording=(replace(made, bands=made.bands[:kept] + bands[kept:]), *others))
    if way == "parent":
        n = data.draw(st.integers(0, len(own.extends) - 1))
        parents = [tighter_set(p, data) if i == n else p for i, p in enumerate(own.extends)]
        return replace(own, extends=tuple(parents))
    n = data.draw(st.integers(0, len(own.constraints) - 1))
    change = TIGHTER[data.draw(st.sampled_from(sorted(TIGHTER)))]
    return replace(own, constraints=tuple(change(c) if i == n else c for i, c in enumerate(own.constraints)))


def without(items: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    return items[:n] + items[n + 1 :]


def tighter(tenant: Tenant, data: st.DataObject) -> Tenant:
    """One thing that the tenant says made stricter, taken away if it relaxes, or ended earlier."""
    ways = ["set", "set", "add a layer"]
    ways += ["drop a waiver", "shorten a waiver"] if tenant.waivers else []
    ways += ["drop a delegation", "shorten a delegation"] if tenant.delegations else []
    way = data.draw(st.sampled_from(ways))
    if way == "set":
        n = data.draw(st.integers(0, len(tenant.layers) - 1))
        changed = replace(tenant.layers[n], constraint_set=tighter_set(tenant.layers[n].constraint_set, data))
        return replace(tenant, layers=(*without(tenant.layers, n), changed))
    if way == "add a layer":
        added = Layer(data.draw(st.sampled_from(Level)), "unit", data.draw(sets()), PLACE)
        return replace(tenant, layers=(*tenant.layers, added))
    name = "waivers" if "waiver" in way else "delegations"
    items = getattr(tenant, name)
    n = data.draw(st.integers(0, len(items) - 1))
    kept = without(items, n)
    if way.startswith("shorten"):
        earlier = timedelta(days=data.draw(st.integers(1, 60)))
        kept = (
            *kept,
            replace(items[n], expires=items[n].expires - earlier),
        )
    return replace(tenant, **{name: kept})


@settings(deadline=None, max_examples=400)
@given(tenants(), st.data())
def test_tightening_an_input_never_loosens_the_output(tenant: Tenant, data: st.DataObject) -> None:
    try:
        before = resolved(tenant)
    except CoherenceError:
        return
    try:
        now = resolved(tighter(tenant, data))
    except CoherenceError:
        return  # refused: something below is now looser, or lacks what was lent
    assert looser(now, before) == []


@settings(deadline=None, max_examples=200)
@given(tenants())
def test_signed_form_of_everything_round_trips(tenant: Tenant) -> None:
    try:
        before = resolved(tenant)
    except CoherenceError:
        return
    back = ResolvedConstraints.from_json(before.to_json())
    assert back.digest == before.digest
    assert looser(back, before) == []
    assert looser(before, back) == []


@settings(deadline=None, max_examples=100)
@given(tenants(), DAYS)
def test_time_alone_only_takes_away_what_relaxes(tenant: Tenant, later: date) -> None:
    """Waivers and delegations end: a later day gives no more leave than an earlier one."""
    first, second = sorted((TODAY, later))
    try:
        before = resolve(tenant, "clinical", recipe="ours", today=first)
        now = resolve(tenant, "clinical", recipe="ours", today=second)
    except CoherenceError:
        return
    assert looser(now, before) == []
