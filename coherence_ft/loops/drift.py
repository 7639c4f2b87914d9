"""The calibration loop at run time: outcomes come in, drift is certified or detected, confidence is adjusted.

Two questions, two tests (evidence/drift.py). Does the calibrator that was signed still hold? Asked once and
for all of the confidence without adjustments, in every cell at an equal share of alpha. Has confidence, as
adjusted so far, drifted lately? Asked by a detector that starts again after each alarm, and whose alarm
adjusts its cell.

An adjustment never delivers what the certificate would not: it may raise or lower the confidence that is
stated, but the threshold only rises, and what is below the certified threshold before adjustment stays
withheld.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.outcomes import Outcome
from coherence_ft.evidence.abstention import learn_then_test
from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.drift import (
    DriftCertificate,
    DriftDetector,
    logit,
    probability,
    shrunken_offset,
    unreadable,
)
from coherence_ft.evidence.sequential import SequentialGate
from coherence_ft.loops.admission import Subject

ALPHA = 0.01
"""False certificates of drift: over all cells together, and for the promised risk, in all of time."""

ALARM = 0.001
"""At least 1 / ALARM outcomes between two false alarms, on average and over all cells together."""

TOLERANCE = 0.2
"""How far, in logits, confidence may be off without being called drift: 0.55 for 0.5, 0.917 for 0.9."""

_NEVER = 2**53  # a gate that has decided takes no more outcomes; this one goes on

_NARROWEST = 0.2  # share of recent answers at which the search for a threshold begins

History = dict[tuple[str, str], list[tuple[float, bool]]]
"""By cell, in the order in which they came in: logit of the calibrated confidence, and whether it was
right.
"""


@dataclass(frozen=True, slots=True)
class CellState:
    """`offset` in logits, `threshold` on the adjusted confidence; None: it abstains on everything.

    `n`, `right`: outcomes so far, and how many were right. `since`: outcomes before the detector's last
    start.
    """

    domain: str
    pattern: str
    certificate: DriftCertificate
    detector: DriftDetector
    threshold: float | None
    offset: float = 0.0
    n: int = 0
    right: int = 0
    since: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.domain, self.pattern


@dataclass(frozen=True, slots=True)
class Change:
    """A cell before and after an adjustment, why, and the evidence for it, for the ledger."""

    before: CellState
    after: CellState
    reason: str
    evidence: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "domain": self.after.domain,
            "routingPattern": self.after.pattern,
            "before": _in_force(self.before),
            "after": _in_force(self.after),
            "reason": self.reason,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class DriftState:
    """All that is remembered of a derivative's outcomes but the outcomes themselves. A value."""

    model: str
    calibrator: str
    cells: tuple[CellState, ...]  # in order of their names
    risk: SequentialGate | None  # of wrong answers among the delivered; None where no risk is promised

    @classmethod
    def new(cls, subject: Subject) -> DriftState:
        """Nothing seen yet. Raises CFT488 where there is no threshold: nothing is stated, nothing can
        drift.
        """
        alpha = ALPHA / max(1, len(subject.cells))
        cells = tuple(
            CellState(
                domain,
                pattern,
                DriftCertificate(alpha, TOLERANCE),
                DriftDetector(ALARM, TOLERANCE),
                subject.threshold,
            )
            for domain, pattern in sorted(subject.cells)
        )
        risk = None
        if subject.bound is not None and 0 < subject.bound < 1:
            risk = SequentialGate.of_rate(
                Direction.AT_MOST, subject.bound, 1 - ALPHA, fail_confidence=1 - ALPHA, minimum=_NEVER
            )
        return cls(subject.model, subject.calibrator, cells, risk)

    @property
    def drifted(self) -> tuple[CellState, ...]:
        """Cells whose signed calibrator is certified to hold no more."""
        return tuple(cell for cell in self.cells if cell.certificate.certified)

    @property
    def risk_broken(self) -> bool:
        """Whether it is certified that the promised risk does not hold."""
        return self.risk is not None and self.risk.shown_above

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "calibrator": self.calibrator,
            "risk": self.risk and self.risk.to_json(),
            "cells": [
                {
                    "domain": cell.domain,
                    "routingPattern": cell.pattern,
                    **_in_force(cell),
                    "n": cell.n,
                    "right": cell.right,
                    "since": cell.since,
                    "certificate": cell.certificate.to_json(),
                    "detector": cell.detector.to_json(),
                }
                for cell in self.cells
            ],
        }

    @classmethod
    def from_json(cls, data: Any, *, path: object = "") -> DriftState:
        """Raises CFT472 and CFT485 for anything that `to_json` would not write."""
        try:
            cells = tuple(
                CellState(
                    row["domain"],
                    row["routingPattern"],
                    DriftCertificate.from_json(row["certificate"], path=path),
                    DriftDetector.from_json(row["detector"], path=path),
                    None if row["threshold"] is None else float(row["threshold"]),
                    float(row["offset"]),
                    row["n"],
                    row["right"],
                    row["since"],
                )
                for row in data["cells"]
            )
            risk = None if data["risk"] is None else SequentialGate.from_json(data["risk"], path=path)
            made = cls(data["model"], data["calibrator"], cells, risk)
            numbers = [n for cell in cells for n in (cell.offset, cell.threshold or 0.0)]
            if made.to_json() != data or not all(map(math.isfinite, numbers)):
                raise ValueError("not in the form in which it is written")
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(error, path) from None
        return made


