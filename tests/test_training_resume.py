"""Resuming is exact: a run that was interrupted, anywhere, ends as if it had not been."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CHAT_TEMPLATE, tiny_model_folder
from workshop import (
    DPO,
    Elsewhere,
    Workshop,
    changed_recipe,
    checkpoint_names,
    coherence_ft,
    history,
    trainer_state,
    weights,
)

from coherence_ft.documents.canonical import file_digest
from coherence_ft.manifest.files import MANIFEST
from coherence_ft.manifest.verify import verify

LONG = {"training": {"max_steps": 10}}
LAST = "checkpoint-10"


@pytest.fixture(scope="module")
def uninterrupted(workshop: Workshop) -> Path:
    return finished(workshop, "uninterrupted", **LONG)


def finished(workshop: Workshop, name: str, **changes: Any) -> Path:
    assert coherence_ft("train", workshop.recipe(name, **changes)) == 0
    return workshop.run(name)


def merged(*changes: dict[str, Any]) -> dict[str, Any]:
    training = {name: value for change in changes for name, value in change.get("training", {}).items()}
    return {name: value for change in changes for name, value in change.items()} | {"training": training}


def killed(recipe: Path, condition: Callable[[], bool]) -> None:
    assert Elsewhere("train", recipe).signal_when(condition, signal.SIGKILL) == -signal.SIGKILL


def assert_same(one: Path, other: Path) -> None:
    """All that training was, at the last checkpoints of two runs, apart from clocks."""
    one, other = one / LAST, other / LAST
    assert weights(one) == weights(other)
    assert history(one) == history(other)
    assert log(one) == log(other)
    for name in ("optimizer.pt", "scheduler.pt"):
        assert same(*(torch.load(folder / name, weights_only=False) for folder in (one, other))), name


def log(folder: Path) -> list[dict[str, Any]]:
    """The trainer's log. TRL's count of tokens is no part of its checkpoints, so it starts again."""
    lines = trainer_state(folder)["log_history"]
    return [{name: value for name, value in line.items() if name != "num_tokens"} for line in lines]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other)) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "after-the-first-manifest": lambda run: (run / "checkpoint-2" / MANIFEST).exists(),
    "while-weights-are-written": lambda run: (run / "checkpoint-4").exists(),
    "while-it-is-signed": lambda run: (run / "checkpoint-6" / "coherence").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(workshop: Workshop, uninterrupted: Path, moment: str) -> None:
    run, recipe = workshop.run(moment), workshop.recipe(moment, **LONG)
    killed(recipe, lambda: MOMENTS[moment](run))
    assert not (run / LAST).exists()
    assert coherence_ft("train", recipe, "--resume") == 0
    assert_same(run, uninterrupted)
    verify(run / LAST, workshop.tenant)


def test_killed_again_and_again_at_any_moment(workshop: Workshop, uninterrupted: Path) -> None:
    run, recipe = workshop.run("any-moment"), workshop.recipe("any-moment", **LONG)
    draw = random.Random(20)
    for _ in range(4):
        until = time.monotonic() + draw.uniform(0.4, 1.4)
        resume = ["--resume"] if any(run.glob("checkpoint-*/coherence_manifest.json")) else []
        for left in run.glob("checkpoint-*") if not resume else ():
            shutil.rmtree(left)  # what CFT712 asks for: nothing to resume, and no place to start
        child = Elsewhere("train", recipe, *resume)
        assert child.signal_when(lambda until=until: time.monotonic() > until, signal.SIGKILL) in (-9, 0)
        for folder in run.glob("checkpoint-*"):
            if (folder / MANIFEST).exists():
                verify(folder, workshop.tenant)  # half of a manifest is never there
    resume = ["--resume"] if any(run.glob("checkpoint-*/coherence_manifest.json")) else []
    assert coherence_ft("train", recipe, *resume) == 0
    assert_same(run, uninterrupted)


def test_interrupted_from_the_keyboard(workshop: Workshop, uninterrupted: Path) -> None:
    run, recipe = workshop.run("keyboard"), workshop.recipe("keyboard", **LONG)
    child = Elsewhere("train", recipe)
    code = child.signal_when((run / "checkpoint-2" / MANIFEST).exists, signal.SIGINT)
    assert code == 130
    assert "interrupted" in child.said
    assert "Traceback" not in child.said
    assert coherence_ft("train", recipe, "--resume") == 0
    assert_same(run, uninterrupted)


REGIMES: dict[str, dict[str, Any]] = {
    "full": {"adapter": "none", "training": {"learning_rate": 0.001}},
    "bfloat16": {"training": {"precision": "bfloat16"}},
    "nf4": {"quantization": {"bits": "nf4", "double": True}, "training": {"precision": "bfloat16"}},
    "int8": {"quantization": {"bits": "int8"}, "training": {"precision": "bfloat16"}},
    "dpo-on-base": DPO,
    "accumulated": {"training": {"batch_size": 2, "gradient_accumulation": 3}},
}


@pytest.mark.parametrize("name", REGIMES)
def test_resumed_in_the_middle_of_an_epoch(workshop: Workshop, name: str) -> None:
    """Every regime, in this process: killing is tested above."""
    recipe = workshop.recipe(f"again-{name}", **merged({"training": {"save_every": 5}}, LONG, REGIMES[name]))
    run, whole = workshop.run(f"again-{name}"), workshop.run(f"whole-{name}")
    assert coherence_ft("train", recipe) == 0
    shutil.copytree(run, whole)
    shutil.rmtree(run / LAST)
    assert coherence_ft("train", recipe, "--resume") == 0
    assert checkpoint_names(run) == [LAST, "checkpoint-5"]
    assert_same(run, whole)


def test_preferences_resume_with_the_parent_as_reference(workshop: Workshop, derivative: Path) -> None:
    changes = merged(LONG, DPO, {"base": {"model": f"derivative:{derivative}"}})
    whole = finished(workshop, "dpo-whole", **changes)
    recipe, run = workshop.recipe("dpo-killed", **changes), workshop.run("dpo-killed")
    killed(recipe, (run / "checkpoint-4" / MANIFEST).exists)
    assert coherence_ft("train", recipe, "--resume") == 0
    assert_same(run, whole)
    assert weights(run / LAST / "ref") == weights(derivative)


def test_another_parent_in_the_same_place_is_refused(
    workshop: Workshop, sft_run: Path, derivative: Path, tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(derivative, parent)
    changes = merged(DPO, {"base": {"model": f"derivative:{parent}"}, "training": {"max_steps": 2}})
    finished(workshop, "dpo-replaced", **changes)
    shutil.rmtree(parent)
    assert coherence_ft("promote", sft_run / "checkpoint-4", "--output", parent) == 0
    recipe = workshop.root / "dpo-replaced.yaml"
    assert_refused("CFT714", "train", recipe, "--resume", match="another parent")


def test_a_finished_run_is_resumed_without_a_step(workshop: Workshop, sft_run: Path) -> None:
    before = file_digest(sft_run / "checkpoint-6" / MANIFEST)
    assert coherence_ft("train", workshop.root / "sft.yaml", "--resume") == 0
    assert file_digest(sft_run / "checkpoint-6" / MANIFEST) == before


def test_from_a_checkpoint_that_is_named(workshop: Workshop, uninterrupted: Path) -> None:
    recipe = workshop.recipe("named", **LONG)
    run = finished(workshop, "named", **LONG)
    assert coherence_ft("train", recipe, "--resume", run / "checkpoint-6") == 0
    assert_same(run, uninterrupted)


def test_half_a_checkpoint_is_set_aside_and_an_earlier_one_used(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = finished(workshop, "halves")
    expected = weights(whole / "checkpoint-6")
    (whole / "checkpoint-6" / MANIFEST).unlink()
    adapter = whole / "checkpoint-4" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:100])
    capsys.readouterr()
    assert coherence_ft("train", workshop.root / "halves.yaml", "--resume") == 0
    said = capsys.readouterr().err
    assert said.count("warning[CFT723]") == 2
    assert "resuming from" in said
    assert checkpoint_names(whole) == [
        *("checkpoint-2", "checkpoint-4", "checkpoint-6"),
        *("unsigned-checkpoint-4", "unsigned-checkpoint-6"),
    ]
    assert (whole / "unsigned-checkpoint-4" / "adapter_model.safetensors").stat().st_size == 100
    assert weights(whole / "checkpoint-6") == expected


_LIMITS = {
    "weights": "adapter_model.safetensors",  # written by Rust
    "optimizer": "optimizer.pt",  # by C++
    "state": "trainer_state.json",  # by Python
    "manifest": MANIFEST,
}


def test_a_full_disk_ends_the_run_and_harms_no_earlier_checkpoint(
    workshop: Workshop, uninterrupted: Path
) -> None:
    run, recipe = workshop.run("full-disk"), workshop.recipe("full-disk", **LONG)
    killed(recipe, (run / "checkpoint-2" / MANIFEST).exists)
    before = {p: file_digest(p) for p in (run / "run.json", *(run / "checkpoint-2").iterdir()) if p.is_file()}
    for what, name in _LIMITS.items():
        size = (uninterrupted / "checkpoint-6" / name).stat().st_size
        child = Elsewhere("train", recipe, "--resume", run / "checkpoint-2", file_limit=size - 1)
        assert child.wait() == 1, (what, child.said)
        assert "error[CFT708]" in child.said or "error[CFT617]" in child.said, what
        assert "Traceback" not in child.said
        assert {p: file_digest(p) for p in before} == before, what
    assert coherence_ft("train", recipe, "--resume") == 0  # there is space again
    assert_same(run, uninterrupted)


def assert_refused(code: str, *arguments: object, match: str = "") -> None:
    """The command line ends with 1 and this diagnostic."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert coherence_ft(*arguments) == 1
    assert f"error[{code}]" in said.getvalue()
    assert match in said.getvalue()


