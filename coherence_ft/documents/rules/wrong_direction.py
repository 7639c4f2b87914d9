"""CFT402: a bound in the wrong direction for its metric."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import Direction, Metric
from coherence_ft.documents.reader import Document, JsonPath

CODE = Code(
    "CFT402",
    "a bound in the wrong direction for its metric",
    "`at_least` on a metric for which less is better would demand a worse model, and pass it.",
    "{metric: selective_risk, at_least: 0.1}",
    "{metric: selective_risk, at_most: 0.1}",
)


def check(metric: Metric, given: Direction, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    if given is not metric.direction:
        yield document.diagnostic(
            CODE.id,
            f"`{given}` is the wrong direction for {metric.name}: {metric.summary}",
            (*at, given.value),
            key=True,
            found=given.value,
            expected=metric.direction.value,
        )
