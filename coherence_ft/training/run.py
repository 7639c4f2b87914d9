"""A recipe becomes a run: what can be refused is refused first, then TRL trains with the loops on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.keys import signing_key
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity, refusal
from coherence_ft.documents.probe_set import ProbeSet, read_probe_set
from coherence_ft.documents.recipe import Recipe
from coherence_ft.documents.tenant import read_tenant
from coherence_ft.manifest.verify import verify
from coherence_ft.models.base import load_config, load_model
from coherence_ft.probing.probe import Budget
from coherence_ft.serving.derivative import load_weights
from coherence_ft.training.callback import CoherenceCallback
from coherence_ft.training.checkpoint import Provenance, template_digest
from coherence_ft.training.data import TrainingData, read_training_data
from coherence_ft.training.preflight import (
    other_template,
    preflight_data,
    preflight_prompts,
    preflight_recipe,
    preflight_tokens,
    unlike_parent,
)
from coherence_ft.training.provenance import Origin, find_origin, recipe_provenance, signer

if TYPE_CHECKING:
    from trl import DPOTrainer, SFTTrainer

    from coherence_ft.authority.keys import AnySigner

RUN_FILE = "run.json"
"""In the output folder: which recipe file, and which overrides, made the run."""
_TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A recipe with everything it names read, checked and identified."""

    recipe: Recipe
    constraints: ResolvedConstraints
    origin: Origin
    data: TrainingData
    probe_sets: dict[str, ProbeSet]
    provenance: Provenance
    key: AnySigner


def prepare(recipe: Recipe) -> PreparedRun:
    """Read and check all that the recipe names. Raises one CoherenceError with everything found."""
    findings: list[Diagnostic] = []
    tenant = read_tenant(recipe.tenant)
    constraints = resolve(tenant, recipe.domain, recipe.constraints, recipe=recipe.name)
    key = signing_key(signer(tenant, recipe.signer))
    data = None
    probe_sets: dict[str, ProbeSet] = {}
    try:
        data = read_training_data(
            recipe.data.train,
            recipe.training.regime,
            prepare=recipe.data.prepare,
            license=recipe.data.license,
        )
    except CoherenceError as error:
        findings += error.diagnostics
    for split, path in probe_paths(recipe).items():
        try:
            probe_sets[split] = read_probe_set(path, tenant.domains)
        except CoherenceError as error:
            findings += error.diagnostics
    if data is None or findings:
        raise CoherenceError(findings)
    findings += preflight_data(recipe, data, probe_sets)
    origin = find_origin(recipe)
    findings += preflight_recipe(recipe, load_config(origin.base))
    findings += preflight_tokens(recipe, data, origin.tokenizer)
    findings += preflight_prompts(probe_sets, origin.tokenizer)
    if origin.parent is not None:
        theirs = origin.parent.manifest.predicate["chatTemplateDigest"]
        findings += other_template(recipe, template_digest(origin.tokenizer), theirs)
        findings += unlike_parent(recipe, origin.parent)
    if findings:
        raise CoherenceError(findings)
    provenance = recipe_provenance(recipe, constraints, origin, data, probe_sets)
    return PreparedRun(recipe, constraints, origin, data, probe_sets, provenance, key)


def probe_paths(recipe: Recipe) -> dict[str, Path]:
    """Probe-set files by split."""
    named = {
        "calibration": recipe.probes.calibration,
        "certification": recipe.probes.certification,
        "test": recipe.probes.test,
    }
    return {split: path for split, path in named.items() if path is not None}


def train(run: PreparedRun, *, overrides: tuple[str, ...] = (), resume: Path | None = None) -> Path:
    """Train, and return the folder of the last checkpoint.

    `resume`: a checkpoint from `find_checkpoint`. Every checkpoint written is signed.
    Raises CFT712 when the output folder holds a run that would be overwritten.
    """
    recipe = run.recipe
    if resume is None and (held := checkpoints(recipe.output)):
        raise refusal(
            "CFT712",
            "the output folder already holds a run, which would be overwritten",
            path=recipe.output,
            found=f"{len(held)} checkpoints, the last {held[-1].name}",
            help="continue it with --resume, or choose another folder: --set output=PATH",
        )
    record_run(recipe.output, recipe, overrides)
    trainer, callback = build(run)
    callback.attach(trainer)
    if resume and recipe.adapter is not None:
        # transformers would take it back as float32, and TRL trains that of a quantized base in bfloat16.
        trainer.model.load_adapter = partial(trainer.model.load_adapter, autocast_adapter_dtype=False)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return checkpoints(recipe.output)[-1]


