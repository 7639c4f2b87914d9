"""Sealing a checkpoint: what a run knows about itself, and the signed manifest made of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.loops.observation import Observed
from coherence_ft.manifest.lineage import Lineage
from coherence_ft.manifest.statement import (
    Base,
    DataSet,
    Evaluation,
    ManifestFacts,
    Method,
    Stage,
    TrainingFacts,
)
from coherence_ft.manifest.write import write_manifest
from coherence_ft.serving.derivative import CODEBOOK_FILE, SERVING_FILE
from coherence_ft.training.evidence import store_passes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from coherence_ft.authority.keys import AnySigner

_SOFTWARE = ("coherence-ft", "torch", "transformers", "trl", "peft", "bitsandbytes", "tokenizers", "datasets")
# What resuming needs and serving does not; left out of a derivative.
_TRAINING_ONLY = (
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth", "trainer_state.json"),
    *("training_args.bin", "ref", "README.md", "coherence", "coherence_manifest*", "model.sig"),
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What stays the same from the first checkpoint of a run to the last."""

    name: str
    recipe: Mapping[str, Any]
    seed: int
    base: Base
    method: Method
    constraints: ResolvedConstraints
    data: tuple[DataSet, ...]
    probes: Mapping[str, str]  # split to digest
    chat_template_digest: str | None
    serving: Mapping[str, Any]  # what loading and answering needs: base reference, precision, options
    evaluator: str  # the authority that signs
    lineage: Lineage = field(default_factory=Lineage)


def seal(
    folder: Path,
    provenance: Provenance,
    key: AnySigner,
    *,
    assessment: Assessment,
    calibrator: Calibrator | None,
    training: TrainingFacts,
    stage: Stage,
    look: int = 1,
    codebook: Codebook | None = None,
    observed: Observed | None = None,
    evidence_store: Path | None = None,
) -> str:
    """Write the signed manifest of `folder` and return its digest (sha256, hex).

    `observed`: what the assessment was made from, stored in the folder or, named by digest, in
    `evidence_store`.

    Whatever lies in the folder becomes a subject, so call this last. Raises OSError when the disk is full;
    the folder then has no manifest that verifies.
    """
    p = provenance
    path = folder / SERVING_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(p.serving, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    p.lineage.write(folder)
    (folder / CODEBOOK_FILE).unlink(missing_ok=True)
    if codebook is not None:
        text = json.dumps(codebook.to_json(), indent=2, sort_keys=True)
        (folder / CODEBOOK_FILE).write_text(text + "\n", encoding="utf-8")
    facts = ManifestFacts(
        stage=stage,
        name=p.name,
        recipe=p.recipe,
        seed=p.seed,
        base=p.base,
        method=p.method,
        constraints=p.constraints,
        evaluation=Evaluation(assessment, datetime.now(UTC), p.evaluator, look),
        data=p.data,
        probes=p.probes,
        chat_template_digest=p.chat_template_digest,
        calibrator=calibrator.to_json() if calibrator else None,
        training=training,
        parents=p.lineage.parents,
        relation=p.lineage.relation,
        ancestors=tuple(p.lineage.carried),
        software=dict(_installed()),
        evidence=tuple(store_passes(folder, observed or {}, evidence_store)),
    )
    return write_manifest(folder, facts, key)


def copy_for_serving(checkpoint: Path, target: Path) -> None:
    """Copy what a derivative serves with: weights, configuration, tokenizer. `target` must not exist."""
    shutil.copytree(checkpoint, target, ignore=shutil.ignore_patterns(*_TRAINING_ONLY))


def name_base(folder: Path, base: str) -> None:
    """Name the base model in the adapter's configuration, where PEFT wrote a path of this machine."""
    config = folder / "adapter_config.json"
    if config.is_file():
        stated = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
        config.write_text(json.dumps(stated, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """sha256 (hex) of the chat template, None without one."""
    template = tokenizer.chat_template
    return hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None


def _installed() -> Iterator[tuple[str, str]]:
    for package in _SOFTWARE:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
