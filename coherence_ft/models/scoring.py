"""Log-probabilities of given options after a prompt, each prompt computed once.

lm-evaluation-harness computes prompt and option anew for every option of more than one token, and all
logits of all positions. Here the tokens that start every prompt (chat template, system prompt) are
computed once, all options of a question share one row (each sees the prompt and itself), rows of similar
length go together, and only the last positions reach the vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from coherence_ft.models.batches import (
    Padded,
    Prefix,
    Row,
    by_length,
    common_prefix,
    encode,
    quiet,
    takes_explicit_masks,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Item = tuple[str, Sequence[str]]
"""A rendered prompt and the options that may follow it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """`log_probabilities`: for every item, for every option, the sum over the option's tokens (nats).
    `tokens`: how many were computed, the shared prefix once, padding not counted."""

    log_probabilities: tuple[tuple[float, ...], ...]
    tokens: int

    @property
    def probabilities(self) -> tuple[tuple[float, ...], ...]:
        """For every item, normalised over its options."""
        return tuple(_normalised(row) for row in self.log_probabilities)


@dataclass(frozen=True, slots=True)
class _Term:
    """One conditional log-probability that is needed: of `token`, `back` positions from the row's end."""

    row: int
    back: int
    token: int
    item: int
    option: int


def score_options(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    *,
    tokens_per_batch: int = 1024,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """log p(option | prompt) for every option of every item, in the order given.

    An option is continued directly after the prompt's text, without a space of our own. Where a
    tokenizer merges across that boundary, the merged token counts as the option's, for all options of
    the item alike. The model must be in evaluation mode; it may be quantized, a mixture of experts or
    wrapped by PEFT. `progress` is called with the number of items done since the last call.
    Raises ValueError for an empty prompt or option.
    """
    if model.training:
        raise ValueError("score_options needs model.eval(): dropout would make the scores random")
    contexts, options = _tokenize(tokenizer, items)
    if not items:
        return Scores((), 0)
    longest = max(
        len(context) + sum(map(len, given)) for context, given in zip(contexts, options, strict=True)
    )
    packed = takes_explicit_masks(model, longest)
    # The last token of a prompt always goes through the model: its logits are what is asked for.
    shared = min(common_prefix(contexts), min(map(len, contexts)) - 1) if packed and len(items) > 1 else 0
    rows, terms = _rows(contexts, options, shared, packed)
    wanted: dict[int, list[_Term]] = {}
    for term in terms:
        wanted.setdefault(term.row, []).append(term)

    sums = [[0.0] * len(given) for given in options]
    number = {id(row): index for index, row in enumerate(rows)}
    left = Counter(row.item for row in rows)
    # no_grad, not inference_mode: what a layer caches meanwhile (rotary frequencies, bitsandbytes' state)
    # must still serve a backward pass afterwards.
    with torch.no_grad():
        prefix = Prefix(model, contexts[0][:shared])
        for batch in by_length(rows, tokens_per_batch):
            needed = [
                (position, term) for position, row in enumerate(batch) for term in wanted[number[id(row)]]
            ]
            tail = max(term.back for _, term in needed)
            logits = _forward(model, tokenizer, batch, prefix, packed, tail)
            at = torch.tensor(
                [(p, logits.shape[1] - t.back, t.token) for p, t in needed], device=logits.device
            )
            for (_, term), value in zip(needed, _log_probabilities(logits, at), strict=True):
                sums[term.item][term.option] += value
            if progress is not None:
                left.subtract(row.item for row in batch)
                progress(sum(left[item] == 0 for item in {row.item for row in batch}))
    tokens = shared + sum(len(row.tokens) for row in rows)
    return Scores(tuple(map(tuple, sums)), tokens)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """For every item: the context's tokens, and for every option the tokens after the context."""
    prompts = encode(tokenizer, [prompt for prompt, _ in items])
    wholes = iter(encode(tokenizer, [prompt + option for prompt, given in items for option in given]))
    contexts, options = [], []
    for (prompt, given), context in zip(items, prompts, strict=True):
        followed = [next(wholes) for _ in given]
        length = common_prefix([context, *followed])
        if not length or any(len(whole) <= length for whole in followed):
            raise ValueError(f"a prompt or an option is empty: {prompt[-40:]!r}, {list(given)!r}")
        contexts.append(context[:length])
        options.append([whole[length:] for whole in followed])
    return contexts, options


def _rows(
    contexts: Sequence[list[int]], options: Sequence[list[list[int]]], shared: int, packed: bool
) -> tuple[list[Row], list[_Term]]:
    """Rows to compute and the terms to read from them; the last token of an option need not be computed."""
    rows: list[Row] = []
    terms: list[_Term] = []
    for item, (context, given) in enumerate(zip(contexts, options, strict=True)):
        single = [o for o, tokens in enumerate(given) if len(tokens) == 1]
        # Packed: one row for all options. Else a row for each option of several tokens.
        groups = [list(range(len(given)))] if packed else [[o] for o in range(len(given)) if o not in single]
        if not packed and single:
            groups.append(single)
        for group in groups:
            row = Row(
                item,
                list(context[shared:]),
                list(range(shared, len(context))),
                [0] * (len(context) - shared),
            )
            inside = sum(len(given[o]) - 1 for o in group)  # option tokens in the row
            before = 0
            for segment, option in enumerate(group, start=1):
                tokens = given[option]
                terms.append(_Term(len(rows), inside + 1, tokens[0], item, option))
                for index, token in enumerate(tokens[1:]):
                    terms.append(_Term(len(rows), inside - before - index, token, item, option))
                row.tokens.extend(tokens[:-1])
                row.positions.extend(range(len(context), len(context) + len(tokens) - 1))
                row.segments.extend([segment] * (len(tokens) - 1))
                before += len(tokens) - 1
            rows.append(row)
    return rows, terms


def _forward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Row],
    prefix: Prefix,
    packed: bool,
    tail: int,
) -> torch.Tensor:
    """Logits of the last `tail` positions: (rows, tail, vocabulary)."""
    padded = Padded.of(batch, tokenizer.pad_token_id or 0, model.device)
    mask = padded.tree_mask(prefix.length, model) if packed else padded.flat_mask(0)
    cache = prefix.cache(len(batch)) if prefix.length else None
    return model(
        input_ids=padded.input_ids,
        attention_mask=mask,
        position_ids=padded.position_ids,
        logits_to_keep=tail,
        past_key_values=cache,
        use_cache=cache is not None,
        **quiet(model),
    ).logits


def _log_probabilities(logits: torch.Tensor, at: torch.Tensor, rows_at_once: int = 256) -> list[float]:
    """log softmax at (row, position, token) triples `at`, in float32, without keeping the softmax."""
    values: list[float] = []
    for part in at.to(logits.device).split(rows_at_once):
        chosen = logits[part[:, 0], part[:, 1]].float()
        picked = chosen.gather(1, part[:, 2:]).squeeze(1) - chosen.logsumexp(1)
        values.extend(picked.tolist())
    return values


def _normalised(log_probabilities: Sequence[float]) -> tuple[float, ...]:
    top = max(log_probabilities)
    weights = [math.exp(value - top) for value in log_probabilities]
    total = sum(weights)
    return tuple(weight / total for weight in weights)
