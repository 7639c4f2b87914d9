"""Calibration: the diagram, the Brier decomposition, the debiased error, smooth ECE and its null."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import Array
from coherence_ft.evidence.reliability import (
    BrierDecomposition,
    brier_decomposition,
    calibration_error,
    equal_mass,
    reliability_diagram,
)
from coherence_ft.evidence.smooth import SmoothError, smooth_ece


def answers(
    rng: np.random.Generator, groups: int, size: int = 1, *, dependence: float = 0.0, slope: float = 0.5
) -> tuple[Array, Array, Array]:
    score = np.abs(rng.normal(0, 3, groups * size))
    shared = np.repeat(rng.normal(0, dependence, groups), size)
    chance = 1 / (1 + np.exp(-(0.5 * score + 0.3 + shared)))
    stated = 1 / (1 + np.exp(-(slope * score + 0.3)))
    return stated, rng.random(groups * size) < chance, np.repeat(np.arange(groups), size)


def measured(found: Estimate | Missing) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


def smoothed(found: SmoothError | Missing) -> SmoothError:
    assert isinstance(found, SmoothError), found
    return found


def decomposed(found: BrierDecomposition | Missing) -> BrierDecomposition:
    assert isinstance(found, BrierDecomposition), found
    return found


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.51, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=80),
    st.integers(1, 12),
)
def test_bins_hold_every_answer_once_whatever_the_order(values: list[float], bins: int) -> None:
    forecast = np.array(values)
    code = equal_mass(forecast, bins)
    assert np.array_equal(np.unique(code), np.arange(code.max() + 1)) and code.max() < bins
    order = np.random.default_rng(len(values)).permutation(len(values))
    assert np.array_equal(equal_mass(forecast[order], bins), code[order])
    for value in set(values):
        assert len(set(code[forecast == value])) == 1


def test_the_diagram_adds_up() -> None:
    forecast, right, groups = answers(np.random.default_rng(1), 300)
    bins = reliability_diagram(forecast, right, groups, 0.95)
    assert len(bins) == 10 and sum(b.answers for b in bins) == 300
    assert sum(b.answers * b.stated for b in bins) == pytest.approx(forecast.sum())
    assert sum(b.answers * b.share.value for b in bins) == pytest.approx(right.sum(), abs=1e-3)
    for low, high in pairwise(bins):
        assert low.highest < high.lowest
    for b in bins:
        assert b.lowest <= b.stated <= b.highest
        assert b.consistent_low <= b.stated <= b.consistent_high
    assert reliability_diagram(np.array([]), np.array([]), np.array([]), 0.95) == ()


def test_limits_and_consistency_bars_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    above = inside = bins = 0
    for _ in range(200):
        for b in reliability_diagram(*answers(rng, 400), 0.95):
            bins += 1
            above += b.share.lower > b.stated  # calibrated: the stated share is the true one
            inside += b.consistent_low <= b.share.value <= b.consistent_high
    assert above / bins <= 0.055
    assert 0.93 <= inside / bins <= 0.97


def test_decomposition_by_hand() -> None:
    """Two bins of four: stated .5 and .75, right 1/4 and 4/4."""
    forecast = np.array([0.5] * 4 + [0.75] * 4)
    right = np.array([1, 0, 0, 0, 1, 1, 1, 1])
    groups = np.arange(8)
    plain = decomposed(brier_decomposition(forecast, right, groups, bins=2, debiased=False))
    assert plain.reliability == pytest.approx(0.0625)
    assert plain.resolution == pytest.approx(0.375**2)
    assert plain.uncertainty == pytest.approx(0.625 * 0.375)
    assert plain.within == pytest.approx(0) and (plain.bins, plain.answers) == (2, 8)
    fair = decomposed(brier_decomposition(forecast, right, groups, bins=2))
    noise, overall = 0.5 * (0.25 * 0.75 / 3), 0.625 * 0.375 / 7
    assert fair.reliability == pytest.approx(0.0625 - noise)
    assert fair.resolution == pytest.approx(0.375**2 - noise + overall)
    assert fair.uncertainty == pytest.approx(0.625 * 0.375 + overall)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.booleans())
def test_the_four_parts_add_up(seed: int, n: int, debiased: bool) -> None:
    forecast, right, groups = answers(np.random.default_rng(seed), n)
    found = decomposed(brier_decomposition(forecast, right, groups, debiased=debiased))
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert parts == pytest.approx(found.brier, abs=1e-12)
    assert found.brier == pytest.approx(np.mean((forecast - right) ** 2))


def test_debiasing_takes_the_bias_away() -> None:
    """A calibrated model has no reliability term; plain bins show one of about p(1 - p) bins / n."""
    rng = np.random.default_rng(3)
    found = [
        tuple(
            decomposed(brier_decomposition(*answers(rng, 200), debiased=d)).reliability for d in (True, False)
        )
        for _ in range(300)
    ]
    fair, plain = np.mean(found, axis=0)
    assert abs(fair) < 0.001 < 0.006 < plain


@pytest.mark.parametrize(
    ("groups", "size", "dependence", "slope"),
    [(400, 1, 0.0, 0.5), (200, 1, 0.0, 1.0), (400, 1, 0.0, 2.0), (100, 4, 1.0, 1.0), (60, 4, 1.0, 0.5)],
)
def test_limits_of_the_calibration_error(groups: int, size: int, dependence: float, slope: float) -> None:
    """Each misses in about 5 % of trials; the bootstrap limits before these missed in up to 8 %."""
    rng = np.random.default_rng(4)
    shape = {"dependence": dependence, "slope": slope}
    stated, right, _ = answers(rng, 400_000 // size, size, **shape)
    code = equal_mass(stated, min(10, groups * size // 20))
    rows = np.bincount(code)
    distance = np.bincount(code, weights=stated - right) / rows
    truth = math.sqrt(rows @ distance**2 / rows.sum())
    if slope == 0.5 and dependence == 0:
        truth = 0.0
    trials, below, above = 100, 0, 0
    for _ in range(trials):
        found = measured(calibration_error(*answers(rng, groups, size, **shape), 0.95))
        below += found.upper < truth - 1e-6
        above += found.lower > truth + 1e-6
    most = trials * 0.06 + 3 * np.sqrt(trials * 0.06 * 0.94)
    assert below <= most
    assert above <= most


def test_calibration_error_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(5)
    forecast, right, groups = answers(rng, 120)
    forecast = np.round(forecast, 1)
    order = rng.permutation(120)
    assert calibration_error(forecast[order], right[order], groups[order], 0.95) == calibration_error(
        forecast, right, groups, 0.95
    )


@pytest.mark.parametrize("right", [np.ones(60, bool), np.zeros(60, bool)])
def test_one_class_has_a_calibration_error_with_room(right: Array) -> None:
    found = measured(calibration_error(np.linspace(0.6, 0.9, 60), right, np.arange(60), 0.95))
    assert found.lower < found.value < found.upper
    assert smoothed(smooth_ece(np.linspace(0.6, 0.9, 60), right, np.arange(60), 0.95)).p_value < 0.01


def by_definition(forecast: Array, right: Array, width: float) -> float:
    """∫ |mean of (y - f) K(t, f)| dt with the Gaussian reflected at 0 and 1, term by term."""
    t = (np.arange(4000) + 0.5) / 4000
    mass = np.zeros_like(t)
    for f, y in zip(forecast, right, strict=True):
        for turn in range(-6, 7):
            for image in (2 * turn + f, 2 * turn - f):
                mass += (float(y) - f) * np.exp(-0.5 * ((t - image) / width) ** 2)
    return float(np.mean(np.abs(mass))) / (width * math.sqrt(2 * math.pi) * len(forecast))


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_smooth_ece_is_the_fixed_point_of_its_definition(slope: float) -> None:
    forecast, right, groups = answers(np.random.default_rng(6), 60, slope=slope)
    value = smoothed(smooth_ece(forecast, right, groups, 0.95, simulations=20)).value
    assert by_definition(forecast, right, value) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(("stated", "right"), [(0.8, 0.5), (0.5, 0.5), (1.0, 0.0), (0.02, 1.0)])
def test_smooth_ece_of_one_forecast_is_its_distance(stated: float, right: float) -> None:
    outcome = np.arange(100) < 100 * right
    found = smoothed(smooth_ece(np.full(100, stated), outcome, np.arange(100), 0.95, simulations=20))
    assert found.value == pytest.approx(abs(stated - right), abs=1e-6)


@pytest.mark.parametrize(("groups", "size"), [(300, 1), (80, 4)])
def test_the_null_is_that_of_a_calibrated_model(groups: int, size: int) -> None:
    rng = np.random.default_rng(7)
    p, trials = [], 40
    for _ in range(trials):
        stated, right, labels = answers(rng, groups)
        # rows of a group repeated: all the dependence there can be, and calibrated all the same
        arrays = (np.repeat(a, size) for a in (stated, right, labels))
        p.append(smoothed(smooth_ece(*arrays, 0.95, simulations=100)).p_value)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert 0.4 < np.mean(p) < 0.6


def test_the_null_tells_overconfidence_from_chance() -> None:
    rng = np.random.default_rng(8)
    found = smoothed(smooth_ece(*answers(rng, 2000, slope=2.0), 0.95, simulations=200))
    assert found.p_value == pytest.approx(1 / 201) and found.value > found.null_upper > found.null_median
    assert found.n == 2000


def test_many_answers_take_the_normal_null() -> None:
    """Both ways to the same null: 20,000 answers outcome by outcome, 20,001 by their limit."""
    stated, right, _ = answers(np.random.default_rng(9), 20_001)
    exact = smoothed(smooth_ece(stated[:-1], right[:-1], np.arange(20_000), 0.95))
    normal = smoothed(smooth_ece(stated, right, np.arange(20_001), 0.95))
    assert normal.null_median == pytest.approx(exact.null_median, rel=0.05)
    assert normal.null_upper == pytest.approx(exact.null_upper, rel=0.05)


def test_nothing_measured() -> None:
    none = np.array([])
    for metric in (calibration_error, smooth_ece):
        found = metric(none, none, none, 0.95)
        assert isinstance(found, Missing) and "CFT470" in found.reason
    assert isinstance(brier_decomposition(none, none, none), Missing)


def test_one_group_shows_nothing() -> None:
    forecast, right, _ = answers(np.random.default_rng(10), 60)
    one = np.zeros(60, int)
    assert isinstance(calibration_error(forecast, right, one, 0.95), Missing)
    assert smoothed(smooth_ece(forecast, right, one, 0.95, simulations=20)).p_value == 1
