"""The calibration loop: does confidence say how often the model is right, and tell right from wrong?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coherence_ft.documents.constraint_set import EVERYWHERE, PLATT, Constraint, Scope
from coherence_ft.evidence import metrics, reliability
from coherence_ft.evidence.abstention import threshold_at
from coherence_ft.evidence.calibrators import Calibrator, Source, fit_isotonic, fit_platt, fit_temperature
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import Array
from coherence_ft.loops.observation import AnswerObservation, Observations

_FOLDS = 10
_FITS = {PLATT: fit_platt, "temperature": fit_temperature, "isotonic": fit_isotonic}


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Answers with their calibrated confidence, in the order of their probe ids.

    An answer for which the model stated no confidence has the forecast NaN: it is never delivered.
    """

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
        return self._those(np.array(kept, dtype=bool))

    @property
    def stated(self) -> Forecasts:
        """Those with a confidence."""
        return self._those(~np.isnan(self.forecast))

    def rows(self, rows: Array) -> Forecasts:
        """Those with these row numbers."""
        return Forecasts(
            tuple(self.answers[i] for i in rows), self.forecast[rows], self.right[rows], self.groups[rows]
        )

    def _those(self, kept: Array) -> Forecasts:
        return self if kept.all() else self.rows(np.flatnonzero(kept))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one model's estimates are made from: thresholds on `calibration`, values on `evaluated`."""

    calibration: Forecasts
    evaluated: Forecasts

    def within(self, scope: Scope) -> Evidence:
        return Evidence(self.calibration.within(scope), self.evaluated.within(scope))


def fit(observations: Observations, kind: str = PLATT) -> Calibrator:
    """The calibrator of these answers: `platt`, `temperature` or `isotonic`.

    Raises CFT469 where a temperature or an isotonic curve has not both right and wrong answers.
    """
    answers = _ordered(observations.answers)
    return _fit(answers, observations, kind)


def judged(observations: Observations, calibrator: Calibrator) -> Forecasts:
    """Forecasts for answers that the calibrator has not seen. Raises CFT456 for another model's calibrator
    and CFT468 for one of another routing codebook or source of confidence."""
    answers = _ordered(observations.answers)
    fitting = calibrator.for_model(observations.model, observations.codebook, observations.confidence_source)
    return _forecasts(answers, _apply(fitting, answers))


def cross_fitted(observations: Observations, kind: str = PLATT) -> Forecasts:
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
        forecast[np.array(fold) == held] = _apply(_fit(outside, observations, kind), inside)
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
    if constraint.metric == "accuracy":
        return metrics.accuracy(seen.right, seen.groups, confidence)
    answered, seen = len(seen), seen.stated
    if len(seen) == 0:
        return Missing(f"the model stated no confidence in any of {answered} answers")
    arrays = seen.forecast, seen.right, seen.groups
    match constraint.metric:
        case "brier_score":
            return metrics.brier_score(*arrays, confidence)
        case "brier_skill":
            return metrics.brier_skill(*arrays, confidence)
        case "auroc":
            return metrics.auroc(*arrays, confidence)
        case "calibration_error":
            return reliability.calibration_error(*arrays, confidence)
        case "selective_risk":
            least = threshold(constraint, evidence.calibration)
            return least if isinstance(least, Missing) else metrics.selective_risk(*arrays, least, confidence)
        case "brier_gain":
            return _gain(seen, base, confidence)
    return Missing(f"the calibration loop does not measure {constraint.metric}")


def coverage(constraint: Constraint) -> float:
    """The declared coverage; 1 where none is declared, since then every answer is delivered."""
    return 1.0 if constraint.coverage is None else constraint.coverage


def stated_coverage(constraint: Constraint, calibration: Forecasts) -> float | None:
    """The declared coverage of all answers as one of those with a confidence; None if they are too few."""
    share = len(calibration.stated) / len(calibration) if len(calibration) else 0.0
    asked = coverage(constraint)
    return min(1.0, asked / share) if 0 < asked <= share else None


def threshold(constraint: Constraint, calibration: Forecasts) -> float | Missing:
    """The forecast from which answers are delivered at the declared coverage of all of them."""
    if len(calibration) == 0:
        return Missing("no answer of the calibration split sets the threshold")
    share = stated_coverage(constraint, calibration)
    if share is None:
        return Missing("too few answers come with a confidence for the declared coverage")
    return threshold_at(calibration.stated.forecast, share)


def _gain(seen: Forecasts, base: Evidence | None, confidence: float) -> Estimate | Missing:
    if base is None:
        return Missing("the base model was not measured")
    theirs_seen = base.evaluated.stated
    place = {probe: i for i, probe in enumerate(theirs_seen.probes)}
    ours = [i for i, probe in enumerate(seen.probes) if probe in place]
    theirs = [place[seen.answers[i].probe] for i in ours]
    found = metrics.brier_gain(
        seen.forecast[ours],
        seen.right[ours],
        theirs_seen.forecast[theirs],
        theirs_seen.right[theirs],
        seen.groups[ours],
        confidence,
    )
    alone = len(seen) - len(ours)  # a budget stopped the base model's pass earlier
    if alone and isinstance(found, Estimate):
        return replace(
            found, method=f"{found.method}, {alone} questions that the base did not answer left out"
        )
    return found


def outcomes(observations: Observations) -> tuple[Array, Array]:
    """(n,) whether each answer is right, and (n,) the number of its group."""
    answers = _ordered(observations.answers)
    return np.array([a.correct for a in answers], dtype=bool), _group_numbers(answers)


def _ordered(answers: Sequence[AnswerObservation]) -> list[AnswerObservation]:
    return sorted(answers, key=lambda answer: answer.probe)


def _fit(answers: Sequence[AnswerObservation], source: Observations, kind: str) -> Calibrator:
    stated = [a for a in answers if a.is_stated]
    return _FITS[kind](
        np.array([a.confidence for a in stated]),
        np.array([a.correct for a in stated]),
        [a.domain for a in stated],
        [a.routing_pattern for a in stated],
        _group_numbers(stated),
        Source(source.model, source.probe_set, source.split, source.codebook, source.confidence_source),
    )


def _apply(calibrator: Calibrator, answers: Sequence[AnswerObservation]) -> Array:
    """(n,) forecasts, NaN for answers without a confidence."""
    forecast = np.full(len(answers), np.nan)
    stated = [i for i, answer in enumerate(answers) if answer.is_stated]
    forecast[stated] = calibrator.apply(
        np.array([answers[i].confidence for i in stated]),
        [answers[i].domain for i in stated],
        [answers[i].routing_pattern for i in stated],
    )
    return forecast


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
