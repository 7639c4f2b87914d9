"""How much memory a training run takes, before any weight is fetched.

The model and its adapter are built on PyTorch's meta device, where tensors have shapes and no storage, so
weights, adapters, gradients and optimizer states are counted, not estimated. Activations and logits are
estimated by the formulas below; what they assume is part of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.recipe import Adapter, Quantization, Recipe
from coherence_ft.models.architecture import declared_config, expert_count

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

GIB = 2**30

_BYTES = {"bfloat16": 2, "float32": 4}
# bitsandbytes' NF4 (Dettmers et al. 2023, section 3): a float32 constant for every block of 64 weights, and a
# table of 16 values; with double quantization a byte each, float32 constants for every 256 of them, a
# table of 256 values and an offset.
_NF4_BLOCK, _NF4_TABLE = 64, 16 * 4
_DOUBLE_BLOCK, _DOUBLE_TABLE, _DOUBLE_OFFSET = 256, 256 * 4, 4
# TRL's fused head: a tile of at most so many tokens by so many entries of the vocabulary
_TILE_TOKENS, _TILE_VOCABULARY = 4096, 32768


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on one device that holds the whole model. `parameters` and `trained` are counts."""

    parameters: int  # of the base model
    trained: int  # of the adapter, or of the base model without one
    weights: int  # of the base model, quantization constants and buffers included
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    reference: int  # DPO without an adapter: a second copy of the weights
    assumptions: tuple[str, ...]

    @property
    def rows(self) -> dict[str, int]:
        """Bytes by part, in the order in which they are printed."""
        return {
            "weights": self.weights,
            "reference model": self.reference,
            "adapters": self.adapters,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "logits": self.logits,
        }

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def memory_plan(recipe: Recipe, config: PretrainedConfig | None = None) -> MemoryPlan:
    """The plan for a recipe; `config` is the located model's, else `base.architecture` is taken.

    Raises `CoherenceError`: CFT518 (no usable architecture), CFT519 (the adapter's targets do not exist).
    """
    t = recipe.training
    config = config or declared_config(recipe.base.architecture or {}, recipe.path)
    text = config.get_text_config()
    model = on_meta(config, t.precision)
    parameters = sum(p.numel() for p in model.parameters())
    weights = weight_bytes(model, recipe.quantization)
    full = recipe.adapter is None
    if recipe.adapter is not None:
        # PEFT makes adapters float32; TRL turns those of a quantized base into bfloat16.
        width = 2 if recipe.quantization is not None else 4
        trained, inputs = adapter_size(model, recipe.adapter, recipe.path)
        adapters, kept = trained * width, inputs * width
    else:
        width, trained, adapters, kept = _BYTES[t.precision], parameters, 0, 0
    rows = t.batch_size * (2 if t.regime == "dpo" else 1)
    tokens = rows * t.max_length
    tile = min(tokens, _TILE_TOKENS) * min(text.vocab_size, _TILE_VOCABULARY)
    return MemoryPlan(
        parameters=parameters,
        trained=trained,
        weights=weights,
        adapters=adapters,
        gradients=trained * width,
        optimizer=2 * trained * width,
        activations=activation_bytes(
            config,
            tokens,
            _BYTES[t.precision],
            full=full,
            adapter_inputs=kept,
            checkpoint=t.gradient_checkpointing,
        ),
        logits=4 * (3 * tile + (text.vocab_size * text.hidden_size if full else 0)),
        reference=weights if full and t.regime == "dpo" else 0,
        assumptions=tuple(_assumptions(recipe, text, rows)),
    )


def on_meta(config: PretrainedConfig, precision: str) -> PreTrainedModel:
    """The model of a configuration with shapes and no storage."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, precision))
    return model


def weight_bytes(model: nn.Module, quantization: Quantization | None) -> int:
    """Bytes of parameters and buffers (tied ones once), as bitsandbytes will store them."""
    quantized = dict(_quantized(model)) if quantization is not None else {}
    total = sum(b.nbytes for b in model.buffers())
    for name, parameter in model.named_parameters():
        if quantization is not None and name.removesuffix(".weight") in quantized:
            total += _quantized_bytes(parameter.shape[0], parameter.numel(), quantization)
        else:
            total += parameter.nbytes
    return total


def _quantized(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers that transformers hands to bitsandbytes: all but the head and tied ones.

    Experts in 3-D parameters are no linear layers, so they stay as they are (bitsandbytes #1849).
    """
    from torch import nn
    from transformers.quantizers.base import get_keys_to_not_convert

    kept = set(get_keys_to_not_convert(model))
    for name, module in model.named_modules():
        if type(module) is nn.Linear and name not in kept:
            yield name, module


def _quantized_bytes(rows: int, elements: int, quantization: Quantization) -> int:
    if quantization.bits == "int8":
        return elements + 4 * rows  # a float32 scale for every row
    blocks = ceil(elements / _NF4_BLOCK)
    constants = 4 * blocks
    if quantization.double:
        constants = blocks + 4 * ceil(blocks / _DOUBLE_BLOCK) + _DOUBLE_TABLE + _DOUBLE_OFFSET
    return ceil(elements / 2) + constants + _NF4_TABLE


