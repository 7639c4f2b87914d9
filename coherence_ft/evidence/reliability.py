"""How stated confidence and outcomes agree: diagram, decomposition of the Brier score, debiased L2 error.

All use the same bins: of equal mass, closed below, with equal forecasts in one bin, so that the order of
the answers changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtri

from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import RESAMPLES, SEED, group_codes, some_share

_MOST_BINS = 10
_LEAST_ANSWERS = 20  # a bin

NOTHING = Missing("there is no answer to measure it on", "CFT470")


def equal_mass(forecast: Array, bins: int) -> Array:
    """The bin (0, 1, …) of each forecast. Ties can make bins unequal, or fewer than asked."""
    ranked = np.sort(forecast)
    edges = np.unique(ranked[np.arange(1, bins) * len(ranked) // bins])
    edges = edges[edges > ranked[0]]
    return np.searchsorted(edges, forecast, side="right")


def _bins(answers: int, asked: int | None) -> int:
    return asked or max(1, min(_MOST_BINS, answers // _LEAST_ANSWERS))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers with forecasts from `lowest` to `highest`, `stated` on average, and the share that was right.

    `share` has one-sided limits: together they hold with twice the error of one. A calibrated model's own
    share lies from `consistent_low` to `consistent_high` as often as `share.confidence` says of both sides
    together (consistency bars: Bröcker and Smith 2007), were the answers independent.
    """

    lowest: float
    highest: float
    stated: float
    answers: int
    share: Estimate
    consistent_low: float
    consistent_high: float


