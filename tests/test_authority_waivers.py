"""Who may waive what, how far and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.authority.delegation import in_force as grants
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.waivers import choose, from_json, problems, to_json
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet, Enforcement, Level, Origin
from coherence_ft.documents.diagnostics import CoherenceError, Severity
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import Authority, Layer, Power, Tenant, Waiver

HERE = Origin("tenant.yaml", 20, 5)
TODAY = date(2026, 6, 1)


def in_force(waiver: Waiver, tenant: Tenant, constraint: Constraint, today: date) -> bool:
    return waiver.constraint == constraint.id and not problems(
        waiver, tenant, constraint, today, grants(tenant, today)
    )


def authority(id: str, level: Level, *powers: Power) -> Authority:
    return Authority(id, id, level, frozenset(powers), (), HERE)


TENANT = Tenant(
    "t",
    "T",
    (
        authority("unit", Level.REGULATED_UNIT, Power.SET, Power.WAIVE),
        authority("office", Level.TENANT, Power.WAIVE),
        authority("lead", Level.TENANT, Power.SET),
    ),
    (),
    (),
    ("clinical",),
    "tenant.yaml",
)
AT_MOST = Constraint(
    "risk",
    "selective_risk",
    Direction.AT_MOST,
    0.05,
    0.95,
    59,
    Enforcement.HARD,
    "lead",
    "Because",
    waiver_floor=0.10,
    coverage=0.6,
)
AT_LEAST = replace(
    AT_MOST,
    id="accuracy",
    metric="accuracy",
    direction=Direction.AT_LEAST,
    bound=0.8,
    waiver_floor=0.7,
    coverage=None,
)
VALID = Waiver("risk", "clinical", 0.08, "lead", ("office",), "A pilot of ten people", date(2026, 6, 1), HERE)


def codes(waiver: Waiver, constraint: Constraint | None = AT_MOST, today: date = TODAY) -> list[str]:
    return [d.code for d in problems(waiver, TENANT, constraint, today, grants(TENANT, today))]


def test_valid_up_to_and_on_its_last_day() -> None:
    assert in_force(VALID, TENANT, AT_MOST, TODAY)
    assert not in_force(VALID, TENANT, AT_MOST, date(2026, 6, 2))


def test_for_one_constraint_only() -> None:
    assert not in_force(VALID, TENANT, replace(AT_MOST, id="other"), TODAY)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"approved_by": ("lead",)}, "CFT311"),
        ({"approved_by": ("nobody",)}, "CFT301"),
        ({"requested_by": "nobody"}, "CFT301"),
        ({"requested_by": "office", "approved_by": ("lead",)}, "CFT302"),
        ({"bound": 0.11}, "CFT313"),
        ({"reason": "  "}, "CFT314"),
        ({"bound": 0.05}, "CFT316"),
    ],
)
def test_each_rule_by_itself(change: dict[str, object], code: str) -> None:
    waiver = replace(VALID, **change)  # type: ignore[arg-type]
    assert code in codes(waiver)
    assert not in_force(waiver, TENANT, AT_MOST, TODAY)


def test_floor_itself_is_allowed_in_both_directions() -> None:
    assert codes(replace(VALID, bound=0.10)) == []
    lower = replace(VALID, constraint="accuracy", bound=0.7)
    assert codes(lower, AT_LEAST) == []
    assert codes(replace(lower, bound=0.69), AT_LEAST) == ["CFT313"]
    assert codes(replace(lower, bound=0.81), AT_LEAST) == ["CFT316"]


def test_without_a_floor_nothing_can_be_waived() -> None:
    assert codes(VALID, replace(AT_MOST, waiver_floor=None)) == ["CFT313"]


def test_approver_ranks_at_least_as_high_as_the_owner() -> None:
    owned_above = replace(AT_MOST, owner="unit")
    assert codes(VALID, owned_above) == ["CFT312"]
    assert codes(replace(VALID, approved_by=("unit",)), owned_above) == []
    assert codes(VALID, replace(AT_MOST, owner="gone")) == ["CFT301"]


def test_expired_is_absent_however_wrong_it_is() -> None:
    wrong = replace(VALID, bound=0.9, approved_by=("lead",), reason="", expires=date(2020, 1, 1))
    found = problems(wrong, TENANT, AT_MOST, TODAY, grants(TENANT, TODAY))
    assert [(d.code, d.severity) for d in found] == [("CFT315", Severity.WARNING)]


def test_unknown_constraint_is_a_warning() -> None:
    assert codes(VALID, None) == ["CFT316"]


def test_problems_point_at_the_waiver() -> None:
    (found,) = problems(replace(VALID, bound=0.5), TENANT, AT_MOST, TODAY, grants(TENANT, TODAY))
    assert found.place == "tenant.yaml:20:5"
    assert (found.found, found.expected) == ("0.5", "at_most 0.1")


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from([AT_MOST, AT_LEAST]))
def test_never_past_the_floor_and_never_without_effect(bound: float, constraint: Constraint) -> None:
    waiver = replace(VALID, constraint=constraint.id, bound=bound)
    assert constraint.waiver_floor is not None
    low, high = sorted((constraint.bound, constraint.waiver_floor))
    assert in_force(waiver, TENANT, constraint, TODAY) == (low <= bound <= high and bound != constraint.bound)


def test_of_several_the_strictest_then_the_longest_holds() -> None:
    strict = replace(VALID, bound=0.06)
    longer = replace(strict, expires=date(2027, 1, 1))
    assert choose([VALID, strict, longer], AT_MOST) == longer
    assert choose([], AT_MOST) is None


def test_round_trip() -> None:
    assert from_json(to_json(VALID)) == replace(VALID, origin=Origin("", 0, 0))
    assert to_json(VALID)["bound"] == "0.08"
    assert to_json(VALID)["expires"] == "2026-06-01"


# --- several approvals, one recipe, the last days ---------------------------------------------------------

TWO = replace(AT_MOST, waiver_approvals=2)


@pytest.mark.parametrize(
    ("approved_by", "codes"),
    [
        (("office", "unit"), set()),
        (("unit",), {"CFT335"}),
        (("unit", "unit"), {"CFT335"}),  # one pair of eyes
        (("office", "lead"), {"CFT302", "CFT311"}),  # each of them counts only if it may approve
        (("office", "nobody"), {"CFT301"}),
    ],
)
def test_every_approval_that_is_asked_for_must_be_a_good_one(
    approved_by: tuple[str, ...], codes: set[str]
) -> None:
    waiver = replace(VALID, approved_by=approved_by)
    found = problems(waiver, TENANT, TWO, TODAY, grants(TENANT, TODAY))
    assert {d.code for d in found} == codes


def test_the_most_approvals_of_all_layers_are_asked_for() -> None:
    layers = tuple(
        Layer(
            level,
            "unit",
            ConstraintSet(level, level, None, (replace(AT_MOST, owner="unit", waiver_approvals=n),), ""),
            HERE,
        )
        for level, n in ((Level.REGULATED_UNIT, 2), (Level.TENANT, 1))
    )
    tenant = replace(TENANT, layers=layers, waivers=(replace(VALID, approved_by=("unit",)),))
    with pytest.raises(CoherenceError) as error:
        resolve(tenant, "clinical", today=TODAY)
    assert "CFT335" in error.value.codes


def held(waiver: Waiver, recipe: str | None = None, today: date = TODAY) -> ResolvedConstraints:
    stated = replace(AT_MOST, owner="unit")
    layer = Layer(Level.REGULATED_UNIT, "unit", ConstraintSet("s", "S", None, (stated,), ""), HERE)
    tenant = replace(TENANT, layers=(layer,), waivers=(replace(waiver, approved_by=("unit",)),))
    return resolve(tenant, "clinical", recipe=recipe, today=today)


def test_a_waiver_for_a_recipe_holds_for_that_one_alone() -> None:
    ours = replace(VALID, recipe="ours")
    assert held(ours, "ours").constraints[0].waiver is not None
    assert held(ours, "theirs").constraints[0].waiver is None
    assert held(ours).constraints[0].waiver is None
    assert held(VALID, "ours").constraints[0].waiver is not None
    assert held(ours, "ours").digest != held(VALID, "ours").digest


def test_a_wrong_waiver_for_a_recipe_is_found_in_the_tenant_and_for_that_recipe() -> None:
    wrong = replace(VALID, recipe="ours", requested_by="unit")
    for recipe in (None, "ours"):
        with pytest.raises(CoherenceError) as error:
            held(wrong, recipe)
        assert error.value.codes == ("CFT311",)
    assert held(wrong, "theirs").constraints[0].waiver is None


@pytest.mark.parametrize(
    ("left", "says"), [(0, "today"), (1, "tomorrow"), (29, "in 29 days"), (30, None), (400, None)]
)
def test_a_waiver_that_ends_soon_is_announced(left: int, says: str | None) -> None:
    warnings = held(VALID, today=VALID.expires - timedelta(days=left)).warnings
    assert [d.code for d in warnings] == (["CFT336"] if says else [])
    if says:
        assert warnings[0].severity is Severity.WARNING
        assert warnings[0].message.endswith(says)
    assert [d.code for d in held(VALID, today=VALID.expires + timedelta(days=1)).warnings] == ["CFT315"]
