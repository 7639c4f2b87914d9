"""Drift: certificates and alarms keep their word, find what they should, and can be stored meanwhile."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence.drift import (
    SHIFTS,
    DriftCertificate,
    DriftDetector,
    certify_step,
    certify_value,
    detect_step,
    log_ratios,
    logit,
    probability,
    shrunken_offset,
)

ALPHA, TOLERANCE = 0.05, 0.2


def runs(rng: np.random.Generator, runs: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits as stated, and outcomes whose true logit lies `shift` from them: (runs, n)."""
    stated = rng.normal(1.2, 1.0, (runs, n))
    return stated, rng.random((runs, n)) < 1 / (1 + np.exp(-(stated + shift)))


def first(log_values: np.ndarray, alpha: float) -> np.ndarray:
    """The outcome (from 1) at which each run reaches 1 / alpha; n + 1 where it does not."""
    hit = log_values >= -math.log(alpha)
    return np.where(hit.any(1), hit.argmax(1) + 1, hit.shape[1] + 1)


def certificates(stated: np.ndarray, right: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    steps = log_ratios(stated, right, tolerance)
    capital = np.full((len(stated), len(SHIFTS)), -math.log(2))
    values = []
    for t in range(stated.shape[1]):
        capital = certify_step(capital, steps[:, t], t + 1)
        values.append(certify_value(capital, t + 1))
    return np.stack(values, axis=1)


def detectors(stated: np.ndarray, right: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    steps = log_ratios(stated, right, tolerance)
    capital = np.zeros((len(stated), len(SHIFTS)))
    values = []
    for t in range(stated.shape[1]):
        capital = detect_step(capital, steps[:, t])
        values.append(np.logaddexp.reduce(capital, axis=1) - math.log(len(SHIFTS)))
    return np.stack(values, axis=1)


@pytest.mark.parametrize(("tolerance", "shift"), [(0.0, 0.0), (0.2, 0.2), (0.2, -0.2), (0.2, 0.0)])
def test_false_certificates_are_at_most_alpha_however_long_one_looks(tolerance: float, shift: float) -> None:
    stated, right = runs(np.random.default_rng(1), 1000, 800, shift)
    false = np.mean(first(certificates(stated, right, tolerance), ALPHA) <= 800)
    assert false <= ALPHA + 2.4 * math.sqrt(ALPHA * (1 - ALPHA) / 1000)  # 1 in 100 by chance
    naive = np.cumsum(right - 1 / (1 + np.exp(-stated)), axis=1) / np.sqrt(
        np.cumsum(np.exp(-stated) / (1 + np.exp(-stated)) ** 2, axis=1)
    )
    looked = (np.abs(naive[:, 49::50]) > 1.96).any(1).mean()
    assert looked > 0.2 > false  # the same null, looked at every 50 outcomes with a z-test


@pytest.mark.parametrize(("tolerance", "shift"), [(0.0, 0.0), (0.2, -0.2), (0.2, 0.2)])
def test_a_detector_runs_at_least_as_long_as_it_says(tolerance: float, shift: float) -> None:
    stated, right = runs(np.random.default_rng(2), 400, 1000, shift)
    # Runs that are cut off count with their length: the mean is larger still.
    assert first(detectors(stated, right, tolerance), 0.01).mean() >= 100


def test_detectors_of_many_cells_run_as_long_together() -> None:
    stated, right = runs(np.random.default_rng(3), 50 * 8, 200, 0.2)
    alarm = first(detectors(stated, right), 0.01).reshape(50, 8).min(1)  # cells in turn
    assert np.mean(8 * np.minimum(alarm, 200)) >= 100


@pytest.mark.parametrize(("sign", "soon"), [(-1, 120), (1, 250)])  # errors are the rarer, so they tell more
def test_a_shift_of_one_logit_is_found_soon(sign: int, soon: int) -> None:
    stated, right = runs(np.random.default_rng(4), 200, 700, float(sign))
    assert np.median(first(detectors(stated, right), 0.001)) < soon
    assert np.median(first(certificates(stated, right), 0.01)) < soon
    assert np.all(first(certificates(stated, right), 0.01) <= 700)


def test_a_change_that_comes_late_is_found_too() -> None:
    rng = np.random.default_rng(5)
    before, after = runs(rng, 100, 400, 0.0), runs(rng, 100, 700, -1.0)
    stated, right = (np.concatenate(pair, axis=1) for pair in zip(before, after, strict=True))
    found = first(certificates(stated, right), 0.01)
    assert 400 < np.median(found) < 700


def fed(n: int = 300, shift: float = -1.0, seed: int = 6) -> tuple[np.ndarray, np.ndarray]:
    stated, right = runs(np.random.default_rng(seed), 1, n, shift)
    return stated[0], right[0]


def test_the_objects_compute_what_was_simulated() -> None:
    stated, right = fed()
    certificate = DriftCertificate(0.01, TOLERANCE).feed(stated, right)
    assert certificate.peak == pytest.approx(max(0.0, certificates(stated[None], right[None]).max()))
    detector, used = DriftDetector(0.001, TOLERANCE).feed(stated, right)
    assert used == first(detectors(stated[None], right[None]), 0.001)[0]
    assert detector.fired and detector.side == -1
    assert detector.feed(stated, right) == (detector, 0)  # one that fired takes none
    assert not detector.restarted().fired


def test_the_change_is_estimated() -> None:
    distances = []
    for seed in range(20):
        (a, b), (c, d) = fed(300, 0.0, seed), fed(300, -1.5, seed + 100)
        detector, used = DriftDetector(0.001, TOLERANCE).feed(np.append(a, c), np.append(b, d))
        assert detector.fired and used > 300
        distances.append(abs(detector.change - 300))
    assert np.median(distances) < 40


@given(st.lists(st.tuples(st.floats(-6, 6), st.booleans()), max_size=60), st.lists(st.integers(0, 60)))
def test_in_portions_as_at_once_and_stored_between(
    outcomes: list[tuple[float, bool]], cuts: list[int]
) -> None:
    stated, right = [s for s, _ in outcomes], np.array([r for _, r in outcomes], dtype=bool)
    whole = DriftCertificate(0.01, TOLERANCE).feed(stated, right)
    alarm, used = DriftDetector(0.3, TOLERANCE).feed(stated, right)
    certificate, detector, taken = DriftCertificate(0.01, TOLERANCE), DriftDetector(0.3, TOLERANCE), 0
    edges = sorted({0, len(outcomes), *(c for c in cuts if c < len(outcomes))})
    for a, b in itertools.pairwise(edges):
        certificate = certificate.feed(stated[a:b], right[a:b])
        detector, took = detector.feed(stated[a:b], right[a:b])
        taken += took
        certificate = DriftCertificate.from_json(json.loads(json.dumps(certificate.to_json())))
        detector = DriftDetector.from_json(json.loads(json.dumps(detector.to_json())))
    assert (certificate, detector, taken) == (whole, alarm, used)


@pytest.mark.parametrize("cls", [DriftCertificate, DriftDetector])
@pytest.mark.parametrize(
    "change",
    [
        {"n": -1},
        {"n": True},
        {"alpha": "0"},
        {"alpha": 0.01},
        {"capitals": ["nan"] * 4},
        {"capitals": ["0.0"]},
        {"extra": 1},
        {"peak": "-1.0", "starts": [9, 9, 9, 9]},
    ],
)
def test_a_state_that_nobody_wrote_is_refused(cls: Any, change: dict[str, Any]) -> None:
    with pytest.raises(CoherenceError) as caught:
        cls.from_json(cls(0.01, TOLERANCE).to_json() | change, path="state")
    assert caught.value.codes == ("CFT485",)
    with pytest.raises(CoherenceError):
        cls.from_json(None)


def test_nan_is_no_evidence() -> None:
    for test in (DriftCertificate(0.01, TOLERANCE), DriftDetector(0.01, TOLERANCE)):
        with pytest.raises(CoherenceError) as caught:
            test.feed([math.nan], [True])
        assert caught.value.codes == ("CFT452",)


@given(st.floats(1e-6, 1 - 1e-6))
def test_logit_and_back(p: float) -> None:
    assert probability(logit(p)) == pytest.approx(p, rel=1e-9)


def test_an_offset_is_shrunken_bounded_and_goes_only_where_the_evidence_points() -> None:
    stated, right = fed(400, -1.0)
    down = shrunken_offset(stated, right, 0.0, -1)
    assert -1.3 < down < -0.7
    assert abs(shrunken_offset(stated[:5], np.zeros(5, dtype=bool), 0.0, -1)) < 3
    few, many = (shrunken_offset(stated[:n], right[:n], 0.0, -1) for n in (10, 400))
    assert abs(few - many) < 1.5
    assert shrunken_offset(stated, right, 0.0, 1) == 0.0  # evidence for the other side moves nothing
    assert shrunken_offset(np.full(5000, 5.0), np.zeros(5000, dtype=bool), 0.0, -1) == -3.0
