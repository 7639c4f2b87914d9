"""The engine: what counts as evidence, which verdict follows, and what is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.documents.constraint_set import Constraint, Enforcement, Origin, Scope
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.looks import look_confidence
from coherence_ft.documents.metrics import METRICS, RELATIONS
from coherence_ft.documents.tenant import Waiver
from coherence_ft.evidence.assessment import Assessment, Verdict
from coherence_ft.loops import calibration, integrity
from coherence_ft.loops.engine import CoherenceEngine
from coherence_ft.loops.observation import (
    AnswerObservation,
    CheckResult,
    GroupObservation,
    Observations,
    ReplyObservation,
)
from coherence_ft.loops.soundness import Credentials

TODAY = date(2026, 11, 22)


def constraint(metric: str, bound: float, **changes: object) -> Constraint:
    made = Constraint(
        metric, metric, METRICS[metric].direction, bound, 0.95, 50, Enforcement.HARD, "risk", "reason"
    )
    return replace(made, **changes)


def engine(*constraints: Constraint, waiver: Waiver | None = None) -> CoherenceEngine:
    ordered = sorted(constraints, key=lambda c: c.id)
    return CoherenceEngine(
        ResolvedConstraints(
            "tenant",
            "clinical",
            tuple(
                ResolvedConstraint(
                    c, "tenant", waiver=waiver if waiver and waiver.constraint == c.id else None
                )
                for c in ordered
            ),
        )
    )


def observed(
    split: str,
    n: int = 300,
    *,
    seed: int = 0,
    slope: float = 0.6,
    model: str = "ours",
    domain: str = "clinical",
    size: int = 1,
    contradictions: float = 0.02,
    violations: float = 0.02,
) -> Observations:
    """Answers whose log-odds are worth `slope` times what they state, probe groups and replies."""
    rng = np.random.default_rng([seed, len(split)])
    answers = []
    for i in range(n):
        score = abs(rng.normal(0, 3))
        stated = 1 / (1 + np.exp(-score))
        right = rng.random() < 1 / (1 + np.exp(-slope * score))
        answers.append(
            AnswerObservation(
                f"{split}-q{i}",
                f"{split}-{i // size}",
                domain,
                (float(stated), float(1 - stated)),
                0 if right else 1,
            )
        )
    groups = [
        GroupObservation(f"{split}-g{i}", domain, "paraphrase", (0, int(rng.random() < contradictions)))
        for i in range(150)
    ]
    replies = [
        ReplyObservation(
            f"{split}-r{i}",
            domain,
            "format",
            "x",
            (CheckResult("json", bool(rng.random() >= violations), ""),),
        )
        for i in range(150)
    ]
    return Observations(
        model, f"{split}-file", split, tuple(answers), tuple(groups), tuple(replies), skipped=3
    )


ALL = (
    constraint("accuracy", 0.6),
    constraint("brier_score", 0.25),
    constraint("brier_skill", 0.0),
    constraint("brier_gain", 0.0),
    constraint("auroc", 0.55),
    constraint("selective_risk", 0.25, coverage=0.6),
    constraint("calibration_error", 0.2, enforcement=Enforcement.REPORT),
    constraint("contradiction_rate", 0.1, relation="paraphrase"),
    constraint("violation_rate", 0.1, category="format"),
)


def verdicts(assessment: Assessment) -> dict[str, Verdict]:
    return {result.constraint: result.verdict for result in assessment.results}


def test_a_good_derivative_passes_every_constraint() -> None:
    base = (
        observed("calibration", slope=0.05, model="base"),
        observed("certification", slope=0.05, model="base"),
    )
    assessment, calibrator = engine(*ALL).assess(
        observed("calibration"), observed("certification"), base=base, today=TODAY
    )
    assert set(verdicts(assessment)) == set(METRICS)
    assert assessment.passed, [r.why for r in assessment.results if not r.verdict.lets_through]
    assert (assessment.split, assessment.probe_set) == ("certification", "certification-file")
    assert (assessment.skipped, assessment.unused) == (3, 0)
    source = calibrator.source
    assert (source.model, source.split, calibrator.n) == ("ours", "calibration", 300)
    assert calibrator.certified_on == ("certification-file", "certification")
    assert calibrator.curve.slope == pytest.approx(0.6, abs=0.15)
    for result in assessment.results:
        assert result.estimate is not None
        assert result.estimate.confidence == look_confidence(0.95, 1)
        assert (result.base is None) is (result.constraint == "brier_gain")
    assert assessment.abstention_threshold is not None and assessment.coverage is not None
    delivered = [
        calibrator.confidence(a.probabilities, a.domain, a.routing_pattern) >= assessment.abstention_threshold
        for a in observed("certification").answers
    ]
    assert np.mean(delivered) == pytest.approx(assessment.coverage)
    assert assessment.coverage > 0.5


def test_a_poor_derivative_fails_what_it_fails() -> None:
    poor = {"slope": 0.0, "contradictions": 0.5, "violations": 0.5}
    assessment, _ = engine(*ALL).assess(
        observed("calibration", **poor), observed("certification", **poor), today=TODAY
    )
    found = verdicts(assessment)
    for metric in ("accuracy", "brier_score", "selective_risk", "contradiction_rate", "violation_rate"):
        assert found[metric] is Verdict.FAIL
    assert found["brier_gain"] is Verdict.INSUFFICIENT
    assert not found["brier_skill"].lets_through and not found["auroc"].lets_through
    assert not assessment.passed
    assert assessment.abstention_threshold is None and assessment.coverage is None


def test_monitoring_is_cross_fitted() -> None:
    seen = observed("calibration", 60, slope=0.0)
    assessment, calibrator = engine(*ALL).assess(seen, today=TODAY)
    assert assessment.split == "calibration"
    honest = next(r.estimate for r in assessment.results if r.constraint == "brier_score")
    fitted = calibration.judged(seen, calibrator)
    optimistic = float(np.mean((fitted.forecast - fitted.right) ** 2))
    assert honest is not None and honest.value > optimistic


def test_folds_keep_groups_whole() -> None:
    answers = sorted(observed("calibration", 90, size=3).answers, key=lambda a: a.probe)
    folds = calibration._folds(answers)
    by_group: dict[str, set[int]] = {}
    for answer, fold in zip(answers, folds, strict=True):
        by_group.setdefault(answer.group, set()).add(fold)
    assert all(len(fold) == 1 for fold in by_group.values())
    assert len(set(folds)) == 10


def test_cross_fitting_does_not_let_an_answer_see_itself() -> None:
    seen = observed("calibration", 40)
    turned = tuple(
        replace(a, answer=1 - a.answer) if a.probe == "calibration-q0" else a for a in seen.answers
    )
    # the same folds, one outcome turned round: its own forecast must not move
    folds = [i % 10 for i in range(40)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_folds", lambda answers: folds)
        before = calibration.cross_fitted(seen)
        after = calibration.cross_fitted(replace(seen, answers=turned))
    at = before.probes.index("calibration-q0")
    assert before.forecast[at] == after.forecast[at]
    assert np.any(before.forecast != after.forecast)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_observations_does_not_matter(shuffle: random.Random) -> None:
    seen, judged = observed("calibration", 80, size=2), observed("certification", 80, size=2)

    def shuffled(one: Observations) -> Observations:
        kinds = {name: list(getattr(one, name)) for name in ("answers", "groups", "replies")}
        for kind in kinds.values():
            shuffle.shuffle(kind)
        return replace(one, **{name: tuple(kind) for name, kind in kinds.items()})

    held = engine(*ALL)
    assert held.assess(shuffled(seen), shuffled(judged), today=TODAY) == held.assess(
        seen, judged, today=TODAY
    )
    assert held.assess(shuffled(seen), today=TODAY) == held.assess(seen, today=TODAY)


def test_other_domains_are_counted_and_not_used() -> None:
    def with_others(split: str) -> Observations:
        seen = observed(split, 200)
        general = observed(split + "-general", 100, domain="general")
        legal = observed(split + "-legal", 70, domain="legal", slope=-1.0)
        return replace(
            seen,
            answers=seen.answers + general.answers + legal.answers,
            groups=seen.groups + legal.groups,
        )

    assessment, calibrator = engine(*ALL).assess(
        with_others("calibration"), with_others("certification"), today=TODAY
    )
    assert assessment.unused == 70 + 150
    assert calibrator.n == 300
    assert [cell.domain for cell in calibrator.cells] == ["clinical", "general"]
    estimates = {r.constraint: r.estimate for r in assessment.results}
    assert estimates["accuracy"] is not None and estimates["accuracy"].n == 300
    assert estimates["contradiction_rate"] is not None and estimates["contradiction_rate"].n == 150


def test_missing_evidence_is_insufficient_and_says_why() -> None:
    held = engine(*ALL, constraint("contradiction_rate", 0.1, id="negation", relation="negation"))
    empty = {"answers": (), "groups": (), "replies": ()}
    for calibrating in (replace(observed("calibration"), **empty), observed("calibration")):
        assessment, _ = held.assess(calibrating, replace(observed("certification"), **empty), today=TODAY)
        assert not assessment.passed
        for result in assessment.results:
            assert result.verdict is Verdict.INSUFFICIENT and result.estimate is None
            assert "nothing was measured: no " in result.why
    assessment, _ = held.assess(replace(observed("calibration"), **empty), today=TODAY)
    assert {r.verdict for r in assessment.results} == {Verdict.INSUFFICIENT}


def test_no_calibration_answers_set_no_threshold() -> None:
    assessment, _ = engine(*ALL).assess(
        replace(observed("calibration"), answers=()), observed("certification"), today=TODAY
    )
    risk = next(r for r in assessment.results if r.constraint == "selective_risk")
    assert risk.estimate is None and "threshold" in risk.why


def test_all_right_has_accuracy_and_no_auroc() -> None:
    seen = {split: observed(split) for split in ("calibration", "certification")}
    right = {k: replace(v, answers=tuple(replace(a, answer=0) for a in v.answers)) for k, v in seen.items()}
    assessment, _ = engine(*ALL).assess(right["calibration"], right["certification"], today=TODAY)
    found = {r.constraint: r for r in assessment.results}
    assert found["accuracy"].verdict is Verdict.PASS
    assert found["auroc"].estimate is None and "every answer is right" in found["auroc"].why
    assert found["selective_risk"].verdict is Verdict.PASS
    assert assessment.coverage == 1.0


def test_a_waived_risk_serves_at_the_waived_bound() -> None:
    risk = constraint("selective_risk", 0.12, coverage=0.6, waiver_floor=0.4)
    waiver = Waiver("selective_risk", "clinical", 0.3, "lead", ("board",), "pilot", TODAY, Origin("", 0, 0))
    splits = observed("calibration"), observed("certification")
    refused, _ = engine(risk).assess(*splits, today=TODAY)
    assert not refused.passed and refused.abstention_threshold is None
    waived, _ = engine(risk, waiver=waiver).assess(*splits, today=TODAY)
    assert waived.results[0].verdict is Verdict.WAIVED
    assert waived.abstention_threshold is not None
    late, _ = engine(risk, waiver=waiver).assess(*splits, today=date(2026, 11, 23))
    assert not late.passed and late.abstention_threshold is None


def test_the_strictest_promise_sets_the_threshold() -> None:
    strict = constraint("selective_risk", 0.2, id="strict", coverage=0.3)
    lax = constraint("selective_risk", 0.4, id="lax", coverage=0.9)
    splits = observed("calibration"), observed("certification")
    alone, _ = engine(strict).assess(*splits, today=TODAY)
    both, _ = engine(strict, lax).assess(*splits, today=TODAY)
    assert alone.abstention_threshold == both.abstention_threshold is not None
    only_lax, _ = engine(lax).assess(*splits, today=TODAY)
    assert only_lax.abstention_threshold is not None
    assert only_lax.abstention_threshold < alone.abstention_threshold
    reported = replace(strict, bound=0.001, enforcement=Enforcement.REPORT)
    kept, _ = engine(reported, lax).assess(*splits, today=TODAY)
    assert kept.abstention_threshold == only_lax.abstention_threshold


def test_gain_says_which_questions_the_base_did_not_answer() -> None:
    base = observed("calibration", model="base"), observed("certification", model="base", slope=0.1)
    base = base[0], replace(base[1], answers=base[1].answers[:200], skipped=100)
    assessment, _ = engine(constraint("brier_gain", 0.0)).assess(
        observed("calibration"), observed("certification"), base=base, today=TODAY
    )
    found = assessment.results[0].estimate
    assert found is not None and found.n == 200
    assert "100 questions" in found.method


def broken(**changes: object) -> Observations:
    seen = observed("certification")
    return replace(seen, answers=(replace(seen.answers[0], **changes), *seen.answers[1:]))


@pytest.mark.parametrize(
    ("judged", "code"),
    [
        (replace(observed("certification"), answers=observed("certification").answers * 2), "CFT451"),
        (replace(observed("certification"), groups=observed("certification").groups * 2), "CFT451"),
        (broken(probabilities=(float("nan"), 0.5)), "CFT452"),
        (broken(probabilities=(0.9, 0.9)), "CFT452"),
        (broken(probabilities=(1.5, -0.5)), "CFT452"),
        (broken(probabilities=(1.0,)), "CFT452"),
        (broken(answer=2), "CFT452"),
        (broken(answer=-1), "CFT452"),
        (
            replace(
                observed("certification"), groups=(GroupObservation("g", "clinical", "negation", (0, 1, 0)),)
            ),
            "CFT452",
        ),
        (
            replace(
                observed("certification"), groups=(GroupObservation("g", "clinical", "likeness", (0, 1)),)
            ),
            "CFT452",
        ),
        (
            replace(
                observed("certification"), replies=(ReplyObservation("r", "clinical", "format", "x", ()),)
            ),
            "CFT452",
        ),
        (observed("certification", model="another"), "CFT453"),
        (replace(observed("certification"), split="calibration"), "CFT454"),
        (replace(observed("certification"), probe_set="calibration-file"), "CFT454"),
        (broken(group="calibration-7"), "CFT455"),
    ],
)
def test_what_is_no_evidence_is_refused(judged: Observations, code: str) -> None:
    with pytest.raises(CoherenceError) as refused:
        engine(*ALL).assess(observed("calibration"), judged, today=TODAY)
    assert refused.value.codes == (code,)
    if code in ("CFT451", "CFT452"):
        with pytest.raises(CoherenceError, match=code):
            engine(*ALL).assess(judged, today=TODAY)


def test_all_reasons_are_given_at_once() -> None:
    judged = replace(broken(answer=2), model="another", probe_set="calibration-file")
    with pytest.raises(CoherenceError) as refused:
        engine(*ALL).assess(observed("calibration"), judged, today=TODAY)
    assert refused.value.codes == ("CFT452", "CFT453", "CFT454")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("split", ["calibration", "certification"])
def test_scores_that_are_no_numbers_are_refused_in_either_split(split: str, wrong: float) -> None:
    splits = {name: observed(name) for name in ("calibration", "certification")}
    seen = splits[split]
    answers = (replace(seen.answers[0], probabilities=(wrong, 0.5)), *seen.answers[1:])
    with pytest.raises(CoherenceError, match="1 observations of the") as refused:
        engine(*ALL).assess(*(splits | {split: replace(seen, answers=answers)}).values(), today=TODAY)
    assert refused.value.codes == ("CFT452",)


@pytest.mark.parametrize("right", [True, False])
def test_a_one_class_cell_is_insufficient_and_counted(right: bool) -> None:
    """The answers of one audience are all right, or all wrong; those of the other are as they were."""
    seen = observed("certification")
    answers = [replace(a, audience="staff" if i % 2 else "patient") for i, a in enumerate(seen.answers)]
    answers = [
        replace(a, answer=a.choice if right else 1 - a.choice) if a.audience == "staff" else a
        for a in answers
    ]
    staff = constraint("auroc", 0.55, scope=Scope(audiences=("staff",)))
    assessment, _ = engine(staff).assess(
        observed("calibration"), replace(seen, answers=tuple(answers)), today=TODAY
    )
    (result,) = assessment.results
    assert result.verdict is Verdict.INSUFFICIENT and "CFT471" in result.why
    assert (assessment.used, assessment.probes) == (600, 603)


def test_an_empty_cell_is_insufficient() -> None:
    nobody = constraint("accuracy", 0.6, scope=Scope(audiences=("nobody",)))
    assessment, _ = engine(nobody).assess(observed("calibration"), observed("certification"), today=TODAY)
    (result,) = assessment.results
    assert (result.verdict, result.estimate) == (Verdict.INSUFFICIENT, None)
    assert "no question in its scope was answered" in result.why


def test_observations_of_another_codebook_are_refused() -> None:
    with pytest.raises(CoherenceError) as refused:
        engine(*ALL).assess(
            replace(observed("calibration"), codebook="a"),
            replace(observed("certification"), codebook="b"),
            today=TODAY,
        )
    assert refused.value.codes == ("CFT468",)


def vouched(seen: Observations, **changes: str) -> Observations:
    return replace(seen, **({"base": "B", "authority": "risk", "software": "1.0"} | changes))


EXPECTED = Credentials(
    "ours",
    "B",
    {"calibration": "calibration-file", "certification": "certification-file"},
    frozenset({"risk", "lab"}),
)
REFUSED = {
    "CFT460": {"base": "another"},
    "CFT461": {"authority": "marketing"},
    "CFT462": {"split": "train"},
    "CFT463": {"probe_set": "draft-file"},
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_nobody_vouches_for_does_not_certify_and_is_counted(code: str) -> None:
    judged = vouched(observed("certification"), **REFUSED[code])
    with pytest.raises(CoherenceError, match="600 observations of the") as refused:
        engine(*ALL).examine(vouched(observed("calibration")), judged, today=TODAY, credentials=EXPECTED)
    assert refused.value.codes == (code,)


@pytest.mark.parametrize("changes", [{"model": "earlier"}, {"software": ""}, {"authority": ""}])
def test_both_splits_and_the_base_need_credentials(changes: dict[str, str]) -> None:
    splits = vouched(observed("calibration")), vouched(observed("certification"))
    base = tuple(replace(each, model="B") for each in splits)
    judge = engine(constraint("accuracy", 0.5))
    assert judge.examine(*splits, base=base, today=TODAY, credentials=EXPECTED).assessment.passed
    for wrong in range(4):
        passes = [*splits, *base]
        passes[wrong] = replace(passes[wrong], **changes)
        with pytest.raises(CoherenceError, match=r"CFT46[01]"):
            judge.examine(*passes[:2], base=tuple(passes[2:]), today=TODAY, credentials=EXPECTED)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["clinical", "general", "legal"]), min_size=1, max_size=30),
    st.integers(0, 50),
    st.sampled_from([None, *REFUSED]),
)
def test_every_observation_is_used_unused_skipped_or_refused(
    domains: list[str], skipped: int, refused: str | None
) -> None:
    seen = vouched(observed("certification", len(domains)), **REFUSED.get(refused or "", {}))
    answers = tuple(replace(a, domain=d) for a, d in zip(seen.answers, domains, strict=True))
    seen = replace(seen, answers=answers, skipped=skipped)
    try:
        found = engine(constraint("violation_rate", 0.5)).examine(
            vouched(observed("calibration")), seen, today=TODAY, credentials=EXPECTED
        )
    except CoherenceError as error:
        assert error.codes == (refused,) and f"{seen.count} observations" in str(error)
        return
    assert refused is None
    assessment = found.assessment
    assert assessment.unused == domains.count("legal")
    assert assessment.used + assessment.unused == seen.count
    assert assessment.probes == seen.count + skipped == found.tallies[1].probes


def test_a_base_measured_on_another_file_is_refused() -> None:
    base = observed("calibration", model="base"), observed("test", model="base")
    with pytest.raises(CoherenceError) as refused:
        engine(*ALL).assess(observed("calibration"), observed("certification"), base=base, today=TODAY)
    assert refused.value.codes == ("CFT458",)


@pytest.mark.parametrize(
    ("relation", "holds", "contradicts"),
    [
        ("paraphrase", (1, 1, 1), (1, 1, 0)),
        ("symmetry", (0, 0), (0, 1)),
        ("negation", (0, 1), (1, 1)),
        ("implication", (1, 0), (0, 1)),
        ("implication", (1, 1), (0, 2)),
        ("exclusion", (0, 1, 1), (0, 1, 0)),
        ("exclusion", (1, 1), (0, 0)),
    ],
)
def test_relations(relation: str, holds: tuple[int, ...], contradicts: tuple[int, ...]) -> None:
    assert not integrity.contradicts(GroupObservation("g", "clinical", relation, holds))
    assert integrity.contradicts(GroupObservation("g", "clinical", relation, contradicts))


def test_every_published_relation_is_known() -> None:
    assert set(integrity._CONTRADICTS) == set(RELATIONS)