def _in_force(cell: CellState) -> dict[str, str | None]:
    threshold = None if cell.threshold is None else repr(cell.threshold)
    return {"offset": repr(cell.offset), "threshold": threshold}


def history_of(outcomes: Iterable[Outcome]) -> History:
    """Earlier outcomes by cell, for `observe`."""
    found: History = {}
    for outcome in outcomes:
        # What the calibrator said: an outcome may come in long after the adjustment it was stated under.
        said = logit(outcome.confidence) - outcome.adjustment
        found.setdefault((outcome.domain, outcome.routing_pattern), []).append((said, outcome.correct))
    return found


def observe(
    state: DriftState, before: History, outcomes: Sequence[Outcome], subject: Subject
) -> tuple[DriftState, tuple[Change, ...]]:
    """The state after these outcomes, in the order given, and the adjustments that they caused.

    `before`: those that `state` has seen. In one call or in many: the same state. The order of cells among
    each other does not matter.
    """
    new = history_of(outcomes)
    cells, changes = [], []
    kept: dict[tuple[str, str], Iterator[bool]] = {}
    for cell in state.cells:
        found, made, delivered = _observe_cell(cell, before.get(cell.key, []), new.get(cell.key, []), subject)
        cells.append(found)
        changes += made
        kept[cell.key] = iter(delivered)
    risk = state.risk
    if risk is not None and not risk.shown_above:
        # Answers that were delivered, and would be under what was in force when their outcome came in: an
        # adjustment is not blamed for what it has stopped.
        wrong = [
            float(not o.correct) for o in outcomes if next(kept[o.domain, o.routing_pattern]) and o.delivered
        ]
        risk = _fed(risk, wrong)
        if risk.shown_above:
            evidence = {
                "n": risk.n,
                "wrong": round(risk.total),
                "bound": repr(risk.bound),
                "alpha": repr(ALPHA),
            }
            reason = "the promised risk is certified to be broken among delivered answers"
            silent = [replace(cell, threshold=None) for cell in cells]
            changes += [
                Change(cell, after, reason, evidence) for cell, after in zip(cells, silent, strict=True)
            ]
            cells = silent
    return replace(state, cells=tuple(cells), risk=risk), tuple(changes)


def _fed(risk: SequentialGate, wrong: list[float]) -> SequentialGate:
    """Up to the outcome that shows it to be broken: from then on nothing is delivered."""
    whole, _ = risk.feed(wrong)
    if not whole.shown_above:
        return whole
    for each in wrong:
        if risk.shown_above:
            break
        risk, _ = risk.feed([each])
    return risk


def _observe_cell(
    cell: CellState, before: list[tuple[float, bool]], new: list[tuple[float, bool]], subject: Subject
) -> tuple[CellState, list[Change], list[bool]]:
    """The cell after these outcomes, its adjustments, and of each outcome whether what was in force then
    would deliver its answer, if the certificate does."""
    if not new:
        return cell, [], []
    said, right = np.array([s for s, _ in new]), np.array([r for _, r in new])
    cell = replace(
        cell,
        certificate=cell.certificate.feed(said, right),
        n=cell.n + len(new),
        right=cell.right + int(right.sum()),
    )
    changes: list[Change] = []
    delivered: list[bool] = []
    everything = before + new
    while len(delivered) < len(new):
        used = len(delivered)
        detector, took = cell.detector.feed(said[used:] + cell.offset, right[used:])
        delivered += _delivered(cell, said[used : used + took], subject)
        if not detector.fired:
            cell = replace(cell, detector=detector)
            break
        seen = len(before) + len(delivered)
        recent = everything[cell.since + detector.change : seen]
        change = _adjust(cell, detector, recent, seen, subject)
        changes.append(change)
        cell = change.after
    return cell, changes, delivered


