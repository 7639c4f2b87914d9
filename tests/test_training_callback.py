"""The callback watches training and leaves no trace in it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tiny import tiny_model, tiny_tokenizer
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from workshop import DPO, QUESTIONS, STEPS, Workshop, coherence_ft, history, statement, weights

import coherence_ft.training.callback as callback_module
from coherence_ft import CoherenceCallback, verify
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.documents.recipe import read_recipe
from coherence_ft.probing.probe import untouched
from coherence_ft.training.data import read_training_data
from coherence_ft.training.run import build, prepare

LAST = f"checkpoint-{STEPS}"
PROBES = QUESTIONS["calibration"] + 12


def trained(workshop: Workshop, name: str, *, attached: bool, **changes: Any) -> tuple[Path, list[Any]]:
    """The last checkpoint, and the trainer's log without the callback's lines."""
    trainer, callback = build(prepare(read_recipe(workshop.recipe(name, **changes))))
    if attached:
        callback.attach(trainer)
    trainer.train()
    assert bool(callback.history) == attached
    own = [
        {name: value for name, value in line.items() if not name.startswith("train_")}
        for line in trainer.state.log_history
        if "coherence/skipped" not in line
    ]
    return workshop.run(name) / LAST, own


RUNS: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": DPO,
    "bfloat16": {"training": {"precision": "bfloat16"}},
    "full": {"adapter": "none", "training": {"learning_rate": 0.001}},
    "nf4": {"quantization": {"bits": "nf4"}},
    "nf4-double": {"quantization": {"bits": "nf4", "double": True}},
    "int8": {"quantization": {"bits": "int8"}},
}


@pytest.mark.parametrize("name", RUNS)
def test_training_is_the_same_to_the_bit_with_and_without(workshop: Workshop, name: str) -> None:
    watched, log = trained(workshop, f"{name}-watched", attached=True, **RUNS[name])
    alone, log_alone = trained(workshop, f"{name}-alone", attached=False, **RUNS[name])
    assert weights(watched) == weights(alone)
    assert log == log_alone  # loss, gradient norm and TRL's metrics, line by line
    drawn, drawn_alone = (torch.load(p / "rng_state.pth", weights_only=False) for p in (watched, alone))
    assert torch.equal(drawn["cpu"], drawn_alone["cpu"])
    assert drawn["python"] == drawn_alone["python"]


def test_a_derivative_is_trained_further_the_same_with_and_without(
    workshop: Workshop, derivative: Path
) -> None:
    changes = {**DPO, "base": {"model": f"derivative:{derivative}"}}
    watched, log = trained(workshop, "child-watched", attached=True, **changes)
    alone, log_alone = trained(workshop, "child-alone", attached=False, **changes)
    assert weights(watched) == weights(alone)
    assert weights(watched / "ref") == weights(alone / "ref")
    assert log == log_alone


def random_numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(1))


def test_probing_puts_everything_back(workshop: Workshop) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.train()
    model.model.layers[0].eval()  # frozen parts of a model may be in another mode than the rest
    modes = {name: module.training for name, module in model.named_modules()}
    model.config.use_cache = False
    tokenizer.padding_side = "right"
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    expected = random_numbers()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    weights_before = {name: p.clone() for name, p in model.state_dict().items()}
    probes = read_probe_set(workshop.probes("calibration"))
    seen = callback_module.probe(model, tokenizer, probes, model_digest="m", split="calibration")
    assert len(seen.answers) == QUESTIONS["calibration"]
    assert random_numbers() == expected
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.config.use_cache is False
    assert tokenizer.padding_side == "right"
    assert torch.is_grad_enabled()
    assert all(torch.equal(p, weights_before[name]) for name, p in model.state_dict().items())


def test_everything_is_put_back_after_a_failure_too() -> None:
    model, tokenizer = tiny_model().train(), tiny_tokenizer()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), untouched(model, tokenizer):
        assert not model.training
        assert not torch.is_grad_enabled()
        model.config.use_cache = not model.config.use_cache
        tokenizer.padding_side = "left"
        torch.rand(3)
        raise ZeroDivisionError
    assert model.training
    assert torch.is_grad_enabled()
    assert tokenizer.padding_side == "right"
    assert torch.equal(torch.get_rng_state(), state)


def test_a_pass_leaves_no_gradient_and_a_step_after_it_is_the_same() -> None:
    """What a layer caches while it is evaluated must serve a backward pass afterwards."""

    def step(model: Any, probed: bool) -> list[torch.Tensor]:
        ids = torch.arange(4, 24)[None]
        if probed:
            with untouched(model, tiny_tokenizer()):
                model(input_ids=ids)
        model.train()
        model(input_ids=ids, labels=ids).loss.backward()
        return [p.grad for p in model.parameters()]

    plain, probed = step(tiny_model(), False), step(tiny_model(), True)
    assert all(torch.equal(a, b) for a, b in zip(plain, probed, strict=True))


def script(
    workshop: Workshop, output: Path, callbacks: list[TrainerCallback], **arguments: Any
) -> SFTTrainer:
    """Somebody's own TRL script, without anything of ours but the callbacks."""
    rows = read_training_data(str(workshop.root / "pairs.jsonl")).dataset()
    return SFTTrainer(
        model=tiny_model(),
        args=SFTConfig(
            output_dir=str(output),
            max_steps=4,
            per_device_train_batch_size=4,
            learning_rate=0.01,
            logging_steps=1,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="steps",
            save_steps=2,
            **arguments,
        ),
        train_dataset=rows,
        eval_dataset={"first": rows.select(range(4)), "second": rows.select(range(4, 8))},
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )


