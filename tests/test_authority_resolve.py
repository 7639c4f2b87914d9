"""Resolution: golden documents with what they resolve to, and the two laws of tightening as properties."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.cli.resolve import command
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet, Enforcement, Level, Origin
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import METRICS, Direction
from coherence_ft.documents.tenant import Authority, Layer, Power, Tenant, Waiver, read_tenant

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "resolve"
CASES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())
TODAY = date(2026, 6, 1)
NOWHERE = Origin("t.yaml", 1, 1)


@pytest.fixture
def in_golden(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(GOLDEN)
    yield GOLDEN


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, in_golden: Path) -> None:
    """`COHERENCE_FT_GOLDEN=1 pytest` writes the expected files anew; read their diff."""
    run = CliRunner().invoke(command, ["--tenant", f"{case}/tenant.yaml", "--domain", "clinical"])
    if isinstance(run.exception, CoherenceError):
        text = "\n\n".join(map(str, run.exception.diagnostics)) + "\n"
    else:
        assert run.exit_code == 0, run.exception
        text = run.stdout
    text = text.replace(f"{in_golden}/", "")
    expected = in_golden / case / "expected.txt"
    if os.environ.get("COHERENCE_FT_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    assert case.startswith("refused-") == (run.exit_code != 0)


# --- properties -------------------------------------------------------------------------------------------

OWNER = Authority(
    "unit", "Unit", Level.REGULATED_UNIT, frozenset({Power.SET, Power.TIGHTEN, Power.WAIVE}), (), NOWHERE
)
OTHER = replace(OWNER, id="second")
BOUNDS = st.integers(1, 99).map(lambda n: n / 100)


@st.composite
def constraints(draw: st.DrawFn, id: str, metric: str) -> Constraint:
    bound = draw(BOUNDS)
    return Constraint(
        id,
        metric,
        METRICS[metric].direction,
        bound,
        draw(st.sampled_from([0.9, 0.95, 0.99])),
        draw(st.integers(1, 300)),
        draw(st.sampled_from(Enforcement)),
        draw(st.sampled_from(["unit", "second"])),
        draw(st.sampled_from(["one reason", "another"])),
        waiver_floor=draw(st.none() | st.just(_away(metric, bound))),
    )


def _away(metric: str, bound: float) -> float:
    return round(bound / 2 if METRICS[metric].direction is Direction.AT_LEAST else (1 + bound) / 2, 4)


@st.composite
def layers(draw: st.DrawFn) -> list[Layer]:
    """One to four layers at any levels that may state the same constraints."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        stated = tuple(
            draw(constraints(metric, metric))
            for metric in ("accuracy", "violation_rate")
            if draw(st.booleans())
        )
        id = f"set-{draw(st.integers(0, 1))}"
        domain = draw(st.sampled_from([None, "clinical"]))
        found.append(
            Layer(
                draw(st.sampled_from(Level)),
                "unit",
                ConstraintSet(id, id, domain, stated, ""),
                Origin("t.yaml", number, 1),
            )
        )
    return found


def tenant(*layers: Layer, waivers: tuple[Waiver, ...] = ()) -> Tenant:
    return Tenant("t", "T", (OWNER, OTHER), layers, waivers, ("clinical",), "t.yaml")


def outcome(layers: list[Layer]) -> tuple[str, list[str]]:
    """What resolution says, without the order of diagnostics."""
    try:
        return resolve(tenant(*layers), "clinical", today=TODAY).digest, []
    except CoherenceError as error:
        return "", sorted(map(str, error.diagnostics))


@settings(deadline=None)
@given(layers().flatmap(lambda ls: st.tuples(st.just(ls), st.permutations(ls))))
def test_order_of_layers_does_not_matter(both: tuple[list[Layer], list[Layer]]) -> None:
    given, shuffled = both
    assert outcome(shuffled) == outcome(given)


