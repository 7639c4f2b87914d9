"""CFT409: one measurement with two bounds."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT409",
    "one measurement with two bounds",
    "Two ids hold the same metric, parameters and scope to different bounds. Only the stricter one has an "
    "effect, and a waiver of one of them would relax nothing or less than its approver believes. A hard "
    "bound beside a stricter one that is only reported is no contradiction: that is a target.",
    "{id: risk, metric: violation_rate, at_most: 0.05}\n"
    "{id: violations, metric: violation_rate, at_most: 0.1}",
    "{id: violations, metric: violation_rate, at_most: 0.05}",
)


def check(constraint_set: ConstraintSet, document: Document) -> Iterator[Diagnostic]:
    first: dict[object, Constraint] = {}
    for index, constraint in enumerate(constraint_set.constraints):
        key = (constraint.measure, constraint.scope.domains, constraint.enforcement)
        other = first.setdefault(key, constraint)
        if other.id != constraint.id:
            yield document.diagnostic(
                CODE.id,
                f"`{constraint.id}` measures the same as `{other.id}` in line {other.origin.line}",
                ("constraints", index, "metric"),
                found=f"bounds {constraint.bound:g} and {other.bound:g}",
                help="keep the stricter one, or narrow one (`scope`, `relation`, `category`, `coverage`)",
            )
