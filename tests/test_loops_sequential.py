"""Sequential certification: it stops when all is clear, in an order that no outcome decides."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loops_engine import TODAY, constraint, engine, observed, verdicts

from coherence_ft.documents.constraint_set import Constraint, Enforcement, Origin
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Waiver
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import ANYTIME, decide
from coherence_ft.evidence.multiplicity import at_look
from coherence_ft.loops.engine import CoherenceEngine, Findings
from coherence_ft.loops.observation import AnswerObservation, GroupObservation, Observations
from coherence_ft.loops.sequential import rank

SHARES = (
    constraint("accuracy", 0.55),
    constraint("brier_score", 0.35),
    constraint("selective_risk", 0.4, coverage=0.6),
    constraint("contradiction_rate", 0.25, relation="paraphrase"),
    constraint("violation_rate", 0.25, category="format"),
)


def shuffled(seen: Observations) -> list[tuple[str, str]]:
    """(kind, unit) in the order of measuring."""
    units = {f"question:{a.group}" for a in seen.answers}
    units |= {f"group:{g.probe}" for g in seen.groups} | {f"conversation:{r.probe}" for r in seen.replies}
    return sorted(units, key=lambda unit: rank(seen.probe_set, unit))


def prefix(seen: Observations, units: int) -> Observations:
    kept = set(shuffled(seen)[:units])
    part = replace(
        seen,
        answers=tuple(a for a in seen.answers if f"question:{a.group}" in kept),
        groups=tuple(g for g in seen.groups if f"group:{g.probe}" in kept),
        replies=tuple(r for r in seen.replies if f"conversation:{r.probe}" in kept),
    )
    return replace(part, skipped=seen.count - part.count)


def whole(split: str = "certification", **how: object) -> Observations:
    size = how.get("size", 1)
    return replace(observed(split, **how), skipped=0, largest_group=size)  # type: ignore[arg-type]


def measured(
    judge: CoherenceEngine, seen: Observations, step: int = 20, look: int = 1
) -> tuple[Findings, int]:
    """What a sequential pass finds, and after how many units it stopped."""
    settled = judge.stopping(observed("calibration"), split=seen.split, look=look)
    total = len(shuffled(seen))
    units = next((n for n in range(step, total, step) if settled(prefix(seen, n))), total)
    found = judge.examine(
        observed("calibration"), prefix(seen, units), today=TODAY, look=look, sequential=True
    )
    return found, units


@pytest.mark.parametrize("size", [1, 3])
def test_it_stops_when_every_hard_constraint_is_clear(size: int) -> None:
    seen = whole(n=900, slope=3.0, size=size)
    judge = engine(*(replace(c, minimum_evidence=20) for c in SHARES))
    found, units = measured(judge, seen)
    assert found.assessment.passed
    assert units < 0.8 * len(shuffled(seen))
    assert found.assessment.skipped > 0 and found.assessment.probes == seen.count
    for result in found.assessment.results:
        assert result.estimate is not None and result.estimate.n >= 20
        used = found.assessment.used
        assert result.estimate.method == f"{ANYTIME}; stopped after {used} of {seen.count} probes"
    assert found.certificate is not None  # the declared coverage's threshold, no other was tested
    assert found.certificate.risk.upper == 0.4


def test_a_poor_derivative_is_stopped_early_too() -> None:
    seen = whole(n=900, slope=0.0, contradictions=0.7, violations=0.7)
    judge = engine(constraint("accuracy", 0.9), *SHARES[3:])
    found, units = measured(judge, seen)
    assert set(verdicts(found.assessment).values()) == {Verdict.FAIL}
    assert units < 0.8 * len(shuffled(seen))
    assert found.certificate is None


def test_what_has_no_sequential_form_takes_the_whole_split() -> None:
    seen = whole(n=300, slope=3.0)
    found, units = measured(engine(constraint("accuracy", 0.5), constraint("auroc", 0.55)), seen)
    assert units == len(shuffled(seen)) and found.assessment.skipped == 0
    by_id = {r.constraint: r.estimate for r in found.assessment.results}
    assert by_id["auroc"] is not None and "DeLong" in by_id["auroc"].method


def test_unless_another_constraint_has_failed() -> None:
    judge = engine(constraint("accuracy", 0.99), constraint("auroc", 0.55))
    found, units = measured(judge, whole(n=300, slope=0.0))
    assert units < 300
    assert verdicts(found.assessment) == {"accuracy": Verdict.FAIL, "auroc": Verdict.INSUFFICIENT}
    (why,) = (r.why for r in found.assessment.results if r.constraint == "auroc")
    assert "stopped before the whole split" in why


def test_what_is_only_reported_holds_nobody_up() -> None:
    report = constraint("auroc", 0.55, enforcement=Enforcement.REPORT)
    found, units = measured(engine(constraint("accuracy", 0.5), report), whole(n=600, slope=3.0))
    assert units < 600 and found.assessment.passed


@pytest.mark.parametrize("look", [1, 4])
def test_verdicts_follow_from_the_signed_estimates(look: int) -> None:
    judge = engine(*SHARES)
    found, _ = measured(judge, whole(n=400, slope=1.0), look=look)
    for resolved, result in zip(judge.resolved.constraints, found.assessment.results, strict=True):
        assert result.estimate is not None
        signed = Estimate.from_json(result.estimate.to_json())
        held_to = at_look(resolved.constraint, "certification", look)
        assert decide(held_to, signed, None, TODAY)[0] is result.verdict


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_observations_does_not_matter(shuffle: random.Random) -> None:
    seen = whole(n=120, slope=3.0, size=2)
    answers, groups = list(seen.answers), list(seen.groups)
    shuffle.shuffle(answers)
    shuffle.shuffle(groups)
    judge = engine(*SHARES)
    mixed = replace(seen, answers=tuple(answers), groups=tuple(groups))
    one, other = (
        judge.examine(observed("calibration"), each, today=TODAY, sequential=True).assessment
        for each in (seen, mixed)
    )
    assert one == other


def test_a_group_larger_than_was_said_is_refused() -> None:
    seen = replace(whole(n=120, size=3), largest_group=2)
    with pytest.raises(CoherenceError) as raised:
        engine(*SHARES).examine(observed("calibration"), seen, today=TODAY, sequential=True)
    assert {d.code for d in raised.value.diagnostics} == {"CFT452"}


def test_a_waiver_is_tested_at_its_own_bound() -> None:
    waiver = Waiver(
        "contradiction_rate", "clinical", 0.6, "a", ("b",), "reason", date(2099, 1, 1), Origin("t", 1, 1)
    )
    asked = constraint("contradiction_rate", 0.1, relation="paraphrase", waiver_floor=0.7)
    seen = whole(n=10, contradictions=0.3)
    found, _ = measured(engine(asked, waiver=waiver), seen)
    (result,) = found.assessment.results
    assert result.verdict is Verdict.WAIVED and result.estimate is not None
    assert result.estimate.upper == 0.6


@pytest.mark.parametrize("size", [1, 4])
def test_false_passes_stay_below_alpha(size: int) -> None:
    """Accuracy just below its bound, answers of one group alike; asked whether to stop after every tenth."""
    asked: Constraint = constraint("accuracy", 0.7, confidence=0.9, minimum_evidence=5)
    judge = engine(asked)
    calibration = observed("calibration", 40)
    settled = judge.stopping(calibration, split="test")
    rng = np.random.default_rng(7)
    passed = 0
    runs = 150
    for run in range(runs):
        right = np.repeat(rng.random(60) < 0.69, size)
        seen = Observations(
            "ours",
            f"set-{run}",
            "test",
            tuple(
                AnswerObservation(f"t{i}", f"g{i // size}", "clinical", (0.8, 0.2), 0 if hit else 1)
                for i, hit in enumerate(right)
            ),
            largest_group=size,
        )
        units = next((n for n in range(10, 60, 10) if settled(prefix(seen, n))), 60)
        found = judge.examine(calibration, prefix(seen, units), today=TODAY, sequential=True)
        passed += found.assessment.passed
    assert passed <= 0.1 * runs


def test_probe_groups_outside_the_scope_are_not_fed() -> None:
    seen = whole(n=10, contradictions=0.0)
    others = tuple(
        GroupObservation(f"n{i}", "clinical", "negation", (0, 0)) for i in range(200)
    )  # each contradicts
    found, _ = measured(
        engine(constraint("contradiction_rate", 0.1, relation="paraphrase")),
        replace(seen, groups=seen.groups + others),
    )
    assert found.assessment.passed


def test_what_is_not_clear_says_how_many_more_would_decide() -> None:
    judge = engine(constraint("contradiction_rate", 0.1, relation="paraphrase", minimum_evidence=20))
    found, _ = measured(judge, whole(n=10, contradictions=0.06))
    (result,) = found.assessment.results
    assert result.verdict is Verdict.INSUFFICIENT and found.assessment.skipped == 0
    assert "neither pass nor fail was clear" in result.why and "more would decide" in result.why
