"""Sources of confidence on a tiny model, held to forward passes one by one, without batches or prefixes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model, tiny_tokenizer
from workshop import Workshop

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.documents.probe_set import ProbeSet, Question, read_probe_set
from coherence_ft.models.chat import render
from coherence_ft.models.confidence import (
    AGREEMENT,
    ANSWER_LIKELIHOOD,
    HOW_SURE,
    IS_IT_TRUE,
    P_TRUE,
    SAMPLES,
    SEED,
    SOURCES,
    VERBALIZED,
    Stated,
    extra_cost,
    option_of,
    per_cent,
    stated_confidence,
)
from coherence_ft.models.generation import sample_replies
from coherence_ft.models.scoring import Scores, score_options
from coherence_ft.probing.probe import Budget, probe


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(seed=3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Options of several lengths, with and without a common beginning."""
    asked = (
        ("Is A00 Cholera?", ("yes", "no")),
        ("What jumps over the dog?", ("The quick brown fox", "The lazy dog", "nothing")),
        ("How many times?", ("0123", "0123456789", "maybe")),
        ("Answer with one word.", ("yes", "yes no", "yes no maybe", "no")),
    )
    return [
        Question(f"q{n}", "clinical", f"g{n}", ({"role": "user", "content": text},), options, 0)
        for n, (text, options) in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def probes(workshop: Workshop) -> ProbeSet:
    return read_probe_set(workshop.probes("calibration"))


def scored(model: Any, tokenizer: Any, questions: Sequence[Question]) -> Scores:
    return score_options(model, tokenizer, [(render(tokenizer, q.messages), q.options) for q in questions])


def stated(model: Any, tokenizer: Any, source: str, questions: Sequence[Question]) -> Stated:
    return stated_confidence(model, tokenizer, source, questions, scored(model, tokenizer, questions))


def by_hand(model: Any, tokenizer: Any, prompt: str, option: str) -> list[float]:
    """log p of each token of the option after the prompt, in a pass of its own."""
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = tokenizer(prompt + option, add_special_tokens=False)["input_ids"]
    assert whole[: len(before)] == before
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return [float(logits[i - 1, whole[i]]) for i in range(len(before), len(whole))]


def chosen(model: Any, tokenizer: Any, question: Question) -> str:
    prompt = render(tokenizer, question.messages)
    return max(question.options, key=lambda option: sum(by_hand(model, tokenizer, prompt, option)))


def test_option_likelihood_is_the_share_of_the_likeliest(
    model: Any, tokenizer: Any, questions: list[Question]
) -> None:
    for question, found in zip(
        questions, stated(model, tokenizer, OPTION_LIKELIHOOD, questions).confidence, strict=True
    ):
        prompt = render(tokenizer, question.messages)
        weights = [math.exp(sum(by_hand(model, tokenizer, prompt, option))) for option in question.options]
        assert found == pytest.approx(max(weights) / sum(weights), rel=1e-4)


def test_answer_likelihood_is_the_geometric_mean_of_the_answers_tokens(
    model: Any, tokenizer: Any, questions: list[Question]
) -> None:
    found = stated(model, tokenizer, ANSWER_LIKELIHOOD, questions)
    assert found.tokens == 0
    for question, value in zip(questions, found.confidence, strict=True):
        prompt = render(tokenizer, question.messages)
        terms = by_hand(model, tokenizer, prompt, chosen(model, tokenizer, question))
        assert value == pytest.approx(math.exp(sum(terms) / len(terms)), rel=1e-4)
        assert 0 < value < 1


def test_p_true_asks_about_the_chosen_answer(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    found = stated(model, tokenizer, P_TRUE, questions)
    for question, value in zip(questions, found.confidence, strict=True):
        asked = IS_IT_TRUE.format(answer=chosen(model, tokenizer, question))
        content = f"{question.messages[-1]['content']}\n\n{asked}"
        prompt = render(tokenizer, [{"role": "user", "content": content}])
        true, false = (sum(by_hand(model, tokenizer, prompt, word)) for word in ("True", "False"))
        assert value == pytest.approx(1 / (1 + math.exp(false - true)), rel=1e-4)


def test_verbalized_is_asked_for_after_the_chosen_answer(
    model: Any, tokenizer: Any, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model says nothing sensible; what it is asked, and what is made of the reply, is held here."""
    import coherence_ft.models.confidence as confidence
    from coherence_ft.models.generation import Replies

    prompts: list[str] = []

    def replies(_: Any, __: Any, asked: list[str], limits: list[int]) -> Replies:
        prompts.extend(asked)
        assert len(set(limits)) == 1
        return Replies(("90%", "I am sure", " 7 per cent.\n", "110"), 44)

    monkeypatch.setattr(confidence, "generate_replies", replies)
    found = stated(model, tokenizer, VERBALIZED, questions)
    assert found.tokens == 44
    assert found.confidence[0::2] == (0.9, 0.07)
    assert math.isnan(found.confidence[1]) and math.isnan(found.confidence[3])
    for question, prompt in zip(questions, prompts, strict=True):
        answer = chosen(model, tokenizer, question)
        assert prompt.endswith(f"{answer}<|im_end|>\n<|im_start|>user\n{HOW_SURE}<|im_end|>\n"
                               "<|im_start|>assistant\n")  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "value"),
    [("0", 0.0), ("100%", 1.0), ("85 %", 0.85), ("7 percent", 0.07), ("12 Per Cent.", 0.12), ("\n50\n", 0.5)],
)
def test_a_whole_number_of_per_cent_is_read(reply: str, value: float) -> None:
    assert per_cent(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "0.9",
        "95.5%",
        "101",
        "-5",
        "1000",
        "90/100",
        "about 90%",
        "90% sure",
        "ninety",
        "٩٠",
        "9 0",
        "90%%",
        "nan",
        "90 or 80",
        "007",
    ],
)
def test_nothing_else_is_guessed_at(reply: str) -> None:
    assert math.isnan(per_cent(reply))


@given(st.text(max_size=12))
def test_any_reply_gives_a_fraction_or_none(reply: str) -> None:
    value = per_cent(reply)
    assert math.isnan(value) or (0 <= value <= 1 and str(round(100 * value)) in reply)


@pytest.mark.parametrize(
    ("reply", "option"),
    [
        ("yes", 0),
        ("Yes.", 0),
        (" YES, because", 0),
        ("yesterday", None),
        ("no", 1),
        ("no idea", 2),
        ("", None),
        ("maybe", None),
        ("not", None),
    ],
)
def test_a_reply_states_the_longest_option_that_it_begins_with(reply: str, option: int | None) -> None:
    assert option_of(reply, ("yes", "no", "no idea")) == option


def sampled_by_hand(model: Any, tokenizer: Any, prompt: str, copy: int, limit: int) -> str:
    """One sample, each token from a pass over everything before it."""
    draw = random.Random(f"{SEED}/{copy}/{prompt}")
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    start = len(ids)
    while len(ids) < start + limit:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        sums, at = list(itertools.accumulate(logits.softmax(-1).tolist())), draw.random()
        token = next(token for token, summed in enumerate(sums) if at < summed)
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


def test_samples_are_those_drawn_one_by_one(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    prompts = [render(tokenizer, q.messages) for q in questions]
    limits = [3, 5, 1, 4]
    samples, tokens = sample_replies(model, tokenizer, prompts, limits, samples=4, seed=SEED)
    for prompt, limit, replies in zip(prompts, limits, samples, strict=True):
        assert list(replies) == [sampled_by_hand(model, tokenizer, prompt, n, limit) for n in range(4)]
    assert len({reply for replies in samples for reply in replies}) > 4
    assert 0 < tokens <= sum(len(tokenizer(p)["input_ids"]) for p in prompts) + 4 * sum(limits)


def test_samples_do_not_depend_on_the_company(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    prompts = [render(tokenizer, q.messages) for q in questions]
    together, _ = sample_replies(model, tokenizer, prompts, [4] * 4, samples=3, seed=1)
    alone = [sample_replies(model, tokenizer, [p], [4], samples=3, seed=1)[0][0] for p in prompts]
    small, _ = sample_replies(model, tokenizer, prompts, [4] * 4, samples=3, seed=1, tokens_per_batch=1)
    assert list(together) == alone == list(small)
    assert sample_replies(model, tokenizer, prompts, [4] * 4, samples=3, seed=2)[0] != together


def test_agreement_counts_the_samples_that_state_the_chosen_option(model: Any, tokenizer: Any) -> None:
    """Options are the model's own likeliest tokens, so that samples state them."""
    messages = ({"role": "user", "content": "Is A00 Cholera?"},)
    prompt = render(tokenizer, messages)
    said = [sampled_by_hand(model, tokenizer, prompt, n, 1).strip() for n in range(SAMPLES)]
    options = tuple(dict.fromkeys([*[s for s in said if s.isalnum()][:2], "yes", "no"]))
    question = Question("q", "clinical", "g", messages, options, 0)
    [found] = stated(model, tokenizer, AGREEMENT, [question]).confidence
    limit = 1 + max(len(tokenizer(o, add_special_tokens=False)["input_ids"]) for o in options)
    replies = [sampled_by_hand(model, tokenizer, prompt, n, limit) for n in range(SAMPLES)]
    best = options.index(chosen(model, tokenizer, question))
    assert found == sum(option_of(r, options) == best for r in replies) / SAMPLES
    assert any(option_of(r, options) is not None for r in replies)


@pytest.mark.parametrize("source", SOURCES)
def test_the_source_changes_confidence_and_nothing_else(
    source: str, model: Any, tokenizer: Any, probes: ProbeSet
) -> None:
    plain = probe(model, tokenizer, probes, model_digest="m", split="s")
    seen = probe(model, tokenizer, probes, model_digest="m", split="s", confidence=source)
    assert seen.confidence_source == source
    assert [a.correct for a in seen.answers] == [a.correct for a in plain.answers]
    assert seen.groups == plain.groups and seen.replies == plain.replies
    for answer in seen.answers:
        assert 0 <= answer.confidence <= 1 or (source == VERBALIZED and not answer.is_stated)
    assert (source == OPTION_LIKELIHOOD) == (seen.answers[0].stated is None)


@pytest.mark.parametrize("source", SOURCES)
def test_the_token_budget_covers_the_source(
    source: str, model: Any, tokenizer: Any, probes: ProbeSet
) -> None:
    alone = replace(probes, groups=(), conversations=())
    seen = probe(
        model, tokenizer, alone, model_digest="m", split="s", budget=Budget(tokens=1500), confidence=source
    )
    assert seen.skipped + len(seen.answers) == len(alone)
    assert seen.answers and seen.tokens <= 1500
    costs = [extra_cost(tokenizer, source, q) for q in alone.questions]
    assert (min(costs) > 0) == (source not in (OPTION_LIKELIHOOD, ANSWER_LIKELIHOOD))


def test_an_unknown_source_is_an_error(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    with pytest.raises(ValueError, match="vibes"):
        stated(model, tokenizer, "vibes", questions)
