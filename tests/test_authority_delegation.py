"""Lending powers: what may be lent, how far, until when, and for which domains."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise, permutations

import pytest

from coherence_ft.authority.delegation import Grants, in_force, problems
from coherence_ft.authority.resolve import resolve
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet, Enforcement, Level, Origin
from coherence_ft.documents.diagnostics import CoherenceError, Severity
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.schemas import load_schema
from coherence_ft.documents.tenant import Authority, Delegation, Layer, Power, Tenant, Waiver

TODAY = date(2026, 6, 1)
PLACE = Origin("t.yaml", 1, 1)
SET, TIGHTEN, WAIVE, ATTEST, COUNTERSIGN, DELEGATE = Power


def authority(id: str, level: Level, *powers: Power) -> Authority:
    return Authority(id, id, level, frozenset(powers), (), PLACE)


UNIT = authority("unit", Level.REGULATED_UNIT, SET, TIGHTEN, WAIVE, ATTEST, COUNTERSIGN, DELEGATE)
NAMES = ("first", "second", "third", "fourth")
OTHERS = tuple(authority(name, Level.TENANT) for name in NAMES)


def lend(lender: str, holder: str, *powers: Power, depth: int = 0, **changes: object) -> Delegation:
    made = Delegation(lender, holder, frozenset(powers or (SET,)), (), depth, "Because", TODAY, PLACE)
    return replace(made, **changes)  # type: ignore[arg-type]


def tenant(*delegations: Delegation, authorities: tuple[Authority, ...] = (UNIT, *OTHERS)) -> Tenant:
    return Tenant("t", "T", authorities, (), (), ("clinical", "legal"), "t.yaml", delegations)


def grants(*delegations: Delegation, today: date = TODAY) -> Grants:
    return in_force(tenant(*delegations), today)


def codes(*delegations: Delegation) -> list[str]:
    return [d.code for d in problems(tenant(*delegations), TODAY)]


def test_the_holder_acts_at_the_lenders_level() -> None:
    lent = grants(lend("unit", "first", SET))
    assert lent.powers("first", "clinical") == {SET}
    assert lent.level("first", (SET,), "clinical") is Level.REGULATED_UNIT
    assert lent.level("first", (WAIVE,), "clinical") is None
    assert lent.powers("unit", "clinical") == UNIT.powers  # who lends keeps


def test_only_what_is_lent_and_only_in_its_domains() -> None:
    lent = grants(lend("unit", "first", WAIVE, domains=("legal",)))
    assert lent.powers("first", "legal") == {WAIVE}
    assert lent.powers("first", "clinical") == set()


def test_domains_narrow_along_a_chain_and_never_widen() -> None:
    lent = grants(
        lend("unit", "first", domains=("legal",), depth=3),
        lend("first", "second", depth=2),
        lend("second", "third", domains=("clinical", "legal"), depth=1),
        lend("third", "fourth", domains=("clinical",)),
    )
    for holder in ("first", "second", "third"):
        assert lent.powers(holder, "legal") == {SET}
        assert lent.powers(holder, "clinical") == set()
    assert lent.powers("fourth", "legal") == lent.powers("fourth", "clinical") == set()
    upper = lend("unit", "first", domains=("legal",), depth=1)
    assert codes(upper, lend("first", "second", domains=("clinical",))) == ["CFT332"]


@pytest.mark.parametrize(("depth", "reached"), [(0, 1), (1, 2), (2, 3), (8, 4)])
def test_depth_is_how_often_it_may_be_passed_on(depth: int, reached: int) -> None:
    chain = [lend("unit", "first", depth=depth)]
    chain += [lend(a, b, depth=8) for a, b in pairwise(NAMES)]
    lent = grants(*chain)
    assert [bool(lent.powers(name, "legal")) for name in NAMES] == [n < reached for n in range(4)]
    assert codes(*chain) == ["CFT332"] * max(0, 4 - reached)


def test_it_holds_on_its_last_day_and_falls_with_a_loan_above_it() -> None:
    upper, lower = lend("unit", "first", depth=1), lend("first", "second", expires=TODAY + timedelta(days=9))
    assert grants(upper, lower).powers("second", "legal") == {SET}
    tomorrow = grants(upper, lower, today=TODAY + timedelta(days=1))
    assert tomorrow.powers("first", "legal") == tomorrow.powers("second", "legal") == set()
    found = problems(tenant(upper, lower), TODAY + timedelta(days=1))
    assert [(d.code, d.severity) for d in found] == [
        ("CFT333", Severity.WARNING),
        ("CFT332", Severity.ERROR),
    ]


def test_order_does_not_matter() -> None:
    chain = [lend("unit", "first", depth=2), lend("first", "second", depth=1), lend("second", "third")]
    assert len({grants(*order).grants for order in permutations(chain)}) == 1


def test_cycles_end_and_add_nothing() -> None:
    ring = [lend(a, b, depth=8) for a, b in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)]
    assert not any(grants(*ring).powers(name, "legal") for name in NAMES)
    lent = grants(lend("unit", "first", SET, depth=8), *ring)
    assert all(lent.powers(name, "legal") == {SET} for name in NAMES)


def test_a_web_of_loans_ends_soon() -> None:
    """Sets of domains would be as many as there are subsets."""
    domains = [f"d{n}" for n in range(40)]
    web = [
        lend(a, b, SET, TIGHTEN, WAIVE, depth=8, domains=tuple(domains[:n] + domains[n + 1 :]))
        for n, (a, b) in enumerate(permutations(("unit", *NAMES), 2))
    ]
    lent = grants(*web)
    assert lent.powers("fourth", "d39") == {SET, TIGHTEN, WAIVE}
    assert len(lent.grants) < 2000


def test_a_deeper_loan_beside_a_shallow_one_counts() -> None:
    shallow, deep = lend("unit", "first", depth=0), lend("unit", "first", depth=1)
    for order in permutations((shallow, deep, lend("first", "second"))):
        assert grants(*order).powers("second", "legal") == {SET}


def test_what_is_not_held_cannot_be_lent() -> None:
    assert codes(lend("first", "second", SET)) == ["CFT332"]
    lead = authority("lead", Level.TENANT, SET, DELEGATE)
    found = problems(tenant(lend("lead", "first", SET, WAIVE), authorities=(lead, *OTHERS)), TODAY)
    assert [d.code for d in found] == ["CFT332"]
    assert found[0].found == "waive; it may lend set"


def test_the_power_to_lend_is_needed_beside_the_power() -> None:
    lead = authority("lead", Level.TENANT, SET)
    made = tenant(lend("lead", "first", SET), authorities=(lead, *OTHERS))
    assert [d.code for d in problems(made, TODAY)] == ["CFT332"]
    assert in_force(made, TODAY).powers("first", "legal") == set()


@pytest.mark.parametrize("power", [ATTEST, COUNTERSIGN, DELEGATE])
def test_signing_and_lending_are_never_lent(power: Power) -> None:
    """The schema does not let it be written: a signature names its key's owner, and depth limits lending."""
    lendable = load_schema("tenant")["$defs"]["delegation"]["properties"]["powers"]["items"]["enum"]
    assert power.value not in lendable
    assert set(lendable) == {p.value for p in Power} - {"attest", "countersign", "delegate"}


