"""Log-probabilities of given options after a prompt, no token computed twice.

lm-evaluation-harness computes a prompt anew for every option of more than one token, and all logits of
all positions. Here the tokens that start every prompt (chat template, system prompt) are computed once;
prompts that share more, and the options of a question, share a row as a tree of tokens, in which each token
sees its own ancestors (the attention mask of speculative decoding, Miao et al. 2023, SpecInfer); rows of
similar length go together; and only the last positions of a row reach the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
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
from coherence_ft.models.routing import Route, Routed, RoutingCapture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Prompts about one passage share a row. In a long row tokens attend past many they may not see, so with
# fewer tokens in common (measured: 8 to 16) nothing is won.
_WORTH_SHARING = 32
_ROW_LENGTH = 512

Item = tuple[str, Sequence[str]]
"""A rendered prompt and the options that may follow it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """`log_probabilities`: for every item, for every option, the sum over the option's tokens (nats).
    `lengths`: likewise, how many tokens the option has. `tokens`: how many were computed, the shared prefix
    once, padding not counted. `routes`: for every item, the experts used for its likeliest option, if routing
    was captured."""

    log_probabilities: tuple[tuple[float, ...], ...]
    tokens: int
    routes: tuple[Route, ...] = ()
    lengths: tuple[tuple[int, ...], ...] = ()

    @property
    def probabilities(self) -> tuple[tuple[float, ...], ...]:
        """For every item, normalised over its options."""
        return tuple(_normalised(row) for row in self.log_probabilities)


@dataclass(frozen=True, slots=True)
class _Term:
    """One conditional log-probability that is needed: of `token`, after the row's token `node`."""

    node: int
    token: int
    item: int
    option: int


@dataclass(frozen=True, slots=True)
class _Tree(Row):
    """A row whose tokens form a tree: `parents` by index, -1 for those right after the shared prefix."""

    parents: list[int]
    terms: list[_Term]
    items: int  # how many items are done with it

    @property
    def tail(self) -> int:
        """How many of the last tokens hold every one that a term asks for."""
        return len(self.tokens) - min(term.node for term in self.terms)

    def spans(self, length: int) -> dict[tuple[int, int], list[int]]:
        """For every (item, option): the nodes that its tokens are predicted from, and before the first of
        them the last ones of the prompt, `length` in all without those of the option. Negative ones count
        back from the end of the shared prefix."""
        spans: dict[tuple[int, int], list[int]] = {}
        for term in self.terms:
            nodes = spans.setdefault((term.item, term.option), [])
            nodes.append(term.node)
            if len(nodes) == 1:
                while len(nodes) < length:
                    nodes.append(self.parents[nodes[-1]] if nodes[-1] >= 0 else nodes[-1] - 1)
        return spans


def score_options(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    *,
    tokens_per_batch: int = 1024,
    routing: RoutingCapture | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """log p(option | prompt) for every option of every item, in the order given.

    An option is continued directly after the prompt's text, without a space of our own. Where a
    tokenizer merges across that boundary, the merged token counts as the option's, for all options of
    the item alike. The model must be in evaluation mode; it may be quantized, a mixture of experts or
    wrapped by PEFT. `routing`: a capture on this model, for `Scores.routes`. `progress` is called with the
    number of items done since the last call.
    Raises ValueError for an empty prompt or option.
    """
    if model.training:
        raise ValueError("score_options needs model.eval(): dropout would make the scores random")
    contexts, options = _tokenize(tokenizer, items)
    if not items:
        return Scores((), 0)
    longest = max(
        len(context) + max(map(len, given)) for context, given in zip(contexts, options, strict=True)
    )
    trees = takes_explicit_masks(model, longest)
    # The last token of a prompt always goes through the model: its logits are what is asked for.
    shared = min(common_prefix(contexts), min(map(len, contexts)) - 1) if trees and len(items) > 1 else 0
    if trees:
        rows = [_tree(group, contexts, options, shared) for group in _groups(contexts, shared)]
    else:
        rows = [row for item in range(len(items)) for row in _chains(item, contexts[item], options[item])]

    sums = [[0.0] * len(given) for given in options]
    routes: dict[tuple[int, int], Route] = {}
    # no_grad, not inference_mode: what a layer caches meanwhile (rotary frequencies, bitsandbytes' state)
    # must still serve a backward pass afterwards.
    with torch.no_grad(), contiguous_head(model):
        if routing is not None:
            routing.drop()
        prefix = Prefix(model, contexts[0][:shared])
        before = [routing.take(1)] if routing is not None and shared else []
        for batch in by_length(rows, tokens_per_batch):
            tail = max(row.tail for row in batch)
            logits = _forward(model, tokenizer, batch, prefix, trees, tail)
            if routing is not None:
                routes |= _routes(batch, before, routing)
            needed = [
                (number, tail - len(row.tokens) + term.node, term)
                for number, row in enumerate(batch)
                for term in row.terms
            ]
            at = torch.tensor([(number, position, term.token) for number, position, term in needed])
            for (_, _, term), value in zip(needed, _log_probabilities(logits, at), strict=True):
                sums[term.item][term.option] += value
            if progress is not None:
                progress(sum(row.items for row in batch))
    chosen = [(item, max(range(len(row)), key=row.__getitem__)) for item, row in enumerate(sums)]
    return Scores(
        tuple(map(tuple, sums)),
        shared + sum(len(row.tokens) for row in rows),
        tuple(routes[which] for which in chosen) if routing is not None else (),
        tuple(tuple(map(len, given)) for given in options),
    )


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


def _groups(contexts: Sequence[list[int]], shared: int) -> Iterator[list[int]]:
    """Items whose contexts have enough in common beyond the prefix to share a row."""
    order = sorted(range(len(contexts)), key=contexts.__getitem__)
    group = [order[0]]
    length = len(contexts[order[0]]) - shared
    for before, item in pairwise(order):
        common = common_prefix([contexts[before], contexts[item]])
        added = len(contexts[item]) - common
        if common - shared >= _WORTH_SHARING and length + added <= _ROW_LENGTH:
            group.append(item)
            length += added
        else:
            yield group
            group, length = [item], len(contexts[item]) - shared
    yield group


def _tree(
    group: Sequence[int], contexts: Sequence[list[int]], options: Sequence[list[list[int]]], shared: int
) -> _Tree:
    """The tree of a group's contexts and options. The last token of an option need not be computed.

    Tokens that are asked for come last; a parent may then stand after its child, which the mask allows.
    """
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) to node
    tokens: list[int] = []
    positions: list[int] = []
    parents: list[int] = []
    terms: list[_Term] = []
    for item in group:
        context = contexts[item]
        for option, following in enumerate(options[item]):
            node = -1
            whole = context + following
            for position in range(shared, len(whole)):
                if position >= len(context):
                    terms.append(_Term(node, whole[position], item, option))
                if position == len(whole) - 1:
                    break
                parent, node = node, nodes.setdefault((node, whole[position]), len(tokens))
                if node == len(tokens):
                    tokens.append(whole[position])
                    positions.append(position)
                    parents.append(parent)
    asked = {term.node for term in terms}
    order = sorted(range(len(tokens)), key=lambda node: node in asked)
    place = {node: index for index, node in enumerate(order)} | {-1: -1}
    return _Tree(
        [tokens[node] for node in order],
        [positions[node] for node in order],
        [place[parents[node]] for node in order],
        [replace(term, node=place[term.node]) for term in terms],
        len(group),
    )


