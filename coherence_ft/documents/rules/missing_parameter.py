"""CFT404: a parameter that the metric needs."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.reader import Document, JsonPath

CODE = Code(
    "CFT404",
    "a parameter that the metric needs",
    "The selective risk is defined only at a stated coverage: who answers one question in ten is "
    "seldom wrong.",
    "{metric: selective_risk, at_most: 0.1}",
    "{metric: selective_risk, at_most: 0.1, coverage: 0.6}",
)


def check(constraint: Constraint, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    # The other parameters narrow a metric that has a meaning without them.
    if "coverage" in METRICS[constraint.metric].parameters and constraint.coverage is None:
        yield document.diagnostic(
            CODE.id,
            f"the metric {constraint.metric} needs `coverage`",
            (*at, "metric"),
            help="add `coverage: 0.6`",
        )
