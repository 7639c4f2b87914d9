"""Bad input is refused with a code; nothing is dropped, and what was used adds up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence import metrics, reliability, smooth
from coherence_ft.evidence.abstention import learn_then_test, risk_coverage
from coherence_ft.evidence.arrays import cell_rows, refuse_duplicates, refuse_unsound
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import Array, share

Estimator = Callable[[Array, Array, Array], Any]

ESTIMATORS: dict[str, Estimator] = {
    "brier_score": lambda f, y, g: metrics.brier_score(f, y, g, 0.95),
    "brier_skill": lambda f, y, g: metrics.brier_skill(f, y, g, 0.95),
    "brier_gain": lambda f, y, g: metrics.brier_gain(f, y, np.full(len(f), 0.5), y, g, 0.95),
    "brier_gain over a broken base": lambda f, y, g: metrics.brier_gain(
        np.full(len(f), 0.5), y, f, y, g, 0.95
    ),
    "auroc": lambda f, y, g: metrics.auroc(f, y, g, 0.95),
    "selective_risk": lambda f, y, g: metrics.selective_risk(f, y, g, 0.5, 0.95),
    "calibration_error": lambda f, y, g: reliability.calibration_error(f, y, g, 0.95),
    "diagram": lambda f, y, g: reliability.reliability_diagram(f, y, g, 0.95),
    "decomposition": lambda f, y, g: reliability.brier_decomposition(f, y, g),
    "smooth_ece": lambda f, y, g: smooth.smooth_ece(f, y, g, 0.95, 20),
    "risk_coverage": lambda f, y, g: risk_coverage(f, y, g, 0.95),
    "learn_then_test": lambda f, y, g: learn_then_test(
        np.array([0.5]), f, y, g, coverage=0.5, bound=0.2, confidence=0.95
    ),
}


def sound() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(1)
    forecast = rng.uniform(0.5, 1, 60)
    return forecast, (rng.random(60) < forecast).astype(float), np.arange(60)


def codes(call: Callable[[], object]) -> list[str]:
    with pytest.raises(CoherenceError) as caught:
        call()
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sound_arrays_are_taken(name: str) -> None:
    assert not isinstance(ESTIMATORS[name](*sound()), Missing)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), -0.1, 1.1])
def test_a_forecast_that_is_no_probability(name: str, wrong: float) -> None:
    forecast, right, groups = sound()
    forecast[7] = wrong
    assert codes(lambda: ESTIMATORS[name](forecast, right, groups)) == ["CFT452"]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("wrong", [2.0, -1.0, 0.5, float("nan")])
def test_a_label_outside_the_options(name: str, wrong: float) -> None:
    forecast, right, groups = sound()
    right[3] = wrong
    assert codes(lambda: ESTIMATORS[name](forecast, right, groups)) == ["CFT452"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_arrays_that_do_not_pair(name: str) -> None:
    forecast, right, groups = sound()
    assert codes(lambda: ESTIMATORS[name](forecast, right, groups[:-1])) == ["CFT452"]


def test_everything_wrong_is_counted_at_once() -> None:
    with pytest.raises(CoherenceError) as caught:
        refuse_unsound(np.array([0.0, 2.0, 3.0]), np.array([0.0, np.nan, 1.0]), np.array([np.nan, 0.5, 2.0]))
    found = caught.value.diagnostics[0].found
    assert "2 outcomes" in found and "2 forecasts" in found and "1 group labels" in found


def test_shares_are_of_what_is_0_or_1() -> None:
    assert codes(lambda: share(np.array([0.0, 0.5]), np.arange(2), 0.95)) == ["CFT452"]
    assert codes(lambda: metrics.accuracy(np.array([0, 2]), np.arange(2), 0.95)) == ["CFT452"]


def test_thresholds_come_from_sound_forecasts() -> None:
    forecast, right, groups = sound()
    shape = {"coverage": 0.5, "bound": 0.2, "confidence": 0.95}
    for wrong in (np.array([0.5, np.nan]), np.array([2.0])):
        assert codes(lambda w=wrong: learn_then_test(w, forecast, right, groups, **shape)) == ["CFT452"]
    with pytest.raises(ValueError, match="calibration"):
        learn_then_test(np.array([]), forecast, right, groups, **shape)


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n not in ("diagram", "learn_then_test")])
def test_an_empty_cell_says_its_code(name: str) -> None:
    none = np.array([])
    found = ESTIMATORS[name](none, none, none)
    assert isinstance(found, Missing)
    assert "CFT470" in found.reason or "reaches the threshold" in found.reason


@pytest.mark.parametrize("right", [np.ones(40), np.zeros(40)])
def test_a_one_class_cell_says_its_code(right: Array) -> None:
    for metric in (metrics.auroc, metrics.brier_skill):
        found = metric(np.linspace(0.5, 0.9, 40), right, np.arange(40), 0.95)
        assert isinstance(found, Missing) and "CFT471" in found.reason
    assert isinstance(metrics.accuracy(right, np.arange(40), 0.95), Estimate)


def test_duplicated_observations() -> None:
    refuse_duplicates(["a", "b", "c"])
    assert codes(lambda: refuse_duplicates(["a", "b", "a"])) == ["CFT451"]
    with pytest.raises(CoherenceError) as caught:
        refuse_duplicates([str(i // 2) for i in range(20)])
    assert "and 5 more" in caught.value.diagnostics[0].found


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=40))
def test_cells_add_up(cells: list[str]) -> None:
    rows = cell_rows(cells, ["a", "b", "c", "never"])
    assert sorted(i for found in rows.values() for i in found) == list(range(len(cells)))
    assert len(rows["never"]) == 0
    assert all(cells[i] == name for name, found in rows.items() for i in found)


def test_a_cell_that_was_not_declared_is_not_dropped() -> None:
    assert codes(lambda: cell_rows(["a", "x", "y", "x"], ["a"])) == ["CFT473", "CFT473"]
    assert codes(lambda: cell_rows(["a"], ["a", "a"])) == ["CFT451"]
