"""Sources of confidence: each gives one number in [0, 1] for the option that the model has chosen.

The choice is always the likeliest option, so that whether an answer is right does not change with the source.
What is stated is raw; the calibrator of the same source (evidence/calibrators.py) makes a probability of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.models.chat import render
from coherence_ft.models.generation import generate_replies, sample_replies
from coherence_ft.models.scoring import Scores, score_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ANSWER_LIKELIHOOD = "answer_likelihood"
VERBALIZED = "verbalized"
P_TRUE = "p_true"
AGREEMENT = "agreement"
SOURCES = (OPTION_LIKELIHOOD, ANSWER_LIKELIHOOD, VERBALIZED, P_TRUE, AGREEMENT)

SAMPLES = 10
SEED = 0
"""Of `agreement`: samples of a question, and what they are drawn with."""

HOW_SURE = (
    "How sure are you that your answer is right? "
    "Reply with a whole number of per cent from 0 to 100, and with nothing else."
)
_PER_CENT = re.compile(r"(100|[1-9]?[0-9]) ?(?:%|percent|per cent)?\.?", re.ASCII | re.IGNORECASE)
_PER_CENT_TOKENS = 12

IS_IT_TRUE = "Proposed answer: {answer}\n\nIs the proposed answer true? Reply with True or False."
_TRUTH = ("True", "False")


class Asked(Protocol):
    """A question with its admissible answers, as a probe or at run time."""

    @property
    def messages(self) -> Sequence[dict[str, str]]: ...
    @property
    def options(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Stated:
    """`confidence`: for every question, in [0, 1]; NaN where the model stated none. `tokens`: computed for
    it, beside those that scored the options."""

    confidence: tuple[float, ...]
    tokens: int = 0


def stated_confidence(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: str,
    questions: Sequence[Asked],
    scores: Scores,
) -> Stated:
    """Confidence in the likeliest option of each question. `scores`: of the questions' options, same order.

    - `option_likelihood`: the option's share of the options' likelihood.
    - `answer_likelihood`: exp of the mean log-probability of the option's tokens (Malinin and Gales 2021,
      Uncertainty Estimation in Autoregressive Structured Prediction, length-normalised).
    - `verbalized`: asked in a following turn, greedily (Lin et al. 2022, Teaching Models to Express Their
      Uncertainty in Words; Tian et al. 2023, Just Ask for Calibration). Anything but a whole number of per
      cent from 0 to 100 states none.
    - `p_true`: the share of `True` in "Is the proposed answer true?" (Kadavath et al. 2022, Language Models
      (Mostly) Know What They Know, section 3).
    - `agreement`: of ten replies sampled at temperature 1, the share that state the same option; one that
      states no option agrees with nothing (Wang et al. 2023, Self-Consistency; Xiong et al. 2024, Can LLMs
      Express Their Uncertainty?). The draws depend on the question alone.

    The model must be in evaluation mode. Raises ValueError for another source.
    """
    choices = [max(range(len(row)), key=row.__getitem__) for row in scores.log_probabilities]
    if source == OPTION_LIKELIHOOD:
        return Stated(tuple(map(max, scores.probabilities)))
    if source == ANSWER_LIKELIHOOD:
        rows = zip(scores.log_probabilities, scores.lengths, choices, strict=True)
        # `min` in this order keeps NaN, which is then refused
        return Stated(tuple(math.exp(min(row[best] / lengths[best], 0.0)) for row, lengths, best in rows))
    chosen = [question.options[best] for question, best in zip(questions, choices, strict=True)]
    if source == VERBALIZED:
        prompts = [render(tokenizer, _sure(q, answer)) for q, answer in zip(questions, chosen, strict=True)]
        replied = generate_replies(model, tokenizer, prompts, [_PER_CENT_TOKENS] * len(prompts))
        return Stated(tuple(map(per_cent, replied.texts)), replied.tokens)
    if source == P_TRUE:
        items = [
            (render(tokenizer, _true(q, answer)), _TRUTH) for q, answer in zip(questions, chosen, strict=True)
        ]
        scored = score_options(model, tokenizer, items)
        return Stated(tuple(true for true, _ in scored.probabilities), scored.tokens)
    if source == AGREEMENT:
        prompts = [render(tokenizer, q.messages) for q in questions]
        limits = [_reply_tokens(tokenizer, q) for q in questions]
        replies, tokens = sample_replies(model, tokenizer, prompts, limits, samples=SAMPLES, seed=SEED)
        rows_of = zip(questions, replies, choices, strict=True)
        return Stated(
            tuple(sum(option_of(r, q.options) == best for r in each) / SAMPLES for q, each, best in rows_of),
            tokens,
        )
    raise ValueError(f"no such source of confidence: {source}")


def extra_cost(tokenizer: PreTrainedTokenizerBase, source: str, question: Asked) -> int:
    """At most how many tokens the source computes for a question, beside scoring its options."""

    def length(messages: Sequence[dict[str, str]]) -> int:
        return _length(tokenizer, render(tokenizer, messages))

    longest = max(question.options, key=lambda option: _length(tokenizer, option))
    if source == VERBALIZED:
        return length(_sure(question, longest)) + _PER_CENT_TOKENS
    if source == P_TRUE:
        return length(_true(question, longest)) + sum(_length(tokenizer, word) for word in _TRUTH)
    if source == AGREEMENT:
        return length(question.messages) + SAMPLES * _reply_tokens(tokenizer, question)
    return 0


def per_cent(reply: str) -> float:
    """What a reply states, as a fraction; NaN for anything but a whole number of per cent."""
    found = _PER_CENT.fullmatch(reply.strip())
    return int(found[1]) / 100 if found else math.nan


def option_of(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply begins with, the longest of several; letters' case does not count.

    A word goes on where letters or digits follow: "yesterday" is not "yes". None where it is none of them.
    """
    said = reply.strip().casefold()
    found = []
    for index, option in enumerate(options):
        wanted = option.strip().casefold()
        if wanted and said.startswith(wanted) and not said[len(wanted) : len(wanted) + 1].isalnum():
            found.append((len(wanted), -index))
    return -max(found)[1] if found else None


def _sure(question: Asked, answer: str) -> list[dict[str, str]]:
    return [
        *question.messages,
        {"role": "assistant", "content": answer.strip()},
        {"role": "user", "content": HOW_SURE},
    ]


def _true(question: Asked, answer: str) -> list[dict[str, str]]:
    """The answer as somebody's proposal, not as the model's own turn, which it would rather stand by."""
    *before, last = question.messages
    asked = IS_IT_TRUE.replace("{answer}", answer.strip())
    return [*before, {**last, "content": f"{last['content']}\n\n{asked}"}]


def _reply_tokens(tokenizer: PreTrainedTokenizerBase, question: Asked) -> int:
    """Enough for every option and the token after it, which shows that its last word has ended."""
    return 1 + max(_length(tokenizer, option) for option in question.options)


def _length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
