"""Smooth calibration error: no bins, one number, and what a perfectly calibrated model would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct, idct

from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.estimate import Missing
from coherence_ft.evidence.intervals import BLOCKS, SEED, group_codes
from coherence_ft.evidence.reliability import NOTHING

_CELLS = 1_024  # of the grid on [0, 1]: moves a forecast by less than 0.0005
_EXACT = 20_000  # answers up to which the null draws every outcome


@dataclass(frozen=True, slots=True)
class SmoothError:
    """`value`: smooth ECE, which is also the kernel width it was taken at.

    `null_median` and `null_upper` (at `confidence`): what the same forecasts show when they are perfectly
    calibrated. `p_value`: how often that is as much as `value`; never 0.
    """

    value: float
    null_median: float
    null_upper: float
    p_value: float
    confidence: float
    simulations: int
    n: int  # groups


def smooth_ece(
    forecast: Array, right: Array, groups: Array, confidence: float, simulations: int = 500
) -> SmoothError | Missing:
    """Smooth ECE (Błasiok and Nakkiran 2024, "Smooth ECE: Principled Reliability Diagrams", ICLR).

    Residuals are smoothed by a Gaussian kernel reflected at 0 and 1 and their absolute value integrated; the
    width is the one at which width and result agree, so nothing is left to choose. On a grid of 1,024 cells.
    The null: outcomes drawn from the forecasts (for more than 20,000 answers their normal limit in each
    cell); where answers come in groups, the groups' residuals with random signs instead (wild cluster
    bootstrap), since forecasts do not say how outcomes depend. Raises CFT452.
    """
    refuse_unsound(right, groups, forecast)
    n = len(right)
    if n == 0:
        return NOTHING
    cell = np.minimum((forecast * _CELLS).astype(np.int64), _CELLS - 1)
    residual = right - forecast
    value = float(_fixed_point(np.bincount(cell, weights=residual, minlength=_CELLS)[None, :] / n)[0])
    codes, count = group_codes(groups)
    generator = np.random.default_rng(SEED)
    if count < n:
        drawn = _signs(residual, cell, codes, count, simulations, generator)
    elif n <= _EXACT:
        drawn = _outcomes(forecast, cell, simulations, generator)
    else:
        variance = np.bincount(cell, weights=forecast * (1 - forecast), minlength=_CELLS)
        drawn = generator.standard_normal((simulations, _CELLS)) * np.sqrt(variance)
    null = np.sort(_fixed_point(drawn / n))
    above = int(np.sum(null >= value - 1e-12))
    return SmoothError(
        value,
        float(np.median(null)),
        float(np.quantile(null, confidence, method="higher")),
        (above + 1) / (simulations + 1),
        confidence,
        simulations,
        count,
    )


def _fixed_point(mass: Array) -> Array:
    """The width at which the smoothed error equals it, for every row of residual mass (rows × cells).

    Reflection makes the kernel a multiplication of cosine coefficients. More width never shows more error,
    so there is one crossing: bisection.
    """
    spectrum = dct(mass, type=2, axis=1, norm="ortho")
    frequency = np.pi * np.arange(mass.shape[1])
    low, high = np.zeros(len(mass)), np.ones(len(mass))
    for _ in range(22):
        width = (low + high) / 2
        damped = spectrum * np.exp(-0.5 * (width[:, None] * frequency) ** 2)
        error = np.abs(idct(damped, type=2, axis=1, norm="ortho")).sum(axis=1)
        low, high = np.where(error >= width, width, low), np.where(error >= width, high, width)
    return (low + high) / 2


def _outcomes(forecast: Array, cell: Array, simulations: int, generator: np.random.Generator) -> Array:
    drawn = np.empty((simulations, _CELLS))
    for i in range(simulations):
        outcome = generator.random(len(forecast)) < forecast
        drawn[i] = np.bincount(cell, weights=outcome - forecast, minlength=_CELLS)
    return drawn


def _signs(
    residual: Array, cell: Array, codes: Array, count: int, simulations: int, generator: np.random.Generator
) -> Array:
    """A sign a group; above BLOCKS groups, a sign a block of groups."""
    if count > BLOCKS:
        codes, count = (generator.permutation(count) % BLOCKS)[codes], BLOCKS
    sums = np.bincount(codes * _CELLS + cell, weights=residual, minlength=count * _CELLS)
    signs = generator.integers(0, 2, (simulations, count)) * 2.0 - 1
    return signs @ sums.reshape(count, _CELLS)
