"""How results are put into words and order, on the screen and on the page."""

from __future__ import annotations

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.documents.metrics import Direction
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict

MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INSUFFICIENT: "?", Verdict.WAIVED: "~"}


def bound_text(constraint: Constraint) -> str:
    """`≤ 0.3 @ 60 %`: the bound, and the coverage it is promised at."""
    sign = "≤" if constraint.direction is Direction.AT_MOST else "≥"
    at = f" @ {constraint.coverage:.0%}" if constraint.coverage is not None else ""
    return f"{sign} {decimal(constraint.bound)}{at}"


def in_order(assessment: Assessment) -> list[ConstraintResult]:
    """The hard constraints, then those that are only reported; by id."""
    return sorted(assessment.results, key=lambda r: (r.enforcement is not Enforcement.HARD, r.constraint))


def conclusion(assessment: Assessment, look: str = "") -> str:
    """The assessment in one sentence, and a second on the look (`look_line`)."""
    said = _conclusion(assessment)
    return f"{said} {look[0].upper()}{look[1:]}." if look else said


def _conclusion(assessment: Assessment) -> str:
    blocking = [result.constraint for result in assessment.blocking]
    hard = sum(result.enforcement is Enforcement.HARD for result in assessment.results)
    if not hard:
        return "No hard constraint applies, so that nothing is let through."
    if not blocking:
        return f"All {hard} hard constraints pass or are waived."
    return f"{len(blocking)} of {hard} hard constraints do not let it through: {', '.join(blocking)}."


def look_line(constraints: ResolvedConstraints, assessment: Assessment, look: int | None = None) -> str:
    """`look 2: limits at 99.2401 % where 95 % is declared`; empty where they hold at what is declared."""
    declared = {r.constraint.id: r.constraint.confidence for r in constraints.constraints}
    stricter = {
        (declared[r.constraint], r.estimate.confidence)
        for r in assessment.results
        if r.estimate is not None and r.estimate.confidence > declared[r.constraint]
    }
    limits = " and ".join(
        f"{100 * taken:g} % where {100 * said:g} % is declared" for said, taken in sorted(stricter)
    )
    return f"{f'look {look}: ' if look else ''}limits at {limits}" if limits else ""
