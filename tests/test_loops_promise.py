"""Which promise holds for everybody who is served."""

from __future__ import annotations

from coherence_ft.authority.resolved import ResolvedConstraint
from coherence_ft.documents.constraint_set import EVERYWHERE, Constraint, Enforcement, Scope
from coherence_ft.documents.metrics import Direction
from coherence_ft.evidence.assessment import ConstraintResult, Verdict
from coherence_ft.loops.promise import strictest_promise


def risk(id: str, bound: float, scope: Scope = EVERYWHERE) -> ResolvedConstraint:
    made = Constraint(
        id, "selective_risk", Direction.AT_MOST, bound, 0.95, 60, Enforcement.HARD, "o", "r", scope=scope
    )
    return ResolvedConstraint(made, "tenant: s")


def result(id: str, verdict: Verdict = Verdict.PASS) -> ConstraintResult:
    return ConstraintResult(id, Enforcement.HARD, None, verdict, "")


def test_a_promise_to_some_is_none_to_all() -> None:
    constraints = [risk("all", 0.2), risk("nurses", 0.05, Scope(audiences=("nurses",)))]
    found = strictest_promise(constraints, [result("nurses"), result("all")])
    assert found is not None and (found.constraint.id, found.bound) == ("all", 0.2)
    assert strictest_promise(constraints[1:], [result("nurses")]) is None


def test_the_strictest_counts_even_where_it_lets_nothing_through() -> None:
    constraints = [risk("lax", 0.3), risk("strict", 0.1)]
    passed = strictest_promise(constraints, [result("lax"), result("strict")])
    assert passed is not None and passed.constraint.id == "strict"
    assert strictest_promise(constraints, [result("lax"), result("strict", Verdict.FAIL)]) is None
