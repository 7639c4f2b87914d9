"""Which domains or routing patterns keep a constraint by themselves: the question that needs a correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date

from coherence_ft.authority.resolved import ResolvedConstraint
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.metrics import METRICS
from coherence_ft.evidence.arrays import Array, cell_rows
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import decide
from coherence_ft.evidence.multiplicity import holm
from coherence_ft.loops import calibration
from coherence_ft.loops.calibration import Evidence
from coherence_ft.loops.observation import AnswerObservation


@dataclass(frozen=True, slots=True)
class Kept:
    """For one constraint, each cell by name: whether it keeps it, at the constraint's confidence for all."""

    constraint: Constraint
    cells: dict[str, bool]

    def named(self, keep: bool) -> tuple[str, ...]:
        return tuple(name for name, kept in self.cells.items() if kept is keep)


def keeping(
    asked: Iterable[ResolvedConstraint],
    evidence: Evidence,
    base: Evidence | None,
    key: Callable[[AnswerObservation], str],
) -> tuple[Kept, ...]:
    """The cells that pass each constraint of the calibration loop, as declared and without waivers.

    A threshold is that of all answers, since it is what serves them all; cells of the calibration split
    that no judged answer fell into are asked too, and do not pass. Holm: with the constraint's confidence,
    no cell that is said to keep it breaks it.
    """
    judged = evidence.evaluated
    names = [key(answer) for answer in judged.answers]
    declared = sorted({key(answer) for answer in evidence.calibration.answers} | set(names))
    rows = cell_rows(names, declared)

    def gate(constraint: Constraint, cell: Array) -> Callable[[float], bool]:
        inside = Evidence(evidence.calibration, judged.rows(cell))

        def passes(confidence: float) -> bool:
            held = replace(constraint, confidence=confidence)
            found = calibration.estimate(held, inside, base)
            measured = found if isinstance(found, Estimate) else None
            return decide(held, measured, None, date.max)[0] is Verdict.PASS

        return passes

    held = [r.constraint for r in asked if METRICS[r.constraint.metric].loop == "calibration"]
    return tuple(Kept(c, holm({name: gate(c, rows[name]) for name in declared}, c.confidence)) for c in held)