def _delivered(cell: CellState, said: Array, subject: Subject) -> list[bool]:
    if (cell.offset, cell.threshold) == (0.0, subject.threshold):
        return [True] * len(said)
    if cell.threshold is None:
        return [False] * len(said)
    return [bool(p >= cell.threshold) for p in np.round(1 / (1 + np.exp(-(said + cell.offset))), 6)]


def _adjust(
    cell: CellState, detector: DriftDetector, recent: list[tuple[float, bool]], seen: int, subject: Subject
) -> Change:
    said, right = np.array([s for s, _ in recent]), np.array([r for _, r in recent])
    offset = shrunken_offset(said, right, cell.offset, detector.side)
    threshold = cell.threshold
    if detector.side < 0 and threshold is not None:
        threshold = _kept(1 / (1 + np.exp(-(said + offset))), right, threshold, subject)
    after = replace(cell, offset=offset, threshold=threshold, detector=detector.restarted(), since=seen)
    stated = float(np.mean(1 / (1 + np.exp(-(said + cell.offset)))))
    often = "less" if detector.side < 0 else "more"
    return Change(
        cell,
        after,
        f"answers were {often} often right than stated",
        {
            "n": len(recent),
            "right": int(right.sum()),
            "stated": f"{stated:.6f}",
            "afterOutcome": seen,
            "logEValue": f"{detector.log_value:.6f}",
            "alpha": repr(detector.alpha),
            "tolerance": repr(detector.tolerance),
        },
    )


def _kept(forecast: Array, right: Array, threshold: float, subject: Subject) -> float | None:
    """The threshold from `threshold` on at which these outcomes certify the promised risk; None if none
    does.
    """
    reached = forecast >= threshold
    bound = subject.bound
    if bound == 1:
        return threshold  # nothing was promised that could break
    if bound is None or not 0 < bound < 1:
        return None
    least = math.ceil(math.log(1 - subject.confidence) / math.log(1 - bound))
    count = int(reached.sum())
    if count < least:
        return None
    found = learn_then_test(
        forecast[reached],
        forecast[reached],
        right[reached],
        np.arange(count),
        # a walk that begins with too few to bear an error ends at once
        coverage=min(1.0, max(_NARROWEST, 2 * least / count)),
        bound=bound,
        confidence=subject.confidence,
    )
    if found is None:
        return None
    return threshold if found.coverage == 1 else found.threshold


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What run-time evidence makes of a derivative's confidence and threshold. By cell; empty: nothing."""

    cells: dict[tuple[str, str], CellState]

    @classmethod
    def of(cls, state: DriftState | None) -> Adjustment:
        return cls({cell.key: cell for cell in state.cells} if state else {})

    def offset(self, domain: str, pattern: str) -> float:
        """In logits."""
        cell = self.cells.get((domain, pattern))
        return cell.offset if cell else 0.0

    def stated(self, calibrated: float, domain: str, pattern: str) -> float:
        """The confidence to state, to six decimals as calibrators do."""
        offset = self.offset(domain, pattern)
        return round(probability(logit(calibrated) + offset), 6) if offset else calibrated

    def withheld(self, calibrated: float, certified: float, domain: str, pattern: str) -> str:
        """Why an answer of this calibrated confidence is not delivered; empty if it is.

        `certified`: the threshold of the manifest.
        """
        if calibrated < certified:
            return f"confidence {calibrated:.3f} is below the certified threshold {certified:.3f}"
        if (cell := self.cells.get((domain, pattern))) is None:
            return ""
        if cell.threshold is None:
            return "outcomes at run time no longer support the promised risk; promote anew"
        stated = self.stated(calibrated, domain, pattern)
        if stated < cell.threshold:
            return (
                f"confidence {stated:.3f}, adjusted at run time, is below the threshold {cell.threshold:.3f}"
            )
        return ""


def groundings(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many outcomes each grounding has."""
    return dict(sorted(Counter(outcome.grounding for outcome in outcomes).items()))
