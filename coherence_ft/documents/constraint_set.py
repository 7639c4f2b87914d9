"""Constraint sets: what a derivative must show, as frozen objects (schema/v1/constraint-set.schema.yaml)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.looks import look_confidence
from coherence_ft.documents.metrics import METRICS, Direction
from coherence_ft.documents.reader import Document, JsonPath


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


class Enforcement(StrEnum):
    HARD = "hard"  # gates promotion
    REPORT = "report"  # measured and shown, gates nothing


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written. `document` and `at`: the value itself, where it was read from a document."""

    path: str
    line: int
    column: int
    document: Document | None = field(default=None, compare=False, repr=False)
    at: JsonPath = field(default=(), compare=False, repr=False)

    def of(self, *steps: str | int) -> Origin:
        """The place of something inside the value, as `of("powers", 0)`; its own where that is not known."""
        at = (*self.at, *steps)
        if self.document is None or at not in self.document.values:
            return self
        return Origin(self.path, *self.document.values[at])

    def diagnostic(
        self,
        code: str,
        message: str,
        *,
        severity: Severity = Severity.ERROR,
        found: str = "",
        expected: str = "",
        help: str = "",
    ) -> Diagnostic:
        """A diagnostic at this place."""
        return Diagnostic(code, message, self.path, self.line, self.column, severity, found, expected, help)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


NOWHERE = Origin("", 0, 0)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a constraint holds and which observations count for it. An empty tuple does not narrow."""

    domains: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    routing_patterns: tuple[str, ...] = ()

    @property
    def observed(self) -> Scope:
        """The part that narrows what is measured: constraints that differ in it measure different things."""
        if not self.domains:
            return self
        return Scope((), self.languages, self.audiences, self.routing_patterns)

    def admits(self, language: str | None, audience: str | None, routing_pattern: str | None = None) -> bool:
        """Whether an observation counts. One without a mark is not of any language or audience in a list."""
        return (
            (not self.languages or language in self.languages)
            and (not self.audiences or audience in self.audiences)
            and (not self.routing_patterns or routing_pattern in self.routing_patterns)
        )


EVERYWHERE = Scope()


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
    waiver_approvals: int = 1
    coverage: float | None = None
    relation: str | None = None
    category: str | None = None
    scope: Scope = EVERYWHERE
    origin: Origin = NOWHERE

    @property
    def parameters(self) -> dict[str, float | str]:
        given = {"coverage": self.coverage, "relation": self.relation, "category": self.category}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def measure(self) -> tuple[object, ...]:
        """What is measured. Two constraints are comparable if it is equal."""
        return (
            self.metric,
            self.direction,
            self.coverage,
            self.relation,
            self.category,
            self.scope.observed,
        )


@dataclass(frozen=True, slots=True)
class RoleBoundary:
    """A subject left to others: on one of `topics`, a reply needs a `referral` and nothing forbidden."""

    id: str
    topics: tuple[str, ...]
    referral: tuple[str, ...]
    forbidden: tuple[str, ...]
    owner: str
    reason: str
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class NamedConstraint:
    """A restriction on every reply: it holds all of `required` and none of `forbidden`."""

    id: str
    forbidden: tuple[str, ...]
    required: tuple[str, ...]
    owner: str
    reason: str
    origin: Origin = NOWHERE


class Act(StrEnum):
    """What is done with an answer, the boldest first."""

    ASSERT = "assert"
    HEDGE = "hedge"
    DEFER = "defer"

    @property
    def caution(self) -> int:
        return list(Act).index(self)


@dataclass(frozen=True, slots=True)
class Band:
    """From `confidence` up to the next band, `phrase` is said."""

    confidence: float
    act: Act
    phrase: str
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Wording:
    """Bands from the highest confidence down; the last begins at 0. `audience` None: everybody."""

    audience: str | None
    bands: tuple[Band, ...]
    owner: str
    reason: str
    origin: Origin = NOWHERE

    def band(self, confidence: float) -> Band:
        return next(band for band in self.bands if confidence >= band.confidence)


OPTION_LIKELIHOOD = "option_likelihood"
"""The source of confidence where none is stated: the probability of the likeliest option."""

PLATT = "platt"
"""The calibrator where none is stated."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Where confidence comes from and what calibrates it. None: not stated."""

    confidence: str | None = None
    calibrator: str | None = None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class ConstraintSet:
    id: str
    title: str
    domain: str | None  # None: holds for every domain
    constraints: tuple[Constraint, ...]
    path: str
    role_boundaries: tuple[RoleBoundary, ...] = ()
    named_constraints: tuple[NamedConstraint, ...] = ()
    wording: tuple[Wording, ...] = ()
    extends: tuple[ConstraintSet, ...] = ()
    measurement: Measurement = Measurement()

    def ancestors(self) -> Iterator[ConstraintSet]:
        """Every set that this one takes over, directly or not, once each, the nearest first."""
        seen: dict[str, ConstraintSet] = {}
        waiting = list(self.extends)
        while waiting:
            parent = waiting.pop(0)
            key = str(Path(parent.path).absolute())
            if key not in seen:
                seen[key] = parent
                waiting += parent.extends
        yield from seen.values()


GENERAL = "general"
"""Probes of this domain count in every other."""

DOMAINS = (GENERAL, "clinical", "legal", "financial", "code")
"""Published domain names. A tenant may add its own under `domains`."""


def least_evidence(constraint: Constraint) -> int | None:
    """Fewest units that can show the bound when every outcome is good; None if no number of units can.

    From the exact binomial limit at zero errors: n ≥ ln(1 − confidence) / ln(1 − bound) for a rate that is
    at most the bound (Clopper and Pearson, 1934), at the confidence of a first look at the certification
    split (looks.py). 1 for metrics whose limits are not exact binomial.
    """
    if not METRICS[constraint.metric].is_share:
        return 1
    kept = 1 - constraint.bound if constraint.direction is Direction.AT_MOST else constraint.bound
    if kept <= 0:
        return 1
    if kept >= 1:
        return None
    return max(1, math.ceil(math.log(1 - look_confidence(constraint.confidence, 1)) / math.log(kept) - 1e-9))
