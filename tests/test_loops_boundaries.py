"""Role boundaries, named constraints and wording on one reply; scopes on what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_loops_engine import TODAY, constraint, engine, observed, verdicts

from coherence_ft.authority.resolved import (
    ResolvedBoundary,
    ResolvedConstraints,
    ResolvedRestriction,
)
from coherence_ft.authority.wording import ResolvedBand, ResolvedWording
from coherence_ft.documents.constraint_set import Act, NamedConstraint, RoleBoundary, Scope
from coherence_ft.evidence.assessment import Assessment, Verdict
from coherence_ft.loops.boundaries import broken
from coherence_ft.loops.observation import Observations

DOSAGE = RoleBoundary(
    "dosage",
    ("dosage", "how many milligrams"),
    ("your pharmacist", "a physician"),
    ("take",),
    "unit",
    "Because",
)
NO_NAMES = NamedConstraint("no-names", ("Mrs.", "Mr."), (), "unit", "Because")
SIGNED = NamedConstraint("signed", (), ("This is no medical advice",), "unit", "Because")


def resolved(
    *rules: RoleBoundary | NamedConstraint, wording: tuple[ResolvedWording, ...] = ()
) -> ResolvedConstraints:
    return ResolvedConstraints(
        "t",
        "clinical",
        (),
        tuple(ResolvedBoundary(r, "tenant: s") for r in rules if isinstance(r, RoleBoundary)),
        tuple(ResolvedRestriction(r, "tenant: s") for r in rules if isinstance(r, NamedConstraint)),
        wording,
    )


@pytest.mark.parametrize(
    ("asked", "reply", "breaches"),
    [
        ("What is the weather?", "Take an umbrella.", 0),  # not its subject
        ("What DOSAGE is right?", "Please ask your pharmacist.", 0),
        ("What dosage is right?", "Ask a  Physician, please.", 0),
        ("How   many milligrams?", "Two hundred.", 1),
        ("What dosage is right?", "Take two hundred.", 2),
        ("What dosage is right?", "Take what a physician says.", 1),
        ("What dosage is right?", "", 1),
        ("What do\u200bsage is right?", "Two hundred.", 1),  # an invisible character hides nothing
    ],
)
def test_a_boundary_speaks_on_its_topics_only(asked: str, reply: str, breaches: int) -> None:
    found = broken(resolved(DOSAGE), asked, reply)
    assert len(found) == breaches
    assert all("dosage" in text and "tenant: s" in text for text in found)


@pytest.mark.parametrize(
    ("reply", "broken_ones"),
    [
        ("It is so. This is no medical advice.", []),
        ("It is so.", ["signed"]),
        ("Mrs. Miller knows. This is NO medical advice!", ["no-names"]),
        ("Mrs. Miller knows.", ["no-names", "signed"]),
        ("", ["signed"]),
    ],
)
def test_named_constraints_hold_on_every_reply(reply: str, broken_ones: list[str]) -> None:
    found = broken(resolved(NO_NAMES, SIGNED), "anything", reply)
    assert [next(n for n in ("no-names", "signed") if n in text) for text in found] == broken_ones


def test_all_phrases_that_are_required_must_be_there() -> None:
    both = replace(SIGNED, required=("one", "two"))
    assert broken(resolved(both), "", "one and two") == []
    assert len(broken(resolved(both), "", "one")) == 1


@given(
    st.lists(st.sampled_from([DOSAGE, NO_NAMES, SIGNED]), max_size=3),
    st.sampled_from([DOSAGE, NO_NAMES, SIGNED]),
    st.sampled_from(["dosage", "weather"]),
    st.sampled_from(["take Mr. Miller", "This is no medical advice: a physician", ""]),
)
def test_another_rule_never_lets_more_through(rules: list[Any], more: Any, asked: str, reply: str) -> None:
    assert set(broken(resolved(*rules), asked, reply)) <= set(broken(resolved(*rules, more), asked, reply))


# --- what is served ---------------------------------------------------------------------------------------


def served(
    rules: ResolvedConstraints, confidence: float, asked: str = "q", audience: str | None = None
) -> Any:
    from coherence_ft.serving.derivative import Derivative

    derivative = object.__new__(Derivative)  # no model is needed for what happens to its answer
    derivative.resolved, derivative.threshold = rules, 0.6
    withheld = (
        "" if confidence >= 0.6 else f"confidence {confidence:.3f} is below the certified threshold 0.600"
    )
    return derivative._worded("yes", confidence, withheld, asked, audience)


BANDS = ResolvedWording(
    None,
    (
        ResolvedBand(0.9, Act.ASSERT, "{answer}", "tenant: s"),
        ResolvedBand(0.7, Act.HEDGE, "Probably {answer} ({confidence}), says {{me}}.", "tenant: s"),
        ResolvedBand(0.0, Act.DEFER, "Please ask a colleague.", "tenant: s"),
    ),
)
CAREFUL = ResolvedWording("public", (ResolvedBand(0.0, Act.DEFER, "We cannot say.", "tenant: p"),))


@pytest.mark.parametrize(
    ("confidence", "audience", "text", "said"),
    [
        (0.95, None, "yes", "yes"),
        (0.75, None, "yes", "Probably yes (75 %), says {me}."),
        (0.65, None, "", "Please ask a colleague."),
        (0.5, None, "", "Please ask a colleague."),  # below the certified threshold
        (0.95, "public", "", "We cannot say."),
        (0.95, "nurses", "yes", "yes"),
    ],
)
def test_the_answer_is_put_into_the_words_of_its_band(
    confidence: float, audience: str | None, text: str, said: str
) -> None:
    answer = served(resolved(wording=(BANDS, CAREFUL)), confidence, audience=audience)
    assert (answer.text, answer.wording, answer.abstained) == (text, said, not text)


def test_bold_words_do_not_pass_the_certified_threshold() -> None:
    bold = ResolvedWording(None, (ResolvedBand(0.0, Act.ASSERT, "{answer}", "tenant: s"),))
    answer = served(resolved(wording=(bold,)), 0.5)
    assert (answer.text, answer.wording, answer.abstained) == ("", "", True)


def test_what_breaks_a_rule_is_withheld_and_says_why() -> None:
    assert served(resolved(DOSAGE), 0.95, "weather").text == "yes"
    answer = served(resolved(DOSAGE), 0.95, "which dosage")
    assert (answer.text, answer.wording, answer.abstained) == ("", "", True)
    assert "role boundary dosage" in answer.why
    referring = ResolvedWording(
        None, (ResolvedBand(0.0, Act.HEDGE, "{answer}, but ask your pharmacist.", "tenant: s"),)
    )
    assert not served(resolved(DOSAGE, wording=(referring,)), 0.95, "which dosage").abstained


# --- scope: which observations count ----------------------------------------------------------------------

MARKS: dict[str, dict[str, Any]] = {
    "languages": {"language": "de"},
    "audiences": {"audience": "nurses"},
    "routing_patterns": {"routing_pattern": "r3"},
}


def marked(seen: Observations, every: int, **marks: Any) -> Observations:
    """Every so-manieth observation of each kind bears the marks."""

    def some(rows: tuple[Any, ...], marks: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(replace(row, **marks) if n % every == 0 else row for n, row in enumerate(rows))

    of_all = {name: value for name, value in marks.items() if name != "routing_pattern"}
    return replace(
        seen,
        answers=some(seen.answers, marks),
        groups=some(seen.groups, of_all),
        replies=some(seen.replies, of_all),
    )


def assessed(*constraints: Any, every: int = 2, **marks: Any) -> Assessment:
    calibration, certification = (
        marked(observed(split), every, **marks) for split in ("calibration", "certification")
    )
    return engine(*constraints).assess(calibration, certification, today=TODAY)[0]


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("metric", ["accuracy", "contradiction_rate", "violation_rate"])
def test_only_marked_observations_count_for_a_scope(name: str, metric: str) -> None:
    if name == "routing_patterns" and metric != "accuracy":
        pytest.skip("only answers have a routing pattern: CFT403")
    bound = 0.1 if metric == "accuracy" else 0.9
    narrow = constraint(metric, bound, scope=Scope(**{name: (*MARKS[name].values(), "another")}))
    wide = assessed(constraint(metric, bound), **MARKS[name]).results[0].estimate
    found = assessed(narrow, **MARKS[name]).results[0].estimate
    assert wide is not None and found is not None
    assert found.n == wide.n // 2
    nobody = assessed(narrow)  # without a mark, an observation is of no language
    assert nobody.results[0].estimate is None
    assert verdicts(nobody)[metric] is Verdict.INSUFFICIENT


def test_every_list_of_a_scope_narrows() -> None:
    scope = Scope(languages=("de",), audiences=("nurses",))
    found = assessed(constraint("accuracy", 0.1, scope=scope), language="de")
    assert verdicts(found)["accuracy"] is Verdict.INSUFFICIENT
    found = assessed(constraint("accuracy", 0.1, scope=scope), language="de", audience="nurses")
    assert verdicts(found)["accuracy"] is Verdict.PASS


def test_a_scope_judges_what_a_look_at_everything_would_hide() -> None:
    """One language in three is always wrong: on average the model still passes."""

    def wrong_in_german(split: str) -> Observations:
        seen = marked(observed(split), 3, language="de")
        answers = (replace(a, answer=1) if a.language == "de" else replace(a, answer=0) for a in seen.answers)
        return replace(seen, answers=tuple(answers))

    both = [
        constraint("accuracy", 0.5, id="all"),
        constraint("accuracy", 0.5, id="german", scope=Scope(languages=("de",))),
    ]
    found, _ = engine(*both).assess(
        wrong_in_german("calibration"), wrong_in_german("certification"), today=TODAY
    )
    assert verdicts(found) == {"all": Verdict.PASS, "german": Verdict.FAIL}


def test_a_scoped_risk_never_sets_the_threshold_that_everybody_is_served_with() -> None:
    scoped = constraint("selective_risk", 0.9, coverage=0.5, scope=Scope(languages=("de",)))
    found = assessed(scoped, language="de")
    assert found.passed
    assert found.abstention_threshold is None
    everybody = constraint("selective_risk", 0.25, id="all", coverage=0.6)
    alone, _ = engine(everybody).assess(observed("calibration"), observed("certification"), today=TODAY)
    beside = assessed(scoped, everybody, language="de")
    assert beside.abstention_threshold == alone.abstention_threshold is not None


def test_a_scope_leaves_the_calibrator_as_it_is() -> None:
    splits = [marked(observed(split), 2, language="de") for split in ("calibration", "certification")]
    wide = engine(constraint("accuracy", 0.1)).assess(*splits, today=TODAY)[1]
    narrow = engine(constraint("accuracy", 0.1, scope=Scope(languages=("de",)))).assess(*splits, today=TODAY)[
        1
    ]
    assert wide == narrow
