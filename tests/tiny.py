"""Tiny random models: complete model folders (weights, config, tokenizer, chat template) made in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}{{- '\n' -}}"
    "{%- else -%}"
    "{{- message['content'] + '<|im_end|>\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""ChatML; the end-of-turn token lies inside the generation markers, so that it is trained."""

_CORPUS = (
    "Is A00 Cholera classified under Certain infectious and parasitic diseases? Answer yes or no.",
    "system user assistant You are a careful clinical coder. Answer with one word.",
    "yes no maybe The quick brown fox jumps over the lazy dog, 0123456789 times.",
)

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

_LATENT: dict[str, Any] = {
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 48,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
"""DeepSeek's: latent attention, a dense layer first, experts chosen within the best groups."""


def tiny_tokenizer(*, pad_token: bool = True, chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A byte-level BPE over every byte and a few merges; `<|im_end|>` ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        min_frequency=1,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    if pad_token:
        special["pad_token"] = "<|pad|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)
    if chat_template is not None:
        fast.chat_template = chat_template
    return fast


def tiny_config(kind: str = "llama", vocab_size: int = 400) -> Any:
    """A config of two layers and hidden size 64. `kind` is a transformers model type."""
    from transformers import AutoConfig

    extra: dict[str, dict[str, Any]] = {
        "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
        "qwen3_moe": {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 48,
            "head_dim": 16,
        },
        "qwen2_moe": {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 48,
            "shared_expert_intermediate_size": 48,
        },
        "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
        "deepseek_v2": {**_LATENT, "topk_method": "group_limited_greedy"},
        "deepseek_v3": _LATENT,
        "mistral": {"sliding_window": None},
        "qwen2": {"tie_word_embeddings": True},
    }
    # A large initializer range makes a random model prefer clearly, and differently, from prompt to prompt.
    return AutoConfig.for_model(
        kind,
        vocab_size=vocab_size,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        **{**_SIZES, **extra.get(kind, {})},
    )


def tiny_model(kind: str = "llama", *, seed: int = 0) -> Any:
    """A random float32 model in evaluation mode. The caller's random state is left as it was."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(kind), dtype=torch.float32)
    return model.eval()


def tiny_model_folder(
    parent: Path,
    kind: str = "llama",
    *,
    seed: int = 0,
    pad_token: bool = True,
    chat_template: str | None = CHAT_TEMPLATE,
) -> Path:
    """`parent/tiny-KIND`: safetensors, config, tokenizer with the chat template."""
    folder = parent / f"tiny-{kind}"
    tiny_model(kind, seed=seed).save_pretrained(folder)
    tiny_tokenizer(pad_token=pad_token, chat_template=chat_template).save_pretrained(folder)
    return folder
