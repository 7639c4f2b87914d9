"""Constraint sets: what a derivative must show, as frozen objects (schema/v1/constraint-set.schema.yaml)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, get, read_yaml
from coherence_ft.documents.schemas import check, either


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

_RANGES = {"brier_skill": (-math.inf, 1.0), "brier_gain": (-1.0, 1.0)}  # every other metric: 0 to 1
_NEEDED = frozenset({"coverage"})  # the other parameters narrow a metric that has a meaning without them
_SHARES = frozenset({"accuracy", "selective_risk", "contradiction_rate", "violation_rate"})
"""Metrics with exact binomial limits: for these the evidence that a bound needs is known beforehand."""


def read_constraint_set(path: Path | str) -> ConstraintSet:
    """Read a constraint set. Raises `CoherenceError` with everything that is wrong (CFT1xx, 2xx, 4xx)."""
    document = read_yaml(path)
    check(document, "constraint-set")
    constraints, problems = parse_constraints(document, ("constraints",))
    if problems:
        raise CoherenceError(problems)
    data = document.data
    return ConstraintSet(data["id"], data["title"], data.get("domain"), constraints, document.path)


def parse_constraints(document: Document, at: JsonPath) -> tuple[tuple[Constraint, ...], list[Diagnostic]]:
    """The constraints in a list that its schema has accepted, and what is still wrong with them."""
    constraints: list[Constraint] = []
    problems: list[Diagnostic] = []
    for index, data in enumerate(get(document.data, at) or ()):
        place = (*at, index)
        metric = METRICS[data["metric"]]
        given = Direction.AT_MOST if "at_most" in data else Direction.AT_LEAST
        constraint = Constraint(
            id=data["id"],
            metric=metric.name,
            direction=metric.direction,
            bound=float(data[given.value]),
            confidence=float(data["confidence"]),
            minimum_evidence=int(data["minimum_evidence"]),
            enforcement=Enforcement(data["enforcement"]),
            owner=data["owner"],
            reason=data["reason"],
            locked=data.get("locked", False),
            waiver_floor=_float(data.get("waiver_floor")),
            coverage=_float(data.get("coverage")),
            relation=data.get("relation"),
            category=data.get("category"),
            origin=Origin(document.path, *document.place(place)),
        )
        first = next((n for n, c in enumerate(constraints) if c.id == constraint.id), None)
        if first is not None:
            line = document.place((*at, first))[0]
            problems.append(
                document.diagnostic(
                    "CFT406",
                    f"the constraint `{constraint.id}` is given twice",
                    (*place, "id"),
                    help=f"the first is at line {line}; give each its own id, or remove one",
                )
            )
        constraints.append(constraint)
        if given is not metric.direction:
            problems.append(
                document.diagnostic(
                    "CFT402",
                    f"`{given}` is the wrong direction for {metric.name}: {metric.summary}",
                    (*place, given.value),
                    key=True,
                    found=given.value,
                    expected=metric.direction.value,
                )
            )
            continue
        problems += _wrong_parameters(constraint, metric, document, place)
        problems += _wrong_bounds(constraint, metric, document, place)
    return tuple(constraints), problems


def least_evidence(constraint: Constraint) -> int | None:
    """Fewest units that can show the bound when every outcome is good; None if no number of units can.

    From the exact binomial limit at zero errors: n ≥ ln(1 − confidence) / ln(1 − bound) for a rate that is
    at most the bound (Clopper and Pearson, 1934). 1 for metrics whose limits are not exact binomial.
    """
    if constraint.metric not in _SHARES:
        return 1
    kept = 1 - constraint.bound if constraint.direction is Direction.AT_MOST else constraint.bound
    if kept <= 0:
        return 1
    if kept >= 1:
        return None
    return max(1, math.ceil(math.log(1 - constraint.confidence) / math.log(kept) - 1e-9))


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _wrong_parameters(
    constraint: Constraint, metric: Metric, document: Document, place: JsonPath
) -> Iterator[Diagnostic]:
    for name in constraint.parameters:
        if name not in metric.parameters:
            yield document.diagnostic(
                "CFT403",
                f"the metric {metric.name} takes no `{name}`",
                (*place, name),
                key=True,
                expected=either(f"`{p}`" for p in sorted(metric.parameters)) if metric.parameters else "",
            )
    for name in sorted(metric.parameters & _NEEDED - constraint.parameters.keys()):
        yield document.diagnostic(
            "CFT404",
            f"the metric {metric.name} needs `{name}`",
            (*place, "metric"),
            help=f"add `{name}: 0.6`",
        )


def _wrong_bounds(
    constraint: Constraint, metric: Metric, document: Document, place: JsonPath
) -> Iterator[Diagnostic]:
    low, high = _RANGES.get(metric.name, (0.0, 1.0))
    direction = metric.direction
    in_range = True
    for name, bound in ((direction.value, constraint.bound), ("waiver_floor", constraint.waiver_floor)):
        if bound is not None and not low <= bound <= high:
            in_range = False
            yield document.diagnostic(
                "CFT405",
                f"a bound that {metric.name} cannot reach ({metric.unit})",
                (*place, name),
                found=f"{bound:g}",
                expected=f"{low:g} to {high:g}" if math.isfinite(low) else f"at most {high:g}",
                help="rates are fractions: write 0.05 for 5 %" if 1 < bound <= 100 else "",
            )
    if not in_range:
        return
    floor = constraint.waiver_floor
    if floor is not None and direction.is_looser(constraint.bound, floor):
        yield document.diagnostic(
            "CFT407",
            "the waiver floor is stricter than the bound, so no waiver could relax anything",
            (*place, "waiver_floor"),
            found=f"{floor:g}",
            expected=f"{constraint.bound:g} or looser",
        )
    needed = least_evidence(constraint)
    if needed is None:
        yield document.diagnostic(
            "CFT408",
            f"no amount of evidence can show a {metric.name} of {direction.value.replace('_', ' ')} "
            f"{constraint.bound:g}",
            (*place, direction.value),
            help="state the smallest rate that is acceptable",
        )
    elif needed > constraint.minimum_evidence:
        yield document.diagnostic(
            "CFT408",
            "the minimum evidence is too small to show the bound, even with no error seen",
            (*place, "minimum_evidence"),
            found=str(constraint.minimum_evidence),
            expected=f"at least {needed} for {direction.value.replace('_', ' ')} {constraint.bound:g} "
            f"at confidence {constraint.confidence:g}",
        )