@pytest.mark.parametrize("override", ["training.learning_rate=0.02", "training.seed=4", "name=other"])
def test_another_recipe_is_refused(workshop: Workshop, sft_run: Path, override: str) -> None:
    before = checkpoint_names(sft_run)
    recipe = workshop.root / "sft.yaml"
    assert_refused("CFT714", "train", recipe, "--resume", "--set", override, match="another recipe")
    named = sft_run / "checkpoint-2"
    assert_refused("CFT714", "train", recipe, "--set", override, "--resume", named, match="another recipe")
    assert checkpoint_names(sft_run) == before


def test_a_checkpoint_of_another_run_is_refused(workshop: Workshop, sft_run: Path) -> None:
    recipe = workshop.recipe("foreign", training={"learning_rate": 0.5})
    assert_refused("CFT714", "train", recipe, "--resume", sft_run / "checkpoint-2", match="another recipe")
    assert not workshop.run("foreign").exists()


def test_other_data_base_or_template_is_refused(own_workshop: Workshop) -> None:
    template = own_workshop.root / "template.jinja"
    template.write_text(CHAT_TEMPLATE)
    recipe = own_workshop.recipe("one", base={"chat_template": "template.jinja"})
    assert coherence_ft("train", recipe) == 0
    rows = own_workshop.root / "pairs.jsonl"
    content = rows.read_text()
    rows.write_text(content.replace("amber", "ochre", 1))
    assert_refused("CFT714", "train", recipe, "--resume", match="another training data")
    rows.write_text(content)
    template.write_text(CHAT_TEMPLATE.replace("im_start|>' + m", "im_start|> ' + m"))
    assert_refused("CFT714", "train", recipe, "--resume", match="another chat template")
    template.write_text(CHAT_TEMPLATE)
    shutil.rmtree(own_workshop.base)
    tiny_model_folder(own_workshop.root, seed=1)
    assert_refused("CFT714", "train", recipe, "--resume", match="another base model")


