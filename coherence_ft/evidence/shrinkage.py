"""Platt scaling with levels, each shrunk as far as the answers say (the curve: platt.py).

The offsets of a level are drawn from a normal distribution around 0 (Gelman and Hill 2007, chapters 12 and
14), whose standard deviation is estimated from the same answers: empirical Bayes, as in Efron and Morris
(1975), by maximising the marginal likelihood, with a weak prior, in a quadratic approximation at the mode
(penalised quasi-likelihood, Breslow and Clayton 1993). Where nothing shows that a level matters, that
maximum lies at exactly 0 and the level is gone.

Answers of one group share their luck. Each counts 1 / (1 + (m - 1) ρ), m being its group's size and ρ the
correlation of residuals within groups, as in the effective size of a cluster sample (Kish 1965).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.intervals import group_codes
from coherence_ft.evidence.platt import DIGITS, EDGE, LEVELS, Cell, Platt, feature
from coherence_ft.evidence.routing_patterns import UNKNOWN

# Gaussian priors of the two global parameters, as standard deviations on the logit scale. Without answers
# the curve is the identity; a hundred answers outweigh it.
_SLOPE = 1.0  # around 1
_INTERCEPT = 1.5  # around 0
_SPREAD = 1.0  # half-normal prior of a level's standard deviation: two members alone say little of it
_WIDEST = 3.0  # and its limit
_START = 0.3  # where the search for it begins
_TURNS = 50
_SETTLED = 1e-4  # change of a standard deviation
_EXACT = 1e-10  # step of Newton's method


def fit(
    confidence: Array, right: Array, cells: list[Cell], cell: Array, groups: Array, edge: float = EDGE
) -> Platt:
    """The curve of answers: stated confidence, whether right, cell (an index into `cells`), group.

    Stays finite for any answers: with few, or all right or all wrong, it lies between the identity and the
    base rate. Deterministic.
    """
    x, y = feature(confidence, edge), np.asarray(right, dtype=float)
    codes, count = group_codes(groups)
    found = _fit_levels(x, y, cells, cell, np.ones(len(y)))
    correlation = 0.0
    if count < len(y):
        members = np.bincount(codes)
        correlation = _correlation(y, found.likelihood.probability(found.at), codes, members)
        if correlation:
            found = _fit_levels(x, y, cells, cell, 1 / (1 + (members[codes] - 1) * correlation))
    values: dict[str, dict[Any, float]] = {level: {} for level in ("slope", "intercept", *LEVELS)}
    layout = found.likelihood.layout
    for (level, member), value in zip(layout.names, found.at, strict=True):
        if level not in LEVELS or found.spread[LEVELS.index(level)]:
            values[level][member] = round(float(value), DIGITS) + 0.0
    slope = max(0.0, values["slope"].get(None, 0.0))
    if slope:
        values["domain_slope"] |= dict.fromkeys(found.levelled, -slope)
    slopes, domains, patterns, offsets = (tuple(sorted(values[level].items())) for level in LEVELS)
    return Platt(
        slope,
        values["intercept"][None],
        slopes,
        domains,
        patterns,
        offsets,
        tuple((level, found.spread[i]) for i, level in enumerate(LEVELS) if i in layout.levels),
        correlation,
        edge,
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which parameters a cell's slope and intercept are sums of."""

    slopes: Array  # (cells, parameters), 0 or 1
    intercepts: Array  # the same
    names: tuple[tuple[str, Any], ...]  # of each parameter: its level and what it belongs to

    @property
    def levels(self) -> Array:
        """Of each parameter, the place of its level in LEVELS; -1 for the two global ones."""
        return np.array([LEVELS.index(level) if level in LEVELS else -1 for level, _ in self.names])

    @property
    def mean(self) -> Array:
        return np.array([1.0 if level == "slope" else 0.0 for level, _ in self.names])

    def variance(self, variances: Array) -> Array:
        """Prior variance of every parameter, given that of every level."""
        fixed = {"slope": _SLOPE**2, "intercept": _INTERCEPT**2}
        return np.array(
            [fixed[name] if name in fixed else variances[LEVELS.index(name)] for name, _ in self.names]
        )


def _layout(cells: list[Cell], levelled: frozenset[str]) -> _Layout:
    """A level is there where it tells cells apart, and other ones than a level before it.

    `levelled`: the domains with slope 0.
    """
    domains = sorted({domain for domain, _ in cells})
    rising = [domain for domain in domains if domain not in levelled]
    known = np.array([pattern != UNKNOWN for _, pattern in cells], dtype=bool)
    columns: list[tuple[str, Any, list[bool]]] = []
    if rising or not cells:
        columns.append(("slope", None, [domain not in levelled for domain, _ in cells]))
    if len(rising) > 1:
        columns += [("domain_slope", d, [domain == d for domain, _ in cells]) for d in rising]
    columns.append(("intercept", None, [True] * len(cells)))
    seen: list[set[bytes]] = []
    for level, places in (
        ("domain", [domain for domain, _ in cells]),
        ("pattern", [None if pattern == UNKNOWN else pattern for _, pattern in cells]),
        ("cell", [None if cell[1] == UNKNOWN else cell for cell in cells]),
    ):
        members = sorted({place for place in places if place is not None})
        rows = [[place == member for place in places] for member in members]
        parts = {(np.array(row) & known).tobytes() for row in rows}
        if len(members) > 1 and parts not in seen:
            columns += [(level, member, row) for member, row in zip(members, rows, strict=True)]
            seen.append(parts)
    marks = np.array([mark for _, _, mark in columns], dtype=float).reshape(len(columns), len(cells)).T
    of_slope = np.array(["slope" in level for level, _, _ in columns])
    return _Layout(marks * of_slope, marks * ~of_slope, tuple((level, m) for level, m, _ in columns))


