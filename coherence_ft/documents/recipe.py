"""The recipe: everything that decides a training run, as frozen objects (schema/v1/recipe.schema.yaml).

Paths are absolute: the reader resolves them against the folder of the recipe file. Values left out of
the YAML take the defaults written here, and only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from coherence_ft.documents.base_reference import DERIVATIVE, base_kind
from coherence_ft.documents.constraint_reader import parse_constraints
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.extends import require_file
from coherence_ft.documents.reader import Document, JsonPath, dotted, parse_yaml, read_yaml
from coherence_ft.documents.rules import recipe_signer, repeated_id, unknown_domain
from coherence_ft.documents.rules.recipes import RECIPE_RULES
from coherence_ft.documents.schemas import check
from coherence_ft.documents.tenant import Tenant, read_tenant


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

    @property
    def kind(self) -> Literal["hub", "path", "package", "derivative"]:
        return base_kind(self.model)


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
    """Training rows in TRL's formats: `messages`, `prompt`+`completion`; DPO: `prompt`+`chosen`+`rejected`.

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


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and its tenant. Raises `CoherenceError` with everything that is wrong.

    `overrides` are the command line's `--set` options: `training.epochs=2`. The value is YAML, `null` takes
    the key out, and a path in it is relative to the working directory. What they set is part of
    `Recipe.document`, and so of its digest.
    """
    recipe, _ = read_recipe_and_tenant(path, overrides)
    return recipe


def read_recipe_and_tenant(
    path: Path | str, overrides: Sequence[str] = (), document: Document | None = None
) -> tuple[Recipe, Tenant]:
    """`read_recipe`, with the tenant document that it had to read anyway.

    `document` is the recipe's content where it has been read already.
    """
    document = override(document or read_yaml(path), overrides)
    check(document, "recipe")
    constraints, problems = parse_constraints(document, ("constraints",))
    problems += repeated_id.check(document)
    for rule in RECIPE_RULES:
        problems += rule.check(document)
    tenant = None
    try:
        require_file(document, ("tenant",), document.file(("tenant",)))
        tenant = read_tenant(document.file(("tenant",)))
        problems += unknown_domain.unknown(document, ("domain",), document.data["domain"], tenant.domains)
        problems += recipe_signer.check(document, tenant)
    except CoherenceError as error:
        problems += error.diagnostics
    if problems or tenant is None:
        raise CoherenceError(problems)
    return _recipe(document, constraints), tenant


def override(document: Document, options: Sequence[str]) -> Document:
    """The document with `--set` options applied, one after the other."""
    for option in options:
        name, equals, text = option.partition("=")
        label = f"--set {option}"
        if not equals or not all(name.split(".")):
            raise refusal(
                "CFT420", "not KEY=VALUE", path=label, expected="an option such as --set training.epochs=2"
            )
        value = _option_value(text, label)
        at: JsonPath = tuple(name.split("."))
        data = deepcopy(document.data)
        inner = data
        for n, step in enumerate(at[:-1]):
            if isinstance(inner, dict) and inner.get(step) is None:
                inner[step] = {}
            inner = inner[step] if isinstance(inner, dict) else None
            if not isinstance(inner, dict):
                raise refusal(
                    "CFT420",
                    f"`{dotted(at[: n + 1])}` is not a mapping in this recipe, so it has no `{at[n + 1]}`",
                    path=label,
                    help=f"set the whole of it: --set '{dotted(at[: n + 1])}={{{at[n + 1]}: {text}}}'",
                )
        if not isinstance(inner, dict):
            raise refusal("CFT420", "the recipe is not a mapping", path=label)
        if value is None:
            inner.pop(at[-1], None)
        else:
            inner[at[-1]] = value
        document = replace(document, data=data, overrides={**document.overrides, at: label})
    return document


def _option_value(text: str, label: str) -> Any:
    if text.strip() in ("null", "~"):
        return None
    try:
        return parse_yaml(text or '""', label).data
    except CoherenceError as error:
        # Line and column would count inside the option.
        raise CoherenceError(replace(d, line=0, column=0) for d in error.diagnostics) from error


def _recipe(document: Document, constraints: tuple[Constraint, ...]) -> Recipe:
    data = document.data
    base = dict(data["base"])
    kind = base_kind(base["model"])
    if kind == "path":
        base["model"] = str(document.file(("base", "model")))
    elif kind == "derivative":
        named = base["model"].removeprefix(DERIVATIVE)
        base["model"] = f"derivative:{document.file(('base', 'model'), named)}"
    if "chat_template" in base:
        base["chat_template"] = document.file(("base", "chat_template"))
    rows = dict(data["data"])
    if not rows["train"].startswith("hub:"):
        rows["train"] = str(document.file(("data", "train")))
    probes = dict(data["probes"])
    for split in ("calibration", "certification", "test"):
        if split in probes:
            probes[split] = document.file(("probes", split))
    adapter: Adapter | None = None
    if (written := data.get("adapter", {})) != "none":
        adapter = Adapter(**_typed(Adapter, written))
    quantization = data.get("quantization")
    return Recipe(
        name=data["name"],
        domain=data["domain"],
        base=BaseModel(**base),
        tenant=document.file(("tenant",)),
        data=Data(**rows),
        probes=Probes(**_typed(Probes, probes)),
        output=document.file(("output",)),
        adapter=adapter,
        quantization=Quantization(**quantization) if quantization else None,
        training=Training(**_typed(Training, data.get("training", {}))),
        constraints=constraints,
        signer=data["signer"],
        path=document.path,
        document=data,
    )


def _typed(cls: type[Any], written: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples; numbers as the field's type: JSON Schema takes 2.0 for an integer, 1 for a float."""
    types = {f.name: str(f.type) for f in fields(cls)}

    def typed(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return int(value) if types[name].startswith("int") else float(value)

    return {name: typed(name, value) for name, value in written.items()}