def _chains(item: int, context: list[int], options: Sequence[list[int]]) -> Iterator[_Tree]:
    """A row for every option of several tokens, one for all the others."""
    together = [option for option, tokens in enumerate(options) if len(tokens) == 1]
    groups = [[o] for o in range(len(options)) if o not in together] + ([together] if together else [])
    for number, group in enumerate(groups):
        tokens = context + options[group[0]][:-1]
        terms = [
            _Term(len(context) - 1 + index, token, item, option)
            for option in group
            for index, token in enumerate(options[option])
        ]
        last = number == len(groups) - 1
        yield _Tree(tokens, list(range(len(tokens))), list(range(-1, len(tokens) - 1)), terms, int(last))


def _forward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[_Tree],
    prefix: Prefix,
    trees: bool,
    tail: int,
) -> torch.Tensor:
    """Logits of the last `tail` positions: (rows, tail, vocabulary)."""
    padded = Padded.of(batch, tokenizer.pad_token_id or 0, model.device)
    cache = prefix.cache(len(batch)) if prefix.length else None
    return model(
        input_ids=padded.input_ids,
        attention_mask=_tree_mask(batch, prefix.length, model) if trees else padded.mask(0),
        position_ids=padded.position_ids,
        logits_to_keep=tail,
        past_key_values=cache,
        use_cache=cache is not None,
        **quiet(model),
    ).logits


def _routes(
    batch: Sequence[_Tree], before: Sequence[Routed], routing: RoutingCapture
) -> dict[tuple[int, int], Route]:
    """The route of every (item, option) of a batch. `before`: what was routed for the shared prefix."""
    prefix = sum(routed.experts.shape[2] for routed in before)
    length = max(len(row.tokens) for row in batch)
    named: list[tuple[int, int]] = []
    positions: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(batch):
        start = prefix + (number + 1) * length - len(row.tokens)
        for which, nodes in row.spans(routing.span).items():
            at = [start + node if node >= 0 else prefix + node for node in nodes if node >= -prefix]
            positions += at
            owners += [len(named)] * len(at)
            named.append(which)
    routed = Routed.joined([*before, routing.take(len(batch))])
    return dict(zip(named, routed.routes([0] * len(owners), positions, owners), strict=True))


def _tree_mask(batch: Sequence[_Tree], prefix: int, model: PreTrainedModel) -> torch.Tensor:
    """(rows, 1, length, prefix + length): a token sees the prefix, its ancestors and itself.

    Padding sees the prefix and itself, never nothing: an empty softmax would be NaN.
    """
    length = max(len(row.tokens) for row in batch)
    seen = np.zeros((len(batch), 1, length, prefix + length), dtype=bool)
    seen[..., :prefix] = True
    seen[..., np.arange(length), prefix + np.arange(length)] = True
    for number, row in enumerate(batch):
        ancestors = seen[number, 0, length - len(row.tokens) :, prefix + length - len(row.tokens) :]
        for node in sorted(range(len(row.tokens)), key=row.positions.__getitem__):
            if row.parents[node] >= 0:
                ancestors[node] |= ancestors[row.parents[node]]
    allowed = torch.from_numpy(seen).to(model.device)
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return allowed
    lowest = torch.finfo(model.dtype).min
    return torch.zeros(allowed.shape, dtype=model.dtype, device=model.device).masked_fill_(~allowed, lowest)


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
