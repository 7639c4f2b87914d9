"""Derivatives made one, or made into full or smaller weights, through PEFT and bitsandbytes.

`merge_adapters`: linear (Ilharco et al. 2023), TIES (Yadav et al. 2023) and DARE (Yu et al. 2024) as
`peft.LoraModel.add_weighted_adapter` has them: on the factors of the adapters, so that even `linear` is not
the weighted sum of what they change. `merge_into_base` and `quantize` are exports of one derivative.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.documents.recipe import Quantization
from coherence_ft.manifest.statement import Method, Relation
from coherence_ft.models.base import load_model, load_tokenizer, put_adapter
from coherence_ft.models.chat import render
from coherence_ft.models.errors import first_line
from coherence_ft.models.progress import working
from coherence_ft.serving.derivative import VerifiedDerivative
from coherence_ft.training.export import Derivation, Made
from coherence_ft.training.provenance import quantization_facts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

METHODS = ("linear", "ties", "dare_linear", "dare_ties")
SPARSE = ("ties", "dare_linear", "dare_ties")
"""Those that keep only a share of an adapter's entries, `density`."""

_COMPARED_PROMPTS = 8
# Largest difference of logits, as a share of the largest logit, that is rounding of the merged weights.
# Measured: 2e-6 (float32, two layers), 4e-3 (bfloat16, SmolLM2-135M).
_ROUNDING = {"float32": 1e-3, "bfloat16": 0.02}
# Of adapter_config.json: what a weighted merge in PEFT 0.21 leaves behind, or scales wrongly.
_NOT_PLAIN = (
    *("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "target_parameters"),
    *("layers_to_transform", "trainable_token_indices", "lora_bias", "layer_replication", "exclude_modules"),
)


@dataclass(frozen=True, slots=True)
class Merge:
    """How adapters are combined. `weights`: one for each; `density`: None for a method without one."""

    method: Literal["linear", "ties", "dare_linear", "dare_ties"]
    weights: tuple[float, ...]
    density: float | None
    seed: int


def merge_adapters(d: Derivation, merge: Merge, folder: Path) -> Made:
    """Write the merged adapter into `folder`. Raises CoherenceError: CFT740, CFT743 to CFT746."""
    import torch

    if findings := [*_adapters(d.parents), *_alike(d.parents), *_ranks_and_modules(d.parents)]:
        raise CoherenceError(findings)
    tokenizer = _tokenizer(d.first)
    adapted: Any = load_model(
        d.first.base, precision=d.first.serving["precision"], quantization=d.quantization
    )
    names = [f"parent-{n}" for n in range(len(d.parents))]
    for name, parent in zip(names, d.parents, strict=True):
        adapted = put_adapter(adapted, parent.folder, name=name)
    options = {} if merge.density is None else {"density": merge.density}
    with working(f"Merging {len(names)} adapters by {merge.method} …"), torch.random.fork_rng():
        torch.manual_seed(merge.seed)
        try:
            adapted.add_weighted_adapter(
                names, list(merge.weights), "merged", combination_type=merge.method, **options
            )
        except ValueError as error:
            raise refusal(
                "CFT746", f"PEFT cannot merge these adapters: {first_line(error)}", path=d.first.folder
            ) from error
    config = adapted.peft_config["merged"]
    adapted.save_pretrained(folder, selected_adapters=["merged"])
    for path in (folder / "merged").iterdir():  # PEFT puts an adapter that is not the default one below
        path.rename(folder / path.name)
    (folder / "merged").rmdir()
    (folder / "README.md").unlink(missing_ok=True)
    facts = dict(d.first.manifest.predicate["method"]["adapter"] or {})
    modules = sorted(config.target_modules)
    if sorted(facts.get("targetModules", ())) == modules:
        modules = facts["targetModules"]  # a recipe that continues it repeats them in their order
    adapter = {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "dropout": float(config.lora_dropout),
        "targetModules": modules,
        "adaptRouter": bool(facts.get("adaptRouter")),
    }
    derivation = {
        "method": merge.method,
        "weights": list(merge.weights),
        **options,
        "seed": merge.seed,
    }
    return Made(
        tokenizer,
        Relation.MERGED,
        Method("merge", adapter, quantization_facts(d.quantization), derivation),
        d.quantization,
    )


def merge_into_base(d: Derivation, folder: Path) -> Made:
    """Write the base with the adapter in it, full weights. Raises CoherenceError: CFT740, CFT747.

    A quantized base is dequantized first: merging into 4-bit weights would round them a second time
    (peft #2321), and the adapter was trained on just these values. Weights are added in float32 and rounded
    once. The largest difference of logits from the adapter on its base, over calibration prompts, goes into
    the manifest; both are computed in float32, since bfloat16 would hide a mistake behind its own rounding.
    """
    import torch

    if findings := _adapters(d.parents):
        raise CoherenceError(findings)
    precision = d.first.serving["precision"]
    tokenizer = _tokenizer(d.first)
    prompts = _prompts(d.probe_sets["calibration"], tokenizer)
    base: Any = load_model(d.first.base, precision=precision, quantization=d.quantization)
    if d.quantization is not None:
        base = base.dequantize()
    adapted = put_adapter(base, d.first.folder).float()
    before = _logits(adapted, prompts)
    with working("Merging the adapter into its base …"):
        adapted.merge_and_unload(safe_merge=True).to(getattr(torch, precision)).save_pretrained(folder)
    del base, adapted
    tokenizer.save_pretrained(folder)
    own = replace(d.first.base, kind="folder", path=folder)
    merged: Any = load_model(own, precision=precision)
    apart, size = _difference(before, _logits(merged.float(), prompts))
    if not apart <= _ROUNDING[precision] * size:
        raise refusal(
            "CFT747",
            "the merged weights do not compute what the adapter on its base does",
            path=d.first.folder,
            found=f"logits differ by {apart:.3g}, of at most {size:.3g}",
            expected=f"at most {_ROUNDING[precision]:g} of the largest logit",
        )
    derivation = {
        "method": "into-base",
        "largestLogitDifference": float(f"{apart:.3g}"),
        "largestLogit": float(f"{size:.3g}"),
        "comparedPrompts": len(prompts),
        "dequantizedFrom": d.quantization.bits if d.quantization else None,
    }
    return Made(tokenizer, Relation.MERGED_INTO_BASE, Method("merge", None, None, derivation))


def quantize(d: Derivation, quantization: Quantization, folder: Path) -> Made:
    """Write full weights quantized by bitsandbytes, as safetensors that load as they are.

    Raises CoherenceError: CFT740 for an adapter, CFT748 for what is quantized already, CFT515 for a mixture
    whose experts bitsandbytes leaves alone (bitsandbytes #1849).
    """
    parent = d.first
    if parent.has_adapter:
        raise refusal(
            "CFT740",
            "an adapter cannot be quantized without its base",
            path=parent.folder,
            help="merge it into its base first: coherence-ft merge DIR --into-base",
        )
    if d.quantization is not None:
        raise refusal(
            "CFT748", "the weights are quantized already", path=parent.folder, found=d.quantization.bits
        )
    own = replace(parent.base, kind="folder", path=parent.folder)
    model = load_model(own, precision=parent.serving["precision"], quantization=quantization)
    with working(f"Writing {quantization.bits} weights …"):
        model.save_pretrained(folder)
    derivation = {
        "method": "quantize",
        "bytesBefore": weight_bytes(parent.folder),
        "bytesAfter": weight_bytes(folder),
    }
    stated = quantization_facts(quantization)
    method = Method("quantization", None, stated, derivation)
    return Made(_tokenizer(parent), Relation.QUANTIZED, method, quantization)


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files in the folder itself, as they lie on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _tokenizer(parent: VerifiedDerivative) -> PreTrainedTokenizerBase:
    return load_tokenizer(replace(parent.base, kind="folder", path=parent.folder))


def _prompts(probes: ProbeSet, tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Token ids, (1, tokens), of the first calibration prompts."""
    asked = [question.messages for question in probes.questions]
    asked += [member.messages for group in probes.groups for member in group.members]
    return [
        tokenizer(render(tokenizer, messages), add_special_tokens=False, return_tensors="pt")["input_ids"]
        for messages in asked[:_COMPARED_PROMPTS]
    ]


def _logits(model: PreTrainedModel, prompts: Sequence[Any]) -> list[Any]:
    """Of each prompt, (tokens, vocabulary), float32 on the CPU."""
    import torch

    with torch.inference_mode():
        return [
            model(input_ids=ids.to(model.device), use_cache=False).logits[0].float().cpu() for ids in prompts
        ]


def _difference(before: Sequence[Any], after: Sequence[Any]) -> tuple[float, float]:
    """The largest difference, and the largest logit."""
    apart = max(float((x - y).abs().max()) for x, y in zip(before, after, strict=True))
    return apart, max(float(x.abs().max()) for x in before)


def _adapters(parents: Sequence[VerifiedDerivative]) -> list[Diagnostic]:
    return [
        Diagnostic(
            "CFT740",
            "it holds full weights, and no adapter to merge",
            str(parent.folder),
            expected="an adapter on its base",
        )
        for parent in parents
        if not parent.has_adapter
    ]


def _alike(parents: Sequence[VerifiedDerivative]) -> list[Diagnostic]:
    """Parents that are used in different ways have no common one."""

    def used(parent: VerifiedDerivative) -> dict[str, Any]:
        return {
            "precision": parent.serving["precision"],
            "quantization of the base": parent.serving["quantization"],
            "chat template": parent.manifest.predicate["chatTemplateDigest"],
            "tokenizer": parent.files.get("tokenizer.json"),
        }

    first = used(parents[0])
    return [
        Diagnostic(
            "CFT745",
            f"its {name} is not that of {parents[0].folder}",
            str(other.folder),
            found=str(value or "none"),
            expected=str(first[name] or "none"),
        )
        for other in parents[1:]
        for name, value in used(other).items()
        if value != first[name]
    ]


def _ranks_and_modules(parents: Sequence[VerifiedDerivative]) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    configs = [_adapter_config(parent) for parent in parents if parent.has_adapter]
    for parent, config in zip(parents, configs, strict=False):
        where = str(parent.folder / "adapter_config.json")
        odd = [name for name in _NOT_PLAIN if config.get(name)]
        odd += ["bias"] if config.get("bias", "none") != "none" else []
        odd += ["peft_type"] if config.get("peft_type") != "LORA" else []
        if odd:
            found.append(
                Diagnostic("CFT746", "only plain LoRA adapters can be merged", where, found=", ".join(odd))
            )
        for code, name in (("CFT743", "r"), ("CFT744", "target_modules")):
            ours, first = (_comparable(c.get(name)) for c in (config, configs[0]))
            if ours != first:
                what = "rank" if name == "r" else "modules"
                found.append(
                    Diagnostic(
                        code,
                        f"its {what} is not that of {parents[0].folder}"
                        if name == "r"
                        else f"it adapts other modules than {parents[0].folder}",
                        where,
                        found=str(ours),
                        expected=str(first),
                    )
                )
    return found


def _comparable(value: Any) -> Any:
    return ", ".join(sorted(value)) if isinstance(value, list) else value


def _adapter_config(parent: VerifiedDerivative) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((parent.folder / "adapter_config.json").read_text(encoding="utf-8"))
    return config
