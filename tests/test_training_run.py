"""From recipe to derivative and back, on a tiny model: every regime and way of adapting there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from workshop import (
    DPO,
    QUESTIONS,
    STEPS,
    Workshop,
    checkpoint_names,
    coherence_ft,
    history,
    statement,
    trainer_state,
    weights,
)

from coherence_ft.documents.canonical import file_digest
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import verify
from coherence_ft.serving.derivative import load_derivative

LAST = f"checkpoint-{STEPS}"
PROBES = QUESTIONS["calibration"] + 12


def trained(workshop: Workshop, name: str, **changes: Any) -> Path:
    """The last checkpoint of a run of its own."""
    assert coherence_ft("train", workshop.recipe(name, **changes)) == 0
    return workshop.run(name) / LAST


def test_every_checkpoint_of_a_run_verifies_and_certifies_nothing(workshop: Workshop, sft_run: Path) -> None:
    assert checkpoint_names(sft_run) == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    for name in checkpoint_names(sft_run):
        manifest = verify(sft_run / name, workshop.tenant)
        assert manifest.stage is Stage.MONITORING
        assert manifest.assessment.split == "calibration"
        assert manifest.predicate["training"]["steps"] == int(name.removeprefix("checkpoint-"))
        assert {"adapter_model.safetensors", "optimizer.pt", "tokenizer.json"} <= manifest.files.keys()


def test_the_manifest_states_what_the_run_was_made_of(workshop: Workshop, sft_run: Path) -> None:
    stated = statement(sft_run / LAST)
    assert stated["data"] == [
        {
            "name": "pairs.jsonl",
            "digest": file_digest(workshop.root / "pairs.jsonl"),
            "rows": 24,
            "license": "CC0-1.0",
        }
    ]
    assert stated["probes"] == {
        split: file_digest(workshop.probes(split)) for split in ("calibration", "certification", "test")
    }
    assert stated["method"]["adapter"] == {
        "rank": 4,
        "alpha": 8,
        "dropout": "0.1",
        "targetModules": ["q_proj", "v_proj"],
        "adaptRouter": False,
    }
    assert stated["base"]["model"] == "tiny-llama"
    assert stated["recipe"]["seed"] == 3


def test_history_holds_one_pass_a_checkpoint_and_the_log_holds_loss_and_estimates(sft_run: Path) -> None:
    state = trainer_state(sft_run / LAST)
    assert [entry["step"] for entry in history(sft_run / LAST)] == [2, 4, 6]
    assert [e["step"] for e in state["log_history"] if "coherence/brier" in e] == [2, 4, 6]
    losses = [e for e in state["log_history"] if "loss" in e]
    assert [e["step"] for e in losses] == [1, 2, 3, 4, 5, 6]
    assert all("mean_token_accuracy" in e for e in losses)  # TRL's own metrics stay in TRL's lines


def test_a_promoted_checkpoint_verifies_is_shown_and_answers(
    workshop: Workshop, derivative: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = verify(derivative, workshop.tenant, require_stage=Stage.CERTIFIED)
    assert manifest.assessment.passed
    assert coherence_ft("verify", derivative, "--tenant", workshop.tenant) == 0
    assert coherence_ft("show", derivative, "--tenant", workshop.tenant) == 0
    assert "certified" in capsys.readouterr().out
    loaded = load_derivative(derivative, tenant=workshop.tenant)
    assert loaded.options == ("yes", "no")
    assert loaded.threshold == manifest.assessment.abstention_threshold is not None
    answers = [loaded.answer(f"Is {word} under cedar?") for word in ("amber", "dune", "ember", "fjord")]
    for answer in answers:
        assert answer.confidence is not None
        assert 0 < answer.confidence < 1
        assert answer.abstained == (answer.confidence < loaded.threshold)
        assert answer.text in (("",) if answer.abstained else ("yes", "no"))
        assert f"{answer.confidence:.3f}" in answer.why


def test_what_is_loaded_is_what_was_trained(workshop: Workshop, sft_run: Path, derivative: Path) -> None:
    assert weights(derivative) == weights(sft_run / LAST)
    assert weights(derivative) != weights(sft_run / "checkpoint-4")


def test_the_seed_decides_the_adapter_from_its_first_weights(workshop: Workshop, sft_run: Path) -> None:
    again = trained(workshop, "same-seed")
    other = trained(workshop, "other-seed", training={"seed": 4})
    assert weights(again) == weights(sft_run / LAST)
    assert weights(other) != weights(sft_run / LAST)


def test_preferences_train_the_derivative_further(workshop: Workshop, derivative: Path) -> None:
    last = trained(workshop, "dpo", base={"model": f"derivative:{derivative}"}, **DPO)
    manifest = verify(last, workshop.tenant)
    parent = verify(derivative, workshop.tenant)
    assert manifest.predicate["lineage"]["parents"] == [{"name": "sft", "manifestDigest": parent.digest}]
    assert manifest.predicate["base"] == parent.predicate["base"]  # its licence too
    assert weights(last).keys() == weights(derivative).keys()
    assert weights(last) != weights(derivative)
    # The reference is the parent as it was, to the bit, and is no part of what is served.
    assert weights(last / "ref") == weights(derivative)
    assert coherence_ft("promote", last) == 0
    child = last.parent / "derivative"
    assert not (child / "ref").exists()
    assert weights(child) == weights(last)
    assert load_derivative(child, tenant=workshop.tenant).answer("Is dune under cedar?").confidence


def test_a_checkpoint_can_be_a_parent_too(workshop: Workshop, sft_run: Path) -> None:
    last = trained(workshop, "on-checkpoint", base={"model": f"derivative:{sft_run / 'checkpoint-2'}"})
    (parent,) = statement(last)["lineage"]["parents"]
    assert parent["manifestDigest"] == file_digest(sft_run / "checkpoint-2" / "coherence_manifest.json")


def test_preferences_on_a_base(workshop: Workshop) -> None:
    last = trained(workshop, "dpo-base", **DPO)
    assert not (last / "ref").exists()  # the base itself, without the adapter, is the reference
    assert statement(last)["method"]["regime"] == "dpo"
    losses = [e["loss"] for e in trainer_state(last)["log_history"] if "loss" in e]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # log 2: policy and reference start as one
    assert losses[-1] != losses[0]


def test_all_weights(workshop: Workshop) -> None:
    last = trained(workshop, "full", adapter="none", training={"learning_rate": 0.001})
    assert list(weights(last)) == ["model.safetensors"]
    assert statement(last)["method"]["adapter"] is None
    assert coherence_ft("promote", last) == 0
    served = last.parent / "derivative"
    loaded = load_derivative(served, tenant=workshop.tenant)
    assert not hasattr(loaded.model, "peft_config")
    results = statement(served)["evaluation"]["results"]
    assert any(r["base"] and r["base"]["value"] != r["estimate"]["value"] for r in results)


QUANTIZED = {
    "nf4": {"bits": "nf4"},
    "nf4-double": {"bits": "nf4", "double": True},
    "int8": {"bits": "int8"},
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_base(workshop: Workshop, name: str) -> None:
    last = trained(workshop, name, quantization=QUANTIZED[name], training={"precision": "bfloat16"})
    assert statement(last)["method"]["quantization"] == {"double": False, **QUANTIZED[name]}
    assert list(weights(last)) == ["adapter_model.safetensors"]
    assert coherence_ft("promote", last) == 0
    loaded = load_derivative(last.parent / "derivative", tenant=workshop.tenant)
    assert loaded.model.is_loaded_in_8bit if name == "int8" else loaded.model.is_loaded_in_4bit
    assert loaded.answer("Is amber under cedar?").confidence is not None


def test_preferences_on_a_quantized_derivative_start_from_their_reference(workshop: Workshop) -> None:
    changes = {"quantization": QUANTIZED["nf4"], "training": {"precision": "bfloat16", "max_steps": 2}}
    parent = workshop.recipe("quantized-parent", **changes)
    assert coherence_ft("train", parent) == 0
    base = {"model": f"derivative:{workshop.run('quantized-parent') / 'checkpoint-2'}"}
    training = {**DPO["training"], **changes["training"]}
    child = workshop.recipe("quantized-child", **{**DPO, **changes, "base": base, "training": training})
    assert coherence_ft("train", child) == 0
    state = trainer_state(workshop.run("quantized-child") / "checkpoint-2")
    first = next(e for e in state["log_history"] if "loss" in e)
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4)  # log 2: they answer alike


def test_conversations_with_loss_on_the_assistant_only(workshop: Workshop) -> None:
    rows = {"data": {"train": "messages.jsonl"}}
    masked = trained(workshop, "assistant", **rows, training={"assistant_only_loss": True})
    whole = trained(workshop, "whole", **rows)
    assert weights(masked) != weights(whole)
    first = {
        folder.parent.name: next(e for e in trainer_state(folder)["log_history"] if "loss" in e)
        for folder in (masked, whole)
    }
    # The same rows in the same order, so that only the mask can make the first loss another.
    assert first["assistant"]["num_tokens"] == first["whole"]["num_tokens"]
    assert first["assistant"]["loss"] != first["whole"]["loss"]


def test_gradient_checkpointing_changes_nothing(workshop: Workshop, sft_run: Path) -> None:
    last = trained(workshop, "recomputed", training={"gradient_checkpointing": True})
    assert weights(last) == weights(sft_run / LAST)


def test_evaluations_between_saves(workshop: Workshop) -> None:
    last = trained(workshop, "every-step", training={"evaluate_every": 1, "save_every": 4})
    assert [entry["step"] for entry in history(last)] == [1, 2, 3, 4, 5, 6]
    assert checkpoint_names(last.parent) == ["checkpoint-4", "checkpoint-6"]


def test_a_budget_leaves_probes_out_and_says_so(workshop: Workshop) -> None:
    last = trained(workshop, "budget", probes={"token_budget": 600})
    evaluation = statement(last)["evaluation"]
    assert 0 < evaluation["skipped"] < PROBES
    assert coherence_ft("promote", last) == 0  # the certification is no matter of budgets
    assert statement(last.parent / "derivative")["evaluation"]["skipped"] == 0


def test_the_record_of_the_run_names_recipe_and_overrides(workshop: Workshop) -> None:
    recipe = workshop.recipe("overridden")
    assert coherence_ft("train", recipe, "--set", "training.seed=9") == 0
    run = json.loads((workshop.run("overridden") / "run.json").read_text())
    assert run["recipe"] == str(recipe)
    assert run["overrides"] == ["training.seed=9"]
    assert statement(workshop.run("overridden") / LAST)["recipe"]["seed"] == 9
    # Found again by `promote`, overrides included.
    assert coherence_ft("promote", workshop.run("overridden") / LAST) == 0
    assert statement(workshop.run("overridden") / "derivative")["recipe"]["seed"] == 9


def test_a_dry_run_writes_nothing(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert coherence_ft("train", workshop.recipe("dry"), "--dry-run") == 0
    assert "GiB" in capsys.readouterr().out
    assert not workshop.run("dry").exists()
