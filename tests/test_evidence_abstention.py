"""The abstention threshold: a promise about risk that holds, against the naive choice that does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.evidence import metrics
from coherence_ft.evidence.abstention import (
    RiskCoverage,
    coverages,
    learn_then_test,
    risk_coverage,
    threshold_at,
)
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.intervals import Array

ROWS = np.arange(400)


def trial(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Forecasts uniform on [0.5, 1]; right answers as often as forecast, less 0.02."""
    forecast = rng.uniform(0.5, 1, n)
    return forecast, rng.random(n) < forecast - 0.02


def true_risk(threshold: float) -> float:
    return 1 - ((1 + threshold) / 2 - 0.02)


def test_threshold_delivers_at_least_the_coverage() -> None:
    forecast = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    assert [threshold_at(forecast, c) for c in (0.1, 0.2, 0.4, 0.6, 0.61, 1.0)] == [
        0.9,
        0.9,
        0.8,
        0.8,
        0.7,
        0.6,
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 1))
def test_threshold_is_the_highest_that_delivers(values: list[float], coverage: float) -> None:
    forecast = np.array(values)
    threshold = threshold_at(forecast, coverage)
    assert np.mean(forecast >= threshold) >= coverage - 1e-6
    assert np.mean(forecast > threshold) < coverage


def test_coverages_climb_to_all() -> None:
    assert coverages(0.85) == (0.85, 0.9, 0.95, 1.0)
    assert coverages(0.97) == (0.97, 1.0)
    assert coverages(1.0) == (1.0,)


def test_the_risk_limit_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = false_passes = 0
    trials, bound = 3000, true_risk(0.7)
    for _ in range(trials):
        threshold = threshold_at(rng.uniform(0.5, 1, 200), 0.6)
        forecast, right = trial(rng, 400)
        risk = metrics.selective_risk(forecast, right, ROWS, threshold, 0.95)
        assert isinstance(risk, Estimate)
        held += risk.upper >= true_risk(threshold)
        false_passes += risk.upper <= bound < true_risk(threshold)
    assert held / trials >= 0.95 - 0.01
    assert false_passes / trials <= 0.05


def test_a_certified_threshold_keeps_its_promise_where_the_naive_one_breaks_it() -> None:
    rng = np.random.default_rng(2)
    trials, bound = 1000, 0.2
    certified = broken = naive_broken = 0
    for _ in range(trials):
        calibration = rng.uniform(0.5, 1, 300)
        forecast, right = trial(rng, 400)
        certificate = learn_then_test(
            calibration, forecast, right, ROWS, coverage=0.4, bound=bound, confidence=0.95
        )
        if certificate is not None:
            certified += 1
            broken += true_risk(certificate.threshold) > bound
            assert certificate.coverage >= 0.4 and certificate.risk.upper <= bound
        # naive: the lowest threshold whose observed risk on these same answers keeps the bound
        order = np.argsort(-forecast)
        observed = np.cumsum(~right[order]) / np.arange(1, 401)
        within = np.flatnonzero(observed <= bound)
        naive_broken += len(within) > 0 and true_risk(forecast[order][within[-1]]) > bound
    assert certified / trials > 0.8  # not vacuous
    assert broken / trials <= 0.05
    assert naive_broken / trials > 0.3


def test_the_walk_stops_at_the_first_threshold_that_is_not_certified() -> None:
    # risk: 0 down to rank 250, then all wrong for 100, then right again, which must not be reached
    forecast = np.linspace(1, 0.5, 400)
    right = np.ones(400, bool)
    right[250:350] = False
    certificate = learn_then_test(forecast, forecast, right, ROWS, coverage=0.5, bound=0.05, confidence=0.95)
    assert certificate is not None
    assert certificate.coverage == pytest.approx(0.6)
    assert certificate.threshold == pytest.approx(forecast[239])


def test_no_certificate_where_the_declared_coverage_is_too_risky() -> None:
    forecast = np.linspace(1, 0.5, 400)
    right = np.arange(400) % 3 > 0
    assert learn_then_test(forecast, forecast, right, ROWS, coverage=0.5, bound=0.2, confidence=0.95) is None


def test_the_promise_holds_where_answers_come_in_groups() -> None:
    """Groups of five, all right or all wrong together; taken for independent they would break it."""
    rng = np.random.default_rng(3)
    trials, bound = 500, 0.2
    broken = {"groups": 0, "rows": 0}
    certified = 0
    for _ in range(trials):
        forecast = rng.uniform(0.5, 1, 80).repeat(5)
        luck = rng.random(80).repeat(5)
        right = luck < forecast - 0.02
        calibration = rng.uniform(0.5, 1, 300)
        for name, labels in (("groups", np.arange(400) // 5), ("rows", np.arange(400))):
            found = learn_then_test(
                calibration, forecast, right, labels, coverage=0.5, bound=bound, confidence=0.95
            )
            broken[name] += found is not None and true_risk(found.threshold) > bound
            certified += found is not None and name == "groups"
    assert certified > 0.1 * trials
    assert broken["groups"] <= trials * 0.05 + 3 * np.sqrt(trials * 0.05 * 0.95)
    assert broken["rows"] > 0.15 * trials


def test_risk_coverage_by_hand() -> None:
    """Risks at 1 to 4 delivered: 0, 1/3 for the two that are tied, 1/2."""
    forecast, right = np.array([0.9, 0.8, 0.8, 0.6]), np.array([True, True, False, False])
    found = risk_coverage(forecast, right, np.arange(4), 0.95)
    assert isinstance(found, RiskCoverage)
    assert found.area == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert {(t, c, round(r.value, 4)) for t, c, r in found.curve} == {
        (0.9, 0.25, 0.0),
        (0.8, 0.75, 0.3333),
        (0.6, 1.0, 0.5),
    }


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_curve_is_selective_risk_at_its_thresholds(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    forecast, right = np.round(rng.random(n), 1), rng.random(n) < 0.6
    found = risk_coverage(forecast, right, np.arange(n), 0.95)
    assert isinstance(found, RiskCoverage)
    for (threshold, covered, risk), asked in zip(found.curve, coverages(0.05), strict=True):
        assert threshold == threshold_at(forecast, asked)
        assert covered == pytest.approx(np.mean(forecast >= threshold))
        assert risk == metrics.selective_risk(forecast, right, np.arange(n), threshold, 0.95)
    assert found.curve[-1][2].value == pytest.approx(np.mean(~right), abs=1e-6)