def tighten(c: Constraint, draw: st.DataObject) -> Constraint:
    """One field of the constraint made stricter."""
    sign = -1 if c.direction is Direction.AT_MOST else 1
    field = draw.draw(
        st.sampled_from(["bound", "confidence", "minimum_evidence", "enforcement", "waiver_floor", "locked"])
    )
    if field == "bound":
        c = replace(c, bound=c.bound + sign * draw.draw(st.floats(0, 0.009)))
        if c.waiver_floor is not None and not c.direction.is_looser(c.waiver_floor, c.bound):
            c = replace(c, waiver_floor=None)
        return c
    if field == "waiver_floor":
        return replace(c, waiver_floor=None)
    strictest = {
        "confidence": 0.999,
        "minimum_evidence": 301,
        "enforcement": Enforcement.HARD,
        "locked": True,
    }
    return replace(c, **{field: strictest[field]})


def reach(c: Constraint) -> float:
    """The loosest value that can ever be let through, by waiver or without."""
    return c.bound if c.waiver_floor is None else c.waiver_floor


def at_least_as_strict(now: ResolvedConstraints, before: ResolvedConstraints) -> bool:
    after = {r.constraint.id: r.constraint for r in now.constraints}
    for old in (r.constraint for r in before.constraints):
        new = after[old.id]
        if (
            new.direction.is_looser(new.bound, old.bound)
            or new.confidence < old.confidence
            or new.minimum_evidence < old.minimum_evidence
            or (old.enforcement is Enforcement.HARD and new.enforcement is not Enforcement.HARD)
            or (old.locked and not new.locked)
            or new.direction.is_looser(reach(new), reach(old))
        ):
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(layers(), st.data())
def test_tightening_an_input_never_loosens_the_output(given: list[Layer], data: st.DataObject) -> None:
    try:
        before = resolve(tenant(*given), "clinical", today=TODAY)
    except CoherenceError:
        return
    places = [(n, m) for n, layer in enumerate(given) for m in range(len(layer.constraint_set.constraints))]
    n, m = data.draw(st.sampled_from(places))
    stated = list(given[n].constraint_set.constraints)
    stated[m] = tighten(stated[m], data)
    changed = list(given)
    changed[n] = replace(given[n], constraint_set=replace(given[n].constraint_set, constraints=tuple(stated)))
    try:
        now = resolve(tenant(*changed), "clinical", today=TODAY)
    except CoherenceError as error:
        # a higher layer may now be stricter than a lower one: refused, never loosened
        assert set(error.codes) <= {"CFT305", "CFT306"}
        return
    assert at_least_as_strict(now, before)


@settings(deadline=None)
@given(layers(), constraints("accuracy", "accuracy"))
def test_a_recipe_never_loosens(given: list[Layer], own: Constraint) -> None:
    try:
        before = resolve(tenant(*given), "clinical", today=TODAY)
        now = resolve(tenant(*given), "clinical", [own], today=TODAY)
    except CoherenceError:
        return
    assert at_least_as_strict(now, before)


@settings(deadline=None)
@given(layers())
def test_signed_form_round_trips(given: list[Layer]) -> None:
    try:
        resolved = resolve(tenant(*given), "clinical", today=TODAY)
    except CoherenceError:
        return
    data = json.loads(json.dumps(resolved.to_json()))
    back = ResolvedConstraints.from_json(data)
    assert back.to_json() == resolved.to_json()
    assert back.digest == resolved.digest == canonical_digest(data)


# --- examples ---------------------------------------------------------------------------------------------


