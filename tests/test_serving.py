"""Serving: nothing is loaded that does not verify, and nothing is answered that is not certified."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model_folder
from workshop import Workshop, coherence_ft, statement

from coherence_ft.authority.keys import generate
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.outcomes import read_outcomes
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.manifest.verify import verify
from coherence_ft.models import base as loading
from coherence_ft.serving.attachment import attachment, require
from coherence_ft.serving.derivative import Derivative, load_derivative
from coherence_ft.serving.evidence import add_outcomes, state_path, subject_of

ASK = "Is amber under cedar?"


@pytest.fixture(scope="module")
def loaded(workshop: Workshop, derivative: Path) -> Derivative:
    return load_derivative(derivative, tenant=workshop.tenant)


def test_the_loops_that_the_manifest_names_are_attached_and_shown(loaded: Derivative) -> None:
    runtime, shown = loaded.manifest.predicate["runtime"], loaded.attached.to_json()
    assert (
        set(runtime["loops"]) == shown["loops"].keys() and shown["engineVersion"] == runtime["engineVersion"]
    )
    assert shown["manifest"] == loaded.manifest.digest
    assert shown["loops"]["calibration"]["calibrator"] == loaded.manifest.predicate["calibrator"]["digest"]
    assert shown["loops"]["alignment"]["constraints"] == loaded.resolved.digest


def test_a_loop_that_was_taken_off_or_changed_is_no_longer_shown(loaded: Derivative) -> None:
    parts = [loaded.manifest, loaded.calibrator, loaded.threshold, None, loaded.adjustment, loaded.resolved]
    assert "calibration" in attachment(*parts).loops  # type: ignore[arg-type]
    for at, other in ((1, None), (2, (loaded.threshold or 0.5) / 2), (2, None)):
        changed = [*parts[:at], other, *parts[at + 1 :]]
        assert "calibration" not in attachment(*changed).loops  # type: ignore[arg-type]


def test_a_manifest_that_names_another_loop_is_not_served(loaded: Derivative) -> None:
    runtime = {"loops": ["calibration", "integrity", "alignment"], "engineVersion": 1}
    asking = replace(loaded.manifest, predicate={**loaded.manifest.predicate, "runtime": runtime})
    with pytest.raises(CoherenceError) as caught:
        require(asking, loaded.attached)
    assert caught.value.codes == ("CFT756",) and "also integrity" in str(caught.value)


@pytest.fixture
def copy(derivative: Path, tmp_path: Path) -> Path:
    shutil.copytree(derivative, tmp_path / "derivative")
    return tmp_path / "derivative"


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever opens weights before everything is verified is caught."""

    def opened(*arguments: Any, **options: Any) -> None:
        raise AssertionError("weights were opened")

    monkeypatch.setattr("coherence_ft.serving.derivative.load_model", opened)
    monkeypatch.setattr("coherence_ft.serving.derivative.load_tokenizer", opened)
    yield


def codes(folder: Path, workshop: Workshop, **options: Any) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        load_derivative(folder, tenant=workshop.tenant, **options)
    return caught.value.codes


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


TAMPERING: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights": (lambda f: flip(f / "adapter_model.safetensors"), "CFT614"),
    "tokenizer": (lambda f: flip(f / "tokenizer.json"), "CFT614"),
    "template": (lambda f: flip(f / "chat_template.jinja"), "CFT614"),
    "serving": (lambda f: flip(f / "coherence" / "serving.json"), "CFT614"),
    "calibrator": (lambda f: flip(f / "coherence" / "calibrator.json"), "CFT614"),
    "added": (lambda f: (f / "model.safetensors").write_bytes(b""), "CFT616"),
    "removed": (lambda f: (f / "tokenizer_config.json").unlink(), "CFT615"),
    "unsigned": (lambda f: (f / "coherence_manifest.sigstore.json").unlink(), "CFT602"),
}


@pytest.mark.parametrize("what", TAMPERING)
@pytest.mark.usefixtures("no_weights")
def test_what_was_tampered_with_is_refused_unopened(workshop: Workshop, copy: Path, what: str) -> None:
    tamper, code = TAMPERING[what]
    tamper(copy)
    assert code in codes(copy, workshop)


@pytest.mark.usefixtures("no_weights")
def test_a_threshold_that_somebody_lowered_is_refused(workshop: Workshop, copy: Path) -> None:
    path = copy / "coherence_manifest.json"
    document = json.loads(path.read_text())
    document["predicate"]["abstentionThreshold"] = "0"
    path.write_bytes(canonical_json(document))
    assert "CFT608" in codes(copy, workshop)


@pytest.mark.usefixtures("no_weights")
def test_a_checkpoint_that_was_not_promoted_is_refused(workshop: Workshop, sft_run: Path) -> None:
    assert codes(sft_run / "checkpoint-6", workshop) == ("CFT647",)


