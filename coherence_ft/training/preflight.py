"""Preflight: what would spoil a run is refused before the first step, all of it at once.

Every check names the way in which training would have gone on silently and wrong. Checks that need no
tokenizer, data or weights run for any recipe (`train --dry-run`); the others as soon as their input is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.probe_set import Conversation, Member, ProbeSet, Question
from coherence_ft.documents.recipe import Recipe
from coherence_ft.models.architecture import declared_config, expert_count, refuse_unquantized_experts
from coherence_ft.models.chat import render
from coherence_ft.models.errors import first_line
from coherence_ft.models.memory import adapter_size, on_meta
from coherence_ft.serving.derivative import VerifiedDerivative
from coherence_ft.training.data import TrainingData, overlap
from coherence_ft.training.provenance import adapter_facts, quantization_facts

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_SAMPLE = 2000  # rows that are tokenized for the checks; spread evenly over larger data
_ROUTER_NAMES = ("gate", "router")
_EXPERT_NAMES = ("experts", "w1", "w2", "w3", "gate_up_proj", "down_proj")


def preflight_recipe(recipe: Recipe, config: PretrainedConfig | None = None) -> list[Diagnostic]:
    """Checks on the recipe and on the model's configuration, real or as the recipe declares it."""
    if config is None and recipe.base.architecture:
        config = declared_config(recipe.base.architecture, recipe.path)
    of_model = [*_experts(recipe, config), *_targets(recipe, config)] if config is not None else []
    return [*_router(recipe), *of_model, *_packing(recipe), *_trackers(recipe)]


def preflight_data(
    recipe: Recipe, data: TrainingData, probe_sets: Mapping[str, ProbeSet]
) -> list[Diagnostic]:
    """Checks on rows and probes that need no tokenizer."""
    return [
        *_batch(recipe, data),
        *_train_probe_overlap(recipe, data, probe_sets),
        *_split_overlap(recipe, probe_sets),
    ]


def preflight_tokens(
    recipe: Recipe, data: TrainingData, tokenizer: PreTrainedTokenizerBase
) -> list[Diagnostic]:
    """Checks on what will actually be trained on: end of turn, loss mask, truncation."""
    if recipe.training.assistant_only_loss and "{% generation" not in _markers(tokenizer):
        return [
            Diagnostic(
                "CFT702",
                "assistant-only loss needs a chat template with generation markers, and this one has none",
                path=recipe.path,
                found=_template_start(tokenizer),
                expected="{% generation %} … {% endgeneration %} around assistant turns",
                help="set base.chat_template to a template with markers (recipes/templates has some), "
                "or use prompt/completion rows",
            )
        ]
    try:
        return list(_trained_tokens(recipe, data, tokenizer))
    except CoherenceError as error:
        return list(error.diagnostics)


def preflight_prompts(
    probe_sets: Mapping[str, ProbeSet], tokenizer: PreTrainedTokenizerBase
) -> list[Diagnostic]:
    """Every probe must be one that the chat template can write: the first that is not, of each split."""
    findings: list[Diagnostic] = []
    for probes in probe_sets.values():
        prompts: list[Question | Member | Conversation] = [*probes.questions, *probes.conversations]
        prompts += (member for group in probes.groups for member in group.members)
        try:
            for prompt in prompts:
                render(tokenizer, prompt.messages)
        except CoherenceError as error:
            findings += (replace(d, path=str(probes.path)) for d in error.diagnostics)
    return findings


def _router(recipe: Recipe) -> Iterator[Diagnostic]:
    adapter = recipe.adapter
    if adapter is None or adapter.adapt_router:
        return
    named = [m for m in adapter.target_modules if m.rsplit(".", 1)[-1] in _ROUTER_NAMES]
    if named:
        yield Diagnostic(
            "CFT706",
            "the adapter would change the router, which invalidates every per-route baseline",
            path=recipe.path,
            found=f"adapter.target_modules: {', '.join(named)}",
            expected="no router module",
            help="remove it, or opt in with adapter.adapt_router: true",
        )


