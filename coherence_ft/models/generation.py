"""Greedy and sampled replies, many at a time.

A decoding step on a CPU costs about the same for one row as for sixteen: it is bound by reading the
weights. So prompts go in batches, the tokens that start all of them are computed once, and a row that
has ended leaves the batch.
"""

from __future__ import annotations

import random
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
    contiguous_head,
    encode,
    quiet,
    takes_explicit_masks,
)
from coherence_ft.models.chat import end_of_turn
from coherence_ft.models.routing import Route, Routed, RoutingCapture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class _Prompt(Row):
    item: int


@dataclass(frozen=True, slots=True)
class Replies:
    """`texts`: without special tokens, in the order of the prompts. `tokens`: computed ones, prompt tokens
    (the shared prefix once) and generated ones, padding not counted. `routes`: the experts used for every
    reply, if routing was captured."""

    texts: tuple[str, ...]
    tokens: int
    routes: tuple[Route, ...] = ()


def generate_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: Sequence[int],
    *,
    tokens_per_batch: int = 4096,
    routing: RoutingCapture | None = None,
    progress: Callable[[int], None] | None = None,
) -> Replies:
    """The most likely next token, again and again, until the end of the turn or `max_new_tokens`.

    Plain greedy decoding: penalties and sampling settings that ship with a model are not applied. The
    model must be in evaluation mode. `routing`: a capture on this model, for `Replies.routes`. `progress`
    is called with the number of prompts done since the last call. Raises ValueError for an empty prompt.
    """
    found = _replies(model, tokenizer, prompts, max_new_tokens, tokens_per_batch, routing, progress, None)
    texts, tokens, routes = found
    return Replies(tuple(texts), tokens, routes)


def sample_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: Sequence[int],
    *,
    samples: int,
    seed: int,
    tokens_per_batch: int = 4096,
) -> tuple[tuple[tuple[str, ...], ...], int]:
    """For every prompt, `samples` replies drawn from the model's own distribution, at temperature 1.

    Also how many tokens were computed, each prompt's once. What is drawn depends on the seed and the prompt
    alone, not on what else is in the call. Otherwise as `generate_replies`.
    """
    draws = _Draws(samples, seed)
    texts, tokens, _ = _replies(
        model, tokenizer, prompts, max_new_tokens, tokens_per_batch, None, None, draws
    )
    each = [tuple(texts[start : start + samples]) for start in range(0, len(texts), samples)]
    return tuple(each), tokens


@dataclass(frozen=True, slots=True)
class _Draws:
    samples: int
    seed: int

    def of(self, prompt: str) -> list[random.Random]:
        """One for each sample. A string seeds by its content: the same on every machine."""
        return [random.Random(f"{self.seed}/{copy}/{prompt}") for copy in range(self.samples)]  # noqa: S311