def build(run: PreparedRun) -> tuple[SFTTrainer | DPOTrainer, CoherenceCallback]:
    """The TRL trainer and the callback, not yet attached."""
    from transformers import ProgressCallback

    from coherence_ft.training.progress import TrainingBar

    recipe = run.recipe
    if run.origin.parent is not None:
        model, _ = load_weights(run.origin.parent, for_training=True)
    else:
        model = load_model(
            run.origin.base,
            precision=recipe.training.precision,
            quantization=recipe.quantization,
            for_training=True,
        )
    if recipe.training.regime == "dpo":
        from coherence_ft.training.dpo import dpo_trainer as regime_trainer
    else:
        from coherence_ft.training.sft import sft_trainer as regime_trainer
    trainer = regime_trainer(recipe, model, run.origin.tokenizer, run.data.dataset())
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingBar)
    callback = CoherenceCallback(
        run.provenance,
        run.probe_sets["calibration"],
        run.key,
        every=recipe.training.evaluate_every,
        budget=Budget(recipe.probes.token_budget, recipe.probes.time_budget),
    )
    return trainer, callback


def checkpoints(output: Path) -> list[Path]:
    """Checkpoint folders by step, oldest first."""
    found = [p for p in output.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def find_checkpoint(run: PreparedRun, chosen: Path | None = None) -> tuple[Path, list[Diagnostic]]:
    """The checkpoint to resume from: `chosen`, or the newest of the output folder that verifies.

    Checkpoints that do not verify (a save was cut off, or somebody touched them) are set aside under
    another name, never deleted and never read; each gives a warning.
    Raises CFT713 when there is nothing to resume, CFT714 when it comes from another recipe or other data.
    """
    if chosen is not None:
        if chosen.is_dir() and not (chosen / _TRAINER_STATE).is_file():
            raise refusal(
                "CFT713",
                "the folder holds no state of training, so nothing can be continued from it",
                path=chosen,
                expected=_TRAINER_STATE,
                help="a derivative is served or trained further as derivative:PATH; resume from a checkpoint",
            )
        _same_recipe(run, chosen, dict(verify(chosen, run.recipe.tenant).predicate))
        return chosen, []
    warnings: list[Diagnostic] = []
    for folder in reversed(checkpoints(run.recipe.output)):
        try:
            manifest = verify(folder, run.recipe.tenant)
        except CoherenceError as error:
            aside = _set_aside(folder)
            warnings.append(
                Diagnostic(
                    "CFT723",
                    f"{folder.name} does not verify and is not used; it is kept as {aside.name}",
                    path=str(folder),
                    severity=Severity.WARNING,
                    found=error.diagnostics[0].message,
                    help="a save that was cut off leaves such a folder; delete it when you do not need it",
                )
            )
            continue
        _same_recipe(run, folder, dict(manifest.predicate))
        return folder, warnings
    raise refusal(
        "CFT713",
        "there is no checkpoint to resume from that verifies",
        path=run.recipe.output,
        found="; ".join(f"{w.message}: {w.found}" for w in warnings),
        help="start without --resume",
    )


def _same_recipe(run: PreparedRun, folder: Path, predicate: dict[str, Any]) -> None:
    for what, found, expected in _differences(run, predicate):
        raise refusal(
            "CFT714",
            f"the checkpoint was made with another {what}, so continuing it would be no exact resume",
            path=folder,
            found=found,
            expected=expected,
            help="resume with the recipe, data and base it was made with, or start a new run elsewhere",
        )


def _differences(run: PreparedRun, predicate: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    pairs = (
        ("recipe", predicate["recipe"]["digest"], canonical_digest(run.recipe.document)),
        ("training data", [d["digest"] for d in predicate["data"]], [d.digest for d in run.provenance.data]),
        ("base model", predicate["base"]["digest"], run.origin.base.digest),
        (
            "parent",
            [p["manifestDigest"] for p in predicate["lineage"]["parents"]],
            [p.manifest_digest for p in run.provenance.lineage.parents],
        ),
        ("chat template", predicate["chatTemplateDigest"], run.provenance.chat_template_digest),
    )
    for what, found, expected in pairs:
        if found != expected:
            yield what, str(found), str(expected)


def _set_aside(folder: Path) -> Path:
    target = folder.with_name(f"unsigned-{folder.name}")
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f"unsigned-{folder.name}-{number}")
    return folder.rename(target)


def record_run(folder: Path, recipe: Recipe, overrides: tuple[str, ...]) -> None:
    """Note in a run's folder which recipe made it. Raises CFT731 when it cannot be written."""
    # Paths in overrides are relative to the directory in which they were given.
    path = str(Path(recipe.path).resolve())
    record = {"recipe": path, "overrides": list(overrides), "directory": os.getcwd()}
    partial = folder / f"{RUN_FILE}.partial"  # a full disk must not take the record that is there
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / RUN_FILE)
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(output: Path, error: OSError) -> CoherenceError:
    return refusal(
        "CFT731",
        "the output folder cannot be written",
        path=output,
        found=error.strerror or str(error),
        help="make room, mend the permissions, or choose another folder: --set output=PATH",
    )
