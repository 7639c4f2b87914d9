"""Batches of token sequences for scoring and generation: a shared prefix, left padding, explicit masks.

Everything that a forward pass needs is given to it (mask, positions, cache), nothing is read from or
written to the tokenizer's padding side, the model's configuration or any other state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch: token ids and their positions in the text."""

    tokens: list[int]
    positions: list[int]


R = TypeVar("R", bound=Row)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens of the tokenizer's own: the chat template has written them."""
    if not texts:
        return []
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def common_prefix(sequences: Sequence[list[int]]) -> int:
    """How many leading tokens all sequences share."""
    first, last = min(sequences), max(sequences)  # in lexicographic order these differ earliest
    return next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first)
    )


def takes_explicit_masks(model: PreTrainedModel, longest: int) -> bool:
    """Whether a mask of our own says all about attention: scaled-dot-product or eager, and every layer
    sees `longest` tokens back. Otherwise neither a shared prefix nor token trees are used."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    return (
        getattr(config, "_attn_implementation", None) in {"sdpa", "eager"}
        and kinds <= {"full_attention", "sliding_attention"}
        and (window is None or longest <= window)
    )


def by_length(rows: Sequence[R], tokens_per_batch: int) -> Iterator[list[R]]:
    """Rows of similar length together, longest first, at most `tokens_per_batch` tokens with padding."""
    batch: list[R] = []
    for row in sorted(rows, key=lambda r: -len(r.tokens)):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class Prefix:
    """Keys and values of tokens that start every row, computed once. Empty is allowed."""

    def __init__(self, model: PreTrainedModel, tokens: Sequence[int]) -> None:
        self.length = len(tokens)
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        if tokens:
            from transformers import DynamicCache

            cache = DynamicCache()
            ids = torch.tensor([list(tokens)], device=model.device)
            model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **quiet(model))
            layers: list[Any] = cache.layers
            self._layers = [(layer.keys, layer.values) for layer in layers]

    def cache(self, rows: int) -> DynamicCache:
        """A cache for `rows` rows that starts with the prefix; what is added to it stays in it alone."""
        from transformers import DynamicCache

        return DynamicCache(
            [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in self._layers] or None
        )


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch padded on the left, so that the last positions of all rows are the same."""

    input_ids: torch.Tensor  # (rows, length)
    position_ids: torch.Tensor  # (rows, length)
    present: torch.Tensor  # (rows, length), bool; False is padding

    @classmethod
    def of(cls, rows: Sequence[Row], pad: int, device: torch.device) -> Padded:
        length = max(len(row.tokens) for row in rows)

        def tensor(values: Sequence[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([[fill] * (length - len(v)) + v for v in values], device=device)

        return cls(
            tensor([row.tokens for row in rows], pad),
            tensor([row.positions for row in rows], 0),
            tensor([[1] * len(row.tokens) for row in rows], 0).bool(),
        )

    def mask(self, prefix: int) -> torch.Tensor:
        """(rows, prefix + length): 1 for tokens, 0 for padding."""
        return torch.nn.functional.pad(self.present.long(), (prefix, 0), value=1)


@contextmanager
def contiguous_head(model: PreTrainedModel) -> Iterator[None]:
    """Hidden states reach the head in one piece.

    `logits_to_keep` slices them. With frozen weights, torch's matmul does not fold such a slice into one
    product but copies the head's weights for every row: four times the time of the whole forward pass.
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
    try:
        yield
    finally:
        handle.remove()


def quiet(model: PreTrainedModel) -> dict[str, Any]:
    """Training may ask for router logits and their loss; here they would only cost."""
    return {"output_router_logits": False} if hasattr(model.config, "output_router_logits") else {}