def adapter_size(model: PreTrainedModel, adapter: Adapter, where: str = "") -> tuple[int, int]:
    """Elements that PEFT adds to `model` (on the meta device, and changed), and the summed width of the
    inputs of all adapted layers.

    Raises CFT519 for target modules that name nothing in the model, all of them at once.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    targets = adapter.target_modules
    names = [name for name, _ in model.named_modules()]
    names += [name for name, parameter in model.named_parameters() if parameter.ndim == 3]
    problems = [
        Diagnostic(
            "CFT519",
            "the adapter's target names no module of the model",
            where,
            found=target,
            expected=", ".join(_linear_names(model)),
            help="target_modules are the last parts of module names, or all-linear",
        )
        for target in targets
        if target != "all-linear" and not any(n == target or n.endswith(f".{target}") for n in names)
    ]
    if problems:
        raise CoherenceError(problems)
    guarded = expert_count(model.config) > 0 and not adapter.adapt_router
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules="all-linear" if targets == ("all-linear",) else list(targets),
        exclude_modules=r".*\.(gate|router)$" if guarded else None,
        task_type="CAUSAL_LM",
    )
    with torch.device("meta"):
        adapted = get_peft_model(model, config)
    added = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    inputs = sum(p.shape[1] for name, p in added.items() if "lora_A" in name)
    return sum(p.numel() for p in added.values()), inputs


def _linear_names(model: PreTrainedModel) -> list[str]:
    from torch import nn

    return sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if type(m) is nn.Linear})


def activation_bytes(
    config: PretrainedConfig, tokens: int, width: int, *, full: bool, adapter_inputs: int, checkpoint: bool
) -> int:
    """Bytes that the backward pass of a decoder with gated feed-forward layers keeps.

    Counted like Korthikanti et al. 2022 (section 4.1), for today's layers. For every token and layer: the
    norms' two inputs in float32; queries, keys, values and the attention's output (fused attention keeps
    no scores); gate, its activation and up, for every expert that the token visits. Where the base is
    trained too (`full`), also the normed inputs before and after their scale, and the input of the last
    projection. An adapted layer keeps its own copy of its input: `adapter_inputs` bytes a token in all.
    With checkpointing only each layer's input stays, and one layer at a time is computed anew.
    """
    text: Any = config.get_text_config()
    hidden = int(text.hidden_size)
    heads = int(text.num_attention_heads)
    head = int(getattr(text, "head_dim", None) or hidden // heads)
    query, key = heads * head, int(getattr(text, "num_key_value_heads", None) or heads) * head
    between = _intermediate(text)
    layers = int(text.num_hidden_layers)
    layer = 2 * 4 * hidden + width * (2 * query + 2 * key + 3 * between)
    if full:
        layer += width * (4 * hidden + between)
    layer += adapter_inputs // layers
    return tokens * (layer + layers * width * hidden if checkpoint else layers * layer)


def _intermediate(text: Any) -> int:
    """Width of the feed-forward layer that one token sees: of all the experts it visits, shared ones too."""
    if not expert_count(text):
        return int(text.intermediate_size)
    size = int(getattr(text, "moe_intermediate_size", None) or text.intermediate_size)
    shared = int(getattr(text, "n_shared_experts", None) or 0) * size
    shared += int(getattr(text, "shared_expert_intermediate_size", None) or 0)
    return int(text.num_experts_per_tok) * size + shared


def _assumptions(recipe: Recipe, text: Any, rows: int) -> Iterator[str]:
    t = recipe.training
    yield "one device holds the whole model: no sharding, no offloading"
    yield f"{rows} rows of {t.max_length} tokens at a time" + (
        " (a chosen and a rejected row for every pair)" if t.regime == "dpo" else ""
    )
    if recipe.adapter is None:
        yield f"weights, gradients and both AdamW states in {t.precision}"
    elif recipe.quantization is not None:
        yield "adapters, their gradients and AdamW states in bfloat16, as TRL keeps them on a quantized base"
    else:
        yield "adapters, their gradients and AdamW states in float32, as PEFT makes them"
    if recipe.quantization is not None:
        yield f"embeddings, norms and the head stay in {t.precision}; bitsandbytes quantizes linear layers"
        if expert_count(text):
            yield "the experts stay unquantized: bitsandbytes passes over 3-D parameters (issue 1849)"
    yield (
        "activations: fused attention, "
        + ("checkpointed at every layer" if t.gradient_checkpointing else "kept for every layer")
        + " (a formula; everything above them is counted)"
    )
    yield f"logits: three float32 tiles, {_TILE_TOKENS} tokens × {_TILE_VOCABULARY} entries (fused head)"
    yield "not counted: the framework itself, fragmentation, the data, and probing while training rests"
