"""The selective risk promised to everybody who is served: it sets the threshold, and drift is held to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coherence_ft.authority.resolved import ResolvedConstraint
from coherence_ft.documents.constraint_set import EVERYWHERE, Constraint, Enforcement
from coherence_ft.evidence.assessment import ConstraintResult, Verdict


@dataclass(frozen=True, slots=True)
class Promise:
    """`bound`: the waiver's where the verdict rests on one."""

    constraint: Constraint
    bound: float
    result: ConstraintResult


def is_to_everybody(constraint: Constraint) -> bool:
    """Whether it speaks of all that is served. One to some audience or language only is no promise to all."""
    return constraint.metric == "selective_risk" and constraint.scope.observed == EVERYWHERE


def strictest_promise(
    constraints: Iterable[ResolvedConstraint], results: Iterable[ConstraintResult]
) -> Promise | None:
    """The strictest, which keeps the laxer ones; None without one, or where its verdict lets none through."""
    by_id = {result.constraint: result for result in results}
    promises = []
    for resolved in constraints:
        constraint, waiver = resolved.constraint, resolved.waiver
        if not is_to_everybody(constraint) or (result := by_id.get(constraint.id)) is None:
            continue
        waived = result.verdict is Verdict.WAIVED and waiver is not None
        bound = waiver.bound if waived and waiver is not None else constraint.bound
        promises.append(Promise(constraint, bound, result))
    if not promises:
        return None
    strictest = min(promises, key=_order)
    return strictest if strictest.result.verdict.lets_through else None


def _order(promise: Promise) -> tuple[bool, float, float, str]:
    constraint = promise.constraint
    return (
        constraint.enforcement is Enforcement.REPORT,
        promise.bound,
        -constraint.confidence,
        constraint.id,
    )
