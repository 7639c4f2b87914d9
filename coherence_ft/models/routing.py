"""Which experts a mixture used for an answer: hooks on its routers, in any forward pass.

`generate()` never returns router logits, and the top-k of logits is not what DeepSeek-V3 selects. So a hook
on each router takes the indices that the router itself returns: (logits, weights, indices) in transformers 5.
The last five layers of experts suffice (Li et al. 2025, C3PO).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.models.architecture import EXPERT_ARCHITECTURES, expert_count

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

CAPTURE_VERSION = 1
"""Counts of another version are not comparable: a codebook fitted on them is refused."""

LAST_LAYERS = 5

SPAN = 32
"""Positions that speak for an answer before its second token is read: the last ones of the prompt.

Measured on the mixture of examples/upcycle_moe.py, 150 questions of three domains, answers of one token. The
last 1 to 16 positions (chat template, "yes or no?") gave patterns that told 0.0 to 0.9 of 1.58 bits about the
domain and differed for up to 5 % of the answers when batches changed; the last 32 told 1.58 bits, the whole
prompt 1.36, both the same in 99 % and more, and the same for both forms of every paraphrase.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The experts used for one answer, in each captured layer.

    `counts`: (layers, experts), how often each was chosen. `contributions`: (layers, experts), the sum of
    the router's weights, each position's adding up to 1.
    """

    counts: NDArray[np.int64]
    contributions: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """What the routers returned for a batch. `experts`, `weights`: (layers, rows, positions, chosen)."""

    experts: torch.Tensor
    weights: torch.Tensor
    of: int  # experts in a layer

    @classmethod
    def joined(cls, passes: Sequence[Routed]) -> Routed:
        """One row of all positions: those of a pass's first row, its second, …, those of the next pass."""
        return cls(
            torch.cat([routed.experts.flatten(1, 2) for routed in passes], 1).unsqueeze(1),
            torch.cat([routed.weights.flatten(1, 2) for routed in passes], 1).unsqueeze(1),
            passes[0].of,
        )

    def routes(self, rows: Sequence[int], positions: Sequence[int], owners: Sequence[int]) -> list[Route]:
        """One route for each of the owners 0, 1, …: `owners[i]` used the position `positions[i]` of
        `rows[i]`. A position may have several owners; what nobody owns, padding above all, is not counted."""
        layers, _, length, chosen = self.experts.shape
        owned = np.asarray(owners, dtype=np.int64)
        at = torch.from_numpy(np.asarray(rows, np.int64) * length + np.asarray(positions, np.int64))
        at = at.to(self.experts.device)
        experts = self.experts.flatten(1, 2).index_select(1, at).cpu().numpy()  # (layers, owned, chosen)
        weights = self.weights.flatten(1, 2).index_select(1, at).float().cpu().numpy()
        weights = weights / (weights @ np.ones(chosen, np.float32))[..., None]
        count = int(owned.max(initial=-1)) + 1
        first = owned[:, None] * (layers * self.of) + np.arange(layers)[:, None, None] * self.of
        cells = (experts + first).ravel()
        shape, size = (count, layers, self.of), count * layers * self.of
        counts = np.bincount(cells, minlength=size).reshape(shape)
        contributions = np.bincount(cells, weights.ravel(), minlength=size).reshape(shape)
        return [Route(*both) for both in zip(counts, contributions, strict=True)]


class RoutingCapture:
    """Hooks on the routers of a model. Made by `routing_capture`, which also takes them off.

    `version` says what counts are comparable: how they were taken, from which layers of what router.
    """

    def __init__(self, model: PreTrainedModel, layers: int) -> None:
        routers = _routers(model)[-layers:]
        numbers = ",".join(str(number) for number, _ in routers)
        self.experts = int(routers[0][1].num_experts)
        self.span = SPAN
        self.version = (
            f"{CAPTURE_VERSION} {model.config.get_text_config().model_type} layers={numbers} "
            f"experts={self.experts} chosen={int(routers[0][1].top_k)} span={self.span}"
        )
        self._calls: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in routers]
        self._handles: list[RemovableHandle] = []
        for calls, (_, router) in zip(self._calls, routers, strict=True):
            self._handles.append(router.register_forward_hook(partial(_keep, calls)))

    def take(self, rows: int) -> Routed:
        """What was routed since the last `take`, in passes over `rows` rows each. With a cache, the
        positions of later passes come after those of earlier ones."""
        taken = [calls.copy() for calls in self._calls]
        self.drop()
        if not taken[0] or len({len(calls) for calls in taken}) > 1:
            raise RuntimeError("no whole forward pass since the last one")

        def joined(part: int) -> torch.Tensor:
            layers = [torch.cat([c[part].unflatten(0, (rows, -1)) for c in calls], 1) for calls in taken]
            return torch.stack(layers)

        return Routed(joined(0), joined(1), self.experts)

    def drop(self) -> None:
        """Forget what was routed since the last `take`."""
        for calls in self._calls:
            calls.clear()

    def detach(self) -> None:
        self.drop()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


@contextmanager
def routing_capture(model: PreTrainedModel, *, layers: int = LAST_LAYERS) -> Iterator[RoutingCapture | None]:
    """Watch the routers of the last `layers` layers that have one; None for a dense model.

    The model may be quantized and wrapped by PEFT. Nothing stays on it afterwards. Raises CFT509 for
    experts whose router is not known.
    """
    if not expert_count(model.config):
        yield None
        return
    capture = RoutingCapture(model, layers)
    try:
        yield capture
    finally:
        capture.detach()


def _routers(model: PreTrainedModel) -> list[tuple[int, Any]]:
    """(layer number, router) in the order of the layers. Raises CFT509."""
    model_type = model.config.get_text_config().model_type
    router = EXPERT_ARCHITECTURES.get(model_type)
    found = []
    for name, module in model.named_modules():
        number = re.search(r"\blayers\.(\d+)\.", name)
        if number and type(module).__name__ == router:
            found.append((int(number[1]), module))
    if not found:
        raise _unknown(f"{model_type}: no {router or 'router that is known'} in the model")
    return sorted(found, key=lambda pair: pair[0])


def _keep(
    calls: list[tuple[torch.Tensor, torch.Tensor]], router: Any, given: tuple[Any, ...], returned: Any
) -> None:
    if not (isinstance(returned, tuple) and len(returned) == 3) or returned[2].is_floating_point():
        raise _unknown(f"{type(router).__name__} returned something else than (logits, weights, indices)")
    calls.append((returned[2], returned[1].detach()))


def _unknown(found: str) -> CoherenceError:
    return refusal(
        "CFT509",
        "a mixture of experts whose router is not known",
        found=found,
        expected=", ".join(EXPERT_ARCHITECTURES),
        help="its routing patterns cannot be read, so nothing measured by route would hold for it",
    )
