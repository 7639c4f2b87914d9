"""What a configuration says about a model: its sizes, its experts, what can be done with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.models.errors import first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

EXPERT_ARCHITECTURES = {
    "deepseek_v2": "DeepseekV2TopkRouter",
    "deepseek_v3": "DeepseekV3TopkRouter",
    "mixtral": "MixtralTopKRouter",
    "olmoe": "OlmoeTopKRouter",
    "qwen2_moe": "Qwen2MoeTopKRouter",
    "qwen3_moe": "Qwen3MoeTopKRouter",
}
"""Mixtures of experts whose router is known: model type to the router's class in transformers. Others are
refused: their routing would be read wrongly, not merely missed."""

_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")


def expert_count(config: PretrainedConfig) -> int:
    """Routed experts a layer; 0 for a dense model."""
    text = config.get_text_config()
    return max((int(getattr(text, name, 0) or 0) for name in _EXPERT_COUNTS), default=0)


def declared_config(architecture: dict[str, Any], where: str) -> PretrainedConfig:
    """A configuration from the recipe's `architecture`; raises CFT518 if transformers cannot make one."""
    from transformers import AutoConfig

    sizes = dict(architecture)
    model_type = sizes.pop("model_type", None)
    if not model_type:
        raise refusal(
            "CFT518",
            "architecture names no model_type",
            path=where,
            help="copy it from the model's config.json",
        )
    try:
        return AutoConfig.for_model(str(model_type), **sizes)
    except (ValueError, TypeError, KeyError) as error:
        raise refusal("CFT518", f"architecture cannot be used: {first_line(error)}", path=where) from error


def check(
    config: PretrainedConfig, declared: dict[str, Any] | None, where: str, *, stored: bool = False
) -> None:
    """Refuse what differs from the recipe (CFT508), unknown experts (CFT509), quantized weights (CFT514).

    `stored`: weights that bitsandbytes has quantized are expected.
    """
    problems: list[Diagnostic] = []
    if expert_count(config) > 0 and config.get_text_config().model_type not in EXPERT_ARCHITECTURES:
        problems.append(
            Diagnostic(
                "CFT509",
                "a mixture of experts whose router is not known",
                where,
                found=config.get_text_config().model_type,
                expected=", ".join(EXPERT_ARCHITECTURES),
                help="its routing patterns cannot be read, so nothing measured by route would hold for it",
            )
        )
    method = getattr(config, "quantization_config", None)
    if method is not None:
        stated = method if isinstance(method, dict) else method.to_dict()
    if method is not None and not (stored and stated.get("quant_method") == "bitsandbytes"):
        problems.append(
            Diagnostic(
                "CFT514",
                "the weights are stored quantized",
                where,
                found=str(stated.get("quant_method")),
                expected="bfloat16, float16 or float32 weights, or a GGUF file",
                help="name the unquantized model; the recipe's `quantization` applies when it is loaded",
            )
        )
    if declared is not None:
        expected = declared_config(declared, where)
        for name in declared:
            # transformers folds some keys into others when reading (rope_theta into rope_parameters)
            key = name if hasattr(expected, name) else "rope_parameters"
            real, said = getattr(config, key, None), getattr(expected, key, None)
            if real != said:
                problems.append(
                    Diagnostic(
                        "CFT508",
                        f"the model's {name} is not what the recipe says",
                        where,
                        found=str(real),
                        expected=str(said),
                        help="another model or revision than was planned for, or architecture is wrong",
                    )
                )
    if problems:
        raise CoherenceError(problems)


def check_vocabulary(config: PretrainedConfig, tokens: int, path: Path) -> None:
    """The tokenizer must not know more tokens than the embedding: CFT511."""
    rows = int(config.get_text_config().vocab_size)
    if tokens > rows:
        raise refusal(
            "CFT511",
            "the tokenizer belongs to another model: it has more tokens than the embedding has rows",
            path=path,
            found=f"{tokens} tokens",
            expected=f"at most {rows}",
        )


def refuse_foreign_code(folder: Path) -> None:
    """A model that only runs with Python files of its own is refused: CFT510."""
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model_type, code = config.get("model_type"), config.get("auto_map")
    except (OSError, ValueError, AttributeError) as error:
        raise refusal(
            "CFT502", f"the configuration cannot be read: {error}", path=folder / "config.json"
        ) from error
    if code and model_type not in CONFIG_MAPPING:
        raise refusal(
            "CFT510",
            "the model needs Python code that comes with it, which is never run",
            path=path,
            found=f"auto_map for model_type {model_type}",
            help="use a model that transformers knows itself",
        )


def refuse_unquantized_experts(config: PretrainedConfig, where: str) -> None:
    """bitsandbytes leaves 3-D expert parameters unquantized (bitsandbytes #1849): CFT515."""
    if experts := expert_count(config):
        raise refusal(
            "CFT515",
            "quantization would leave the experts, most of the model, unquantized",
            path=where,
            found=f"{experts} experts a layer in 3-D parameters",
            help="remove quantization (LoRA on bfloat16 weights), or take a dense model",
        )
