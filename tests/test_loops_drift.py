"""Drift at run time: which outcomes count, what an alarm adjusts, and that no adjustment delivers more."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.outcomes import Outcome, read_outcomes
from coherence_ft.loops.admission import Subject, admit
from coherence_ft.loops.drift import Adjustment, CellState, DriftState, history_of, observe

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
CELLS = (("clinical", "dense"), ("clinical", "unknown"))
SUBJECT = Subject("d" * 64, "m" * 64, "c" * 64, CELLS, 0.7, 0.2, 0.95)


def outcome(n: int, confidence: float, correct: bool, **changes: Any) -> Outcome:
    made = Outcome(
        f"a-{n}",
        "clinical",
        confidence,
        confidence >= 0.7,
        correct,
        "human",
        "2026-05-20T11:00:00Z",
        SUBJECT.model,
        SUBJECT.calibrator,
    )
    return replace(made, **changes)


def outcomes(
    n: int, shift: float = 0.0, seed: int = 0, patterns: tuple[str, ...] = ("dense",), first: int = 0
) -> list[Outcome]:
    """Answers of calibrated confidence, whose true logit lies `shift` from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(1.2, 1.0, n)
    right = rng.random(n) < 1 / (1 + np.exp(-(logits + shift)))
    confidence = np.round(1 / (1 + np.exp(-logits)), 6)
    return [
        outcome(first + i, float(c), bool(r), routing_pattern=patterns[i % len(patterns)])
        for i, (c, r) in enumerate(zip(confidence, right, strict=True))
    ]


def fed(rows: list[Outcome], state: DriftState | None = None, before: list[Outcome] | None = None) -> Any:
    return observe(state or DriftState.new(SUBJECT), history_of(before or []), rows, SUBJECT)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def row(n: int = 0, **changes: Any) -> dict[str, Any]:
    data = {
        "id": f"a-{n}",
        "domain": "clinical",
        "confidence": 0.9,
        "delivered": True,
        "correct": True,
        "grounding": "human",
        "observed_at": "2026-05-20T11:00:00Z",
        "model": SUBJECT.model,
        "calibrator": SUBJECT.calibrator,
    } | changes
    return {name: value for name, value in data.items() if value is not None}


