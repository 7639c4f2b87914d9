"""Which cells keep a constraint: no more than Holm allows, at the threshold that serves everybody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from test_loops_engine import TODAY, constraint, engine, observed

from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import decide
from coherence_ft.loops import calibration, cells
from coherence_ft.loops.calibration import Evidence
from coherence_ft.loops.observation import AnswerObservation, Observations

PATTERNS = ("route-0", "route-1", "route-2")


def dealt(seen: Observations) -> Observations:
    return replace(
        seen,
        answers=tuple(replace(a, routing_pattern=PATTERNS[i % 2]) for i, a in enumerate(seen.answers)),
    )


def evidence(wrong_in: str | None = None) -> Evidence:
    """Two patterns; where one is named, most of its judged answers are wrong."""
    seen = [dealt(observed(split)) for split in ("calibration", "certification")]
    fitted = calibration.fit(seen[0])
    judged = calibration.judged(seen[1], fitted)
    if wrong_in:
        hit = np.array([a.routing_pattern == wrong_in for a in judged.answers])
        judged = replace(judged, right=judged.right & ~hit)
    return Evidence(calibration.judged(seen[0], fitted), judged)


def by_pattern(answer: AnswerObservation) -> str:
    return answer.routing_pattern


def kept(found: Evidence, *constraints: object) -> dict[str, dict[str, bool]]:
    asked = engine(*constraints).resolved.constraints
    return {row.constraint.id: row.cells for row in cells.keeping(asked, found, None, by_pattern)}


def test_a_cell_that_breaks_the_bound_is_told_from_one_that_keeps_it() -> None:
    lax = constraint("accuracy", bound=0.3, minimum_evidence=20)
    assert kept(evidence(), lax) == {lax.id: {"route-0": True, "route-1": True}}
    assert kept(evidence("route-1"), lax) == {lax.id: {"route-0": True, "route-1": False}}


def test_a_cell_that_no_judged_answer_fell_into_is_asked_and_does_not_pass() -> None:
    found = evidence()
    odd = replace(found.calibration.answers[0], routing_pattern="route-2")
    found = Evidence(
        replace(found.calibration, answers=(odd, *found.calibration.answers[1:])), found.evaluated
    )
    lax = constraint("accuracy", bound=0.3, minimum_evidence=20)
    assert kept(found, lax)[lax.id]["route-2"] is False


def test_two_cells_are_held_to_more_than_one_would_be() -> None:
    """A bound between the limits at 95 % and at 97.5 %: each of two equal cells keeps it alone, not both."""
    found = evidence()
    n = len(found.evaluated) // 2 * 2
    judged = found.evaluated.rows(np.arange(n))
    found = Evidence(found.calibration, replace(judged, right=np.arange(n) // 2 % 5 != 0))
    half = Evidence(found.calibration, found.evaluated.rows(np.arange(0, n, 2)))
    alone, corrected = (
        calibration.estimate(constraint("accuracy", bound=0.5, confidence=c), half) for c in (0.95, 0.975)
    )
    assert isinstance(alone, Estimate) and isinstance(corrected, Estimate)
    held = constraint("accuracy", bound=(alone.lower + corrected.lower) / 2, minimum_evidence=20)
    assert decide(held, alone, None, TODAY)[0] is Verdict.PASS
    assert kept(found, held) == {held.id: {"route-0": False, "route-1": False}}
