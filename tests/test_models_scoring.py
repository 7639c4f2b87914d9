"""Scores equal a naive computation, whatever the batch, the architecture and the wrapping."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from coherence_ft.models.scoring import score_options
from tests.tiny import tiny_config, tiny_model, tiny_tokenizer

SYSTEM = "<|im_start|>system\nYou are a careful clinical coder.<|im_end|>\n<|im_start|>user\n"
REPLY = "<|im_end|>\n<|im_start|>assistant\n"
ITEMS = [
    (SYSTEM + "Is A00 Cholera classified under diseases?" + REPLY, ["yes", "no"]),
    (SYSTEM + "no?" + REPLY, ["yes", "no", "maybe", "Certain infectious"]),
    (
        SYSTEM + "The quick brown fox " * 6 + REPLY,
        ["fox", "the lazy dog", "x"],
    ),
    (SYSTEM + "12" + REPLY, ["0123456789 times.", "jumps over"]),
    (SYSTEM + "Cholera or dog?" + REPLY, ["no", "yes"]),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def naive(model: Any, tokenizer: Any, items: Any) -> list[list[float]]:
    """One option at a time, no padding, no cache, all logits."""
    table = []
    for prompt, options in items:
        context = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        row = []
        for option in options:
            whole = tokenizer(prompt + option, add_special_tokens=False)["input_ids"]
            assert whole[: len(context)] == context
            with torch.no_grad():
                log = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
            row.append(sum(float(log[i - 1, whole[i]]) for i in range(len(context), len(whole))))
        table.append(row)
    return table


def assert_equal(scores: Any, expected: list[list[float]]) -> None:
    assert len(scores.log_probabilities) == len(expected)
    for got, want in zip(scores.log_probabilities, expected, strict=True):
        assert got == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen2", "qwen3_moe", "mistral", "gemma2"])
def test_scores_equal_the_naive_computation(kind: str, tokenizer: Any) -> None:
    model = tiny_model(kind)
    expected = naive(model, tokenizer, ITEMS)
    assert_equal(score_options(model, tokenizer, ITEMS), expected)
    # the same with other neighbours in the batch, and alone
    assert_equal(score_options(model, tokenizer, ITEMS, tokens_per_batch=60), expected)
    assert_equal(score_options(model, tokenizer, ITEMS[2:3]), expected[2:3])


def test_a_sliding_window_shorter_than_the_prompt_is_kept(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    config = tiny_config("mistral")
    config.sliding_window = 16
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    whole = tiny_model("mistral")
    whole.load_state_dict(model.state_dict())
    expected = naive(model, tokenizer, ITEMS)
    assert expected[2] != pytest.approx(naive(whole, tokenizer, ITEMS)[2], abs=1e-4)  # the window matters
    assert_equal(score_options(model, tokenizer, ITEMS), expected)


def test_eager_attention_scores_the_same(tokenizer: Any) -> None:
    model = tiny_model("llama")
    expected = naive(model, tokenizer, ITEMS)
    model.set_attn_implementation("eager")
    assert_equal(score_options(model, tokenizer, ITEMS), expected)


def test_an_adapted_model_scores_the_same_as_naively(tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(tiny_model("llama"), config).eval()
    expected = naive(model, tokenizer, ITEMS)
    assert expected[0] != pytest.approx(naive(tiny_model("llama"), tokenizer, ITEMS)[0], abs=1e-3)
    assert_equal(score_options(model, tokenizer, ITEMS), expected)


def test_a_merge_across_the_boundary_counts_for_the_option(tokenizer: Any) -> None:
    """ "ye" + "s" is one token: the shared context then ends before it, for every option."""
    model = tiny_model("llama")
    prompt, options = "Answer ye", ["s", "t"]
    wholes = [tokenizer(prompt + o, add_special_tokens=False)["input_ids"] for o in options]
    context = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert wholes[0][: len(context)] != context
    shared = next(i for i in range(len(context)) if wholes[0][i] != context[i])
    expected = []
    for whole in wholes:
        with torch.no_grad():
            log = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected.append(sum(float(log[i - 1, whole[i]]) for i in range(shared, len(whole))))
    assert_equal(score_options(model, tokenizer, [(prompt, options)]), [expected])


def test_tokens_count_the_shared_prefix_once(tokenizer: Any) -> None:
    model = tiny_model("llama")
    prompts = [tokenizer(p, add_special_tokens=False)["input_ids"] for p, _ in ITEMS]
    shared = len(tokenizer(SYSTEM, add_special_tokens=False)["input_ids"])
    scores = score_options(model, tokenizer, [(p, ["yes", "no"]) for p, _ in ITEMS])
    assert scores.tokens == shared + sum(len(p) - shared for p in prompts)


def test_prompts_about_one_passage_compute_it_once(tokenizer: Any) -> None:
    model = tiny_model("llama")
    passage = SYSTEM + "The quick brown fox jumps over the lazy dog, 0123456789 times. " * 4
    items = [
        (passage + f"Is it {word}?" + REPLY, ["yes", "no", "maybe not"]) for word in ("a dog", "A00", "no")
    ]
    items = [ITEMS[0], items[0], ITEMS[1], *items[1:], ITEMS[2]]
    scores = score_options(model, tokenizer, items)
    assert_equal(scores, naive(model, tokenizer, items))
    assert scores.tokens < sum(len(tokenizer(p, add_special_tokens=False)["input_ids"]) for p, _ in items) / 2


def test_options_that_begin_alike_share_their_beginning(tokenizer: Any) -> None:
    model = tiny_model("llama")
    options = ["the lazy dog, 0", "the lazy dog, 1", "the lazy fox", "the lazy dog, 0"]
    prompt = ITEMS[0][0]
    scores = score_options(model, tokenizer, [(prompt, options)])
    assert_equal(scores, naive(model, tokenizer, [(prompt, options)]))
    longest = len(tokenizer(prompt + options[0], add_special_tokens=False)["input_ids"])
    assert scores.tokens <= longest + 2


def test_progress_reaches_the_number_of_items(tokenizer: Any) -> None:
    done: list[int] = []
    score_options(tiny_model("llama"), tokenizer, ITEMS, tokens_per_batch=64, progress=done.append)
    assert sum(done) == len(ITEMS) and len(done) > 1


def test_scoring_leaves_model_tokenizer_and_randomness_alone(tokenizer: Any) -> None:
    model = tiny_model("mixtral")
    model.config.output_router_logits = True
    before = copy.deepcopy(model.state_dict())
    config, side, state = model.config.to_dict(), tokenizer.padding_side, torch.get_rng_state()
    score_options(model, tokenizer, ITEMS)
    assert model.config.to_dict() == config and tokenizer.padding_side == side
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    # and a backward pass still works afterwards
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()


def test_training_mode_and_empty_options_are_refused(tokenizer: Any) -> None:
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="empty"):
        score_options(model, tokenizer, [("Answer", ["yes", ""])])
    with pytest.raises(ValueError, match="eval"):
        score_options(model.train(), tokenizer, ITEMS)


def test_no_items_cost_nothing(tokenizer: Any) -> None:
    scores = score_options(tiny_model("llama"), tokenizer, [])
    assert scores.log_probabilities == () and scores.tokens == 0
