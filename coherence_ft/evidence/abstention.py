"""Abstention: from a promised risk to the threshold below which the model does not answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import some_share
from coherence_ft.evidence.metrics import selective_risk
from coherence_ft.evidence.reliability import NOTHING

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
    Where answers come in groups, it is as exact as `intervals.share` (simulated: docs/evidence.md).
    Raises CFT452, and ValueError for an empty calibration split.
    """
    if len(calibration) == 0:
        raise ValueError("no answer of the calibration split sets the thresholds")
    unknown = np.zeros(len(calibration))
    refuse_unsound(unknown, unknown, calibration)
    best: Certificate | None = None
    for asked in coverages(coverage):
        threshold = threshold_at(calibration, asked)
        risk = selective_risk(forecast, right, groups, threshold, confidence)
        if not isinstance(risk, Estimate) or risk.upper > bound:
            break
        best = Certificate(threshold, float(np.mean(calibration >= threshold)), risk)
    return best


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """`curve`: for each coverage asked, the threshold, the coverage it gives and the risk there.

    `area`: mean selective risk over all coverages (AURC: Geifman and El-Yaniv 2017).
    """

    curve: tuple[tuple[float, float, Estimate], ...]
    area: float


def risk_coverage(forecast: Array, right: Array, groups: Array, confidence: float) -> RiskCoverage | Missing:
    """Selective risk at coverages from 0.05 to 1. Equal forecasts are delivered together. Raises CFT452.

    For looking at: each limit holds alone, for a threshold that was chosen without these outcomes. What is
    picked from this curve is certified by nothing; that is what `learn_then_test` is for.
    """
    refuse_unsound(right, groups, forecast)
    if len(right) == 0:
        return NOTHING
    order = np.argsort(-forecast, kind="stable")
    ranked, wrong, labels = forecast[order], ~right[order].astype(bool), groups[order]
    delivered = len(ranked) - np.searchsorted(ranked[::-1], ranked, side="left")  # with those tied
    area = float(np.mean(np.cumsum(wrong)[delivered - 1] / delivered))
    curve = []
    for asked in coverages(_STEP):
        last = min(len(ranked), max(1, math.ceil(asked * len(ranked) - 1e-9))) - 1
        count = int(delivered[last])
        risk = some_share(wrong[:count], labels[:count], confidence)
        curve.append((float(ranked[last]), count / len(ranked), risk))
    return RiskCoverage(tuple(curve), area)
