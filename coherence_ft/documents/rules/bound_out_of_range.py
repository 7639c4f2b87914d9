"""CFT405: a bound outside the metric's range."""

from __future__ import annotations

import math
from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.reader import Document, JsonPath

CODE = Code(
    "CFT405",
    "a bound outside the metric's range",
    "Such a bound always passes or never does. Rates are fractions.",
    "{metric: violation_rate, at_most: 5}",
    "{metric: violation_rate, at_most: 0.05}",
)


def is_possible(constraint: Constraint, bound: float) -> bool:
    metric = METRICS[constraint.metric]
    return metric.low <= bound <= metric.high


def check(constraint: Constraint, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    metric = METRICS[constraint.metric]
    low, high = metric.low, metric.high
    for name, bound in (
        (constraint.direction.value, constraint.bound),
        ("waiver_floor", constraint.waiver_floor),
    ):
        if bound is not None and not is_possible(constraint, bound):
            yield document.diagnostic(
                CODE.id,
                f"a bound that {metric.name} cannot reach ({metric.unit})",
                (*at, name),
                found=f"{bound:g}",
                expected=f"{low:g} to {high:g}" if math.isfinite(low) else f"at most {high:g}",
                help=f"rates are fractions: write {bound / 100:g} for {bound:g} %"
                if 1 < bound <= 100
                else "",
            )
