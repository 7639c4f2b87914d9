"""CFT403: a parameter that the metric does not take."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.reader import Document, JsonPath
from coherence_ft.documents.schemas import either

CODE = Code(
    "CFT403",
    "a parameter that the metric does not take",
    "A parameter without effect suggests that something narrower is measured than is.",
    "{metric: accuracy, coverage: 0.6}",
    "{metric: selective_risk, coverage: 0.6}",
)


def check(constraint: Constraint, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    metric = METRICS[constraint.metric]
    for name in constraint.parameters:
        if name not in metric.parameters:
            yield document.diagnostic(
                CODE.id,
                f"the metric {metric.name} takes no `{name}`",
                (*at, name),
                key=True,
                expected=either(f"`{p}`" for p in sorted(metric.parameters)) if metric.parameters else "",
                help="remove it",
            )
    if constraint.scope.routing_patterns and metric.loop != "calibration":
        yield document.diagnostic(
            CODE.id,
            f"the metric {metric.name} is not of single answers, and only those have a routing pattern",
            (*at, "scope", "routing_patterns"),
            key=True,
            help="remove it",
        )
