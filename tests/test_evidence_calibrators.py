"""The calibrator: it finds what made the data, stays safe without data, and belongs to one model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence import calibrators
from coherence_ft.evidence.calibrators import PlattCalibrator, fit_platt
from coherence_ft.evidence.intervals import Array

SOURCE = {"model": "m" * 64, "probe_set": "p" * 64, "split": "calibration"}


def answers(
    rng: np.random.Generator, n: int, slope: float, intercepts: dict[str, float]
) -> tuple[Array, Array, list[str]]:
    domains = [sorted(intercepts)[i % len(intercepts)] for i in range(n)]
    score = np.abs(rng.normal(0, 3, n))
    chance = 1 / (1 + np.exp(-(slope * score + np.array([intercepts[d] for d in domains]))))
    return 1 / (1 + np.exp(-score)), rng.random(n) < chance, domains


def test_recovers_what_made_the_data() -> None:
    found = fit_platt(*answers(np.random.default_rng(1), 20_000, 0.4, {"clinical": 0.2}), **SOURCE)
    assert found.slope == pytest.approx(0.4, abs=0.03)
    assert found.intercept == pytest.approx(0.2, abs=0.06)
    assert found.domains == ()
    assert found.n == 20_000


def test_recovers_domains() -> None:
    truth = {"clinical": 0.8, "general": -0.4}
    found = fit_platt(*answers(np.random.default_rng(2), 20_000, 0.4, truth), **SOURCE)
    offsets = dict(found.domains)
    for domain, intercept in truth.items():
        assert found.intercept + offsets[domain] == pytest.approx(intercept, abs=0.12)


def test_a_small_domain_leans_on_the_others() -> None:
    rng = np.random.default_rng(3)
    large, right, names = answers(rng, 500, 0.4, {"general": 0.5})
    few, few_right = np.full(3, 0.8), np.zeros(3, bool)
    found = fit_platt(
        np.concatenate([large, few]), np.concatenate([right, few_right]), [*names, *["legal"] * 3], **SOURCE
    )
    offset = dict(found.domains)["legal"]
    assert -1.0 < offset < -0.1  # three wrong answers move it, but not far


def test_an_unseen_domain_takes_the_global_intercept() -> None:
    truth = {"clinical": 0.8, "general": -0.4}
    found = fit_platt(*answers(np.random.default_rng(4), 400, 0.4, truth), **SOURCE)
    unseen = found.confidence((0.3, 0.7), "financial")
    assert found.confidence((0.3, 0.7), "general") < unseen < found.confidence((0.3, 0.7), "clinical")


def test_agrees_with_a_general_optimiser() -> None:
    confidence, right, _ = answers(np.random.default_rng(5), 150, 0.4, {"a": 0.2})
    feature = np.log(confidence / (1 - confidence))

    def loss(at: Array) -> float:
        z = at[0] * feature + at[1]
        prior = ((at[0] - 1) / calibrators._SLOPE) ** 2 + (at[1] / calibrators._INTERCEPT) ** 2
        return float(np.sum(np.logaddexp(0, z) - right * z) + prior / 2)

    best = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x
    found = fit_platt(confidence, right, ["a"] * 150, **SOURCE)
    assert (found.slope, found.intercept) == (
        pytest.approx(best[0], abs=1e-5),
        pytest.approx(best[1], abs=1e-5),
    )


def test_confidence_that_misleads_is_levelled_not_turned_round() -> None:
    rng = np.random.default_rng(6)
    confidence, _, domains = answers(rng, 2000, 0.4, {"a": 0.0})
    right = rng.random(2000) < 1.2 - confidence
    found = fit_platt(confidence, right, domains, **SOURCE)
    assert found.slope == 0
    assert found.confidence((0.9, 0.1), "a") == pytest.approx(right.mean(), abs=0.01)


def test_without_data_it_is_the_identity() -> None:
    found = fit_platt(np.array([]), np.array([]), [], **SOURCE)
    assert (found.slope, found.intercept, found.n) == (1, 0, 0)
    assert found.confidence((0.8, 0.2), "a") == pytest.approx(0.8)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("n", [1, 5, 50])
def test_one_class_stays_finite_and_short_of_certainty(right: bool, n: int) -> None:
    found = fit_platt(np.full(n, 0.9), np.full(n, right), ["a"] * n, **SOURCE)
    assert 0.001 < found.confidence((0.9, 0.1), "a") < 0.9999
    assert (found.confidence((0.9, 0.1), "a") > 0.9) is right


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_more_stated_confidence_never_means_less(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    found = fit_platt(rng.uniform(0.5, 1, n), rng.random(n) < 0.5, (["a", "b"] * n)[:n], **SOURCE)
    stated = np.linspace(0, 1, 101)
    assert np.all(np.diff(found.apply(stated, ["a"] * 101)) >= 0)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_json_reads_back_the_same(seed: int) -> None:
    found = fit_platt(
        *answers(np.random.default_rng(seed), 30, 0.4, {"clinical": 0.8, "general": -0.4}), **SOURCE
    )
    text = json.dumps(found.to_json())
    assert PlattCalibrator.from_json(json.loads(text)) == found
    assert "e-" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"slope": "-0.1"},
        {"slope": "nan"},
        {"slope": 0.4},
        {"intercept": "inf"},
        {"kind": "temperature"},
        {"domains": ["clinical"]},
        {"domains": {"clinical": "x"}},
        {"n": "12"},
        {"n": -1},
        {"n": True},
        {"model": None},
    ],
)
def test_a_broken_file_is_refused(change: dict[str, object]) -> None:
    data = PlattCalibrator(0.4, 0.1, (("clinical", 0.2),), "m", "p", "calibration", 10).to_json()
    assert PlattCalibrator.from_json(data).domains == (("clinical", 0.2),)
    with pytest.raises(CoherenceError) as refused:
        PlattCalibrator.from_json(data | change)
    assert refused.value.codes == ("CFT457",)


@pytest.mark.parametrize("data", [None, [], "platt", {}])
def test_something_else_than_a_calibrator_is_refused(data: object) -> None:
    with pytest.raises(CoherenceError, match="CFT457"):
        PlattCalibrator.from_json(data)


@pytest.mark.parametrize("probabilities", [(float("nan"), 0.5), (0.5, float("nan")), (float("inf"), 0.0)])
def test_no_confidence_from_nan(probabilities: tuple[float, ...]) -> None:
    """NaN is below no threshold: it must not reach the comparison."""
    calibrator = PlattCalibrator(0.4, 0.1, (), "m", "p", "calibration", 10)
    with pytest.raises(CoherenceError, match="CFT452"):
        calibrator.confidence(probabilities, "clinical")


def test_it_belongs_to_one_model() -> None:
    found = PlattCalibrator(0.4, 0.1, (), "ours", "p", "calibration", 10)
    assert found.for_model("ours") is found
    with pytest.raises(CoherenceError, match="CFT456"):
        found.for_model("theirs")
