"""Verdicts: what passes, what fails, what is not known, and what a waiver changes."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from coherence_ft.documents.constraint_set import Constraint, Enforcement, Origin
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import Waiver
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import decide, units_to_show

TODAY = date(2026, 11, 22)


def constraint(bound: float = 0.3, *, at_most: bool = True, floor: float | None = None) -> Constraint:
    return Constraint(
        id="risk",
        metric="selective_risk" if at_most else "auroc",
        direction=Direction.AT_MOST if at_most else Direction.AT_LEAST,
        bound=bound,
        confidence=0.95,
        minimum_evidence=100,
        enforcement=Enforcement.HARD,
        owner="risk",
        reason="",
        waiver_floor=floor,
    )


def estimate(value: float, lower: float, upper: float, n: int = 240, confidence: float = 0.95) -> Estimate:
    return Estimate(value, lower, upper, n, confidence, "test")


def waiver(bound: float, expires: date = TODAY) -> Waiver:
    return Waiver("risk", "clinical", bound, "lead", ("board",), "pilot", expires, Origin("", 0, 0))


@pytest.mark.parametrize(
    ("at_most", "bound", "seen", "verdict", "why"),
    [
        (
            True, 0.3, estimate(0.14, 0.1, 0.19), Verdict.PASS,
            "at most 0.30 demanded; 0.14 measured, at most 0.19 with 95 % confidence (n = 240)",
        ),
        (True, 0.19, estimate(0.14, 0.1, 0.19), Verdict.PASS, "at most 0.19 demanded"),
        (True, 0.3, estimate(0.31, 0.2, 0.4), Verdict.FAIL, "0.31 measured, at most 0.40"),
        (True, 0.3, estimate(0.3004, 0.2, 0.4), Verdict.FAIL, "0.3004 measured"),
        (True, 0.3, estimate(0.28, 0.2, 0.33), Verdict.INSUFFICIENT, "about 1300 more delivered answers"),
        (True, 0.3, estimate(0.3, 0.2, 0.33), Verdict.INSUFFICIENT, "too close to the bound"),
        (True, 0.3, estimate(0.01, 0.0, 0.1, n=99), Verdict.INSUFFICIENT, "1 more delivered answers needed"),
        (True, 0.3, estimate(0.9, 0.8, 1.0, n=99), Verdict.INSUFFICIENT, "for the minimum of 100"),
        (True, 0.3, estimate(0.1, 0.0, 0.2, confidence=0.9), Verdict.INSUFFICIENT, "; 95 % confidence"),
        (True, 0.3, None, Verdict.INSUFFICIENT, "100 delivered answers needed, nothing was measured"),
        (True, 0.3, estimate(float("nan"), 0.0, 0.1), Verdict.INSUFFICIENT, "not a number"),
        (True, 0.3, estimate(0.2, 0.1, 0.15), Verdict.INSUFFICIENT, "not a number inside its own interval"),
        (False, 0.6, estimate(0.7, 0.61, 0.8), Verdict.PASS, "at least 0.60 demanded; 0.70 measured"),
        (False, 0.6, estimate(0.7, 0.59, 0.8), Verdict.INSUFFICIENT, "about 51 more questions would decide"),
        (False, 0.6, estimate(0.6, 0.59, 0.8), Verdict.INSUFFICIENT, "too close to the bound"),
        (False, 0.6, estimate(0.59, 0.5, 0.8), Verdict.FAIL, "0.59 measured"),
        (False, 0.6, estimate(0.7, 0.61, float("inf")), Verdict.INSUFFICIENT, "not a number"),
    ],
)  # fmt: skip
def test_verdict_and_sentence(
    at_most: bool, bound: float, seen: Estimate | None, verdict: Verdict, why: str
) -> None:
    found, sentence = decide(constraint(bound, at_most=at_most), seen, None, TODAY)
    assert found is verdict
    assert why in sentence


@pytest.mark.parametrize(
    ("floor", "given", "verdict", "why"),
    [
        (0.4, waiver(0.35), Verdict.WAIVED, "waived to at most 0.35 until 2026-11-22 by board"),
        (0.4, waiver(0.35, TODAY - timedelta(days=1)), Verdict.FAIL, "expired on 2026-11-21"),
        (0.34, waiver(0.35), Verdict.FAIL, "past the owner's limit of 0.34"),
        (None, waiver(0.35), Verdict.FAIL, "does not let it be waived"),
        (0.4, waiver(0.32), Verdict.FAIL, "the waiver to 0.32 is not met either"),
    ],
)
def test_a_waiver_holds_only_in_force_and_only_to_its_own_bound(
    floor: float | None, given: Waiver, verdict: Verdict, why: str
) -> None:
    found, sentence = decide(constraint(floor=floor), estimate(0.31, 0.27, 0.34), given, TODAY)
    assert found is verdict
    assert why in sentence


def test_a_waiver_does_not_replace_the_minimum_evidence() -> None:
    seen = estimate(0.31, 0.2, 0.34, n=99)
    assert decide(constraint(floor=0.4), seen, waiver(0.35), TODAY)[0] is Verdict.INSUFFICIENT


_shares = st.floats(0, 1)


@given(st.booleans(), _shares, _shares, st.lists(_shares, min_size=3, max_size=3), st.integers(0, 300))
def test_a_tighter_bound_never_betters_a_verdict(
    at_most: bool, one: float, other: float, numbers: list[float], n: int
) -> None:
    lower, value, upper = sorted(numbers)
    loose, tight = (max(one, other), min(one, other)) if at_most else (min(one, other), max(one, other))
    seen = estimate(value, lower, upper, n)
    order = [Verdict.FAIL, Verdict.INSUFFICIENT, Verdict.PASS]
    verdicts = [decide(constraint(b, at_most=at_most), seen, None, TODAY)[0] for b in (tight, loose)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


@given(_shares, st.integers(0, 300), st.integers(0, 300))
def test_no_evidence_never_passes(bound: float, n: int, minimum: int) -> None:
    verdict, _ = decide(constraint(bound), None, waiver(bound), TODAY)
    assert not verdict.lets_through


@pytest.mark.parametrize(
    ("rate", "bound", "units"), [(0, 0.01, 299), (0, 0.02, 149), (0, 0.05, 59), (0, 0.1, 29)]
)
def test_units_to_show_no_error(rate: float, bound: float, units: int) -> None:
    assert units_to_show(rate, bound, 0.95) == units


@pytest.mark.parametrize(("rate", "bound"), [(0.1, 0.15), (0.28, 0.3), (0.02, 0.2), (0.6, 0.9)])
def test_units_to_show_are_enough(rate: float, bound: float) -> None:
    n = units_to_show(rate, bound, 0.95)
    assert n is not None
    assert binom.cdf(-(-rate * n // 1), n, bound) <= 0.05 + 1e-9
    half = n // 2
    assert binom.cdf(-(-rate * half // 1), half, bound) > 0.05


def test_units_to_show_gives_up() -> None:
    assert units_to_show(0.3, 0.3, 0.95) is None
    assert units_to_show(0.2999, 0.3, 0.95) is None


def test_verify_needs_no_numpy_for_a_verdict() -> None:
    program = "import sys; import coherence_ft.evidence.gates; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
