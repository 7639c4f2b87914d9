"""The recipe: everything that decides a training run, as frozen objects (schema/v1/recipe.schema.yaml).

Paths are absolute: the reader resolves them against the folder of the recipe file. Values left out of
the YAML take the defaults written here, and only here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coherence_ft.documents.constraint_set import Constraint


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What is fine-tuned.

    `model` is one of: a hub id (`mistralai/Mistral-7B-Instruct-v0.3`, with `revision`), a folder or a
    `.gguf` file (path), `package:NAME==VERSION/path/inside.gguf` (with `sha256`), or
    `derivative:PATH` (a signed derivative or checkpoint of ours: its adapter is trained further and
    its manifest becomes the parent).
    `architecture` repeats the sizes of the model's `config.json` where the weights cannot be reached;
    the memory plan is computed from it, and it is compared with the real one when that is loaded.
    """

    model: str
    revision: str | None = None
    sha256: str | None = None
    license: str | None = None
    chat_template: Path | None = None  # replaces the tokenizer's own, in training, probing and serving
    architecture: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    adapt_router: bool = False  # adapting a router invalidates per-route baselines: explicit opt-in only


@dataclass(frozen=True, slots=True)
class Quantization:
    bits: Literal["nf4", "int8"]
    double: bool = False  # NF4 only: quantize the quantization constants too


@dataclass(frozen=True, slots=True)
class Data:
    """Training rows, in TRL's formats: `messages`, `prompt`+`completion`, or for DPO `prompt`+`chosen`+`rejected`.

    `train` is a path (`.jsonl`, `.parquet`) or `hub:ID@REVISION#SPLIT`.
    `prepare` is the command that builds the files; it is printed when one of them is missing, never run.
    """

    train: str
    license: str | None = None
    prepare: str | None = None


@dataclass(frozen=True, slots=True)
class Probes:
    """Probe-set files by split. What a split is used for never changes:

    `calibration` fits the calibrator and is watched during training; `certification` is looked at by
    `promote` only; `test` by `evaluate --split test` only.
    `token_budget` bounds one monitoring pass during training (prompt and generated tokens);
    `time_budget` does so in seconds. Probes that do not fit are counted as skipped, never silently dropped.
    """

    calibration: Path
    certification: Path
    test: Path | None = None
    token_budget: int | None = None
    time_budget: float | None = None


@dataclass(frozen=True, slots=True)
class Training:
    regime: Literal["sft", "dpo"] = "sft"
    seed: int = 0
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float = 1e-4
    scheduler: str = "linear"
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int = 512
    packing: bool = False
    assistant_only_loss: bool = False  # `messages` rows: train on assistant turns only
    beta: float = 0.1  # DPO only
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    gradient_checkpointing: bool = False
    evaluate_every: int | None = None  # steps; None: only at saves
    save_every: int = 50  # steps
    keep_checkpoints: int = 3
    report_to: tuple[str, ...] = ()  # trackers of transformers: tensorboard, wandb, …


@dataclass(frozen=True, slots=True)
class Recipe:
    name: str
    domain: str
    base: BaseModel
    tenant: Path
    data: Data
    probes: Probes
    output: Path
    adapter: Adapter | None = field(default_factory=Adapter)  # None: all weights are trained
    quantization: Quantization | None = None
    training: Training = field(default_factory=Training)
    constraints: tuple[Constraint, ...] = ()  # the recipe's own layer: may only tighten
    signer: str = ""  # authority of the tenant that attests
    path: str = ""
    document: dict[str, Any] = field(default_factory=dict)  # as written, for the digest
