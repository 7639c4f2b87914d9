"""The calibration loop: does confidence say how often the model is right, and tell right from wrong?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coherence_ft.documents.constraint_set import EVERYWHERE, Constraint, Scope
from coherence_ft.evidence import metrics, reliability
from coherence_ft.evidence.abstention import threshold_at
from coherence_ft.evidence.calibrators import Calibrator, Source, fit_platt
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import Array
from coherence_ft.loops.observation import AnswerObservation, Observations

_FOLDS = 10


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Answers with their calibrated confidence, in the order of their probe ids."""

    answers: tuple[AnswerObservation, ...]
    forecast: Array  # (n,) calibrated probability that the chosen option is right
    right: Array  # (n,) bool
    groups: Array  # (n,) numbers of the groups in sorted order

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def probes(self) -> tuple[str, ...]:
        return tuple(a.probe for a in self.answers)

    def within(self, scope: Scope) -> Forecasts:
        """Those that count for a constraint of this scope."""
        kept = [scope.admits(a.language, a.audience, a.routing_pattern) for a in self.answers]
        if all(kept):
            return self
        answers = tuple(a for a, keep in zip(self.answers, kept, strict=True) if keep)
        return Forecasts(answers, self.forecast[kept], self.right[kept], self.groups[kept])


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one model's estimates are made from: thresholds on `calibration`, values on `evaluated`."""

    calibration: Forecasts
    evaluated: Forecasts

    def within(self, scope: Scope) -> Evidence:
        return Evidence(self.calibration.within(scope), self.evaluated.within(scope))


def fit(observations: Observations) -> Calibrator:
    """The calibrator of these answers."""
    answers = _ordered(observations.answers)
    return _fit(answers, observations)


def judged(observations: Observations, calibrator: Calibrator) -> Forecasts:
    """Forecasts for answers that the calibrator has not seen. Raises CFT456 for another model's calibrator
    and CFT468 for one of another routing codebook."""
    answers = _ordered(observations.answers)
    return _forecasts(
        answers, _apply(calibrator.for_model(observations.model, observations.codebook), answers)
    )


def cross_fitted(observations: Observations) -> Forecasts:
    """Forecasts for the calibration split itself: each by a calibrator fitted without the answer's group.

    Ten folds of whole groups, dealt out in the order of their share of right answers, so that the folds'
    base rates are alike. Fewer than two groups are forecast by the prior alone.
    """
    answers = _ordered(observations.answers)
    fold = _folds(answers)
    forecast = np.zeros(len(answers))
    for held in sorted(set(fold)):
        outside = [a for a, f in zip(answers, fold, strict=True) if f != held]
        inside = [a for a, f in zip(answers, fold, strict=True) if f == held]
        forecast[np.array(fold) == held] = _apply(_fit(outside, observations), inside)
    return _forecasts(answers, forecast)


def estimate(constraint: Constraint, evidence: Evidence, base: Evidence | None = None) -> Estimate | Missing:
    """The estimate of one of this loop's metrics. `base` is needed for `brier_gain` alone."""
    evidence = evidence.within(constraint.scope)
    base = base.within(constraint.scope) if base else None
    seen, confidence = evidence.evaluated, constraint.confidence
    if len(seen) == 0:
        return Missing(
            "no question in its scope was answered"
            if constraint.scope.observed != EVERYWHERE
            else "no question was answered"
        )
    arrays = seen.forecast, seen.right, seen.groups
    match constraint.metric:
        case "accuracy":
            return metrics.accuracy(seen.right, seen.groups, confidence)
        case "brier_score":
            return metrics.brier_score(*arrays, confidence)
        case "brier_skill":
            return metrics.brier_skill(*arrays, confidence)
        case "auroc":
            return metrics.auroc(*arrays, confidence)
        case "calibration_error":
            return reliability.calibration_error(*arrays, confidence)
        case "selective_risk":
            if len(evidence.calibration) == 0:
                return Missing("no answer of the calibration split sets the threshold")
            threshold = threshold_at(evidence.calibration.forecast, coverage(constraint))
            return metrics.selective_risk(*arrays, threshold, confidence)
        case "brier_gain":
            return _gain(seen, base, confidence)
    return Missing(f"the calibration loop does not measure {constraint.metric}")


def coverage(constraint: Constraint) -> float:
    """The declared coverage; 1 where none is declared, since then every answer is delivered."""
    return 1.0 if constraint.coverage is None else constraint.coverage


def _gain(seen: Forecasts, base: Evidence | None, confidence: float) -> Estimate | Missing:
    if base is None:
        return Missing("the base model was not measured")
    place = {probe: i for i, probe in enumerate(base.evaluated.probes)}
    ours = [i for i, probe in enumerate(seen.probes) if probe in place]
    theirs = [place[seen.answers[i].probe] for i in ours]
    found = metrics.brier_gain(
        seen.forecast[ours],
        seen.right[ours],
        base.evaluated.forecast[theirs],
        base.evaluated.right[theirs],
        seen.groups[ours],
        confidence,
    )
    alone = len(seen) - len(ours)  # a budget stopped the base model's pass earlier
    if alone and isinstance(found, Estimate):
        return replace(
            found, method=f"{found.method}, {alone} questions that the base did not answer left out"
        )
    return found


def _ordered(answers: Sequence[AnswerObservation]) -> list[AnswerObservation]:
    return sorted(answers, key=lambda answer: answer.probe)


def _fit(answers: Sequence[AnswerObservation], source: Observations) -> Calibrator:
    return fit_platt(
        np.array([a.confidence for a in answers]),
        np.array([a.correct for a in answers]),
        [a.domain for a in answers],
        [a.routing_pattern for a in answers],
        _group_numbers(answers),
        Source(source.model, source.probe_set, source.split, source.codebook),
    )


def _apply(calibrator: Calibrator, answers: Sequence[AnswerObservation]) -> Array:
    return calibrator.apply(
        np.array([a.confidence for a in answers]),
        [a.domain for a in answers],
        [a.routing_pattern for a in answers],
    )


def _forecasts(answers: Sequence[AnswerObservation], forecast: Array) -> Forecasts:
    return Forecasts(
        tuple(answers),
        forecast,
        np.array([a.correct for a in answers], dtype=bool),
        _group_numbers(answers),
    )


def _group_numbers(answers: Sequence[AnswerObservation]) -> Array:
    return np.unique([a.group for a in answers], return_inverse=True)[1]


def _folds(answers: Sequence[AnswerObservation]) -> list[int]:
    members: dict[str, list[AnswerObservation]] = {}
    for answer in answers:
        members.setdefault(answer.group, []).append(answer)
    order = sorted(
        members,
        key=lambda group: (
            min(a.domain for a in members[group]),
            sum(a.correct for a in members[group]) / len(members[group]),
            group,
        ),
    )
    fold = {group: i % _FOLDS for i, group in enumerate(order)}
    return [fold[a.group] for a in answers]