# What is admitted


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "x" * 64}, "CFT481"),
        ({"calibrator": "x" * 64}, "CFT481"),
        ({"grounding": "humans"}, "CFT482"),
        ({"split": "training"}, "CFT484"),
        ({"split": "calibration"}, "CFT484"),
        ({"split": "certification"}, "CFT484"),
        ({"domain": "legal"}, "CFT473"),
        ({"routing_pattern": "p1"}, "CFT473"),
        ({"observed_at": "2026-05-20T12:06:00Z"}, "CFT487"),
        ({"observed_at": "2026-05-20"}, "CFT207"),
        ({"confidence": float("nan")}, "CFT120"),
        ({"confidence": 1.5}, "CFT206"),
        ({"confidence": None}, "CFT203"),
        ({"adjustment": 9}, "CFT206"),
        ({"correct": "yes"}, "CFT204"),
        ({"verdict": "right"}, "CFT202"),
    ],
)
def test_what_is_no_evidence_is_refused_with_its_code(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    path = write(tmp_path / "outcomes.jsonl", [row(1), row(2, **changes), row(3)])
    admitted = admit(read_outcomes(path), SUBJECT, (), (), NOW)
    assert [o.id for o in admitted.used] == ["a-1", "a-3"]
    assert admitted.reasons == {code: 1}
    assert admitted.refused[0][0].line == 2
    assert len(admitted) == 3


def test_what_counts_is_taken_with_its_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path / "outcomes.jsonl",
        [row(1), "", row(2, split="test", observed_at="2026-05-20T14:04:00+02:00", adjustment=-0.5)],
    )
    used = admit(read_outcomes(path), SUBJECT, (), (), NOW).used
    assert (used[0].routing_pattern, used[0].adjustment, used[0].split) == ("dense", 0.0, "served")
    assert used[1].adjustment == -0.5
    assert [Outcome.from_json(json.loads(json.dumps(o.to_json()))) for o in used] == list(used)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(["human", "model", "probe", "nobody"]),
            st.sampled_from([SUBJECT.model, "other"]),
            st.sampled_from([0.9, 2.0]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_counted_once(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "outcomes.jsonl"
    write(path, [row(n, grounding=g, model=m, confidence=c) for n, g, m, c in rows])
    read = read_outcomes(path)
    admitted = admit(read, SUBJECT, {"a-0"}, {"a-1"}, NOW)
    assert len(admitted) == len(read) == len(rows)
    assert sum(admitted.reasons.values()) == len(admitted.refused)
    assert all(o.grounding != "model" and o.id != "a-0" for o in admitted.used)
    assert all(o.grounding == "model" and o.id != "a-1" for o in admitted.ignored)
    assert max(Counter(o.id for o in admitted.used).values(), default=1) == 1


def test_an_answer_that_a_model_judged_may_still_be_judged_by_a_human(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", [row(1, grounding="model"), row(1), row(1), row(1, grounding="model")])
    admitted = admit(read_outcomes(path), SUBJECT, (), (), NOW)
    assert (len(admitted.used), len(admitted.ignored), admitted.reasons) == (1, 1, {"CFT483": 2})


def test_a_file_without_rows_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path, code in ((write(tmp_path / "e.jsonl", [""]), "CFT480"), (tmp_path / "none.jsonl", "CFT101")):
        with pytest.raises(CoherenceError) as caught:
            read_outcomes(path)
        assert caught.value.codes == (code,)


def test_the_clock_may_be_a_little_off(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", [row(1, observed_at=(NOW + timedelta(minutes=4)).isoformat())])
    assert len(admit(read_outcomes(path), SUBJECT, (), (), NOW).used) == 1


# What an alarm does


def test_calibrated_outcomes_change_nothing() -> None:
    state, changes = fed(outcomes(1000))
    assert changes == ()
    assert not state.drifted and not state.risk_broken
    assert [(cell.n, cell.offset, cell.threshold) for cell in state.cells] == [
        (1000, 0.0, 0.7),
        (0, 0.0, 0.7),
    ]


def test_a_shift_down_lowers_confidence_and_stops_what_is_not_supported() -> None:
    state, changes = fed([replace(o, delivered=False) for o in outcomes(300, -1.5)])
    cell, other = state.cells
    assert [c.key for c in state.drifted] == [("clinical", "dense")]
    assert cell.offset < -0.7
    assert cell.threshold is None or cell.threshold >= 0.7
    assert (other.offset, other.threshold) == (0.0, 0.7)
    change = changes[0].to_json()
    assert change["before"] == {"offset": "0.0", "threshold": "0.7"}
    assert "less often right" in change["reason"]
    evidence = change["evidence"]
    assert evidence["right"] / evidence["n"] < float(evidence["stated"])
    assert float(evidence["logEValue"]) >= -np.log(float(evidence["alpha"]))


def test_a_threshold_is_kept_where_recent_outcomes_support_it_and_raised_where_they_do() -> None:
    """A small shift: many outcomes are seen before the alarm."""
    found = []
    for bound in (0.05, 0.2, 0.5, 1.0):
        subject = replace(SUBJECT, bound=bound, threshold=0.6)
        _, changes = observe(DriftState.new(subject), {}, outcomes(6000, -0.45), subject)
        assert changes
        for change in changes:
            before, after = change.before.threshold, change.after.threshold
            assert after is None or (before is not None and after >= before)
        found.append(changes[0].after.threshold)
    assert found[0] is None  # nothing keeps so strict a promise
    assert found[1] is not None and found[1] > 0.6
    assert found[2:] == [0.6, 0.6]


def test_a_shift_up_raises_confidence_and_delivers_no_more() -> None:
    state, changes = fed(outcomes(1500, 1.5))
    cell = state.cells[0]
    assert changes and cell.offset > 0.5 and cell.threshold == 0.7
    adjustment = Adjustment.of(state)
    assert adjustment.stated(0.65, *CELLS[0]) > 0.7
    assert "certified threshold" in adjustment.withheld(0.65, 0.7, *CELLS[0])
    assert adjustment.withheld(0.75, 0.7, *CELLS[0]) == ""


def test_after_an_adjustment_confidence_is_true_again_and_alarms_end() -> None:
    rows = outcomes(3000, -1.0)
    state, changes = fed(rows)
    assert 1 <= len(changes) <= 3
    adjustment = Adjustment.of(state)
    stated = np.array([adjustment.stated(o.confidence, *CELLS[0]) for o in rows[1500:]])
    right = np.array([o.correct for o in rows[1500:]])
    before = abs(np.mean([o.confidence for o in rows[1500:]]) - right.mean())
    assert abs(stated.mean() - right.mean()) < 0.05 < before


def test_outcomes_stated_under_an_adjustment_are_read_as_what_the_calibrator_said() -> None:
    rows = outcomes(400, -1.0)
    adjusted = []
    for o in rows:
        logit = np.log(o.confidence / (1 - o.confidence)) - 0.8
        adjusted.append(replace(o, confidence=float(1 / (1 + np.exp(-logit))), adjustment=-0.8))
    (plain, _), (told, _) = fed(rows), fed(adjusted)
    assert told.cells[0].offset == pytest.approx(plain.cells[0].offset, abs=1e-4)
    assert told.cells[0].certificate.peak == pytest.approx(plain.cells[0].certificate.peak, abs=1e-4)


def test_a_broken_promise_of_risk_stops_every_cell() -> None:
    rows = [
        outcome(n, 0.75, n % 3 > 0, delivered=True) for n in range(1200)
    ]  # wrong: 1 in 3, promised 1 in 5
    state, changes = fed(rows)
    assert state.risk_broken
    assert all(cell.threshold is None for cell in state.cells)
    assert any("promised risk" in change.reason for change in changes)
    adjustment = Adjustment.of(state)
    assert "promote anew" in adjustment.withheld(0.99, 0.7, *CELLS[1])


def test_withheld_answers_do_not_count_against_the_promised_risk() -> None:
    rows = [replace(o, delivered=False) for o in outcomes(300, -2.0)]
    state, _ = fed(rows)
    assert state.risk is not None and state.risk.n == 0


def test_what_an_adjustment_has_stopped_is_not_held_against_it() -> None:
    rows, subject = outcomes(2000, -1.0), replace(SUBJECT, bound=0.3)
    state, changes = observe(DriftState.new(subject), {}, rows, subject)
    assert changes and changes[0].after.threshold is None and not state.risk_broken
    assert state.risk is not None and state.risk.n < sum(o.delivered for o in rows)


def test_false_alarms_are_rare() -> None:
    runs = [fed(outcomes(500, 0.0, seed)) for seed in range(60)]
    assert sum(bool(state.drifted) for state, _ in runs) <= 3
    assert sum(bool(changes) for _, changes in runs) <= 12  # 60 · 500 outcomes, at most one in 1,000: 30


@settings(max_examples=15)
@given(st.lists(st.integers(1, 599), max_size=5))
def test_in_portions_as_at_once_and_stored_between(cuts: list[int]) -> None:
    rows = outcomes(200) + outcomes(400, -1.5, 1, ("dense", "unknown"), first=200)
    whole, changes = fed(rows)
    state, made = DriftState.new(SUBJECT), []
    for a, b in itertools.pairwise(sorted({0, len(rows), *cuts})):
        state, more = fed(rows[a:b], state, rows[:a])
        made += more
        state = DriftState.from_json(json.loads(json.dumps(state.to_json())))
    assert state == whole
    order = [(c.after.key, c.after.since) for c in changes if "promised" not in c.reason]
    assert sorted((c.after.key, c.after.since) for c in made if "promised" not in c.reason) == sorted(order)


def test_the_order_of_cells_does_not_matter() -> None:
    rows = outcomes(600, -1.0, 2, ("dense", "unknown"))
    apart = [o for p in ("unknown", "dense") for o in rows if o.routing_pattern == p]
    assert fed(rows)[0].cells == fed(apart)[0].cells
    turned = replace(SUBJECT, cells=CELLS[::-1])
    assert DriftState.new(turned) == DriftState.new(SUBJECT)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-3, 3), st.one_of(st.none(), st.floats(0, 1)))
def test_an_adjustment_never_delivers_what_was_withheld(
    calibrated: float, certified: float, offset: float, raised: float | None
) -> None:
    state = DriftState.new(replace(SUBJECT, threshold=certified))
    threshold = None if raised is None else max(raised, certified)
    cells = tuple(replace(cell, offset=offset, threshold=threshold) for cell in state.cells)
    adjusted, plain = Adjustment.of(replace(state, cells=cells)), Adjustment.of(None)
    delivered = not adjusted.withheld(calibrated, certified, *CELLS[0])
    assert not delivered or not plain.withheld(calibrated, certified, *CELLS[0])
    assert not delivered or adjusted.stated(calibrated, *CELLS[0]) >= certified
    assert plain.stated(calibrated, *CELLS[0]) == calibrated


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"cells": [{}]},
        {"risk": {}},
        {"extra": 1},
        {"cells": None},
    ],
)
def test_a_state_that_nobody_wrote_is_refused(change: dict[str, Any]) -> None:
    state, _ = fed(outcomes(50))
    with pytest.raises(CoherenceError) as caught:
        DriftState.from_json({k: v for k, v in (state.to_json() | change).items() if v is not None})
    assert set(caught.value.codes) <= {"CFT472", "CFT485"}


def test_an_offset_that_is_no_number_is_refused() -> None:
    state, _ = fed(outcomes(5))
    data = state.to_json()
    data["cells"][0]["offset"] = "nan"
    with pytest.raises(CoherenceError):
        DriftState.from_json(data)


def test_a_state_names_its_cells_in_order() -> None:
    keys = [cell.key for cell in DriftState.new(SUBJECT).cells]
    assert keys == sorted(CELLS)
    assert all(isinstance(cell, CellState) for cell in DriftState.new(SUBJECT).cells)


def test_only_outcomes_since_the_change_adjust() -> None:
    rows = outcomes(2000) + outcomes(300, -2.0, 1, first=2000)
    _, changes = observe(DriftState.new(SUBJECT), {}, [replace(o, delivered=False) for o in rows], SUBJECT)
    first = changes[0]
    assert first.evidence["afterOutcome"] > 2000
    assert first.evidence["n"] < 200
    assert first.after.offset < -0.7


def test_cells_share_one_alpha() -> None:
    state = DriftState.new(SUBJECT)
    assert sum(cell.certificate.alpha for cell in state.cells) == pytest.approx(0.01)
