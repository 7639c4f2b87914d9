"""Several tests: cells, looks, and constraints that must all pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.looks import look_confidence
from coherence_ft.evidence.intervals import clopper_pearson
from coherence_ft.evidence.multiplicity import holm


def gate(p: float) -> Callable[[float], bool]:
    return lambda confidence: p <= 1 - confidence


def test_holm_by_hand() -> None:
    """p ≤ .05/4, then .05/3, then .05/2, then .05; the first that is not ends it."""
    found = holm({"a": gate(0.012), "b": gate(0.016), "c": gate(0.03), "d": gate(0.04)}, 0.95)
    assert found == {"a": True, "b": True, "c": False, "d": False}
    assert holm({"a": gate(0.05)}, 0.95 - 1e-12) == {"a": True}
    assert holm({}, 0.95) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_bonferroni_and_no_correction(values: list[float]) -> None:
    found = holm({i: gate(p) for i, p in enumerate(values)}, 0.95)
    for i, p in enumerate(values):
        if p <= (1 - 0.95) / len(values) * (1 - 1e-9):  # float noise of 1 - alpha
            assert found[i]
        if found[i]:
            assert p <= (1 - 0.95) * (1 + 1e-9)
            assert all(found[j] for j, q in enumerate(values) if q <= p)


def test_an_empty_cell_counts_among_those_asked() -> None:
    assert holm({"full": gate(0.03)}, 0.95) == {"full": True}
    assert holm({"full": gate(0.03), "empty": lambda confidence: False}, 0.95)["full"] is False


def test_looks_spend_alpha_and_no_more() -> None:
    spent = [1 - look_confidence(0.95, look) for look in range(1, 10_000)]
    assert sum(spent) < 0.05 and sum(spent) > 0.0499
    assert spent[0] == pytest.approx(0.0304, abs=1e-4) and spent[1] == pytest.approx(0.0076, abs=1e-4)
    assert sorted(spent, reverse=True) == spent


@pytest.mark.parametrize(
    ("confidence", "look"), [(0.95, 0), (0.95, -1), (1.0, 1), (0.0, 1), (float("nan"), 1)]
)
def test_no_look_before_the_first(confidence: float, look: int) -> None:
    with pytest.raises(ValueError):
        look_confidence(confidence, look)


def test_looking_again_and_again_at_derivatives_that_break_the_bound() -> None:
    rng = np.random.default_rng(1)
    trials, passed, uncorrected = 2000, 0, 0
    limits = {
        level: [clopper_pearson(k, 200, level)[1] for k in range(201)]
        for level in (0.95, *(look_confidence(0.95, look) for look in range(1, 21)))
    }
    for _ in range(trials):
        wrong = rng.binomial(200, 0.1, 20)
        passed += any(limits[look_confidence(0.95, i + 1)][k] <= 0.1 for i, k in enumerate(wrong))
        uncorrected += any(limits[0.95][k] <= 0.1 for k in wrong)
    assert passed <= trials * 0.05 + 3 * np.sqrt(trials * 0.05 * 0.95)
    assert uncorrected > trials * 0.3


def test_all_must_pass_needs_no_correction() -> None:
    """Sixteen constraints, one of them broken: promoted by mistake no more often than that one passes."""
    rng = np.random.default_rng(2)
    trials = 3000
    k = np.concatenate([rng.binomial(200, 0.02, (trials, 15)), rng.binomial(200, 0.1, (trials, 1))], axis=1)
    keeps = np.array([clopper_pearson(i, 200, 0.95)[1] <= 0.1 for i in range(201)])
    promoted = keeps[k].all(axis=1).sum()
    assert 0 < promoted <= trials * 0.05 + 3 * np.sqrt(trials * 0.05 * 0.95)


def test_verify_needs_no_numpy_for_it() -> None:
    program = "import sys; import coherence_ft.evidence.multiplicity; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