def test_a_loan_of_signing_lends_nothing_even_where_no_schema_was_asked() -> None:
    assert grants(lend("unit", "first", ATTEST, COUNTERSIGN, DELEGATE, SET)).powers("first", "legal") == {SET}
    assert codes(lend("unit", "first", ATTEST)) == ["CFT332"]


def test_nobody_lends_to_itself_or_to_a_stranger() -> None:
    assert codes(lend("unit", "unit", SET)) == ["CFT332"]
    assert codes(lend("unit", "nobody", SET)) == codes(lend("nobody", "first", SET)) == ["CFT301"]
    assert grants(lend("unit", "nobody", SET)).powers("nobody", "legal") == set()


# --- what lent powers do ----------------------------------------------------------------------------------


def constraint(**changes: object) -> Constraint:
    made = Constraint(
        "risk",
        "violation_rate",
        Direction.AT_MOST,
        0.1,
        0.95,
        60,
        Enforcement.HARD,
        "unit",
        "Because",
        waiver_floor=0.3,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def governed(
    *delegations: Delegation, layers: tuple[Layer, ...] = (), waivers: tuple[Waiver, ...] = ()
) -> Tenant:
    top = Layer(Level.REGULATED_UNIT, "unit", ConstraintSet("s", "S", None, (constraint(),), ""), PLACE)
    return replace(tenant(*delegations), layers=(top, *layers), waivers=waivers)


WAIVER = Waiver("risk", "legal", 0.2, "second", ("first",), "Pilot", TODAY, PLACE)


def refused(made: Tenant, domain: str = "legal", today: date = TODAY) -> set[str]:
    try:
        resolve(made, domain, today=today)
    except CoherenceError as error:
        return set(error.codes)
    return set()


def test_a_lent_waive_approves_at_the_lenders_level() -> None:
    assert refused(governed(waivers=(WAIVER,))) == {"CFT302", "CFT312"}
    lent = governed(lend("unit", "first", WAIVE), waivers=(WAIVER,))
    assert resolve(lent, "legal", today=TODAY).constraints[0].waiver == WAIVER
    only_clinical = governed(lend("unit", "first", WAIVE, domains=("clinical",)), waivers=(WAIVER,))
    assert refused(only_clinical) == {"CFT302", "CFT312"}


def test_a_waiver_falls_with_the_loan_that_let_its_approver_approve() -> None:
    longer = replace(WAIVER, expires=TODAY + timedelta(days=99))
    made = governed(lend("unit", "first", WAIVE), waivers=(longer,))
    assert refused(made) == set()
    assert refused(made, today=TODAY + timedelta(days=1)) == {"CFT302", "CFT312"}


def test_a_lent_power_does_not_let_its_lender_approve_its_own_request() -> None:
    own = replace(WAIVER, requested_by="first")
    assert refused(governed(lend("unit", "first", WAIVE), waivers=(own,))) == {"CFT311"}


def test_a_lent_set_lets_its_holder_adopt_at_the_lenders_level() -> None:
    added = Layer(
        Level.REGULATED_UNIT,
        "first",
        ConstraintSet("own", "Own", None, (constraint(id="own", owner="first"),), ""),
        PLACE,
    )
    assert "CFT303" in refused(governed(layers=(added,)))
    assert refused(governed(lend("unit", "first", SET), layers=(added,))) == set()
    only_clinical = governed(lend("unit", "first", SET, domains=("clinical",)), layers=(added,))
    assert "CFT303" in refused(only_clinical, "legal")
    assert refused(only_clinical, "clinical") == set()


def test_a_lent_tighten_narrows_and_cannot_set() -> None:
    def lower(stated: Constraint) -> Layer:
        return Layer(Level.TENANT, "first", ConstraintSet("own", "Own", None, (stated,), ""), PLACE)

    lent = lend("unit", "first", TIGHTEN)
    assert refused(governed(lent, layers=(lower(constraint(bound=0.05, owner="first")),))) == set()
    assert refused(governed(lent, layers=(lower(constraint(id="new", owner="first")),))) == {"CFT302"}
