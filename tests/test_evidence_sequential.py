"""Sequential gates: early verdicts that are wrong no more often than they say, in any portions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import Direction
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.gates import decide
from coherence_ft.evidence.sequential import SequentialGate, grouped_outcomes

AT_MOST, AT_LEAST = Direction.AT_MOST, Direction.AT_LEAST


def constraint(metric: str, bound: float, direction: Direction, minimum: int = 1) -> Constraint:
    return Constraint("c", metric, direction, bound, 0.95, minimum, Enforcement.HARD, "o", "")


def brute_force(gate: SequentialGate, outcomes: list[float]) -> tuple[Verdict, int]:
    """The definition, outcome by outcome, in plain products."""
    below, above = [1.0] * len(gate.bets_below), [1.0] * len(gate.bets_above)
    width = gate.high - gate.low
    for n, x in enumerate(outcomes, 1):
        gain = (gate.bound - x) / width
        below = [k * (1 + bet * gain) for k, bet in zip(below, gate.bets_below, strict=True)]
        above = [k * (1 - bet * gain) for k, bet in zip(above, gate.bets_above, strict=True)]
        for capitals, good in ((below, gate.direction is AT_MOST), (above, gate.direction is AT_LEAST)):
            alpha = 1 - (gate.confidence if good else gate.fail_confidence)
            if sum(capitals) / len(capitals) >= 1 / alpha:
                return Verdict.PASS if good else Verdict.FAIL, n
    return Verdict.INSUFFICIENT, len(outcomes)


@pytest.mark.parametrize("direction", [AT_MOST, AT_LEAST])
@pytest.mark.parametrize("bound", [0.05, 0.3, 0.5, 0.8])
def test_the_definition(direction: Direction, bound: float) -> None:
    rng = np.random.default_rng(1)
    gate = SequentialGate.of_rate(direction, bound, 0.95, fail_confidence=0.9)
    for rate in (bound / 3, bound, (1 + bound) / 2):
        outcomes = (rng.random(600) < rate).astype(float)
        after, used = gate.feed(outcomes)
        assert (after.verdict, used) == brute_force(gate, outcomes.tolist())


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.02, 0.98),
    st.lists(st.integers(1, 80), min_size=1, max_size=6),
    st.booleans(),
)
def test_portions_do_not_matter(seed: int, bound: float, portions: list[int], rates: bool) -> None:
    rng = np.random.default_rng(seed)
    total = sum(portions)
    if rates:
        gate = SequentialGate.of_rate(AT_MOST, bound, 0.95)
        outcomes = (rng.random(total) < rng.random()).astype(float)
    else:
        gate = SequentialGate.of_mean(AT_LEAST, bound - 0.5, 0.95, low=-1.0, high=1.0)
        outcomes = rng.uniform(-1, 1, total)
    at_once, used = gate.feed(outcomes)
    split, taken, start = gate, 0, 0
    for portion in portions:
        split, more = split.feed(outcomes[start : start + portion])
        split = SequentialGate.from_json(json.loads(json.dumps(split.to_json())))
        taken, start = taken + more, start + portion
    assert taken == used == at_once.n == split.n
    assert split == at_once


def test_a_decided_gate_takes_no_more() -> None:
    after, used = SequentialGate.of_rate(AT_MOST, 0.1, 0.95).feed(np.zeros(1000))
    assert after.verdict is Verdict.PASS and used == after.n < 60
    assert after.feed(np.ones(10)) == (after, 0)
    assert after.more == 0


@pytest.mark.parametrize(("rate", "false"), [(0.1, Verdict.PASS), (0.1, Verdict.FAIL)])
def test_looking_all_the_time_is_paid_for(rate: float, false: Verdict) -> None:
    """With the truth at the bound, at most alpha ever get the wrong verdict (+ 3 sigma)."""
    rng = np.random.default_rng(2)
    gate = SequentialGate.of_rate(AT_MOST, 0.1, 0.95)
    wrong = sum(gate.feed(rng.random(2000) < rate)[0].verdict is false for _ in range(1000))
    assert 0 < wrong <= 1000 * 0.05 + 3 * np.sqrt(1000 * 0.05 * 0.95)


def test_a_naive_gate_that_looks_all_the_time_is_wrong_much_more_often() -> None:
    from coherence_ft.evidence.intervals import clopper_pearson

    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(200):
        k = np.cumsum(rng.random(2000) < 0.1)
        looks = range(30, 2000, 20)
        wrong += any(clopper_pearson(int(k[n - 1]), n, 0.95)[1] <= 0.1 for n in looks)
    assert wrong > 30


@pytest.mark.parametrize(
    ("bound", "truth", "verdict", "most"),
    [
        (0.05, 0.025, Verdict.PASS, 1264 / 3),
        (0.05, 0.1, Verdict.FAIL, 1264 / 3),
        (0.2, 0.1, Verdict.PASS, 278 / 2.8),
    ],
)
def test_twice_as_good_or_bad_is_clear_early(
    bound: float, truth: float, verdict: Verdict, most: float
) -> None:
    """Against the exact test that has 90 % power at two thirds of the bound (benchmarks/gates.py)."""
    rng = np.random.default_rng(4)
    gate = SequentialGate.of_rate(AT_MOST, bound, 0.95)
    found = [gate.feed(rng.random(5000) < truth) for _ in range(300)]
    assert sum(after.verdict is verdict for after, _ in found) >= 297
    assert np.mean([used for _, used in found]) <= most


def test_no_verdict_before_the_minimum() -> None:
    gate = SequentialGate.of_constraint(constraint("violation_rate", 0.1, AT_MOST, minimum=200))
    early, used = gate.feed(np.zeros(150))
    assert used == 150 and early.verdict is Verdict.INSUFFICIENT and early.more == 50
    late, used = early.feed(np.zeros(100))
    assert used == 50 and late.verdict is Verdict.PASS


def test_what_was_shown_before_the_minimum_stays_shown() -> None:
    gate = SequentialGate.of_rate(AT_MOST, 0.5, 0.95, minimum=40)
    outcomes = np.array([0.0] * 12 + [1.0] * 28)
    after, _ = gate.feed(outcomes)
    assert after.shown_below and after.shown_above and after.verdict is Verdict.FAIL


def test_brier_gain_and_at_least() -> None:
    gate = SequentialGate.of_constraint(constraint("brier_gain", 0.0, AT_LEAST))
    rng = np.random.default_rng(5)
    better, used = gate.feed(np.clip(rng.normal(0.1, 0.2, 2000), -1, 1))
    worse, _ = gate.feed(np.clip(rng.normal(-0.1, 0.2, 2000), -1, 1))
    assert better.verdict is Verdict.PASS and used < 200
    assert worse.verdict is Verdict.FAIL


def test_only_means_of_single_outcomes_can_be_sequential() -> None:
    with pytest.raises(ValueError, match="auroc"):
        SequentialGate.of_constraint(constraint("auroc", 0.7, AT_LEAST))
    with pytest.raises(ValueError, match="rate of 0 or 1"):
        SequentialGate.of_rate(AT_MOST, 0.0, 0.95)
    with pytest.raises(ValueError, match="strictly between"):
        SequentialGate.of_mean(AT_LEAST, 1.0, 0.95, low=-1.0, high=1.0)


def test_its_estimate_comes_to_the_same_verdict() -> None:
    held = constraint("violation_rate", 0.1, AT_MOST, minimum=30)
    gate = SequentialGate.of_constraint(held)
    rng = np.random.default_rng(6)
    assert isinstance(gate.estimate(), Missing)
    for rate, verdict in ((0.02, Verdict.PASS), (0.3, Verdict.FAIL)):
        after, _ = gate.feed(rng.random(3000) < rate)
        seen = after.estimate()
        assert isinstance(seen, Estimate) and after.verdict is verdict
        assert decide(held, seen, None, date(2026, 11, 22))[0] is verdict
    undecided, _ = gate.feed([0.0] * 31)
    seen = undecided.estimate()
    assert isinstance(seen, Estimate) and (seen.lower, seen.upper) == (0.0, 1.0)
    assert decide(held, seen, None, date(2026, 11, 22))[0] is Verdict.INSUFFICIENT


def test_more_is_about_right() -> None:
    gate = SequentialGate.of_rate(AT_MOST, 0.1, 0.95)
    after, _ = gate.feed(([0.0] * 19 + [1.0]) * 4)
    assert after.verdict is Verdict.INSUFFICIENT and after.more is not None
    done, used = after.feed(([0.0] * 19 + [1.0]) * 50)
    assert done.verdict is Verdict.PASS
    assert used / 2 <= after.more <= used * 2
    unclear, _ = gate.feed(([0.0] * 9 + [1.0]) * 5)
    assert unclear.more is None


def test_groups_count_as_one_outcome() -> None:
    """Rows of a group that are all alike would pass as independent rows much more often than alpha."""
    rng = np.random.default_rng(7)
    rows = grouped = 0
    gate = SequentialGate.of_rate(AT_MOST, 0.1, 0.95)
    for _ in range(300):
        hits = np.repeat(rng.random(60) < 0.1, 10)
        groups = np.repeat(np.arange(60), 10)
        rows += gate.feed(hits)[0].verdict is Verdict.PASS
        grouped += gate.feed(grouped_outcomes(hits, groups, 0.1, 10))[0].verdict is Verdict.PASS
    assert rows > 100
    assert grouped <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_grouped_outcomes_keep_the_bound(seed: int, bound: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, 12)
    hits, groups = rng.random(sizes.sum()) < 0.4, np.repeat(np.arange(12), sizes)
    outcomes = grouped_outcomes(hits, groups, bound, 5)
    assert len(outcomes) == 12 and np.all((outcomes >= 0) & (outcomes <= 1))
    # the mean lies on the same side of the bound as the share of all rows
    assert np.mean(outcomes) - bound == pytest.approx((hits.mean() - bound) * len(hits) / 60, abs=1e-12)


def test_a_group_larger_than_was_said_is_refused() -> None:
    with pytest.raises(CoherenceError) as caught:
        grouped_outcomes(np.ones(4, bool), np.zeros(4, int), 0.1, 3)
    assert [d.code for d in caught.value.diagnostics] == ["CFT452"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.01, 1.01])
def test_outcomes_that_are_no_evidence_are_refused_and_none_is_taken(wrong: float) -> None:
    gate = SequentialGate.of_rate(AT_MOST, 0.1, 0.95)
    with pytest.raises(CoherenceError) as caught:
        gate.feed([0.0, wrong, 1.0])
    assert caught.value.diagnostics[0].code == "CFT452"
    assert gate.n == 0


def _broken() -> list[Any]:
    state = SequentialGate.of_rate(AT_MOST, 0.1, 0.95).feed([0.0, 1.0])[0].to_json()
    changes: list[dict[str, Any]] = [
        {"below": ["nan", "0.0", "0.0"]},
        {"below": ["0.0"]},
        {"bets_below": ["3.0", "0.1", "0.1"]},
        {"bets_above": ["-1.0", "0.1", "0.1"]},
        {"n": "2"},
        {"n": -1},
        {"n": True},
        {"confidence": "1.0"},
        {"bound": 0.1},
        {"low": "1.0"},
        {"shown_below": "true"},
        {"direction": "sideways"},
    ]
    return [None, [], {}, *({**state, **change} for change in changes)]


@pytest.mark.parametrize("data", _broken())
def test_a_state_that_nobody_wrote_is_refused(data: Any) -> None:
    with pytest.raises(CoherenceError) as caught:
        SequentialGate.from_json(data)
    assert caught.value.diagnostics[0].code == "CFT472"


def test_the_state_is_frozen() -> None:
    gate = SequentialGate.of_rate(AT_MOST, 0.1, 0.95)
    gate.feed([1.0, 0.0])
    assert gate == replace(gate, n=0) and gate.below == (0.0, 0.0, 0.0)
