"""Metrics of the calibration loop: each takes arrays and gives an estimate, or says why there is none.

`forecast` is the calibrated probability that the chosen answer is right, `right` whether it was, `groups`
the label of what is resampled; one entry an answer, in an order that does not depend on how they came.
Forecasts that are no probability and outcomes that are neither 0 nor 1 raise CFT452. Calibration itself is
in `reliability` and `smooth`. The metrics of the other two loops are plain shares: `intervals.share`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, stdtrit
from scipy.stats import rankdata

from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import (
    RESAMPLES,
    SmoothStatistic,
    clopper_pearson,
    group_codes,
    group_totals,
    share,
    studentised,
)

_BOOTSTRAP = f"studentised bootstrap over groups, {RESAMPLES} resamples"
_NOTHING = Missing("there is no answer to measure it on", "CFT470")

# Totals are (sum of losses or gains, answers): a ratio of two means, since groups differ in size.
_MEAN = SmoothStatistic(
    of=lambda m: m[..., 0] / m[..., 1],
    gradient=lambda m: np.stack([1 / m[..., 1], -m[..., 0] / m[..., 1] ** 2], axis=-1),
)


def accuracy(right: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """Share of right answers."""
    return share(right, groups, confidence)


def brier_score(forecast: Array, right: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """Mean squared distance between forecast and outcome (Brier 1950)."""
    refuse_unsound(right, groups, forecast)
    return _mean((forecast - right) ** 2, groups, confidence, 0.0, _BOOTSTRAP)


def brier_gain(
    forecast: Array, right: Array, base_forecast: Array, base_right: Array, groups: Array, confidence: float
) -> Estimate | Missing:
    """Mean of the base model's squared distance less ours, on the same questions in the same order."""
    refuse_unsound(right, groups, forecast, base_forecast)
    refuse_unsound(base_right, groups)
    gain = (base_forecast - base_right) ** 2 - (forecast - right) ** 2
    return _mean(gain, groups, confidence, -1.0, f"{_BOOTSTRAP}, paired by question")


def _mean(values: Array, groups: Array, confidence: float, least: float, method: str) -> Estimate | Missing:
    if len(values) == 0:
        return _NOTHING
    totals = group_totals(np.stack([values, np.ones(len(values))], axis=1), groups)
    found = studentised(totals, _MEAN, confidence)
    if isinstance(found, Missing):
        # No spread seen. Values that were never seen have at most the probability 1 - alpha^(1/n).
        count, value = len(totals), float(np.mean(values))
        unseen = 1 - (1 - confidence) ** (1 / count)
        limits = value - (value - least) * unseen, value + (1 - value) * unseen
        return Estimate.of(value, *limits, count, confidence, "limits for values that are all alike")
    value, lower, upper = found
    return Estimate.of(value, max(lower, least), min(upper, 1.0), len(totals), confidence, method)


def _skill(m: Array) -> Array:
    loss, right = m[..., 0] / m[..., 2], m[..., 1] / m[..., 2]
    return 1 - loss / (right * (1 - right))


def _skill_gradient(m: Array) -> Array:
    answers = m[..., 2]
    loss, right = m[..., 0] / answers, m[..., 1] / answers
    reference = right * (1 - right)
    by_loss = -1 / reference
    by_right = loss * (1 - 2 * right) / reference**2
    return np.stack([by_loss, by_right, -(by_loss * loss + by_right * right)], axis=-1) / answers[..., None]


def brier_skill(forecast: Array, right: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """1 less the ratio of the Brier score to that of always stating the split's own share of right answers.

    Below zero, confidence tells less than that one number. The share is taken again in each resample.
    """
    refuse_unsound(right, groups, forecast)
    if len(right) == 0:
        return _NOTHING
    if one_class := _one_class(right):
        return one_class
    totals = group_totals(np.stack([(forecast - right) ** 2, right, np.ones(len(right))], axis=1), groups)
    found = studentised(totals, SmoothStatistic(_skill, _skill_gradient), confidence)
    if isinstance(found, Missing):
        return found
    value, lower, upper = found
    return Estimate.of(value, lower, min(upper, 1.0), len(totals), confidence, _BOOTSTRAP)


def _one_class(right: Array) -> Missing | None:
    if np.all(right):
        return Missing("every answer is right, so that there is no wrong one to compare with", "CFT471")
    if not np.any(right):
        return Missing("every answer is wrong, so that there is no right one to compare with", "CFT471")
    return None


def auroc(forecast: Array, right: Array, groups: Array, confidence: float) -> Estimate | Missing:
    """Chance that a right answer carries more confidence than a wrong one; a tie counts half.

    Variance after DeLong et al. (1988), with Obuchowski's (1997) sums where groups hold several answers;
    limits on the logit scale with Student's quantile for the rarer class.
    """
    refuse_unsound(right, groups, forecast)
    if len(right) == 0:
        return _NOTHING
    if one_class := _one_class(right):
        return one_class
    right = right.astype(bool)
    codes, count = group_codes(groups)
    # placements (share of the other class below each answer, ties half) from midranks: Sun and Xu (2014)
    ranks = rankdata(forecast)
    above = (ranks[right] - rankdata(forecast[right])) / np.sum(~right)
    below = 1 - (ranks[~right] - rankdata(forecast[~right])) / np.sum(right)
    value = float(above.mean())
    of_right = np.bincount(codes[right], weights=above - value, minlength=count)
    of_wrong = np.bincount(codes[~right], weights=below - value, minlength=count)
    variance = _auroc_variance(of_right, of_wrong, codes, right, count)
    if variance < 1e-12 or not 0 < value < 1:
        # No spread seen (perfect order, or all equal): exact on disjoint pairs of a right and a wrong group.
        pairs = min(_distinct(codes[right]), _distinct(codes[~right]))
        limits = clopper_pearson(value * pairs, pairs, confidence)
        return Estimate.of(value, *limits, count, confidence, f"exact binomial on {pairs} disjoint pairs")
    # the rarer class estimates its part of the variance from few groups: the t quantile, not the normal one
    freedom = min(_distinct(codes[right]), _distinct(codes[~right])) - 1
    margin = float(stdtrit(freedom, confidence)) * np.sqrt(variance) / (value * (1 - value))
    lower, upper = expit(logit(value) - margin), expit(logit(value) + margin)
    return Estimate.of(
        value, float(lower), float(upper), count, confidence, "DeLong on the logit scale, t quantile"
    )


def _auroc_variance(of_right: Array, of_wrong: Array, codes: Array, right: Array, count: int) -> float:
    rights, wrongs = int(right.sum()), int((~right).sum())
    groups_right, groups_wrong = _distinct(codes[right]), _distinct(codes[~right])
    if min(groups_right, groups_wrong) < 2:
        return 0.0
    variance = groups_right / (groups_right - 1) * float(of_right @ of_right) / rights**2
    variance += groups_wrong / (groups_wrong - 1) * float(of_wrong @ of_wrong) / wrongs**2
    return variance + 2 * count / (count - 1) * float(of_right @ of_wrong) / (rights * wrongs)


def _distinct(codes: Array) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def selective_risk(
    forecast: Array, right: Array, groups: Array, threshold: float, confidence: float
) -> Estimate | Missing:
    """Share of wrong answers among those delivered: forecast at or above `threshold`."""
    refuse_unsound(right, groups, forecast)
    delivered = forecast >= threshold
    if not np.any(delivered):
        return Missing("no answer reaches the threshold, so that none is delivered")
    return share(~right.astype(bool)[delivered], groups[delivered], confidence)
