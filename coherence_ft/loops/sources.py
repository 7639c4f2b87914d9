"""Sources of confidence beside each other: the same answers, each with the confidence of one source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coherence_ft.documents.constraint_set import GENERAL
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence import metrics, reliability
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.smooth import SmoothError, smooth_ece
from coherence_ft.loops import calibration, soundness
from coherence_ft.loops.observation import Observations

CONFIDENCE = 0.95
"""Of every limit, one-sided, each alone."""


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What one source is worth on one split, calibrated on the calibration split.

    `answers`: all, of which `unstated` came without a confidence: accuracy is of all of them, every other
    figure of the rest. `tokens`, `seconds`: of the whole pass over the split, answering included.
    """

    source: str
    answers: int
    unstated: int
    accuracy: Estimate | Missing
    auroc: Estimate | Missing
    brier_skill: Estimate | Missing
    calibration_error: Estimate | Missing
    smooth: SmoothError | Missing
    tokens: int
    seconds: float


def figures(fitted_on: Observations, evaluated: Observations | None, domain: str, kind: str) -> SourceFigures:
    """Calibrate by `kind` on one pass and judge the other; the first itself, cross-fitted, without another.

    Answers of `domain` and of `general` count. Raises CoherenceError where the passes are no evidence. A
    calibrator that cannot be fitted (CFT469) leaves the figures that need it out.
    """
    found = soundness.defects(fitted_on)
    if evaluated is not None:
        found += [*soundness.defects(evaluated), *soundness.conflicts(fitted_on, evaluated)]
    if found:
        raise CoherenceError(found)
    judged = evaluated or fitted_on
    kept = _relevant(judged, domain)
    given = kept.confidence_source, len(kept.answers), sum(not a.is_stated for a in kept.answers)
    accuracy: Estimate | Missing = (
        metrics.accuracy(*calibration.outcomes(kept), CONFIDENCE)
        if kept.answers
        else Missing("no question was answered")
    )
    seen: calibration.Forecasts | None
    try:
        if evaluated is None:
            seen = calibration.cross_fitted(kept, kind).stated
        else:
            seen = calibration.judged(kept, calibration.fit(_relevant(fitted_on, domain), kind)).stated
        none = Missing("no answer came with a confidence")
    except CoherenceError as error:
        if error.codes != ("CFT469",):
            raise
        seen, none = None, Missing(error.diagnostics[0].message)
    if not seen:
        return SourceFigures(*given, accuracy, none, none, none, none, judged.tokens, judged.seconds)
    arrays = seen.forecast, seen.right, seen.groups
    return SourceFigures(
        *given,
        accuracy,
        metrics.auroc(*arrays, CONFIDENCE),
        metrics.brier_skill(*arrays, CONFIDENCE),
        reliability.calibration_error(*arrays, CONFIDENCE),
        smooth_ece(*arrays, CONFIDENCE),
        judged.tokens,
        judged.seconds,
    )


def _relevant(seen: Observations, domain: str) -> Observations:
    return replace(seen, answers=tuple(a for a in seen.answers if a.domain in (domain, GENERAL)))