def _experts(recipe: Recipe, config: PretrainedConfig) -> Iterator[Diagnostic]:
    experts = expert_count(config)
    if not experts:
        return
    adapter = recipe.adapter
    on_experts = adapter is not None and any(
        m.rsplit(".", 1)[-1] in _EXPERT_NAMES or m == "all-linear" for m in adapter.target_modules
    )
    if adapter is not None and adapter.dropout and on_experts:
        yield Diagnostic(
            "CFT707",
            "PEFT cannot apply dropout to expert parameters",
            path=recipe.path,
            found=f"adapter.dropout: {adapter.dropout} on a model with {experts} experts",
            expected="adapter.dropout: 0",
            help="set adapter.dropout to 0, or target attention modules only",
        )
    if adapter is not None and "all-linear" in adapter.target_modules and not adapter.adapt_router:
        # PEFT 0.21 adapts the router's weight as a parameter then, which `exclude_modules` does not reach.
        yield Diagnostic(
            "CFT706",
            "the adapter would change the router, which invalidates every per-route baseline",
            path=recipe.path,
            found=f"adapter.target_modules: all-linear, on a model with {experts} experts",
            expected="the names of modules, no router among them",
            help="name them, such as q_proj and v_proj, or opt in with adapter.adapt_router: true",
        )
    if recipe.quantization is not None:
        try:
            refuse_unquantized_experts(config, recipe.base.model)
        except CoherenceError as error:
            yield from error.diagnostics


def _targets(recipe: Recipe, config: PretrainedConfig) -> Iterator[Diagnostic]:
    """PEFT itself is asked, on a model without storage."""
    if recipe.adapter is None:
        return
    try:
        adapter_size(on_meta(config, recipe.training.precision), recipe.adapter, recipe.path)
    except CoherenceError as error:
        yield from error.diagnostics
    except ValueError as error:
        yield Diagnostic(
            "CFT519",
            f"PEFT cannot adapt these modules: {first_line(error)}",
            path=recipe.path,
            found=f"adapter.target_modules: {', '.join(recipe.adapter.target_modules)}",
            help="target attention modules, such as q_proj and v_proj",
        )


def _trackers(recipe: Recipe) -> Iterator[Diagnostic]:
    named = [name for name in recipe.training.report_to if name not in ("all", "none")]
    if not named:
        return
    from transformers.integrations import get_available_reporting_integrations

    usable = get_available_reporting_integrations()
    for name in named:
        if name not in usable:
            yield Diagnostic(
                "CFT730",
                "the tracker is not installed, or transformers does not know it",
                path=recipe.path,
                found=f"training.report_to: {name}",
                expected=", ".join(sorted(usable)) or "no tracker is installed",
                help=f"pip install {name}, or remove it",
            )


def _packing(recipe: Recipe) -> Iterator[Diagnostic]:
    if recipe.training.packing:
        yield Diagnostic(
            "CFT716",
            "packed rows leak into each other with the attention of this installation (SDPA)",
            path=recipe.path,
            found="training.packing: true",
            expected="training.packing: false",
            help="leave packing off; log-probabilities were off by 0.27 to 0.70 with it",
        )


def _batch(recipe: Recipe, data: TrainingData) -> Iterator[Diagnostic]:
    effective = recipe.training.batch_size * recipe.training.gradient_accumulation
    if len(data.rows) < effective:
        yield Diagnostic(
            "CFT719",
            "there are fewer training rows than one optimizer step takes",
            path=recipe.path,
            found=f"{len(data.rows)} rows",
            expected=f"at least batch_size × gradient_accumulation = {effective}",
            help="lower training.batch_size or training.gradient_accumulation, or add rows",
        )


def _train_probe_overlap(
    recipe: Recipe, data: TrainingData, probe_sets: Mapping[str, ProbeSet]
) -> Iterator[Diagnostic]:
    for split, probes in probe_sets.items():
        shared = overlap(data.rows, probes)
        if shared:
            yield Diagnostic(
                "CFT705",
                f"{len(shared)} prompts of the {split} split are in the training data: what it measures "
                "would be memory",
                path=str(probes.path),
                found=_quoted(shared[0]),
                expected="training and probe prompts disjoint",
                help=f"remove them from {recipe.data.train} or from the probe set",
            )


def _split_overlap(recipe: Recipe, probe_sets: Mapping[str, ProbeSet]) -> Iterator[Diagnostic]:
    for (first, a), (second, b) in combinations(probe_sets.items(), 2):
        shared = sorted({q.group for q in a.questions} & {q.group for q in b.questions})
        if shared:
            yield Diagnostic(
                "CFT718",
                f"{len(shared)} question groups are in both the {first} and the {second} split",
                path=str(b.path),
                found=_quoted(shared[0]),
                expected="splits that share no group",
                help="split by group, so that what fits the calibrator never certifies it",
            )


