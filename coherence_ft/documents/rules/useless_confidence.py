"""CFT418: calibration error gated where nothing asks for skill."""

from __future__ import annotations

from collections.abc import Iterable

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.documents.metrics import METRICS

CODE = Code(
    "CFT418",
    "a threshold that rewards useless confidence",
    "A model that always states its average accuracy has no calibration error and tells nobody anything: a "
    "temperature of 7.4 took a 135M model from an error of 0.467 to 0.051 with no skill at all. Where a "
    "calibration error gates, something must gate skill too.",
    "constraints: [{metric: calibration_error, enforcement: hard, …}]",
    "constraints: [{metric: calibration_error, enforcement: hard, …}, "
    "{metric: brier_skill, enforcement: hard, …}]",
)


def rewarded(constraints: Iterable[Constraint]) -> Constraint | None:
    """A hard calibration error that no hard constraint on skill accompanies; None if there is none."""
    hard = [c for c in constraints if c.enforcement is Enforcement.HARD]
    if any(METRICS[c.metric].shows_skill for c in hard):
        return None
    return next((c for c in hard if c.metric == "calibration_error"), None)
