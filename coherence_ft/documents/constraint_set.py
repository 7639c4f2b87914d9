"""Constraint sets: what a derivative must show, as frozen objects (schema/v1/constraint-set.schema.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Levels of authority, highest first. Constraints flow down and only tighten."""

    REGULATED_UNIT = "regulated-unit"
    TENANT = "tenant"
    CONVERSATION = "conversation"
    QUERY = "query"

    @property
    def rank(self) -> int:
        """0 is the highest."""
        return list(Level).index(self)


class Direction(StrEnum):
    AT_MOST = "at_most"
    AT_LEAST = "at_least"

    def is_looser(self, bound: float, than: float) -> bool:
        return bound > than if self is Direction.AT_MOST else bound < than

    def strictest(self, *bounds: float) -> float:
        return min(bounds) if self is Direction.AT_MOST else max(bounds)


class Enforcement(StrEnum):
    HARD = "hard"  # gates promotion
    REPORT = "report"  # measured and shown, gates nothing


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One metric held to one bound.

    `metric` names an entry of `METRICS`. `coverage` (fraction of questions answered), `relation`
    (integrity) and `category` (alignment) narrow what is measured; they are None where the metric
    takes no such parameter or all are meant. `confidence` is one-sided: 0.95 means that the gate
    passes a derivative that breaks the bound in at most 5 % of certifications.
    `minimum_evidence` counts independent units: delivered answers, probe groups, conversations.
    """

    id: str
    metric: str
    direction: Direction
    bound: float
    confidence: float
    minimum_evidence: int
    enforcement: Enforcement
    owner: str
    reason: str
    locked: bool = False
    waiver_floor: float | None = None
    coverage: float | None = None
    relation: str | None = None
    category: str | None = None
    origin: Origin = Origin("", 0, 0)

    @property
    def parameters(self) -> dict[str, float | str]:
        given = {"coverage": self.coverage, "relation": self.relation, "category": self.category}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ConstraintSet:
    id: str
    title: str
    domain: str | None  # None: holds for every domain
    constraints: tuple[Constraint, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that some loop measures. `parameters` names the constraint fields it takes."""

    name: str
    loop: str
    direction: Direction
    unit: str
    parameters: frozenset[str]
    summary: str


def _metric(name: str, loop: str, direction: Direction, unit: str, summary: str, *parameters: str) -> Metric:
    return Metric(name, loop, direction, unit, frozenset(parameters), summary)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric(
            "accuracy", "calibration", Direction.AT_LEAST, "fraction of questions", "share of right answers"
        ),
        _metric(
            "brier_score",
            "calibration",
            Direction.AT_MOST,
            "squared probability",
            "mean squared distance between calibrated confidence and outcome",
        ),
        _metric(
            "brier_skill",
            "calibration",
            Direction.AT_LEAST,
            "fraction",
            "Brier improvement over always stating the base rate of right answers",
        ),
        _metric(
            "brier_gain",
            "calibration",
            Direction.AT_LEAST,
            "squared probability",
            "Brier improvement over the base model with a calibrator of its own, paired by question",
        ),
        _metric(
            "auroc",
            "calibration",
            Direction.AT_LEAST,
            "probability",
            "chance that a right answer carries more confidence than a wrong one",
        ),
        _metric(
            "selective_risk",
            "calibration",
            Direction.AT_MOST,
            "fraction of delivered answers",
            "share of wrong answers among those delivered at the stated coverage",
            "coverage",
        ),
        _metric(
            "calibration_error",
            "calibration",
            Direction.AT_MOST,
            "probability",
            "debiased L2 distance between confidence and accuracy",
        ),
        _metric(
            "contradiction_rate",
            "integrity",
            Direction.AT_MOST,
            "fraction of probe groups",
            "share of probe groups whose answers cannot all hold",
            "relation",
        ),
        _metric(
            "violation_rate",
            "alignment",
            Direction.AT_MOST,
            "fraction of conversations",
            "share of conversations in which a check on the reply fails",
            "category",
        ),
    )
}
"""Every metric a constraint may name; the loop named here measures it."""

RELATIONS = ("paraphrase", "negation", "symmetry", "implication", "exclusion")
"""Relations between the members of a probe group (loops/integrity.py gives their meaning)."""

CATEGORIES = ("format", "commitment", "preference", "role_boundary", "named_constraint")
"""What an alignment probe checks for."""

DOMAINS = ("general", "clinical", "legal", "financial", "code")
"""Published domain names. A tenant may add its own under `domains`."""
