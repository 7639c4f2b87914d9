"""Probing: a probe set run over a model gives observations, within a budget, without a trace in the model.

Nothing here draws random numbers or changes the model; `untouched` makes sure of it when the model is in
the middle of a training run.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.documents.probe_set import Conversation, Member, Probe, ProbeGroup, ProbeSet, Question
from coherence_ft.evidence.routing_patterns import UNKNOWN
from coherence_ft.loops.observation import (
    AnswerObservation,
    GroupObservation,
    Observations,
    ReplyObservation,
)
from coherence_ft.loops.sequential import rank
from coherence_ft.loops.verifiers import check
from coherence_ft.models.chat import render
from coherence_ft.models.confidence import extra_cost, stated_confidence
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.routing import RoutingCapture, routing_capture
from coherence_ft.models.scoring import Scores, score_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[int, int], None]
"""Called with (probes done, probes in all)."""

_LOOKS = 40  # of a sequential pass: how often it is asked whether to go on
_SLICES = 12  # parts of a pass: the clock of a time budget is read, and progress shown, between them


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of one pass. None: no bound. A bound that cuts probes off shows in `Observations.skipped`."""

    tokens: int | None = None  # prompt and generated tokens, counted before any is computed
    seconds: float | None = None
    probes: int | None = None


def probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probe_set: ProbeSet,
    *,
    model_digest: str,
    split: str,
    budget: Budget | None = None,
    progress: Progress | None = None,
    confidence: str = OPTION_LIKELIHOOD,
    sequential: bool = False,
    settled: Callable[[Observations], bool] | None = None,
) -> Observations:
    """Measure `model` on `probe_set`. `confidence`: the source of it (models/confidence.py).

    Questions, groups and conversations are interleaved in proportion, so that a budget cuts all three
    loops alike. `sequential`: shuffled instead by the probe set's digest (`loops/sequential.py`), questions
    of one group together; between slices `settled` is asked whether what was seen is enough.

    `model_digest` names what was measured. The experts that a mixture uses for its answers are
    counted; their patterns are `unknown` until a codebook assigns them (loops/routing.py).
    """
    budget = budget or Budget()
    started = time.monotonic()
    blocks = _shuffled(probe_set) if sequential else [[item] for item in _interleaved(probe_set)]
    order = [item for block in blocks for item in block]
    if budget.probes is not None:
        order = order[: budget.probes]
    if budget.tokens is not None:
        order = _within(order, budget.tokens, tokenizer, confidence)
    seen = Observations(model_digest, probe_set.digest, split, confidence_source=confidence)
    seen = replace(seen, largest_group=_largest_group(probe_set))
    # With a clock, or somebody watching, the pass is cut into slices; without, larger batches are faster.
    slices = _SLICES if budget.seconds is not None or progress is not None else 1
    size = max(1, math.ceil(len(order) / (_LOOKS if settled is not None else slices)))
    ends = list(accumulate(map(len, blocks))) if sequential else []
    done = 0
    with untouched(model, tokenizer), routing_capture(model) as routing:
        if routing is not None:
            seen = replace(seen, capture=routing.version)
        while done < len(order):
            if budget.seconds is not None and time.monotonic() - started > budget.seconds:
                break
            # a group of questions is one outcome: it is measured whole
            end = min(done + size, len(order))
            end = ends[bisect_left(ends, end)] if sequential else end
            part = order[done:end]
            seen = _measure(model, tokenizer, part, seen, routing)
            done += len(part)
            if progress is not None:
                progress(done, len(order))
            if settled is not None and settled(seen):
                break
    return replace(seen, skipped=len(probe_set) - done, seconds=time.monotonic() - started)


