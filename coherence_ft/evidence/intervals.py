"""One-sided limits: exact binomial for shares, studentised bootstrap for smooth functions of means.

Rows of one group are not independent, so `groups` (one label a row) says what is resampled and counted.
Resampling starts from a fixed seed: the same observations always give the same limits.

Above `BLOCKS` groups, whole groups are dealt at random into that many blocks and blocks are resampled:
sums of independent groups are as independent, and the mean keeps its spread and its skewness, so the limits
stay second-order right while the work no longer grows with the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.estimate import Estimate, Missing

SEED = 20_210_901
"""Seed of every bootstrap. Its value means nothing; that it never changes makes estimates reproducible."""

RESAMPLES = 4_000
BLOCKS = 5_000
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
    effect of the groups, as in Korn and Graubard (1998, Survey Methodology 24), for each limit as if one
    more group had been all on its side, and never raised by it. Raises CFT452.
    """
    refuse_unsound(hits, groups)
    if len(hits) == 0:
        return Missing("there is no observation of it", "CFT470")
    return some_share(hits, groups, confidence)


def some_share(hits: Array, groups: Array, confidence: float) -> Estimate:
    """`share` of sound hits, of which there is at least one."""
    rows = len(hits)
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
    sizes = tuple(_effective_size(hits, codes, count, confidence, imagined) for imagined in (0.0, 1.0))
    lower, _ = clopper_pearson(value * sizes[0], sizes[0], confidence)
    _, upper = clopper_pearson(value * sizes[1], sizes[1], confidence)
    method = (
        f"Clopper–Pearson at effective sizes {sizes[0]:.1f} (lower) and {sizes[1]:.1f} (upper) of {rows} "
        f"rows in {count} groups (Korn–Graubard)"
    )
    return Estimate.of(value, lower, upper, count, confidence, method)


def _effective_size(hits: Array, codes: Array, count: int, confidence: float, imagined: float) -> float:
    """Rows over the design effect, with one imagined group of typical size in which all are hits (or none).

    Where hits are rare and groups alike within, the groups that would show the dependence may not have been
    drawn: without the imagined one, upper limits at 95 % missed in up to 16 % of simulations. Not below the
    size at which every group is one answer repeated.
    """
    rows, share_of_hits = len(hits), float(np.mean(hits))
    members = np.bincount(codes, minlength=count)
    residuals = np.bincount(codes, weights=hits - share_of_hits, minlength=count)
    repeated = rows**2 / float(members @ members)
    if count == 1:
        return repeated
    variance = count / (count - 1) * float(residuals @ residuals) / rows**2
    variance += (imagined - share_of_hits) ** 2 / repeated / count
    if variance < 1e-15:
        return repeated
    with_it = (share_of_hits * count + imagined) / (count + 1)
    # few groups estimate the variance badly: the t quantile instead of the normal one
    penalty = 1.0
    if confidence > 0.5:
        penalty = float(stdtrit(rows - 1, confidence) / stdtrit(count - 1, confidence)) ** 2
    return max(repeated, min(float(rows), with_it * (1 - with_it) / variance * min(penalty, 1.0)))


def group_codes(groups: Array) -> tuple[Array, int]:
    """Labels as integers 0…count-1, in sorted order of the labels."""
    groups = np.asarray(groups)
    if groups.dtype.kind in "iu" and len(groups) and groups.min() >= 0 and groups.max() < 4 * len(groups):
        present = np.bincount(groups) > 0  # small integers need no sorting
        return (np.cumsum(present) - 1)[groups], int(present.sum())
    labels, codes = np.unique(groups, return_inverse=True)
    return codes, len(labels)


def group_totals(columns: Array, groups: Array) -> Array:
    """Sums of `columns` (rows × k) over each group: groups × k."""
    codes, count = group_codes(groups)
    return np.stack([np.bincount(codes, weights=c, minlength=count) for c in np.asarray(columns).T], axis=1)


def in_blocks(totals: Array) -> Array:
    """`totals` itself, or, above BLOCKS groups, the sums of groups dealt at random: BLOCKS × k."""
    count = len(totals)
    if count <= BLOCKS:
        return totals
    block = np.random.default_rng(SEED).permutation(count) % BLOCKS
    return np.stack([np.bincount(block, weights=column, minlength=BLOCKS) for column in totals.T], axis=1)


def resample(totals: Array, seed: int = SEED) -> Array:
    """Mean of the totals in each bootstrap resample of the groups (or blocks): RESAMPLES × k."""
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
    totals = in_blocks(totals)
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
