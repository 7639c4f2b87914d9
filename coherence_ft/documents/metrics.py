"""The metrics that a constraint may name: what each measures, in which direction, and which loop does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    AT_MOST = "at_most"
    AT_LEAST = "at_least"

    def is_looser(self, bound: float, than: float) -> bool:
        return bound > than if self is Direction.AT_MOST else bound < than

    def strictest(self, *bounds: float) -> float:
        return min(bounds) if self is Direction.AT_MOST else max(bounds)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that some loop measures.

    `parameters` names the constraint fields it takes; `is_share`, that its limits are exact binomial, so that
    the evidence a bound needs is known beforehand; `shows_skill`, that useless confidence cannot meet it.
    """

    name: str
    loop: str
    direction: Direction
    unit: str
    summary: str
    parameters: frozenset[str] = frozenset()
    low: float = 0.0
    high: float = 1.0
    is_share: bool = False
    shows_skill: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "calibration",
            Direction.AT_LEAST,
            "fraction of questions",
            "share of right answers",
            is_share=True,
        ),
        Metric(
            "brier_score",
            "calibration",
            Direction.AT_MOST,
            "squared probability",
            "mean squared distance between calibrated confidence and outcome",
        ),
        Metric(
            "brier_skill",
            "calibration",
            Direction.AT_LEAST,
            "fraction",
            "Brier improvement over always stating the base rate of right answers",
            low=-math.inf,
            shows_skill=True,
        ),
        Metric(
            "brier_gain",
            "calibration",
            Direction.AT_LEAST,
            "squared probability",
            "Brier improvement over the base model with a calibrator of its own, paired by question",
            low=-1.0,
        ),
        Metric(
            "auroc",
            "calibration",
            Direction.AT_LEAST,
            "probability",
            "chance that a right answer carries more confidence than a wrong one",
            shows_skill=True,
        ),
        Metric(
            "selective_risk",
            "calibration",
            Direction.AT_MOST,
            "fraction of delivered answers",
            "share of wrong answers among those delivered at the stated coverage",
            frozenset({"coverage"}),
            is_share=True,
            shows_skill=True,
        ),
        Metric(
            "calibration_error",
            "calibration",
            Direction.AT_MOST,
            "probability",
            "debiased L2 distance between confidence and accuracy",
        ),
        Metric(
            "contradiction_rate",
            "integrity",
            Direction.AT_MOST,
            "fraction of probe groups",
            "share of probe groups whose answers cannot all hold",
            frozenset({"relation"}),
            is_share=True,
        ),
        Metric(
            "violation_rate",
            "alignment",
            Direction.AT_MOST,
            "fraction of conversations",
            "share of conversations in which a check on the reply fails",
            frozenset({"category"}),
            is_share=True,
        ),
    )
}
"""Every metric a constraint may name; the loop named here measures it."""

RELATIONS = ("paraphrase", "negation", "symmetry", "implication", "exclusion")
"""Relations between the members of a probe group (loops/integrity.py gives their meaning)."""

CATEGORIES = ("format", "commitment", "preference", "role_boundary", "named_constraint")
"""What an alignment probe checks for."""
