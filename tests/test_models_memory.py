"""The memory plan against what the real objects of tiny models take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import Adapter, BaseModel, Data, Probes, Quantization, Recipe, Training
from coherence_ft.models.base import bitsandbytes_config
from coherence_ft.models.memory import (
    activation_bytes,
    adapter_size,
    memory_plan,
    on_meta,
    weight_bytes,
)
from tests.tiny import tiny_config, tiny_model, tiny_model_folder

MISTRAL_7B = {
    "model_type": "mistral",
    "vocab_size": 32768,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "sliding_window": None,
    "tie_word_embeddings": False,
}


def recipe(architecture: dict[str, Any] | None, **fields: Any) -> Recipe:
    nowhere = Path("/nowhere")
    return Recipe(
        "r",
        "general",
        BaseModel("o/m", architecture=architecture),
        nowhere,
        Data("d.jsonl"),
        Probes(nowhere, nowhere),
        nowhere,
        **fields,
    )


def allocated(model: Any) -> int:
    """Bytes of every tensor that the model holds, bitsandbytes' constants included; shared storage once."""
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.code]
            if state.nested:
                tensors += [state.offset, state.state2.absmax, state.state2.code]
        if getattr(parameter, "SCB", None) is not None:
            tensors.append(parameter.SCB)
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen2", "qwen3_moe"])
def test_weights_are_exact_to_the_byte(kind: str) -> None:
    assert weight_bytes(on_meta(tiny_config(kind), "float32"), None) == allocated(tiny_model(kind))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # qwen2 ties its embeddings
@pytest.mark.parametrize(
    "quantization", [Quantization("nf4"), Quantization("nf4", double=True), Quantization("int8")], ids=str
)
def test_quantized_weights_are_exact_to_the_byte(
    kind: str, quantization: Quantization, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        tiny_model_folder(tmp_path, kind),
        dtype=torch.bfloat16,
        quantization_config=bitsandbytes_config(quantization, "bfloat16"),
    )
    assert weight_bytes(on_meta(tiny_config(kind), "bfloat16"), quantization) == allocated(model)


@pytest.mark.parametrize(
    "targets", [("q_proj", "v_proj"), ("all-linear",), ("down_proj", "o_proj")], ids="+".join
)
def test_adapters_gradients_and_optimizer_are_exact_to_the_byte(targets: tuple[str, ...]) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4,
        target_modules=targets[0] if targets == ("all-linear",) else list(targets),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(tiny_model("llama").to(torch.bfloat16), config)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    optimizer.step()
    states = [
        tensor
        for state in optimizer.state.values()
        for name, tensor in state.items()
        if name.startswith("exp_avg")
    ]

    sizes = tiny_config("llama").to_dict()
    plan = memory_plan(recipe(sizes, adapter=Adapter(rank=4, target_modules=targets)))
    assert plan.adapters == sum(p.nbytes for p in trained)
    assert plan.gradients == sum(p.grad.nbytes for p in trained)
    assert plan.optimizer == sum(t.nbytes for t in states)
    assert plan.trained == sum(p.numel() for p in trained)


@pytest.mark.parametrize(
    "targets", [(), ("q_proj", "v_proj"), ("all-linear",)], ids=lambda t: "+".join(t) or "full"
)
def test_activations_are_close_to_what_autograd_keeps(targets: tuple[str, ...]) -> None:
    """bfloat16 with float32 adapters; wide enough that the terms of the formula outweigh the constants."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = tiny_config("llama")
    config.hidden_size, config.intermediate_size, config.head_dim = 256, 768, 64
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).train()
    inputs = 0
    if targets:
        adapter = Adapter(rank=4, target_modules=targets)
        inputs = adapter_size(on_meta(config, "bfloat16"), adapter)[1] * 4
        lora = LoraConfig(
            r=4, target_modules=targets[0] if len(targets) == 1 else list(targets), task_type="CAUSAL_LM"
        )
        decoder = get_peft_model(model, lora).base_model.model.model
    else:
        decoder = model.model
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = decoder(input_ids=torch.randint(0, 400, (4, 64)), use_cache=False).last_hidden_state.sum()
    measured = sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own)
    planned = activation_bytes(config, 256, 2, full=not targets, adapter_inputs=inputs, checkpoint=False)
    assert out.requires_grad
    assert planned == pytest.approx(measured, rel=0.15)


def test_mistral_7b_in_nf4_has_its_published_size() -> None:
    plan = memory_plan(
        recipe(
            MISTRAL_7B,
            quantization=Quantization("nf4", double=True),
            training=Training(batch_size=1, max_length=1024, gradient_checkpointing=True),
        )
    )
    assert plan.parameters == 7_248_023_552  # the model card's count
    linear = 32 * (4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336)
    rest = plan.parameters - linear
    # 4 bits and 0.127 bits of constants for every weight (QLoRA, section 3), 16 for the rest
    assert plan.weights == pytest.approx(linear * 4.127 / 8 + rest * 2, rel=1e-3)
    assert plan.total == sum(plan.rows.values())
    assert any("bitsandbytes" in line for line in plan.assumptions)


def test_checkpointing_and_regime_change_what_they_should() -> None:
    plans = {
        (checkpointing, regime): memory_plan(
            recipe(MISTRAL_7B, training=Training(gradient_checkpointing=checkpointing, regime=regime))
        )
        for checkpointing in (False, True)
        for regime in ("sft", "dpo")
    }
    assert plans[True, "sft"].activations < plans[False, "sft"].activations / 8
    assert plans[False, "dpo"].activations == 2 * plans[False, "sft"].activations
    assert plans[False, "dpo"].weights == plans[False, "sft"].weights
    assert plans[False, "dpo"].reference == 0  # the adapter is switched off for the reference
    whole = memory_plan(recipe(MISTRAL_7B, adapter=None, training=Training(regime="dpo")))
    assert whole.reference == whole.weights and whole.adapters == 0
    assert whole.gradients == 2 * whole.parameters and whole.optimizer == 4 * whole.parameters


def test_every_misspelt_target_is_refused_at_once() -> None:
    adapter = Adapter(target_modules=("q_proj", "v_prj", "qq"))
    with pytest.raises(CoherenceError) as caught:
        memory_plan(recipe(tiny_config("llama").to_dict(), adapter=adapter))
    assert caught.value.codes == ("CFT519", "CFT519")
    assert "v_proj" in caught.value.diagnostics[0].expected


@pytest.mark.parametrize("architecture", [None, {"hidden_size": 8}, {"model_type": "no-such-type"}], ids=str)
def test_an_unusable_architecture_is_refused(architecture: dict[str, Any] | None) -> None:
    with pytest.raises(CoherenceError) as caught:
        memory_plan(recipe(architecture))
    assert caught.value.codes == ("CFT518",)
