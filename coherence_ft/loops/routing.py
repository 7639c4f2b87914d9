"""Routing patterns of observations: a codebook fitted on the calibration split, the same for every other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coherence_ft.evidence.routing_patterns import Codebook, Counts, fit_codebook, malformed
from coherence_ft.loops.observation import Observations


def fit(calibration: Observations) -> Codebook | None:
    """The codebook of the model that was observed; None for a dense one, or without an answer."""
    if not calibration.capture or not calibration.answers:
        return None
    return fit_codebook(
        _counts(calibration),
        [answer.group for answer in calibration.answers],
        model=calibration.model,
        capture=calibration.capture,
        probe_set=calibration.probe_set,
        split=calibration.split,
    )


def assigned(observations: Observations, codebook: Codebook) -> Observations:
    """The same observations with their routing patterns.

    Raises CFT466 for observations of another model or capture, a dense model's among them, and CFT465 for
    an answer without expert counts.
    """
    codebook.for_model(observations.model, observations.capture)
    patterns = codebook.assign(_counts(observations))
    answers = zip(observations.answers, patterns, strict=True)
    return replace(
        observations,
        answers=tuple(replace(answer, routing_pattern=pattern) for answer, pattern in answers),
        codebook=codebook.digest,
    )


def _counts(observations: Observations) -> Counts:
    counts = [answer.experts for answer in observations.answers if answer.experts is not None]
    if len(counts) < len(observations.answers) or len({each.shape for each in counts}) > 1:
        raise malformed("answers without counts, or with counts of several shapes")
    return np.array(counts)