def _replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: Sequence[int],
    tokens_per_batch: int,
    routing: RoutingCapture | None,
    progress: Callable[[int], None] | None,
    draws: _Draws | None,
) -> tuple[list[str], int, tuple[Route, ...]]:
    """Texts, tokens and routes; with `draws`, that many texts for each prompt, one after the other."""
    if model.training:
        raise ValueError("generation needs model.eval(): dropout would make the replies random")
    contexts = encode(tokenizer, prompts)
    if not contexts:
        return [], 0, ()
    if not all(contexts):
        raise ValueError("a prompt is empty")
    longest = max(len(c) + limit for c, limit in zip(contexts, max_new_tokens, strict=True))
    explicit = takes_explicit_masks(model, longest)
    shared = (
        min(common_prefix(contexts), min(map(len, contexts)) - 1) if explicit and len(contexts) > 1 else 0
    )
    rows = [
        _Prompt(context[shared:], list(range(shared, len(context))), item)
        for item, context in enumerate(contexts)
    ]
    stops = _stop_tokens(model, tokenizer)
    copies = draws.samples if draws else 1
    randoms = [each for prompt in prompts for each in draws.of(prompt)] if draws else []
    generated: list[list[int]] = [[] for _ in prompts for _ in range(copies)]
    routes: dict[int, Route] = {}
    with torch.no_grad(), contiguous_head(model):  # not inference_mode: see scoring.py
        if routing is not None:
            routing.drop()
        prefix = Prefix(model, contexts[0][:shared])
        before = [routing.take(1)] if routing is not None and shared else []
        for batch in by_length(rows, max(1, tokens_per_batch // copies)):
            limits = {
                row.item * copies + copy: max_new_tokens[row.item] for row in batch for copy in range(copies)
            }
            passes = _decode(
                model, tokenizer, batch, prefix, explicit, limits, stops, generated, routing, randoms
            )
            routes |= _routes(batch, before, passes, routing.span) if routing is not None else {}
            if progress is not None:
                progress(len(batch))
    computed = shared + sum(len(row.tokens) for row in rows) + sum(map(len, generated))
    texts = [
        str(tokenizer.decode(ids[:-1] if ids and ids[-1] in stops else ids, skip_special_tokens=True))
        for ids in generated
    ]
    return texts, computed, tuple(routes[item] for item in sorted(routes))


def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[_Prompt],
    prefix: Prefix,
    explicit: bool,
    limits: dict[int, int],
    stops: frozenset[int],
    generated: list[list[int]],
    routing: RoutingCapture | None,
    randoms: Sequence[random.Random],
) -> list[tuple[list[int], Routed]]:
    """Appends to `generated`; returns, for every forward pass, its rows' items and what was routed.

    `randoms`: of each item to be drawn, empty for greedy decoding; a prompt has `limits` / rows of them.
    """
    from transformers import DynamicCache

    padded = Padded.of(batch, tokenizer.pad_token_id or 0, model.device)
    cache = prefix.cache(len(batch)) if explicit else DynamicCache(config=model.config)
    copies = len(limits) // len(batch)
    items = [row.item * copies + copy for row in batch for copy in range(copies)]
    tokens, positions, mask = padded.input_ids, padded.position_ids, padded.mask(prefix.length)
    passes: list[tuple[list[int], Routed]] = []
    while True:
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **quiet(model),
        ).logits
        if routing is not None:
            passes.append((items, routing.take(len(items))))
        logits = logits[:, -1]
        if len(items) > len(logits):  # each prompt has been read once
            cache.batch_repeat_interleave(copies)
            mask, positions, logits = (x.repeat_interleave(copies, 0) for x in (mask, positions, logits))
        chosen = _drawn(logits, [randoms[item] for item in items]) if randoms else logits.argmax(-1)
        going = []
        for index, (item, token) in enumerate(zip(items, chosen.tolist(), strict=True)):
            if limits[item] > 0:
                generated[item].append(token)
            if token not in stops and len(generated[item]) < limits[item]:
                going.append(index)
        if not going:
            return passes
        if len(going) < len(items):
            keep = torch.tensor(going, device=model.device)
            cache.batch_select_indices(keep)
            chosen, mask, positions = chosen[keep], mask[keep], positions[keep]
            items = [items[index] for index in going]
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)


def _drawn(logits: torch.Tensor, randoms: Sequence[random.Random]) -> torch.Tensor:
    """A token for each row, by the inverse of its distribution function."""
    summed = logits.double().softmax(-1).cumsum(-1)
    at = torch.tensor([[each.random()] for each in randoms], dtype=summed.dtype, device=summed.device)
    found = torch.searchsorted(summed, at * summed[:, -1:], right=True)
    return found.clamp_max(summed.shape[1] - 1).squeeze(1)


def _routes(
    batch: Sequence[_Prompt], before: Sequence[Routed], passes: Sequence[tuple[list[int], Routed]], span: int
) -> dict[int, Route]:
    """The route of every reply: over the last positions of its prompt and all of its own that were read.
    `before`: what was routed for the shared prefix."""
    owner = {row.item: number for number, row in enumerate(batch)}
    prefix = start = sum(routed.experts.shape[2] for routed in before)
    positions: list[int] = []
    owners: list[int] = []
    for number, (items, routed) in enumerate(passes):
        width = routed.experts.shape[2]
        for item in items:
            start += width
            read = min(span, len(batch[owner[item]].tokens)) if number == 0 else 1
            shared = min(span - read, prefix) if number == 0 else 0
            positions += [*range(prefix - shared, prefix), *range(start - read, start)]
            owners += [owner[item]] * (shared + read)
    flat = Routed.joined([*before, *(routed for _, routed in passes)])
    routes = flat.routes([0] * len(positions), positions, owners)
    return {row.item: route for row, route in zip(batch, routes, strict=True)}


def _stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What ends a turn: the tokenizer's and the model's end tokens, and what the chat template writes."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id, end_of_turn(tokenizer)]
    return frozenset(int(token) for token in ends if token is not None)