@contextmanager
def untouched(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Evaluate inside; put mode, cache setting, padding side and every random state back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    use_cache = model.config.use_cache
    padding_side = tokenizer.padding_side
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        model.config.use_cache = use_cache
        tokenizer.padding_side = padding_side
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


def _interleaved(probe_set: ProbeSet) -> list[Probe]:
    """All probes in the order of their relative rank within their kind (and, for groups, relation)."""
    kinds: dict[str, list[Probe]] = {}
    items: tuple[Probe, ...] = (*probe_set.questions, *probe_set.groups, *probe_set.conversations)
    for item in items:
        name = item.relation if isinstance(item, ProbeGroup) else type(item).__name__
        kinds.setdefault(name, []).append(item)
    ranked = [((rank + 0.5) / len(kind), item) for kind in kinds.values() for rank, item in enumerate(kind)]
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _shuffled(probe_set: ProbeSet) -> list[list[Probe]]:
    """Blocks of probes that are one unit each, in the order of their rank."""
    blocks: dict[str, list[Probe]] = {}
    for question in probe_set.questions:
        blocks.setdefault(f"question:{question.group}", []).append(question)
    blocks |= {f"group:{group.id}": [group] for group in probe_set.groups}
    blocks |= {f"conversation:{each.id}": [each] for each in probe_set.conversations}
    return [blocks[unit] for unit in sorted(blocks, key=lambda unit: rank(probe_set.digest, unit))]


def _largest_group(probe_set: ProbeSet) -> int:
    return max(Counter(question.group for question in probe_set.questions).values(), default=1)


def _within(
    order: Sequence[Probe], tokens: int, tokenizer: PreTrainedTokenizerBase, confidence: str
) -> list[Probe]:
    """The longest prefix of `order` whose tokens fit."""
    spent = 0
    fitting: list[Probe] = []
    for item in order:
        spent += _cost(item, tokenizer)
        spent += extra_cost(tokenizer, confidence, item) if isinstance(item, Question) else 0
        if spent > tokens:
            break
        fitting.append(item)
    return fitting


def _cost(item: Probe, tokenizer: PreTrainedTokenizerBase) -> int:
    """Prompt and generated tokens of one probe; shared prefixes are counted in full, so an upper bound."""
    members: Sequence[Question | Conversation | Member] = (
        item.members if isinstance(item, ProbeGroup) else (item,)
    )
    prompts = sum(
        len(tokenizer(render(tokenizer, m.messages), add_special_tokens=False)["input_ids"]) for m in members
    )
    return prompts + (item.max_new_tokens if isinstance(item, Conversation) else 0)


def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    part: Sequence[Probe],
    seen: Observations,
    routing: RoutingCapture | None,
) -> Observations:
    questions = [item for item in part if isinstance(item, Question)]
    groups = [item for item in part if isinstance(item, ProbeGroup)]
    conversations = [item for item in part if isinstance(item, Conversation)]

    # One call for all option scoring: sorting by length and prefix reuse work best on many prompts.
    asked: list[Question | Member] = [*questions, *(member for group in groups for member in group.members)]
    items = [(render(tokenizer, a.messages), a.options) for a in asked]
    scored = score_options(model, tokenizer, items, routing=routing)
    probabilities = scored.probabilities
    answers = tuple(
        AnswerObservation(q.id, q.group, q.domain, p, q.answer, language=q.language, audience=q.audience)
        for q, p in zip(questions, probabilities, strict=False)
    )
    if routing is not None:
        answers = tuple(
            replace(answer, routing_pattern=UNKNOWN, experts=route.counts, contributions=route.contributions)
            for answer, route in zip(answers, scored.routes, strict=False)
        )
    spent = 0
    if seen.confidence_source != OPTION_LIKELIHOOD:
        n = len(questions)
        of_questions = Scores(scored.log_probabilities[:n], 0, lengths=scored.lengths[:n])
        stated = stated_confidence(model, tokenizer, seen.confidence_source, questions, of_questions)
        answers = tuple(replace(a, stated=c) for a, c in zip(answers, stated.confidence, strict=True))
        spent = stated.tokens
    rest = iter(probabilities[len(questions) :])
    group_observations = tuple(
        GroupObservation(
            g.id, g.domain, g.relation, tuple(_argmax(next(rest)) for _ in g.members), g.language, g.audience
        )
        for g in groups
    )

    replied = generate_replies(
        model,
        tokenizer,
        [render(tokenizer, c.messages) for c in conversations],
        [c.max_new_tokens for c in conversations],
    )
    replies = tuple(
        ReplyObservation(
            c.id,
            c.domain,
            c.category,
            text,
            tuple(check(k.verifier, k.arguments, text) for k in c.checks),
            c.language,
            c.audience,
        )
        for c, text in zip(conversations, replied.texts, strict=True)
    )
    return replace(
        seen,
        answers=seen.answers + answers,
        groups=seen.groups + group_observations,
        replies=seen.replies + replies,
        tokens=seen.tokens + scored.tokens + spent + replied.tokens,
    )


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