class _Likelihood:
    """The answers' log-likelihood in the parameters of a layout. A pass over the answers is linear."""

    def __init__(self, x: Array, y: Array, cell: Array, weight: Array, layout: _Layout) -> None:
        self.x, self.y, self.cell, self.weight, self.layout = x, y, cell, weight, layout

    def _logits(self, at: Array) -> Array:
        return (self.layout.slopes @ at)[self.cell] * self.x + (self.layout.intercepts @ at)[self.cell]

    def probability(self, at: Array) -> Array:
        return np.asarray(expit(self._logits(at)))

    def value(self, at: Array) -> float:
        z = self._logits(at)
        return float(self.weight @ (self.y * z - np.logaddexp(0, z)))

    def score_and_information(self, at: Array) -> tuple[Array, Array]:
        p = self.probability(at)
        error, w = self.weight * (self.y - p), self.weight * p * (1 - p)
        a, b = self.layout.slopes, self.layout.intercepts

        def total(values: Array) -> Array:
            return np.bincount(self.cell, weights=values, minlength=len(a))

        wx = w * self.x
        crossed = a.T @ (total(wx)[:, None] * b)
        information = (
            a.T @ (total(wx * self.x)[:, None] * a) + b.T @ (total(w)[:, None] * b) + crossed + crossed.T
        )
        return a.T @ total(error * self.x) + b.T @ total(error), information


@dataclass(frozen=True, slots=True)
class _Found:
    likelihood: _Likelihood
    at: Array
    spread: list[float]  # of every level
    levelled: frozenset[str]


def _fit_levels(x: Array, y: Array, cells: list[Cell], cell: Array, weight: Array) -> _Found:
    levelled: frozenset[str] = frozenset()
    while True:
        likelihood = _Likelihood(x, y, cell, weight, _layout(cells, levelled))
        at, spread = _estimate(likelihood)
        slopes = likelihood.layout.slopes @ at
        falling = {domain for (domain, _), slope in zip(cells, slopes, strict=True) if slope < 0}
        if not falling:
            return _Found(likelihood, at, spread, levelled)
        levelled |= falling


def _estimate(likelihood: _Likelihood) -> tuple[Array, list[float]]:
    """The parameters' mode and the standard deviations of the levels, found in turns."""
    levels = likelihood.layout.levels
    present = [i for i in range(len(LEVELS)) if i in levels]
    variances = np.zeros(len(LEVELS))
    variances[present] = _START**2
    at = _mode(likelihood, variances, likelihood.layout.mean, _SETTLED)
    for _ in range(_TURNS if present else 0):
        before = np.sqrt(variances)
        variances[present] = _variances(likelihood, at, variances[present], present)
        at = _mode(likelihood, variances, at, _SETTLED)
        if np.max(np.abs(np.sqrt(variances) - before)) < _SETTLED:
            break
    # rounded, so that the last digits of an optimiser do not matter
    spread = [round(float(sd), 4) for sd in np.sqrt(variances)]
    return _mode(likelihood, np.square(spread), at, _EXACT), spread


def _mode(likelihood: _Likelihood, variances: Array, at: Array, near: float) -> Array:
    """Newton's method on the log posterior, until a step is less than `near`. A variance of 0 holds a
    parameter at its mean."""
    layout = likelihood.layout
    mean, v = layout.mean, layout.variance(variances)
    free = v > 0
    at = np.where(free, at, mean)

    def posterior(at: Array) -> float:
        return likelihood.value(at) - 0.5 * float(np.sum((at - mean)[free] ** 2 / v[free]))

    current = posterior(at)
    for _ in range(_TURNS):
        score, information = likelihood.score_and_information(at)
        # (1/V + I)^-1 without dividing by a variance of 0
        step = v * np.linalg.solve(np.eye(len(v)) + information * v, score + information @ (at - mean)) - (
            at - mean
        )
        while (new := posterior(at + step)) < current - 1e-12 * abs(current) and np.max(
            np.abs(step)
        ) > _EXACT:
            step = step / 2
        at, current = at + step, new
        if np.max(np.abs(step)) < near:
            break
    return at


def _variances(likelihood: _Likelihood, at: Array, start: Array, present: list[int]) -> Array:
    """The variances that make the answers likeliest, in the quadratic approximation around `at`."""
    from scipy.optimize import minimize

    layout = likelihood.layout
    score, information = likelihood.score_and_information(at)
    towards = score + information @ (at - layout.mean)  # the score at the prior's mean
    members = np.array([layout.levels == level for level in present], dtype=float)

    def loss(variances: Array) -> tuple[float, Array]:
        every = np.zeros(len(LEVELS))
        every[present] = variances
        v = layout.variance(every)
        inner = np.eye(len(v)) + information * v
        solved = np.linalg.solve(inner, np.column_stack([towards, information]))
        pull, sensitivity = solved[:, 0], np.diag(solved[:, 1:])
        marginal = 0.5 * towards @ (v * pull) - 0.5 * np.linalg.slogdet(inner)[1]
        marginal -= 0.5 * np.sum(variances) / _SPREAD**2
        return -float(marginal), -0.5 * (members @ (pull**2 - sensitivity) - 1 / _SPREAD**2)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, _WIDEST**2)] * len(present))
    return np.asarray(found.x)


def _correlation(y: Array, p: Array, codes: Array, members: Array) -> float:
    """ρ: the mean product of two standardised residuals of one group, over the mean square."""
    residual = (y - p) / np.sqrt(p * (1 - p))
    together = np.bincount(codes, weights=residual)
    squares = float(residual @ residual)
    pairs = float(members @ (members - 1))
    share = (float(together @ together) - squares) / pairs / (squares / len(y))
    return round(min(1.0, max(0.0, share)), 4)
