"""The source of confidence and the calibrator that a constraint set chooses: over layers, and kept to."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_loops_engine import ALL, engine, observed
from workshop import STEPS, Workshop, coherence_ft, statement

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import Measurement
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.measurement import (
    DEFAULTS,
    Chosen,
    ResolvedMeasurement,
    StatedMeasurement,
    measured_otherwise,
    resolve_measurement,
)
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.scaling import Temperature
from coherence_ft.loops.engine import CoherenceEngine
from coherence_ft.loops.observation import Observations
from coherence_ft.loops.sources import figures
from coherence_ft.models.confidence import SOURCES
from coherence_ft.serving.derivative import load_derivative

KINDS = ("platt", "temperature", "isotonic")

layers = st.lists(
    st.builds(
        StatedMeasurement,
        st.builds(
            Measurement,
            st.none() | st.sampled_from(SOURCES[:3]),
            st.none() | st.sampled_from(KINDS),
        ),
        st.integers(0, 3),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=5,
)


# --- over layers ------------------------------------------------------------------------------------------


@given(layers, st.randoms())
def test_the_order_of_layers_does_not_matter(stated: list[StatedMeasurement], random: object) -> None:
    mixed = list(stated)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert resolve_measurement(mixed) == resolve_measurement(stated)
    assert sorted(map(str, measured_otherwise(mixed))) == sorted(map(str, measured_otherwise(stated)))


@given(layers)
def test_what_is_not_refused_is_what_every_layer_states(stated: list[StatedMeasurement]) -> None:
    resolved = resolve_measurement(stated)
    for name in ("confidence", "calibrator"):
        said = [s for s in stated if getattr(s.measurement, name) is not None]
        chosen: Chosen = getattr(resolved, name)
        if not said:
            assert chosen == getattr(DEFAULTS, name)
            continue
        highest = min(s.rank for s in said)
        assert (chosen.value, chosen.layer, highest) in [
            (getattr(s.measurement, name), s.layer, s.rank) for s in said
        ]
        differ = len({getattr(s.measurement, name) for s in said}) > 1
        assert differ == any(f"another {name}" in d.message for d in measured_otherwise(stated))


def test_a_set_may_not_measure_otherwise_than_the_one_it_extends(tmp_path: Path, workshop: Workshop) -> None:
    from coherence_ft.documents.canonical import file_digest

    document = json.loads((workshop.root / "constraints.yaml").read_text())
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text(json.dumps(document | {"id": "parent", "measurement": {"confidence": "p_true"}}))
    extends = [{"set": "parent.yaml", "sha256": file_digest(parent)}]
    for own, refused in (("p_true", False), ("agreement", True)):
        row = document["constraints"][:1]
        stated = {"id": "child", "constraints": row, "extends": extends, "measurement": {"confidence": own}}
        child.write_text(json.dumps(document | stated))
        if refused:
            with pytest.raises(CoherenceError) as error:
                read_constraint_set(child)
            assert error.value.codes == ("CFT338",)
        else:
            assert read_constraint_set(child).measurement.confidence == own


def test_the_choice_is_part_of_what_is_signed() -> None:
    plain = engine(*ALL).resolved
    chosen = replace(
        plain, measurement=ResolvedMeasurement(Chosen("p_true", "tenant: x"), Chosen("isotonic", "tenant: x"))
    )
    assert chosen.digest != plain.digest
    assert ResolvedConstraints.from_json(chosen.to_json()) == chosen


# --- in the engine ----------------------------------------------------------------------------------------


def measuring(confidence: str = "option_likelihood", calibrator: str = "platt") -> CoherenceEngine:
    made = engine(*(c for c in ALL if c.metric != "brier_gain"))
    chosen = ResolvedMeasurement(Chosen(confidence, "tenant: x"), Chosen(calibrator, "tenant: x"))
    return CoherenceEngine(replace(made.resolved, measurement=chosen))


def from_source(seen: Observations, source: str, silent: Sequence[int] = ()) -> Observations:
    """The same answers with a confidence that says as much as before, NaN where the model was silent."""
    answers = tuple(
        replace(a, stated=math.nan if n in silent else a.confidence**2) for n, a in enumerate(seen.answers)
    )
    return replace(seen, answers=answers, confidence_source=source)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_calibrator_is_fitted_and_applied(kind: str) -> None:
    found = measuring(calibrator=kind).examine(observed("calibration"), observed("certification"))
    assert found.calibrator.to_json()["kind"] == kind
    seen = found.evidence.evaluated
    expected = found.calibrator.apply(
        np.array([a.confidence for a in seen.answers]), ["clinical"] * len(seen), ["dense"] * len(seen)
    )
    assert np.array_equal(seen.forecast, expected)
    alone = measuring(calibrator=kind).examine(observed("calibration"))
    assert len(np.unique(alone.evidence.evaluated.forecast)) > 1


def test_the_calibrator_names_the_source() -> None:
    passes = [from_source(observed(split), "p_true") for split in ("calibration", "certification")]
    found = measuring("p_true").examine(*passes)
    assert found.calibrator.source.confidence == "p_true"
    plain = measuring().examine(observed("calibration"), observed("certification"))
    by_id = {r.constraint: r.estimate for r in plain.assessment.results}
    for result in found.assessment.results:
        if result.constraint in ("accuracy", "contradiction_rate", "violation_rate"):
            assert result.estimate == by_id[result.constraint]


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_another_source_than_the_chosen_one_is_refused(which: int) -> None:
    passes = [
        observed(split, model=m) for m in ("ours", "base") for split in ("calibration", "certification")
    ]
    passes = [p if n == which else from_source(p, "agreement") for n, p in enumerate(passes)]
    with pytest.raises(CoherenceError) as error:
        measuring("agreement").examine(passes[0], passes[1], base=(passes[2], passes[3]))
    assert set(error.value.codes) == {"CFT468"}


@pytest.mark.parametrize(
    ("source", "stated"),
    [
        ("p_true", None),
        ("p_true", math.nan),
        ("p_true", 1.5),
        ("agreement", -0.1),
        ("verbalized", math.inf),
        ("option_likelihood", 0.5),
    ],
)
def test_confidence_that_is_not_the_named_sources_is_no_evidence(source: str, stated: float | None) -> None:
    seen = observed("calibration")
    if source != "option_likelihood":
        seen = from_source(seen, source)
    seen = replace(seen, answers=(replace(seen.answers[0], stated=stated), *seen.answers[1:]))
    with pytest.raises(CoherenceError) as error:
        measuring(source).examine(seen)
    assert error.value.codes == ("CFT452",)


def test_answers_without_a_confidence_are_counted_and_never_delivered() -> None:
    silent = range(0, 300, 6)  # a sixth
    passes = [
        from_source(observed(split), "verbalized", silent) for split in ("calibration", "certification")
    ]
    found = measuring("verbalized").examine(*passes)
    assert [t.unstated for t in found.tallies] == [50, 50]
    assert [t.questions for t in found.tallies] == [300, 300]
    assert found.calibrator.n == 250
    by_id = {r.constraint: r.estimate for r in found.assessment.results}
    assert by_id["accuracy"] is not None and by_id["accuracy"].n == 300
    assert by_id["brier_score"] is not None and by_id["brier_score"].n == 250
    threshold, coverage = found.assessment.abstention_threshold, found.assessment.coverage
    assert threshold is not None and coverage is not None
    delivered = found.evidence.evaluated.forecast >= threshold
    assert not delivered[np.isnan(found.evidence.evaluated.forecast)].any()
    assert coverage == pytest.approx(delivered.sum() / 300)
    # 60 % of all questions are 72 % of those with a confidence
    assert (found.evidence.calibration.forecast >= threshold).sum() >= 180


def test_too_few_confidences_for_the_coverage_certify_nothing() -> None:
    passes = [from_source(observed(s), "verbalized", range(130)) for s in ("calibration", "certification")]
    found = measuring("verbalized").examine(*passes)
    (risk,) = (r for r in found.assessment.results if r.constraint == "selective_risk")
    assert risk.verdict is Verdict.INSUFFICIENT and "confidence" in risk.why
    assert found.certificate is None and found.assessment.abstention_threshold is None


def test_a_model_that_never_states_its_confidence_passes_nothing_that_needs_one() -> None:
    passes = [from_source(observed(s), "verbalized", range(300)) for s in ("calibration", "certification")]
    found = measuring("verbalized").examine(*passes)
    verdicts = {r.constraint: r.verdict for r in found.assessment.results}
    for name in ("brier_score", "brier_skill", "auroc", "selective_risk"):
        assert verdicts[name] is Verdict.INSUFFICIENT
    assert verdicts["accuracy"] is Verdict.PASS


# --- compared ---------------------------------------------------------------------------------------------


def test_figures_of_a_source_are_those_of_the_engine() -> None:
    passes = [from_source(observed(s), "verbalized", range(20)) for s in ("calibration", "test")]
    found = figures(passes[0], passes[1], "clinical", "platt")
    by_id = {r.constraint: r.estimate for r in measuring("verbalized").examine(*passes).assessment.results}
    assert (found.source, found.answers, found.unstated) == ("verbalized", 300, 20)
    for name in ("accuracy", "auroc", "brier_skill", "calibration_error"):
        assert getattr(found, name) == by_id[name], name


def test_a_calibrator_that_cannot_be_fitted_leaves_its_figures_out() -> None:
    passes = [from_source(observed(s), "agreement") for s in ("calibration", "test")]
    right = replace(passes[0], answers=tuple(replace(a, answer=0) for a in passes[0].answers))
    found = figures(right, passes[1], "clinical", "isotonic")
    assert found.accuracy == figures(right, passes[1], "clinical", "platt").accuracy
    assert "value" not in dir(found.auroc) and found.auroc == found.brier_skill == found.smooth


# --- from the constraint set to the answer ----------------------------------------------------------------


def choose(workshop: Workshop, **chosen: str) -> None:
    path = workshop.root / "constraints.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"measurement": chosen}))


def test_a_derivative_is_certified_and_serves_with_the_chosen_source(
    own_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(own_workshop, confidence="p_true", calibrator="temperature")
    assert coherence_ft("train", own_workshop.recipe("sft")) == 0
    assert coherence_ft("promote", own_workshop.run("sft") / f"checkpoint-{STEPS}") == 0
    folder = own_workshop.run("sft") / "derivative"
    calibrator = json.loads((folder / "coherence" / "calibrator.json").read_text())
    assert (calibrator["kind"], calibrator["confidence"]) == ("temperature", "p_true")
    assert statement(folder)["abstentionThreshold"] is not None

    loaded = load_derivative(folder, tenant=own_workshop.tenant)
    assert loaded.calibrator is not None
    loaded.calibrator = replace(loaded.calibrator, curve=Temperature(1.0))  # shows what was stated
    loaded.threshold = 0.0
    answer = loaded.answer("Is amber under cedar?")
    from coherence_ft.models.chat import render
    from coherence_ft.models.confidence import IS_IT_TRUE
    from coherence_ft.models.scoring import score_options

    options = loaded.options
    assert options is not None and answer.confidence is not None
    asked = {"role": "user", "content": "Is amber under cedar?"}
    [scores] = score_options(
        loaded.model, loaded.tokenizer, [(render(loaded.tokenizer, [asked]), options)]
    ).probabilities
    best = options[scores.index(max(scores))]
    truth = {"role": "user", "content": f"{asked['content']}\n\n{IS_IT_TRUE.format(answer=best)}"}
    [(true, _)] = score_options(
        loaded.model, loaded.tokenizer, [(render(loaded.tokenizer, [truth]), ("True", "False"))]
    ).probabilities
    assert answer.confidence == pytest.approx(true, abs=1e-5) and answer.text == best
    assert abs(true - max(scores)) > 1e-3

    silent = replace(loaded.calibrator, source=replace(loaded.calibrator.source, confidence="verbalized"))
    loaded.calibrator = silent  # a tiny model names no per cent
    withheld = loaded.answer("Is amber under cedar?")
    assert (withheld.text, withheld.confidence, withheld.abstained) == ("", None, True)
    assert "no confidence" in withheld.why

    capsys.readouterr()
    report = own_workshop.root / "report"
    coherence_ft("evaluate", folder, "--compare-confidence", "--report", report)
    said = capsys.readouterr().out
    page = (report / "report.html").read_text()
    for source in SOURCES:
        assert f" {source}" in said and f'<th scope="row">{source}</th>' in page
    assert "p_true *" in said

    choose(own_workshop, confidence="agreement", calibrator="temperature")
    with pytest.raises(CoherenceError) as error:
        load_derivative(folder, tenant=own_workshop.tenant)
    assert error.value.codes == ("CFT650",)