def loops_for(workshop: Workshop, **settings: Any) -> CoherenceCallback:
    return CoherenceCallback.for_tenant(
        workshop.tenant,
        "clinical",
        base=workshop.base,
        probes=workshop.probes("calibration"),
        signer="lab",
        tokenizer=tiny_tokenizer(),
        precision="float32",
        **settings,
    )


def test_three_lines_in_a_script_give_checkpoints_that_verify(workshop: Workshop, tmp_path: Path) -> None:
    loops = loops_for(workshop)
    trainer = script(workshop, tmp_path / "run", [])
    loops.attach(trainer)
    trainer.train()
    manifest = verify(tmp_path / "run" / "checkpoint-4", workshop.tenant)
    assert manifest.signer == "lab"
    assert manifest.predicate["method"]["regime"] == "script"
    assert manifest.assessment.split == "calibration"
    assert [e["step"] for e in history(tmp_path / "run" / "checkpoint-4")] == [2, 4]
    # No certification split was named before training, so nothing can be certified afterwards.
    recipe = workshop.recipe("of-no-script")
    assert coherence_ft("promote", tmp_path / "run" / "checkpoint-4", "--recipe", recipe) == 1
    assert not (tmp_path / "run" / "derivative").exists()


def test_evaluations_of_a_script_are_logged_and_probe_once_a_step(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    real = callback_module.probe

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(options["model_digest"])
        return real(*arguments, **options)

    monkeypatch.setattr(callback_module, "probe", counted)
    loops = loops_for(workshop)
    trainer = script(workshop, tmp_path / "run", [loops], eval_strategy="steps", eval_steps=2)
    trainer.train()
    # Two evaluation sets and a save at each of steps 2 and 4.
    assert len(passes) == 2
    assert [e["step"] for e in loops.history] == [2, 4]
    logged = [e for e in trainer.state.log_history if "coherence/brier" in e]
    assert [e["step"] for e in logged] == [2, 4]
    assert {e["step"] for e in trainer.state.log_history if "eval_second_loss" in e} == {2, 4}
    verify(tmp_path / "run" / "checkpoint-4", workshop.tenant)


def test_estimates_can_choose_the_best_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    loops = loops_for(workshop)
    trainer = script(
        workshop,
        tmp_path / "run",
        [loops],
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_coherence/brier",
        greater_is_better=False,
    )
    loops.attach(trainer)
    trainer.train()
    scores = {e["step"]: e["coherence/brier"] for e in loops.history}
    best = min(scores, key=scores.__getitem__)
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / f"checkpoint-{best}")
    assert trainer.state.best_metric == scores[best]


def test_a_callback_used_twice_probes_the_second_model_too(workshop: Workshop, tmp_path: Path) -> None:
    loops = loops_for(workshop)
    for name in ("one", "two"):
        trainer = script(workshop, tmp_path / name, [])
        if name == "two":
            with torch.no_grad():
                trainer.model.get_input_embeddings().weight.mul_(0.5)
        loops.attach(trainer)
        trainer.train()
    first, second = loops.history[:2], loops.history[2:]
    assert [e["step"] for e in second] == [2, 4]
    assert all(a["coherence/brier"] != b["coherence/brier"] for a, b in zip(first, second, strict=True))


def test_the_budget_bounds_a_pass_and_the_manifest_says_what_was_left_out(
    workshop: Workshop, tmp_path: Path
) -> None:
    loops = loops_for(workshop, budget=callback_module.Budget(tokens=0))
    trainer = script(workshop, tmp_path / "run", [])
    loops.attach(trainer)
    trainer.train()
    manifest = verify(tmp_path / "run" / "checkpoint-4", workshop.tenant)
    assert manifest.assessment.skipped == PROBES
    assert not manifest.assessment.passed
    assert {e["coherence/skipped"] for e in loops.history} == {float(PROBES)}


def test_estimates_of_the_base_stand_beside_those_of_the_run(workshop: Workshop, tmp_path: Path) -> None:
    probes = read_probe_set(workshop.probes("calibration"))
    base = callback_module.probe(
        tiny_model(), tiny_tokenizer(), probes, model_digest="base", split="calibration"
    )
    loops = loops_for(workshop, base_observations=base)
    trainer = script(workshop, tmp_path / "run", [])
    loops.attach(trainer)
    trainer.train()
    evaluation = statement(tmp_path / "run" / "checkpoint-4")["evaluation"]
    results = {r["constraint"]: r for r in evaluation["results"]}
    assert results["gain"]["estimate"] is not None
    assert results["brier"]["base"] is not None


def test_the_rows_given_to_trl_are_those_that_were_read(workshop: Workshop) -> None:
    run = prepare(read_recipe(workshop.recipe("rows")))
    rows = run.data.dataset()
    assert isinstance(rows, Dataset)
    assert rows.to_list() == [dict(row) for row in run.data.rows]