def reliability_diagram(
    forecast: Array, right: Array, groups: Array, confidence: float, bins: int | None = None
) -> tuple[ReliabilityBin, ...]:
    """The bins, from the lowest forecast up; their `answers` add up to all. Empty where there is none.

    At most 10 bins of at least 20 answers, unless `bins` says otherwise. Limits: Clopper–Pearson, at the
    effective size of Korn and Graubard where answers come in groups. Consistency bars: normal, with the
    variance of the forecasts themselves. Raises CFT452.
    """
    refuse_unsound(right, groups, forecast)
    if len(right) == 0:
        return ()
    code = equal_mass(forecast, _bins(len(right), bins))
    found = []
    for number in range(int(code.max()) + 1):
        inside = code == number
        seen = some_share(right[inside].astype(bool), groups[inside], confidence)
        stated, answers = float(np.mean(forecast[inside])), int(inside.sum())
        spread = float(np.sum(forecast[inside] * (1 - forecast[inside]))) ** 0.5 / answers
        margin = float(ndtri((1 + confidence) / 2)) * spread
        found.append(
            ReliabilityBin(
                float(forecast[inside].min()),
                float(forecast[inside].max()),
                stated,
                answers,
                seen,
                max(0.0, stated - margin),
                min(1.0, stated + margin),
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """brier = reliability - resolution + uncertainty + within, exactly.

    `reliability`: squared distance of stated from observed share (less is better); `resolution`: how far the
    bins' shares lie apart (more is better); `uncertainty`: variance of the outcomes; `within`: what
    forecasts do inside a bin (Stephenson, Coelho and Jolliffe 2008).
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    bins: int
    answers: int


def brier_decomposition(
    forecast: Array, right: Array, groups: Array, *, bins: int | None = None, debiased: bool = True
) -> BrierDecomposition | Missing:
    """Murphy (1973), by default with the bias of finite bins removed (Bröcker 2012; Ferro and Fricker 2012).

    Debiased, reliability may come out below zero; the four still add up. For the report. Raises CFT452.
    """
    refuse_unsound(right, groups, forecast)
    n = len(right)
    if n == 0:
        return NOTHING
    if n == 1:
        debiased = False
    code = equal_mass(forecast, _bins(n, bins))
    rows = np.bincount(code)
    stated, came = np.bincount(code, weights=forecast) / rows, np.bincount(code, weights=right) / rows
    overall = float(np.mean(right))
    brier = float(np.mean((forecast - right) ** 2))
    reliability = float(rows @ (stated - came) ** 2) / n
    resolution = float(rows @ (came - overall) ** 2) / n
    uncertainty = overall * (1 - overall)
    within = brier - (reliability - resolution + uncertainty)
    if debiased:
        noise = float(rows @ (came * (1 - came) / np.maximum(rows - 1, 1))) / n
        overall_noise = uncertainty / (n - 1)
        reliability -= noise
        resolution -= noise - overall_noise
        uncertainty += overall_noise
    return BrierDecomposition(brier, reliability, resolution, uncertainty, within, len(rows), n)


def calibration_error(forecast: Array, right: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """Debiased L2 calibration error in bins of equal mass (Kumar, Liang and Ma 2019, section 4).

    Limits: the errors that the squared distance seen would just not contradict, from normal bins with the
    covariance of the groups, each bin's variance at least that of its share with one right and one wrong
    answer added. Binning hides what happens inside a bin, so the value is a lower bound of the error without
    bins: use it beside a gate on Brier gain or selective risk, not instead. Raises CFT452.
    """
    refuse_unsound(right, groups, forecast)
    n = len(right)
    if n == 0:
        return NOTHING
    if n < _LEAST_ANSWERS:
        return Missing(f"{n} answers are too few: a bin takes {_LEAST_ANSWERS}")
    if np.all(groups == groups[0]):
        return Missing("one independent group shows no spread")
    code = equal_mass(forecast, _bins(n, None))
    rows = np.bincount(code)
    bins, weight = len(rows), rows / n
    came = np.bincount(code, weights=right) / rows
    distance = np.bincount(code, weights=forecast) / rows - came
    covariance, count = _covariance(forecast - right - distance[code], code, rows, groups)
    least = (rows * came + 1) * (rows * (1 - came) + 1) / (rows + 2) ** 2 / rows
    variance = np.maximum(np.diag(covariance), least)
    seen = float(weight @ distance**2)
    # In groups a bin's own noise is the groups'; alone it is that of its share.
    alone = came * (1 - came) / np.maximum(rows - 1, 1) if count == n else np.diag(covariance)
    debiased = max(0.0, seen - float(weight @ alone))
    scale = np.sqrt(variance / np.maximum(np.diag(covariance), 1e-15))
    covariance = covariance * np.outer(scale, scale)
    covariance[np.diag_indices(bins)] = variance
    lower, upper = _distances(
        seen, distance, weight, covariance, max(1, min(int(rows.min()), count) - 1), confidence
    )
    value = math.sqrt(debiased)
    method = f"debiased L2, {bins} bins of equal mass, limits by inversion"
    return Estimate.of(value, min(lower, value), min(1.0, max(upper, value)), count, confidence, method)


def _covariance(residuals: Array, code: Array, rows: Array, groups: Array) -> tuple[Array, int]:
    """Covariance of the bins' mean residuals, summed over groups; number of groups."""
    codes, count = group_codes(groups)
    bins = len(rows)
    totals = np.bincount(codes * bins + code, weights=residuals / rows[code], minlength=count * bins)
    totals = totals.reshape(count, bins)
    small = np.sqrt(rows / np.maximum(rows - 1, 1))
    return totals.T @ totals * count / max(1, count - 1) * np.outer(small, small), count


def _distances(
    seen: float, distance: Array, weight: Array, covariance: Array, freedom: int, confidence: float
) -> tuple[float, float]:
    """Least and largest true distance that would show `seen` or less (more) with 1 - confidence.

    True distances lie in the direction of those seen; their size is what is looked for. Noise is drawn once.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    normal, chi = _draws(len(weight), freedom)
    noise = normal @ root.T * chi[:, None]
    direction = distance / math.sqrt(seen) if seen > 0 else np.ones(len(weight))
    square, cross = noise**2 @ weight, noise @ (weight * direction)

    def quantile(size: float, level: float) -> float:
        return float(np.quantile(size * size + 2 * size * cross + square, level))

    def largest(level: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if quantile(middle, level) <= seen else (low, middle)
        return low

    return largest(confidence), largest(1 - confidence)


@cache
def _draws(bins: int, freedom: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(SEED)
    normal = generator.standard_normal((RESAMPLES, bins))
    return normal, np.sqrt(freedom / generator.chisquare(freedom, RESAMPLES))
