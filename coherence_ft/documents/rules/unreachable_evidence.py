"""CFT408: minimum evidence that cannot show the bound."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint, least_evidence
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath
from coherence_ft.documents.rules.bound_out_of_range import is_possible

CODE = Code(
    "CFT408",
    "minimum evidence that cannot show the bound",
    "With n units and no error seen, the exact upper limit of a rate is 1 - (1 - confidence)^(1/n). "
    "A smaller minimum promises a verdict that such evidence cannot give: at 95 % confidence, 5 % "
    "needs 69 units at the first look at a certification split, 2 % 173, 1 % 348.",
    "{metric: violation_rate, at_most: 0.05, confidence: 0.95, minimum_evidence: 50}",
    "{metric: violation_rate, at_most: 0.05, confidence: 0.95, minimum_evidence: 69}",
)


def check(constraint: Constraint, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    if not is_possible(constraint, constraint.bound):
        return
    needed = least_evidence(constraint)
    if needed is not None and needed <= constraint.minimum_evidence:
        return
    side = constraint.direction.value
    words = f"{side.replace('_', ' ')} {constraint.bound:g}"
    if needed is None:
        yield document.diagnostic(
            CODE.id,
            f"no amount of evidence can show a {constraint.metric} of {words}",
            (*at, side),
            help="state the smallest rate that is acceptable",
        )
    else:
        yield document.diagnostic(
            CODE.id,
            "the minimum evidence is too small to show the bound, even with no error seen",
            (*at, "minimum_evidence"),
            found=str(constraint.minimum_evidence),
            expected=f"at least {needed} for {words} at confidence {constraint.confidence:g}",
        )
