"""One-sided limits: exact binomial for shares, studentised bootstrap for smooth functions of means.

Rows of one group are not independent, so `groups` (one label a row) says what is resampled and counted.
Resampling starts from a fixed seed: the same observations always give the same limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from coherence_ft.evidence.estimate import Estimate, Missing

Array = NDArray[Any]

SEED = 20_210_901
"""Seed of every bootstrap. Its value means nothing; that it never changes makes estimates reproducible."""

RESAMPLES = 4_000
_CHUNK = 2_000_000  # counts held at once while resampling


def clopper_pearson(k: float, n: float, confidence: float) -> tuple[float, float]:
    """Exact one-sided lower and upper limit of a share, `k` of `n` (Clopper and Pearson 1934).

    Each limit holds alone with `confidence`. `k` and `n` may be fractional (effective sample sizes).
    """
    alpha = 1 - confidence
    lower = float(betaincinv(k, n - k + 1, alpha)) if k > 0 else 0.0
    upper = float(betaincinv(k + 1, n - k, confidence)) if k < n else 1.0
    return lower, upper


def share(hits: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """The share of true `hits`, with exact limits; `n` counts groups.

    With one row a group this is Clopper–Pearson. Otherwise the sample size is reduced by the design
    effect of the groups, as in Korn and Graubard (1998, Survey Methodology 24), and never raised by it.
    """
    rows = len(hits)
    if rows == 0:
        return Missing("there is no observation of it")
    value = float(np.mean(hits))
    codes, count = group_codes(groups)
    if count == rows:
        return Estimate.of(
            value,
            *clopper_pearson(int(np.sum(hits)), rows, confidence),
            rows,
            confidence,
            "exact binomial (Clopper–Pearson)",
        )
    size = _effective_size(hits, codes, count, confidence)
    limits = clopper_pearson(value * size, size, confidence)
    method = f"Clopper–Pearson at effective size {size:.1f} of {rows} rows in {count} groups (Korn–Graubard)"
    return Estimate.of(value, *limits, count, confidence, method)


def _effective_size(hits: Array, codes: Array, count: int, confidence: float) -> float:
    rows, value = len(hits), float(np.mean(hits))
    if count == 1:
        return 1.0
    residuals = np.bincount(codes, weights=hits - value, minlength=count)
    variance = count / (count - 1) * float(residuals @ residuals) / rows**2
    if variance < 1e-12:  # all alike, within or between groups: the rows say nothing about their dependence
        return float(count)
    # few groups estimate the variance badly: the t quantile instead of the normal one
    penalty = 1.0
    if confidence > 0.5:
        penalty = float(stdtrit(rows - 1, confidence) / stdtrit(count - 1, confidence)) ** 2
    return min(float(rows), value * (1 - value) / variance * min(penalty, 1.0))


def group_codes(groups: Array) -> tuple[Array, int]:
    """Labels as integers 0…count-1, in sorted order of the labels."""
    labels, codes = np.unique(groups, return_inverse=True)
    return codes, len(labels)


def group_totals(columns: Array, groups: Array) -> Array:
    """Sums of `columns` (rows × k) over each group: groups × k."""
    codes, count = group_codes(groups)
    return np.stack([np.bincount(codes, weights=c, minlength=count) for c in np.asarray(columns).T], axis=1)


def resample(totals: Array, seed: int = SEED) -> Array:
    """Mean of the groups' totals in each bootstrap resample: RESAMPLES × k."""
    generator = np.random.default_rng(seed)
    count = len(totals)
    means = np.empty((RESAMPLES, totals.shape[1]))
    step = max(1, _CHUNK // count)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = generator.integers(0, count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = weights @ totals / count
    return means


@dataclass(frozen=True, slots=True)
class SmoothStatistic:
    """A smooth function of the mean of group totals and its gradient: (…, k) to (…) and to (…, k)."""

    of: Callable[[Array], Array]
    gradient: Callable[[Array], Array]


def studentised(
    totals: Array, statistic: SmoothStatistic, confidence: float
) -> tuple[float, float, float] | Missing:
    """Value and one-sided limits by the studentised bootstrap over groups (Efron 1981; Hall 1988).

    `totals`: groups × k. The standard error is that of the linearised statistic. A resample in which
    the statistic has no value counts against the limit, on both sides.
    """
    count, k = totals.shape
    if count < 2:
        return Missing("one independent group shows no spread")
    pairs = np.triu_indices(k)
    moments = np.concatenate([totals, totals[:, pairs[0]] * totals[:, pairs[1]]], axis=1)

    def value_and_error(means: Array) -> tuple[Array, Array]:
        first = means[..., :k]
        gradient = statistic.gradient(first)
        # variance of the linear combination: gradient' (M2 - m m') gradient
        second = np.zeros((*means.shape[:-1], k, k))
        second[..., pairs[0], pairs[1]] = means[..., k:]
        second[..., pairs[1], pairs[0]] = means[..., k:]
        spread = np.einsum("...i,...ij,...j->...", gradient, second, gradient)
        spread = spread - np.einsum("...i,...i->...", gradient, first) ** 2
        return statistic.of(first), np.sqrt(np.maximum(spread, 0) / (count - 1))

    with np.errstate(all="ignore"):
        value, error = value_and_error(moments.mean(axis=0))
        if not np.isfinite(value):
            return Missing("it has no value on these answers")
        if not error > 1e-9:
            return Missing("all answers are alike, so that they show no spread")
        values, errors = value_and_error(resample(moments))
        pivots = (values - value) / np.where(errors > 1e-12, errors, 0)
    high = np.quantile(np.where(np.isfinite(pivots), pivots, np.inf), confidence, method="higher")
    low = np.quantile(np.where(np.isfinite(pivots), pivots, -np.inf), 1 - confidence, method="lower")
    if not np.isfinite(high) or not np.isfinite(low):
        return Missing("the answers are too few, or too much alike, to be resampled")
    return float(value), float(value - high * error), float(value - low * error)
