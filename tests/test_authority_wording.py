"""Wording of several layers: at each confidence the most cautious, whatever the order, for each audience."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.wording import StatedWording, bolder, resolve_wording
from coherence_ft.documents.constraint_set import (
    Act,
    Band,
    Constraint,
    ConstraintSet,
    Enforcement,
    Level,
    Origin,
    Wording,
)
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import Authority, Layer, Power, Tenant

TODAY = date(2026, 6, 1)
PLACE = Origin("w.yaml", 1, 1)
ASSERT, HEDGE, DEFER = Act


def wording(*bands: tuple[float, Act], audience: str | None = None, name: str = "") -> Wording:
    made = tuple(Band(start, act, f"{name}{act} from {start:g} {{answer}}", PLACE) for start, act in bands)
    return Wording(audience, made, "unit", "Because", PLACE)


def stated(made: Wording, level: Level = Level.TENANT, name: str = "s") -> StatedWording:
    return StatedWording(made, level.rank, f"{level.value}: {name}")


@st.composite
def wordings(draw: st.DrawFn) -> Wording:
    """Bands that a constraint set may hold: from the top down, never bolder below, the last from 0."""
    starts = sorted(draw(st.sets(st.integers(1, 9), max_size=3)), reverse=True)
    acts = sorted(
        draw(st.lists(st.sampled_from(Act), min_size=len(starts) + 1, max_size=len(starts) + 1)),
        key=lambda act: act.caution,
    )
    bands = zip([*(n / 10 for n in starts), 0.0], acts, strict=True)
    return wording(*bands, audience=draw(st.sampled_from([None, "nurses", "public"])))


@st.composite
def several(draw: st.DrawFn) -> list[StatedWording]:
    return [
        stated(draw(wordings()), draw(st.sampled_from(Level)), f"set-{n}")
        for n in range(draw(st.integers(1, 5)))
    ]


CONFIDENCES = [0.0, 0.05, 0.1, 0.15, 0.3, 0.55, 0.8, 0.9, 0.95, 1.0]
AUDIENCES = [None, "nurses", "public", "somebody-else"]


def act_for(made: list[StatedWording], audience: str | None, confidence: float) -> Act | None:
    """What is in force, as a derivative asks for it."""
    found = ResolvedConstraints("t", "d", (), wording=resolve_wording(made)).wording_for(audience)
    return found.band(confidence).act if found else None


@given(several(), st.sampled_from(AUDIENCES), st.sampled_from(CONFIDENCES))
def test_at_each_confidence_the_most_cautious_act_holds(
    made: list[StatedWording], audience: str | None, confidence: float
) -> None:
    speaking = [s.wording for s in made if s.wording.audience in (None, audience)]
    cautious = max((w.band(confidence).act.caution for w in speaking), default=None)
    in_force = act_for(made, audience, confidence)
    assert (None if in_force is None else in_force.caution) == cautious


@given(several().flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_order_of_layers_changes_nothing(both: tuple[list[StatedWording], list[StatedWording]]) -> None:
    made, shuffled = both
    assert resolve_wording(shuffled) == resolve_wording(made)
    assert {d.message for d in bolder(shuffled)} == {d.message for d in bolder(made)}


@given(several(), wordings(), st.sampled_from(AUDIENCES), st.sampled_from(CONFIDENCES))
def test_another_layer_never_makes_it_bolder(
    made: list[StatedWording], more: Wording, audience: str | None, confidence: float
) -> None:
    before = act_for(made, audience, confidence)
    after = act_for([*made, stated(more, Level.QUERY, "more")], audience, confidence)
    assert before is None or (after is not None and after.caution >= before.caution)


@given(several())
def test_bands_in_force_are_bands_that_a_set_could_hold(made: list[StatedWording]) -> None:
    for resolved in resolve_wording(made):
        starts = [band.confidence for band in resolved.bands]
        acts = [band.act.caution for band in resolved.bands]
        assert starts == sorted(set(starts), reverse=True)
        assert starts[-1] == 0
        assert acts == sorted(acts)
        phrases = {b.phrase for s in made for b in s.wording.bands}
        assert {band.phrase for band in resolved.bands} <= phrases
        assert len({s.wording.audience for s in made}) == len(resolve_wording(made))


@given(several())
def test_signed_form_round_trips(made: list[StatedWording]) -> None:
    resolved = ResolvedConstraints("t", "d", (), wording=resolve_wording(made))
    back = ResolvedConstraints.from_json(resolved.to_json())
    assert back.wording == resolved.wording
    assert back.digest == resolved.digest


def test_pointwise_and_not_one_layer_as_a_whole() -> None:
    made = [
        stated(
            wording((0.9, ASSERT), (0.4, HEDGE), (0, DEFER), name="upper "), Level.REGULATED_UNIT, "upper"
        ),
        stated(wording((0.95, ASSERT), (0, HEDGE), name="lower "), Level.TENANT, "lower"),
    ]
    (resolved,) = resolve_wording(made)
    assert [(b.confidence, b.act, b.layer) for b in resolved.bands] == [
        (0.95, ASSERT, "tenant: lower"),  # equally cautious: the lower layer knows its users
        (0.4, HEDGE, "tenant: lower"),
        (0.0, DEFER, "regulated-unit: upper"),
    ]


def test_an_audience_is_spoken_to_by_what_is_for_everybody_too() -> None:
    made = [
        stated(wording((0.9, ASSERT), (0, HEDGE)), name="all"),
        stated(wording((0.5, ASSERT), (0, HEDGE), audience="nurses"), name="nurses"),
    ]
    assert act_for(made, "nurses", 0.6) is HEDGE  # what is for everybody is more cautious
    assert act_for(made, None, 0.95) is ASSERT
    assert act_for(made[1:], "public", 0.95) is None  # nothing speaks to the public
    assert act_for(made, "public", 0.6) is HEDGE


@pytest.mark.parametrize(
    ("upper", "lower", "refused"),
    [
        ([(0.9, ASSERT), (0, DEFER)], [(0.9, ASSERT), (0, DEFER)], False),
        ([(0.9, ASSERT), (0, DEFER)], [(0.95, ASSERT), (0, DEFER)], False),
        ([(0.9, ASSERT), (0, DEFER)], [(0, DEFER)], False),
        ([(0.9, ASSERT), (0, HEDGE)], [(0.9, ASSERT), (0.5, HEDGE), (0, DEFER)], False),
        ([(0.9, ASSERT), (0, DEFER)], [(0.8, ASSERT), (0, DEFER)], True),
        ([(0.9, ASSERT), (0, DEFER)], [(0.9, ASSERT), (0, HEDGE)], True),
        ([(0, HEDGE)], [(0.99, ASSERT), (0, HEDGE)], True),
        ([(0.5, HEDGE), (0, DEFER)], [(0.6, ASSERT), (0, DEFER)], True),
    ],
)
@pytest.mark.parametrize(
    ("audiences", "compared"),
    [
        ((None, None), True),
        ((None, "nurses"), True),
        (("nurses", "nurses"), True),
        (("nurses", "public"), False),
    ],
)
def test_a_bolder_lower_layer_is_refused(
    upper: list[tuple[float, Act]],
    lower: list[tuple[float, Act]],
    refused: bool,
    audiences: tuple[str | None, str | None],
    compared: bool,
) -> None:
    made = [
        stated(wording(*upper, audience=audiences[0]), Level.REGULATED_UNIT, "upper"),
        stated(wording(*lower, audience=audiences[1]), Level.TENANT, "lower"),
    ]
    assert [d.code for d in bolder(made)] == (["CFT337"] if refused and compared else [])
    peers = [replace(s, rank=1) for s in made]
    assert bolder(peers) == []


# --- through the layers of a tenant -----------------------------------------------------------------------

UNIT = Authority("unit", "U", Level.REGULATED_UNIT, frozenset({Power.SET, Power.TIGHTEN}), (), PLACE)
RISK = Constraint(
    "risk", "violation_rate", Direction.AT_MOST, 0.1, 0.95, 60, Enforcement.HARD, "unit", "Because"
)


def layer(level: Level, name: str, made: Wording, domain: str | None = None) -> Layer:
    own = ConstraintSet(name, name, domain, (replace(RISK, id=name),), "", wording=(made,))
    return Layer(level, "unit", own, PLACE)


def tenant(*layers: Layer, authorities: tuple[Authority, ...] = (UNIT,)) -> Tenant:
    return Tenant("t", "T", authorities, layers, (), ("clinical", "legal"), "t.yaml")


def test_a_bolder_set_below_stops_resolution_at_its_band() -> None:
    upper = layer(Level.REGULATED_UNIT, "upper", wording((0.9, ASSERT), (0, DEFER)))
    lower = layer(Level.TENANT, "lower", wording((0.5, ASSERT), (0, DEFER)))
    with pytest.raises(CoherenceError) as error:
        resolve(tenant(upper, lower), "clinical", today=TODAY)
    assert error.value.codes == ("CFT337",)
    resolved = resolve(tenant(upper), "clinical", today=TODAY)
    assert resolved.wording[0].bands[0].layer == "regulated-unit: upper"


def test_wording_of_another_domain_says_nothing_here() -> None:
    here = layer(Level.TENANT, "here", wording((0.5, ASSERT), (0, DEFER)), "clinical")
    there = layer(Level.REGULATED_UNIT, "there", wording((0, DEFER)), "legal")
    resolved = resolve(tenant(here, there), "clinical", today=TODAY)
    assert [b.act for b in resolved.wording[0].bands] == [ASSERT, DEFER]


def test_wording_needs_an_owner_with_a_power() -> None:
    lead = replace(UNIT, id="lead", level=Level.TENANT, powers=frozenset({Power.ATTEST}))
    made = layer(Level.TENANT, "own", replace(wording((0, DEFER)), owner="lead"))
    with pytest.raises(CoherenceError) as error:
        resolve(tenant(made, authorities=(UNIT, lead)), "clinical", today=TODAY)
    assert error.value.codes == ("CFT302",)
    stranger = layer(Level.TENANT, "own", replace(wording((0, DEFER)), owner="nobody"))
    with pytest.raises(CoherenceError) as error:
        resolve(tenant(stranger), "clinical", today=TODAY)
    assert error.value.codes == ("CFT301",)