def _trained_tokens(
    recipe: Recipe, data: TrainingData, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Diagnostic]:
    step = max(1, len(data.rows) // _SAMPLE)
    sample = [data.rows[i] for i in range(0, len(data.rows), step)]
    no_end, nothing_left = [], []
    for number, row in enumerate(sample):
        sequences = list(_tokens(row, tokenizer, recipe.training.assistant_only_loss))
        trained = [{t for t, m in zip(tokens, mask, strict=True) if m} for tokens, mask in sequences]
        if not all(tokenizer.eos_token_id in tokens for tokens in trained):
            no_end.append(number * step)
        if not all(any(mask[: recipe.training.max_length]) for _, mask in sequences):
            nothing_left.append(number * step)
    if no_end:
        # trl #5988 and #7230: the model then never learns to stop.
        yield Diagnostic(
            "CFT701",
            "the end-of-turn token is outside of what is trained on, so the model would not learn to stop",
            path=recipe.path,
            found=f"{len(no_end)} of {len(sample)} rows looked at, first row {no_end[0] + 1}",
            expected=f"{tokenizer.eos_token!r} inside the trained tokens",
            help="let the chat template end an assistant turn with it, inside the generation markers",
        )
    if nothing_left:
        # trl #3927: such rows are dropped without a word, or give NaN.
        yield Diagnostic(
            "CFT703",
            f"truncation to {recipe.training.max_length} tokens leaves nothing to train on",
            path=recipe.path,
            found=f"{len(nothing_left)} of {len(sample)} rows looked at, first row {nothing_left[0] + 1}",
            expected="at least one trained token a row",
            help="raise training.max_length or shorten the prompts",
        )


def _tokens(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, assistant_only: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """(token ids, trained mask) of each sequence that TRL makes of a row."""
    if "messages" in row:
        encoded = _apply(tokenizer, row["messages"], return_assistant_tokens_mask=assistant_only)
        ids = encoded["input_ids"]
        yield ids, encoded["assistant_masks"] if assistant_only else [1] * len(ids)
        return
    for completion in (row[key] for key in ("completion", "chosen", "rejected") if key in row):
        prompt = _apply(tokenizer, row["prompt"], add_generation_prompt=True)["input_ids"]
        ids = _apply(tokenizer, [*row["prompt"], *completion])["input_ids"]
        yield ids, [0] * len(prompt) + [1] * (len(ids) - len(prompt))


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], **options: bool
) -> Mapping[str, Any]:
    from jinja2 import TemplateError

    try:
        encoded: Mapping[str, Any] = tokenizer.apply_chat_template(messages, return_dict=True, **options)
    except (TemplateError, TypeError, ValueError) as error:
        raise refusal(
            "CFT512",
            f"the chat template cannot write a training row: {first_line(error)}",
            path=tokenizer.name_or_path,
            found=" ".join(message["role"] for message in messages),
            help="name the template that the base was tuned with as base.chat_template in the recipe",
        ) from error
    return encoded


def _markers(tokenizer: PreTrainedTokenizerBase) -> str:
    return (tokenizer.chat_template or "").replace("{%-", "{%")


def _template_start(tokenizer: PreTrainedTokenizerBase) -> str:
    return _quoted(tokenizer.chat_template or "no template at all")


def _quoted(text: str, length: int = 70) -> str:
    return repr(text if len(text) <= length else text[: length - 1] + "…")


def other_template(recipe: Recipe, ours: str | None, parents: str | None) -> list[Diagnostic]:
    """The chat template (sha256, hex) of a derivative must be that of the derivative it continues."""
    if ours == parents:
        return []
    return [
        Diagnostic(
            "CFT704",
            "the chat template differs from the one that the parent was trained and measured with",
            path=recipe.path,
            found=f"sha256 {ours}",
            expected=f"sha256 {parents}",
            help="remove base.chat_template, or give the parent's",
        )
    ]


def unlike_parent(recipe: Recipe, parent: VerifiedDerivative) -> list[Diagnostic]:
    """What is trained further is what the parent is: its adapter on its base, loaded as it was for it."""
    ours: dict[str, Any] = {
        "adapter": adapter_facts(recipe.adapter),
        "quantization": quantization_facts(recipe.quantization),
        "precision": recipe.training.precision,
    }
    if ours["adapter"] is not None:
        ours["adapter"]["dropout"] = decimal(ours["adapter"]["dropout"])
    theirs = {
        "adapter": parent.manifest.predicate["method"]["adapter"],
        "quantization": parent.serving["quantization"],
        "precision": parent.serving["precision"],
    }
    found = [
        Diagnostic(
            "CFT728",
            f"the recipe's {name} is not the parent's",
            path=recipe.path,
            found=str(ours[name] or "none"),
            expected=str(theirs[name] or "none"),
            help="repeat the parent's in the recipe, or start from the base model",
        )
        for name in ours
        if ours[name] != theirs[name]
    ]
    if not found and parent.has_adapter != (recipe.adapter is not None):
        found.append(
            Diagnostic(
                "CFT728",
                "the parent's manifest does not state its adapter, so none can be trained further",
                path=recipe.path,
                found=str(parent.folder),
                help="start from the base model, or from a derivative that a recipe made",
            )
        )
    return found
