"""Which outcomes count: those of this derivative, grounded outside it, each once. The others are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.outcomes import GROUNDINGS, MODEL, SERVED, Outcome, Read
from coherence_ft.documents.schemas import either, show, suggestion

_SKEW = timedelta(minutes=5)  # clocks of two machines
_COUNTING = (SERVED, "test")

Cell = tuple[str, str]
"""Domain and routing pattern."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What outcomes are held against: a derivative's digests, its cells, its threshold and promised risk.

    `bound` and `confidence`: the strictest selective risk that its manifest certifies; None if none.
    """

    derivative: str  # digest of the manifest
    model: str
    calibrator: str
    cells: tuple[Cell, ...]
    threshold: float | None
    bound: float | None = None
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Admitted:
    """Every row of a file in one of three places. `used` change calibration, `ignored` are a model's own
    conclusions, `refused` holds for each other row what is wrong with it."""

    used: tuple[Outcome, ...]
    ignored: tuple[Outcome, ...]
    refused: tuple[tuple[Diagnostic, ...], ...]

    def __len__(self) -> int:
        return len(self.used) + len(self.ignored) + len(self.refused)

    @property
    def reasons(self) -> dict[str, int]:
        """Refused rows by their first code."""
        return dict(sorted(Counter(found[0].code for found in self.refused).items()))


def admit(
    read: Read, subject: Subject, seen: Container[str], ignored: Container[str], now: datetime
) -> Admitted:
    """`seen`, `ignored`: ids that were used, or ignored, before."""
    used: dict[str, Outcome] = {}
    passed_over: dict[str, Outcome] = {}
    refused = list(read.broken)
    for number, outcome in read.rows:
        id = outcome.id
        if problem := _problem(outcome, subject, now, read.path, number):
            refused.append((problem,))
        elif outcome.grounding == MODEL:
            if id in passed_over or id in ignored:
                refused.append((_twice(outcome, read.path, number),))
            else:
                passed_over[id] = outcome
        elif id in used or id in seen:
            refused.append((_twice(outcome, read.path, number),))
        else:
            used[id] = outcome
    return Admitted(tuple(used.values()), tuple(passed_over.values()), tuple(refused))


def _twice(outcome: Outcome, path: str, line: int) -> Diagnostic:
    return Diagnostic(
        "CFT483", "an outcome of this id was added already", path, line, 1, found=show(outcome.id)
    )


def _problem(outcome: Outcome, subject: Subject, now: datetime, path: str, line: int) -> Diagnostic | None:
    def found(code: str, message: str, value: object, expected: str, help: str = "") -> Diagnostic:
        return Diagnostic(code, message, path, line, 1, found=show(value), expected=expected, help=help)

    for label, value, expected in (
        ("model", outcome.model, subject.model),
        ("calibrator", outcome.calibrator, subject.calibrator),
    ):
        if value != expected:
            return found("CFT481", f"an outcome of another {label}", value, expected)
    if outcome.grounding not in GROUNDINGS:
        near = suggestion(outcome.grounding, GROUNDINGS)
        return found("CFT482", "a grounding that is not known", outcome.grounding, either(GROUNDINGS), near)
    if outcome.split not in _COUNTING:
        return found(
            "CFT484", "an outcome on questions that made the derivative", outcome.split, either(_COUNTING)
        )
    if (outcome.domain, outcome.routing_pattern) not in subject.cells:
        cells = either(f"{domain} × {pattern}" for domain, pattern in subject.cells)
        value = f"{outcome.domain} × {outcome.routing_pattern}"
        return found("CFT473", "an outcome in a cell that the derivative does not have", value, cells)
    try:
        observed = datetime.fromisoformat(outcome.observed_at)
    except ValueError:  # a leap second
        return found("CFT487", "a time that cannot be read", outcome.observed_at, "RFC 3339")
    if observed > now + _SKEW:
        return found("CFT487", "an outcome of the future", outcome.observed_at, f"at most {now.isoformat()}")
    return None