def constraint(bound: float = 0.1, **fields: object) -> Constraint:
    made = Constraint(
        "violations",
        "violation_rate",
        Direction.AT_MOST,
        bound,
        0.95,
        60,
        Enforcement.HARD,
        "unit",
        "Because",
        waiver_floor=0.3,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def layer(*stated: Constraint, level: Level = Level.REGULATED_UNIT) -> Layer:
    return Layer(level, "unit", ConstraintSet("s", "S", None, stated, ""), NOWHERE)


WAIVER = Waiver(
    "violations", "clinical", 0.2, "second", ("unit",), "A pilot", date(2026, 12, 31), Origin("t.yaml", 9, 5)
)


def test_waiver_round_trips_without_its_place() -> None:
    resolved = resolve(tenant(layer(constraint()), waivers=(WAIVER,)), "clinical", today=TODAY)
    assert resolved.constraints[0].waiver == WAIVER
    back = ResolvedConstraints.from_json(resolved.to_json()).constraints[0].waiver
    assert back == replace(WAIVER, origin=Origin("", 0, 0))


def test_digest_changes_with_a_waiver_and_back_on_its_expiry() -> None:
    with_waiver = tenant(layer(constraint()), waivers=(WAIVER,))
    without = resolve(tenant(layer(constraint())), "clinical", today=TODAY).digest
    last_day, day_after = date(2026, 12, 31), date(2027, 1, 1)
    assert resolve(with_waiver, "clinical", today=last_day).digest != without
    expired = resolve(with_waiver, "clinical", today=day_after)
    assert expired.digest == without
    assert [d.code for d in expired.warnings] == ["CFT315"]


def test_digest_does_not_depend_on_where_documents_lie() -> None:
    moved = constraint(origin=Origin("/elsewhere/set.yaml", 7, 3))
    assert (
        resolve(tenant(layer(moved)), "clinical", today=TODAY).digest
        == resolve(tenant(layer(constraint())), "clinical", today=TODAY).digest
    )


def test_signed_numbers_are_decimal_strings() -> None:
    data = resolve(tenant(layer(constraint(0.05))), "clinical", today=TODAY).to_json()
    row = data["constraints"][0]
    assert (row["bound"], row["confidence"], row["waiver_floor"]) == ("0.05", "0.95", "0.3")
    assert "origin" not in json.dumps(data)


def test_a_layer_without_floor_allows_no_waiver_past_its_own_bound() -> None:
    upper = layer(constraint(0.2, waiver_floor=None))
    lower = layer(constraint(0.1, waiver_floor=0.2), level=Level.TENANT)
    resolved = resolve(tenant(upper, lower), "clinical", today=TODAY)
    assert resolved.constraints[0].constraint.waiver_floor == 0.2
    with pytest.raises(CoherenceError, match="waiver_floor"):
        resolve(
            tenant(upper, layer(constraint(0.1, waiver_floor=0.25), level=Level.TENANT)),
            "clinical",
            today=TODAY,
        )


def test_unknown_domain_and_missing_gate() -> None:
    with pytest.raises(CoherenceError) as unknown:
        resolve(tenant(layer(constraint())), "clincal", today=TODAY)
    assert unknown.value.codes == ("CFT307",)
    assert "did you mean `clinical`?" in str(unknown.value)
    with pytest.raises(CoherenceError) as empty:
        resolve(tenant(), "clinical", today=TODAY)
    assert empty.value.codes == ("CFT308",)


def test_recipe_is_the_lowest_layer() -> None:
    with pytest.raises(CoherenceError) as looser:
        resolve(tenant(layer(constraint(0.1))), "clinical", [constraint(0.2)], today=TODAY)
    assert looser.value.codes == ("CFT305",)
    resolved = resolve(tenant(layer(constraint(0.1))), "clinical", [constraint(0.05)], today=TODAY)
    assert resolved.constraints[0].constraint.bound == 0.05
    assert resolved.constraints[0].layer == "recipe"
    assert [(r.bound, r.layer) for r in resolved.constraints[0].replaced] == [(0.1, "regulated-unit: s")]


@pytest.mark.parametrize("name", ["tenant", "published"])
def test_example_tenants_resolve_in_every_domain(name: str) -> None:
    example = read_tenant(ROOT / "examples" / "tenant" / f"{name}.yaml")
    for domain in example.domains:
        assert resolve(example, domain, today=TODAY).warnings == ()
