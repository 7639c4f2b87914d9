"""Estimates against reference implementations, and their limits against simulated truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, roc_auc_score

from coherence_ft.evidence import intervals, metrics, reliability
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import Array, clopper_pearson, share


def answers(
    rng: np.random.Generator,
    groups: int,
    size: int = 1,
    *,
    dependence: float = 0.0,
    stated_slope: float = 0.5,
) -> tuple[Array, Array, Array]:
    """Forecasts, outcomes and groups; at `stated_slope` 0.5 without dependence they are calibrated."""
    score = np.abs(rng.normal(0, 3, groups * size))
    shared = np.repeat(rng.normal(0, dependence, groups), size)
    chance = 1 / (1 + np.exp(-(0.5 * score + 0.3 + shared)))
    forecast = 1 / (1 + np.exp(-(stated_slope * score + 0.3)))
    return forecast, rng.random(groups * size) < chance, np.repeat(np.arange(groups), size)


def measured(found: Estimate | Missing) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


@given(st.integers(1, 500), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_clopper_pearson_agrees_with_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    lower, upper = clopper_pearson(k, n, confidence)
    # a two-sided interval at 1 - 2 alpha has the two one-sided limits as its ends
    reference = binomtest(k, n).proportion_ci(1 - 2 * (1 - confidence), "exact")
    assert lower == pytest.approx(reference.low, abs=1e-9)
    assert upper == pytest.approx(reference.high, abs=1e-9)


def test_scores_agree_with_scikit_learn() -> None:
    forecast, right, groups = answers(np.random.default_rng(3), 300)
    forecast = np.round(forecast, 2)  # ties
    brier = brier_score_loss(right, forecast)
    assert measured(metrics.brier_score(forecast, right, groups, 0.95)).value == pytest.approx(
        brier, abs=1e-6
    )
    reference = brier_score_loss(right, np.full(300, right.mean()))
    skill = measured(metrics.brier_skill(forecast, right, groups, 0.95)).value
    assert skill == pytest.approx(1 - brier / reference, abs=1e-6)
    area = measured(metrics.auroc(forecast, right, groups, 0.95)).value
    assert area == pytest.approx(roc_auc_score(right, forecast), abs=1e-6)


def test_auroc_limits_are_delong() -> None:
    """Against the definition, pair by pair (DeLong et al. 1988, equations 5 to 8)."""
    forecast, right, groups = answers(np.random.default_rng(4), 80)
    found = measured(metrics.auroc(forecast, right, groups, 0.95))
    high, low = forecast[right], forecast[~right]
    psi = (high[:, None] > low[None, :]) + 0.5 * (high[:, None] == low[None, :])
    variance = psi.mean(axis=1).var(ddof=1) / len(high) + psi.mean(axis=0).var(ddof=1) / len(low)
    value = psi.mean()
    margin = stdtrit(min(len(high), len(low)) - 1, 0.95) * np.sqrt(variance) / (value * (1 - value))
    logit = np.log(value / (1 - value))
    assert found.lower == pytest.approx(1 / (1 + np.exp(-(logit - margin))), abs=2e-6)
    assert found.upper == pytest.approx(1 / (1 + np.exp(-(logit + margin))), abs=2e-6)


def test_skill_gradient_is_the_derivative() -> None:
    at = np.array([0.31, 1.2, 2.0])
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        slope = (metrics._skill(at + step) - metrics._skill(at - step)) / 2e-6
        assert metrics._skill_gradient(at)[i] == pytest.approx(slope, rel=1e-5)


def test_gain_is_the_difference_of_the_brier_scores() -> None:
    forecast, right, groups = answers(np.random.default_rng(5), 200)
    base = np.full(200, 0.5)
    found = measured(metrics.brier_gain(forecast, right, base, right, groups, 0.95))
    ours = measured(metrics.brier_score(forecast, right, groups, 0.95)).value
    assert found.value == pytest.approx(0.25 - ours, abs=2e-6)
    same = measured(metrics.brier_gain(forecast, right, forecast, right, groups, 0.95))
    assert same.value == 0 and same.lower < 0 < same.upper


def test_useless_confidence_has_no_skill() -> None:
    _, right, groups = answers(np.random.default_rng(6), 200)
    stated = np.full(200, right.mean())
    assert isinstance(metrics.brier_skill(stated, right, groups, 0.95), Missing)
    assert measured(metrics.brier_skill(stated - 0.0123, right, groups, 0.95)).value < 0
    area = measured(metrics.auroc(stated, right, groups, 0.95))
    assert area.value == 0.5 and area.lower < 0.5 < area.upper


@pytest.mark.parametrize("right", [np.ones(50, bool), np.zeros(50, bool)])
def test_one_class_has_no_skill_and_no_auroc(right: Array) -> None:
    forecast, groups = np.linspace(0.5, 0.9, 50), np.arange(50)
    assert isinstance(metrics.auroc(forecast, right, groups, 0.95), Missing)
    assert isinstance(metrics.brier_skill(forecast, right, groups, 0.95), Missing)


def test_nothing_measured_has_no_estimate() -> None:
    none = np.array([])
    for metric in (metrics.brier_score, metrics.brier_skill, metrics.auroc, reliability.calibration_error):
        assert isinstance(metric(none, none, none, 0.95), Missing)
    assert isinstance(metrics.accuracy(none, none, 0.95), Missing)
    assert isinstance(metrics.brier_gain(none, none, none, none, none, 0.95), Missing)
    assert isinstance(
        metrics.selective_risk(np.array([0.5]), np.array([True]), np.array([0]), 0.6, 0.95), Missing
    )


def test_answers_all_alike_still_have_limits() -> None:
    """Twenty equal losses do not prove that no other exists."""
    forecast, right, groups = np.full(20, 0.9), np.ones(20, bool), np.arange(20)
    found = measured(metrics.brier_score(forecast, right, groups, 0.95))
    assert found.value == pytest.approx(0.01)
    assert found.lower < 0.01 and found.upper == pytest.approx(0.01 + 0.99 * (1 - 0.05 ** (1 / 20)), abs=1e-6)


def test_perfect_order_does_not_prove_perfection() -> None:
    forecast = np.concatenate([np.linspace(0.5, 0.6, 20), np.linspace(0.7, 0.9, 80)])
    found = measured(metrics.auroc(forecast, np.arange(100) >= 20, np.arange(100), 0.95))
    assert found.value == 1 and found.lower == pytest.approx(0.05 ** (1 / 20), abs=1e-6)


def test_copies_of_a_row_in_its_group_add_no_evidence() -> None:
    forecast, right, groups = answers(np.random.default_rng(7), 100)
    for metric in (metrics.brier_score, metrics.brier_skill, metrics.auroc):
        once = measured(metric(forecast, right, groups, 0.95))
        copied = measured(metric(*(np.repeat(a, 5) for a in (forecast, right, groups)), 0.95))
        assert (copied.n, copied.value) == (once.n, once.value)
        assert copied.lower == pytest.approx(once.lower, abs=2e-3)
        assert copied.upper == pytest.approx(once.upper, abs=2e-3)
    once = measured(share(right, groups, 0.95))
    copied = measured(share(np.repeat(right, 5), np.repeat(groups, 5), 0.95))
    assert copied.n == once.n == 100
    assert copied.lower == pytest.approx(once.lower, abs=0.01)


def test_the_same_answers_always_give_the_same_estimate() -> None:
    forecast, right, groups = answers(np.random.default_rng(8), 100, 2)
    for metric in (metrics.brier_score, metrics.brier_skill, reliability.calibration_error):
        assert metric(forecast, right, groups, 0.95) == metric(forecast, right, groups, 0.95)


def test_calibration_error_is_near_zero_when_calibrated() -> None:
    """Where 15-bin ECE would show about 0.085 (n = 200)."""
    rng = np.random.default_rng(9)
    values = [measured(reliability.calibration_error(*answers(rng, 200), 0.95)).value for _ in range(40)]
    assert np.median(values) < 0.03
    overconfident = measured(reliability.calibration_error(*answers(rng, 4000, stated_slope=2.0), 0.95))
    assert 0.1 < overconfident.lower < overconfident.value < overconfident.upper < 0.25


def test_a_bin_needs_answers() -> None:
    assert isinstance(reliability.calibration_error(*answers(np.random.default_rng(1), 19), 0.95), Missing)


Metric = Callable[[Array, Array, Array], Estimate | Missing]

METRICS: dict[str, Metric] = {
    "accuracy": lambda forecast, right, groups: metrics.accuracy(right, groups, 0.95),
    "brier_score": lambda *arrays: metrics.brier_score(*arrays, 0.95),
    "brier_skill": lambda *arrays: metrics.brier_skill(*arrays, 0.95),
    "auroc": lambda *arrays: metrics.auroc(*arrays, 0.95),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("groups", "size", "dependence"), [(200, 1, 0.0), (60, 4, 1.0)])
def test_each_limit_misses_at_most_as_often_as_it_says(
    name: str, groups: int, size: int, dependence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a gate at the very boundary passes a derivative in at most 5 % of certifications (+ 4 sigma)."""
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    rng = np.random.default_rng(10)
    metric = METRICS[name]
    forecast, right, _ = answers(rng, 400_000 // size, size, dependence=dependence)
    if name == "auroc":
        truth = roc_auc_score(right, forecast)
    else:
        brier, base = np.mean((forecast - right) ** 2), right.mean()
        truth = {"accuracy": base, "brier_score": brier, "brier_skill": 1 - brier / (base * (1 - base))}[name]
    trials, below, above = 300, 0, 0
    for _ in range(trials):
        found = measured(metric(*answers(rng, groups, size, dependence=dependence)))
        below += found.upper < truth
        above += found.lower > truth
    most = trials * 0.05 + 4 * np.sqrt(trials * 0.05 * 0.95)
    assert below <= most
    assert above <= most


@pytest.mark.parametrize("alike", [0.25, 4.0])
@pytest.mark.parametrize("bound", [0.02, 0.05, 0.1])
def test_large_groups_that_are_rarely_hit(bound: float, alike: float) -> None:
    """The groups that would show the dependence may not have been drawn: limits hold all the same."""
    rng = np.random.default_rng(12)
    trials, below, above = 400, 0, 0
    for _ in range(trials):
        sizes = rng.integers(1, 40, 80)
        hits = rng.random(sizes.sum()) < np.repeat(rng.beta(bound * alike, (1 - bound) * alike, 80), sizes)
        found = measured(share(hits, np.repeat(np.arange(80), sizes), 0.95))
        below += found.upper <= bound
        above += found.lower >= bound
    assert max(below, above) <= trials * 0.05 + 3 * np.sqrt(trials * 0.05 * 0.95)


def test_blocks_give_the_limits_of_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, right, groups = answers(np.random.default_rng(13), 2000, 2, dependence=1.0)
    for metric in (metrics.brier_score, metrics.brier_skill):
        whole = measured(metric(forecast, right, groups, 0.95))
        monkeypatch.setattr(intervals, "BLOCKS", 500)
        blocks = measured(metric(forecast, right, groups, 0.95))
        monkeypatch.undo()
        assert (blocks.value, blocks.n) == (whole.value, 2000)
        reach = whole.upper - whole.lower
        assert blocks.upper == pytest.approx(whole.upper, abs=0.1 * reach)
        assert blocks.lower == pytest.approx(whole.lower, abs=0.1 * reach)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_group_codes_are_those_of_sorting(labels: list[int]) -> None:
    codes, count = intervals.group_codes(np.array(labels))
    names, reference = np.unique([f"{label:03}" for label in labels], return_inverse=True)
    assert count == len(names) and np.array_equal(codes, reference)


def test_rows_taken_for_independent_would_promise_too_much() -> None:
    """What the groups are for: with 20 alike rows each, plain Clopper–Pearson misses most of the time."""
    rng = np.random.default_rng(11)
    plain = grouped = 0
    for _ in range(300):
        chance = np.repeat(rng.beta(0.7, 0.7, 40), 20)
        hits, groups = rng.random(800) < chance, np.repeat(np.arange(40), 20)
        plain += measured(share(hits, np.arange(800), 0.95)).upper < 0.5
        grouped += measured(share(hits, groups, 0.95)).upper < 0.5
    assert plain > 60
    assert grouped <= 30


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 3))
def test_estimates_are_finite_and_ordered(seed: int, groups: int, size: int) -> None:
    forecast, right, labels = answers(np.random.default_rng(seed), groups, size)
    for metric in METRICS.values():
        found = metric(forecast, right, labels)
        if isinstance(found, Estimate):
            assert found.lower <= found.value <= found.upper
            assert found.n == groups
            assert Estimate.from_json(found.to_json()) == found