@pytest.mark.usefixtures("no_weights")
def test_keys_that_the_tenant_does_not_list_count_for_nothing(
    workshop: Workshop, derivative: Path, tmp_path: Path
) -> None:
    other = workshop.copy(tmp_path / "other")
    shutil.rmtree(other.root / "keys")
    generate(other.root / "keys", "risk")
    assert codes(derivative, other) == ("CFT631", "CFT631")  # the manifest's signature, and that of model.sig


@pytest.mark.usefixtures("no_weights")
def test_another_base_is_refused(workshop: Workshop, derivative: Path, tmp_path: Path) -> None:
    other = tiny_model_folder(tmp_path, seed=1)
    assert codes(derivative, workshop, base=str(other)) == ("CFT720",)
    assert codes(derivative, workshop, base=str(tmp_path / "nowhere")) == ("CFT501",)


def test_the_same_base_in_another_place_is_taken(
    workshop: Workshop, derivative: Path, loaded: Derivative, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(workshop.base, moved)
    elsewhere = load_derivative(derivative, tenant=workshop.tenant, base=str(moved))
    assert elsewhere.answer(ASK, ["yes", "no"]) == loaded.answer(ASK, ["yes", "no"])


def test_nothing_is_looked_up_on_the_network(
    workshop: Workshop, derivative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT asks the hub for a base model by its name, unless the name is a folder on this machine."""
    looked_up: list[Any] = []

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert (
        json.loads((derivative / "adapter_config.json").read_text())["base_model_name_or_path"]
        == "tiny-llama"
    )
    load_derivative(derivative, tenant=workshop.tenant).answer(ASK)
    recipe = workshop.recipe("offline", base={"model": f"derivative:{derivative}"}, training={"max_steps": 2})
    assert coherence_ft("train", recipe) == 0
    assert coherence_ft("promote", workshop.run("offline") / "checkpoint-2") == 0
    assert looked_up == []


def test_answers_come_with_the_confidence_of_the_derivatives_own_calibrator(
    workshop: Workshop, derivative: Path, loaded: Derivative
) -> None:
    document = json.loads((derivative / "coherence" / "calibrator.json").read_text())
    assert loaded.calibrator == Calibrator.from_json(document)
    stated = statement(derivative)["abstentionThreshold"]
    assert loaded.threshold == float(stated)
    for question in read_probe_set(workshop.probes("test")).questions:
        answer = loaded.answer(question.messages)
        assert answer.confidence is not None
        if answer.abstained:
            assert answer.text == ""
            assert answer.confidence < loaded.threshold
        else:
            assert answer.text in question.options
            assert answer.confidence >= loaded.threshold


def test_the_share_that_is_answered_is_the_one_that_was_certified(
    workshop: Workshop, derivative: Path, loaded: Derivative
) -> None:
    questions = read_probe_set(workshop.probes("certification")).questions
    delivered = sum(not loaded.answer(q.messages).abstained for q in questions)
    assert delivered / len(questions) == pytest.approx(float(statement(derivative)["coverage"]))


@given(threshold=st.floats(0, 1))
def test_below_the_threshold_nothing_is_said(loaded: Derivative, threshold: float) -> None:
    certified = loaded.threshold
    confidence = loaded.answer(ASK).confidence
    assert confidence is not None
    loaded.threshold = threshold
    try:
        answer = loaded.answer(ASK)
    finally:
        loaded.threshold = certified
    assert answer.confidence == confidence
    assert answer.abstained == (confidence < threshold)
    assert bool(answer.text) != answer.abstained
    assert ("below" in answer.why) == answer.abstained


def test_without_a_certified_threshold_it_always_abstains(
    loaded: Derivative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "threshold", None)
    answer = loaded.answer(ASK)
    assert (answer.text, answer.confidence, answer.abstained) == ("", None, True)
    assert "no abstention threshold" in answer.why


def test_a_free_answer_is_withheld(loaded: Derivative, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "options", None)
    answer = loaded.answer(ASK, max_new_tokens=4)
    assert (answer.text, answer.confidence, answer.abstained) == ("", None, True)
    assert "withheld" in answer.why


def test_options_that_are_given_count_and_their_order_does_not(loaded: Derivative) -> None:
    asked = loaded.answer(ASK, ("perhaps", "never", "always"))
    turned = loaded.answer(ASK, ("always", "never", "perhaps"))
    assert asked.confidence == pytest.approx(turned.confidence, abs=1e-5)
    assert asked.text == turned.text
    assert asked.text in ("", "perhaps", "never", "always")
    assert loaded.answer(ASK) == loaded.answer(ASK, ["yes", "no"])  # those of all calibration questions


@pytest.mark.parametrize("options", [[], ["yes"], ["yes", "yes"], ["yes", "no", "yes"], ["yes", ""], "yes"])
def test_what_is_no_choice_is_refused(loaded: Derivative, options: Any) -> None:
    with pytest.raises(CoherenceError) as caught:
        loaded.answer(ASK, options)
    assert caught.value.codes == ("CFT721",)


def test_messages_that_the_template_refuses_are_refused(loaded: Derivative) -> None:
    assert loaded.answer([{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}])
    with pytest.raises(CoherenceError) as caught:
        loaded.answer([{"role": "user"}])
    assert caught.value.codes == ("CFT512",)


def test_calibration_questions_of_several_kinds_leave_no_usual_options(own_workshop: Workshop) -> None:
    from coherence_ft.documents.recipe import BaseModel
    from coherence_ft.training.provenance import serving_document

    located = loading.locate(BaseModel(str(own_workshop.base)))
    path = own_workshop.probes("calibration")
    before = serving_document(located, "float32", None, read_probe_set(path))
    assert before["options"] == ["yes", "no"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"options": ["yes", "no", "maybe"]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert serving_document(located, "float32", None, read_probe_set(path))["options"] is None


@pytest.fixture(scope="module")
def mixture(workshop: Workshop) -> Path:
    """A promoted adapter on a mixture of experts."""
    base = tiny_model_folder(workshop.root, "mixtral")
    recipe = workshop.recipe("mixture", base={"model": str(base)}, training={"max_steps": 2})
    assert coherence_ft("train", recipe) == 0
    assert coherence_ft("promote", workshop.run("mixture") / "checkpoint-2") == 0
    return workshop.run("mixture") / "derivative"


def test_a_mixture_answers_with_the_routing_patterns_that_were_certified(
    workshop: Workshop, mixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_derivative(mixture, tenant=workshop.tenant)
    assert loaded.calibrator is not None and loaded.codebook is not None
    assert loaded.calibrator.source.codebook == loaded.codebook.digest
    known = {pattern.name for pattern in loaded.codebook.patterns} | {"unknown"}
    assert {cell.pattern for cell in loaded.calibrator.cells} <= known
    asked: list[tuple[Any, ...]] = []
    stated = Calibrator.confidence

    def confidence(calibrator: Calibrator, *arguments: Any) -> float:
        asked.append(arguments)
        return stated(calibrator, *arguments)

    monkeypatch.setattr(Calibrator, "confidence", confidence)
    answer = loaded.answer(ASK)
    assert answer.confidence == stated(loaded.calibrator, *asked[0])
    assert asked[0][2] in known
    assert not any(module._forward_hooks for module in loaded.model.modules())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path.unlink(), "CFT615"),
        (lambda path: flip(path), "CFT614"),
    ],
)
def test_a_codebook_that_was_touched_is_refused(
    workshop: Workshop, mixture: Path, tmp_path: Path, change: Callable[[Path], None], code: str
) -> None:
    folder = tmp_path / "derivative"
    shutil.copytree(mixture, folder)
    change(folder / "coherence" / "codebook.json")
    assert codes(folder, workshop) == (code, "CFT626")  # model.sig covers it too


def test_a_dense_derivative_has_no_codebook(derivative: Path, loaded: Derivative) -> None:
    assert not (derivative / "coherence" / "codebook.json").exists()
    assert loaded.codebook is None


@pytest.fixture
def evidence(own_workshop: Workshop, derivative: Path) -> Path:
    """The file of what a tenant learned at run time: answers of confidence 0.9 that were all wrong."""
    manifest = verify(derivative, own_workshop.tenant)
    subject = subject_of(derivative, manifest)
    row = {
        "domain": "clinical",
        "confidence": 0.9,
        "delivered": False,
        "correct": False,
        "grounding": "human",
        "observed_at": "2026-05-20T12:00:00Z",
        "model": subject.model,
        "calibrator": subject.calibrator,
    }
    given = own_workshop.root / "outcomes.jsonl"
    given.write_text("".join(json.dumps(row | {"id": f"a-{n}"}) + "\n" for n in range(60)))
    path = state_path(manifest, own_workshop.tenant, derivative)
    assert add_outcomes(path, subject, read_outcomes(given)).changes
    return path


@pytest.mark.usefixtures("evidence")
def test_what_was_adjusted_at_run_time_is_in_force(
    own_workshop: Workshop, derivative: Path, loaded: Derivative
) -> None:
    adjusted = load_derivative(derivative, tenant=own_workshop.tenant)
    offset = adjusted.adjustment.offset("clinical", "dense")
    assert offset < -1
    for question in read_probe_set(own_workshop.probes("test")).questions:
        before, after = loaded.answer(question.messages), adjusted.answer(question.messages)
        assert before.confidence is not None and after.confidence is not None
        assert after.confidence < before.confidence
        assert (before.adjustment, after.adjustment) == (0.0, offset)
        assert after.routing_pattern == "dense"
        assert after.abstained >= before.abstained
        assert after.abstained or after.confidence >= (adjusted.threshold or 1)


@pytest.mark.usefixtures("no_weights")
def test_run_time_evidence_that_cannot_be_read_stops_the_derivative(
    own_workshop: Workshop, derivative: Path, evidence: Path
) -> None:
    flip(evidence)
    assert codes(derivative, own_workshop) == ("CFT485",)
