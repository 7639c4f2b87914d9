"""Abstention: from a promised risk to the threshold below which the model does not answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.intervals import Array
from coherence_ft.evidence.metrics import selective_risk

_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Certificate:
    """Answers whose forecast is at or above `threshold` keep the promised risk.

    `coverage` is the share of the calibration split that is at or above it; `risk` what certified it.
    """

    threshold: float
    coverage: float
    risk: Estimate


def threshold_at(forecast: Array, coverage: float) -> float:
    """The highest threshold that delivers at least `coverage` of these answers; they must not be empty."""
    ranked = np.sort(forecast)[::-1]
    delivered = min(len(ranked), max(1, math.ceil(coverage * len(ranked) - 1e-9)))
    return float(ranked[delivered - 1])


def coverages(declared: float) -> tuple[float, ...]:
    """From the declared coverage upwards in steps of 0.05, and 1 at the end."""
    steps = max(0, math.ceil((1 - declared) / _STEP - 1e-9))
    return (*(round(declared + _STEP * i, 6) for i in range(steps)), 1.0)


def learn_then_test(
    calibration: Array,
    forecast: Array,
    right: Array,
    groups: Array,
    *,
    coverage: float,
    bound: float,
    confidence: float,
) -> Certificate | None:
    """The threshold that delivers most answers at a risk of at most `bound`, or None where none is certain.

    Fixed-sequence Learn-then-Test (Angelopoulos et al. 2021, section 3.1): the thresholds are quantiles of
    the forecasts on the `calibration` split, so they are fixed before the other arrays (certification split)
    are looked at; each is tested exactly at level 1 - `confidence`, from the declared coverage upwards, and
    the first that is not certified ends the walk. So all certified thresholds hold together at that level.
    """
    best: Certificate | None = None
    for asked in coverages(coverage):
        threshold = threshold_at(calibration, asked)
        risk = selective_risk(forecast, right, groups, threshold, confidence)
        if not isinstance(risk, Estimate) or risk.upper > bound:
            break
        best = Certificate(threshold, float(np.mean(calibration >= threshold)), risk)
    return best
