"""Greedy replies equal transformers' own, row by row, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.models.chat import end_of_turn, render
from coherence_ft.models.generation import generate_replies
from tests.tiny import tiny_config, tiny_model, tiny_tokenizer

CONVERSATIONS = [
    [{"role": "user", "content": "Is A00 Cholera classified under diseases?"}],
    [{"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "dog"}],
    [{"role": "user", "content": "The quick brown fox jumps over the lazy dog " * 4}],
    [
        {"role": "user", "content": "0"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "2"},
    ],
]
LIMITS = [12, 3, 7, 20]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def reference(model: Any, tokenizer: Any, prompts: list[str]) -> tuple[list[str], int]:
    texts, tokens = [], 0
    for prompt, limit in zip(prompts, LIMITS, strict=True):
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        out = model.generate(**ids, do_sample=False, max_new_tokens=limit, pad_token_id=3, eos_token_id=2)
        new = out[0, ids["input_ids"].shape[1] :].tolist()
        tokens += len(new)
        texts.append(tokenizer.decode(new[:-1] if new[-1] == 2 else new, skip_special_tokens=True))
    return texts, tokens


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen2", "gemma2"])
def test_replies_equal_those_of_generate(kind: str, tokenizer: Any) -> None:
    model = tiny_model(kind)
    prompts = [render(tokenizer, c) for c in CONVERSATIONS]
    texts, new = reference(model, tokenizer, prompts)
    together = generate_replies(model, tokenizer, prompts, LIMITS)
    assert list(together.texts) == texts
    assert list(generate_replies(model, tokenizer, prompts, LIMITS, tokens_per_batch=40).texts) == texts
    ids = [tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    shared = next(i for i in range(len(ids[0])) if len({row[i] for row in ids}) > 1)
    assert together.tokens == shared + sum(len(row) - shared for row in ids) + new


def test_a_short_sliding_window_is_kept(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    config = tiny_config("mistral")
    config.sliding_window = 16
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    prompts = [render(tokenizer, c) for c in CONVERSATIONS]
    assert (
        list(generate_replies(model, tokenizer, prompts, LIMITS).texts)
        == reference(model, tokenizer, prompts)[0]
    )


def test_a_reply_stops_at_the_end_of_its_turn(tokenizer: Any) -> None:
    model = tiny_model("llama")
    prompts = [render(tokenizer, c) for c in CONVERSATIONS]
    ids = tokenizer(prompts[0], add_special_tokens=False, return_tensors="pt")
    fourth = model.generate(**ids, do_sample=False, max_new_tokens=4, pad_token_id=3, eos_token_id=None)[
        0, -1
    ]
    model.generation_config.eos_token_id = [2, int(fourth)]  # as Llama 3 names several
    stopped = generate_replies(model, tokenizer, prompts, LIMITS)
    model.generation_config.eos_token_id = 2
    assert stopped.texts[0] != (whole := generate_replies(model, tokenizer, prompts, LIMITS).texts[0])
    assert whole.startswith(stopped.texts[0])


def test_a_prompt_without_a_template_is_refused() -> None:
    with pytest.raises(CoherenceError) as caught:
        render(tiny_tokenizer(chat_template=None), CONVERSATIONS[0])
    assert caught.value.codes == ("CFT512",)


def test_a_template_that_refuses_a_conversation_is_named() -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(CoherenceError, match="roles must alternate") as caught:
        render(tiny_tokenizer(chat_template=template), CONVERSATIONS[1])
    assert caught.value.codes == ("CFT512",)


def test_the_end_of_a_turn_is_read_from_the_template(tokenizer: Any) -> None:
    assert end_of_turn(tokenizer) == 2
    assert end_of_turn(tiny_tokenizer(chat_template=None)) is None