def test_nothing_to_resume(workshop: Workshop, derivative: Path, tmp_path: Path) -> None:
    recipe = workshop.recipe("nothing")
    assert_refused("CFT713", "train", recipe, "--resume")
    assert not workshop.run("nothing").exists()
    # A derivative holds no optimizer: going on from it would be another training.
    assert_refused("CFT713", "train", workshop.root / "sft.yaml", "--resume", derivative)
    assert_refused("CFT601", "train", recipe, "--resume", tmp_path / "missing")


def test_only_broken_checkpoints_leave_nothing_to_resume(workshop: Workshop) -> None:
    run, recipe = workshop.run("broken"), workshop.recipe("broken")
    (run / "checkpoint-2").mkdir(parents=True)
    assert_refused("CFT712", "train", recipe)
    assert_refused("CFT713", "train", recipe, "--resume", match="unsigned-checkpoint-2")
    assert coherence_ft("train", recipe) == 0
    assert (run / "unsigned-checkpoint-2").is_dir()


def test_an_output_that_cannot_be_written_is_known_before_training(workshop: Workshop) -> None:
    workshop.run("taken").parent.mkdir(exist_ok=True)
    workshop.run("taken").write_text("a file of that name")
    assert_refused("CFT731", "train", workshop.recipe("taken"))
    below = workshop.recipe("below", output="runs/taken/below")
    assert_refused("CFT731", "train", below, match="Not a directory")


def test_a_run_is_never_started_over_another(workshop: Workshop, sft_run: Path) -> None:
    before = {p: file_digest(p) for p in sft_run.rglob("*") if p.is_file()}
    assert_refused("CFT712", "train", workshop.root / "sft.yaml", match="3 checkpoints")
    assert {p: file_digest(p) for p in sft_run.rglob("*") if p.is_file()} == before


def test_checkpoints_that_somebody_signed_for_another_tenant_are_not_resumed(own_workshop: Workshop) -> None:
    recipe = own_workshop.recipe("signed")
    assert coherence_ft("train", recipe) == 0
    tenant = json.loads(own_workshop.tenant.read_text())
    own_workshop.tenant.write_text(json.dumps({**tenant, "id": "somebody-else"}))
    changed_recipe(recipe)
    assert_refused("CFT713", "train", recipe, "--resume", match="another tenant")
