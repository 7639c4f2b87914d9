"""What the hooks see is what the routers did, whatever the architecture, the padding and the way to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_model, tiny_model_folder, tiny_tokenizer

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.probe_set import Member, ProbeGroup, ProbeSet, Question
from coherence_ft.evidence.routing_patterns import UNKNOWN
from coherence_ft.loops import routing
from coherence_ft.loops.observation import DENSE
from coherence_ft.models.architecture import EXPERT_ARCHITECTURES
from coherence_ft.models.chat import render
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.routing import LAST_LAYERS, SPAN, Route, routing_capture
from coherence_ft.models.scoring import score_options
from coherence_ft.probing.probe import probe

KINDS = sorted(EXPERT_ARCHITECTURES)
SYSTEM = "<|im_start|>system\nYou are a careful clinical coder.<|im_end|>\n<|im_start|>user\n"
REPLY = "<|im_end|>\n<|im_start|>assistant\n"
ITEMS = [
    (SYSTEM + "Is A00 Cholera classified under diseases?" + REPLY, ["yes", "no"]),
    (SYSTEM + "no?" + REPLY, ["yes", "no", "maybe", "Certain infectious"]),
    (SYSTEM + "The quick brown fox " * 6 + REPLY, ["fox", "the lazy dog", "x"]),
    (SYSTEM + "The quick brown fox " * 6 + "or not?" + REPLY, ["0123456789 times.", "jumps over"]),
    ("no", ["yes", "no"]),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def moe(kind: str) -> Any:
    model = tiny_model(kind)
    for module in model.modules():
        if hasattr(module, "e_score_correction_bias"):
            # what training does to balance the experts: selection is no longer by the largest logit
            module.e_score_correction_bias.copy_(torch.linspace(-0.4, 0.4, module.num_experts))
    return model


def selected(kind: str, router: Any, hidden: torch.Tensor) -> list[set[int]]:
    """The experts of every position, by the rule that the architecture's report gives."""
    logits = (hidden.float().reshape(-1, hidden.shape[-1]) @ router.weight.detach().float().T).numpy()
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    if kind == "deepseek_v3":
        scores = 1 / (1 + np.exp(-logits)) + router.e_score_correction_bias.numpy()
    chosen = []
    for position in scores:
        allowed = range(len(position))
        if kind.startswith("deepseek"):
            groups = position.reshape(router.num_group, -1)
            best = 2 if kind == "deepseek_v3" else 1  # a group is worth its best expert, or its best two
            worth = np.sort(groups, 1)[:, -best:].sum(1)
            kept = np.argsort(-worth)[: router.topk_group]
            allowed = [e for e in allowed if e // groups.shape[1] in kept]  # type: ignore[assignment]
        chosen.append(set(sorted(allowed, key=lambda e: -position[e])[: router.top_k]))
    return chosen


def counted(model: Any, ids: Sequence[int], positions: range) -> np.ndarray[Any, Any]:
    """Experts used at some positions of one text, in one pass, without cache or padding."""
    with routing_capture(model) as capture, torch.no_grad():
        assert capture is not None
        model(torch.tensor([list(ids)]))
        experts = capture.take(1).experts[:, 0, positions].numpy()
    return np.array([np.bincount(layer.ravel(), minlength=capture.experts) for layer in experts])


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_experts_are_those_of_the_selection_rule(kind: str) -> None:
    model = moe(kind)
    routers = [m for m in model.modules() if type(m).__name__ == EXPERT_ARCHITECTURES[kind]]
    given: list[Any] = [None] * len(routers)

    def keep(n: int) -> Any:
        return lambda _, args: given.__setitem__(n, args[0].detach())

    handles = [router.register_forward_pre_hook(keep(n)) for n, router in enumerate(routers)]
    ids = torch.randint(4, 400, (3, 20), generator=torch.Generator().manual_seed(0))
    with routing_capture(model) as capture, torch.no_grad():
        assert capture is not None
        model(ids)
        routed = capture.take(3)
    for handle in handles:
        handle.remove()
    assert routed.experts.shape == (len(routers), 3, 20, routers[0].top_k)
    by_logits = 0
    for layer, (router, hidden) in enumerate(zip(routers, given, strict=True)):
        expected = selected(kind, router, hidden)
        got = [set(position) for position in routed.experts[layer].flatten(0, 1).tolist()]
        assert got == expected
        logits = hidden.reshape(-1, hidden.shape[-1]) @ router.weight.T
        top = [set(position) for position in logits.topk(router.top_k).indices.tolist()]
        by_logits += sum(a != b for a, b in zip(top, got, strict=True))
    if kind == "deepseek_v3":
        assert by_logits > 10  # so reading logits would have been wrong
    elif kind in ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe"):
        assert by_logits == 0


@pytest.mark.parametrize("tokens_per_batch", [1024, 60])
@pytest.mark.parametrize("items", [ITEMS, ITEMS[:4]], ids=["nothing-shared", "prefix-shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_is_routed_as_in_a_plain_pass(
    kind: str, items: Any, tokens_per_batch: int, tokenizer: Any
) -> None:
    model = moe(kind)
    with routing_capture(model) as capture:
        assert capture is not None
        scores = score_options(model, tokenizer, items, routing=capture, tokens_per_batch=tokens_per_batch)
    for (prompt, options), values, route in zip(items, scores.log_probabilities, scores.routes, strict=True):
        context = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        best = options[max(range(len(values)), key=values.__getitem__)]
        whole = tokenizer(prompt + best, add_special_tokens=False)["input_ids"]
        span = range(max(0, len(context) - SPAN), len(whole) - 1)
        assert (route.counts == counted(model, whole, span)).all()
        assert route.contributions.sum(1) == pytest.approx(len(span))


@pytest.mark.parametrize("items", [ITEMS, ITEMS[:4]], ids=["nothing-shared", "prefix-shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_is_routed_as_in_a_plain_pass(kind: str, items: Any, tokenizer: Any) -> None:
    model = moe(kind)
    prompts, limits = [prompt for prompt, _ in items], [6, 1, 9, 3, 0][: len(items)]
    with routing_capture(model) as capture:
        replies = generate_replies(model, tokenizer, prompts, limits, routing=capture)
    assert replies.texts == generate_replies(model, tokenizer, prompts, limits).texts
    for prompt, limit, route in zip(prompts, limits, replies.routes, strict=True):
        ids = context = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        while len(ids) < len(context) + limit:
            with torch.no_grad():
                ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
            if ids[-1] == 2:
                break
        read = ids[:-1] if limit else ids  # the last token is written, never read
        span = range(max(0, len(context) - SPAN), len(read))
        assert (route.counts == counted(model, read, span)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_see_generate_with_its_cache(kind: str) -> None:
    """transformers' own generate(), left-padded: the same experts as one pass over each whole text."""
    model = moe(kind)
    texts = [[5, 6, 7, 8, 9, 10, 11], [300, 301, 302]]
    length = max(map(len, texts))
    ids = torch.tensor([[3] * (length - len(t)) + t for t in texts])
    mask = torch.tensor([[0] * (length - len(t)) + [1] * len(t) for t in texts])
    with routing_capture(model) as capture:
        assert capture is not None
        whole = model.generate(
            ids, attention_mask=mask, max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=3
        )
        routed = capture.take(2)
    assert routed.experts.shape[1:3] == (2, length + 4)
    at = [(row, p) for row in range(2) for p in range(length - len(texts[row]), length + 4)]
    routes = routed.routes([row for row, _ in at], [p for _, p in at], [row for row, _ in at])
    for row, route in enumerate(routes):
        text = whole[row, length - len(texts[row]) : -1].tolist()
        assert (route.counts == counted(model, text, range(len(text)))).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_in_no_route(side: str) -> None:
    model = moe("mixtral")
    texts = [list(range(10, 30)), [40, 41, 42]]
    pads = [[3] * (20 - len(t)) for t in texts]
    rows = [pad + t if side == "left" else t + pad for t, pad in zip(texts, pads, strict=True)]
    present = (torch.tensor(rows) != 3).long()
    with routing_capture(model) as capture, torch.no_grad():
        assert capture is not None
        positions = (present.cumsum(-1) - 1).clamp(min=0)
        model(torch.tensor(rows), attention_mask=present, position_ids=positions)
        routed = capture.take(2)
    owners, at = present.nonzero().T.tolist()
    for text, route in zip(texts, routed.routes(owners, at, owners), strict=True):
        assert (route.counts == counted(model, text, range(len(text)))).all()
        assert route.counts.sum(1).tolist() == [2 * len(text)] * 2


@pytest.mark.parametrize("kind", ["mixtral", "deepseek_v3"])
def test_contributions_are_the_weights_by_expert(kind: str) -> None:
    model = moe(kind)
    with routing_capture(model) as capture, torch.no_grad():
        assert capture is not None
        model(torch.tensor([[5, 6, 7, 8]]))
        routed = capture.take(1)
    (route,) = routed.routes([0, 0], [1, 3], [0, 0])
    expected = np.zeros_like(route.contributions)
    for layer in range(len(expected)):
        for position in (1, 3):
            weights = routed.weights[layer, 0, position]
            for expert, weight in zip(
                routed.experts[layer, 0, position], weights / weights.sum(), strict=True
            ):
                expected[layer, expert] += float(weight)
    assert route.contributions == pytest.approx(expected)
    assert ((route.contributions > 0) == (route.counts > 0)).all()


def test_quantized_attention_changes_nothing_about_capture(tmp_path: Path, tokenizer: Any) -> None:
    """NF4 on CPU: experts and router stay as they are, and what the router chose is what is counted."""
    from transformers import AutoModelForCausalLM

    from coherence_ft.documents.recipe import Quantization
    from coherence_ft.models.base import bitsandbytes_config

    model = AutoModelForCausalLM.from_pretrained(
        tiny_model_folder(tmp_path, "mixtral"),
        quantization_config=bitsandbytes_config(Quantization("nf4"), "float32"),
        device_map={"": "cpu"},
        dtype=torch.float32,
    ).eval()
    assert any(type(m).__name__ == "Linear4bit" for m in model.modules())
    with routing_capture(model) as capture:
        scores = score_options(model, tokenizer, ITEMS[1:2], routing=capture)
        replies = generate_replies(model, tokenizer, ["The quick brown"], [4], routing=capture)
    context = tokenizer(ITEMS[1][0], add_special_tokens=False)["input_ids"]
    options = ITEMS[1][1]
    best = options[int(np.argmax(scores.log_probabilities[0]))]
    whole = tokenizer(ITEMS[1][0] + best, add_special_tokens=False)["input_ids"]
    expected = counted(model, whole, range(max(0, len(context) - SPAN), len(whole) - 1))
    assert (scores.routes[0].counts == expected).all()
    assert replies.routes[0].counts.sum() > 0
    float_routes = _routes_of(tiny_model("mixtral"), tokenizer)
    assert any(
        (a.counts != b.counts).any() for a, b in zip(_routes_of(model, tokenizer), float_routes, strict=True)
    )


def _routes_of(model: Any, tokenizer: Any) -> tuple[Route, ...]:
    with routing_capture(model) as capture:
        return score_options(model, tokenizer, ITEMS, routing=capture).routes


@pytest.mark.parametrize("adapted", ["q_proj", "router"])
def test_an_adapted_model_is_watched_through_its_wrapping(adapted: str, tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    targets: dict[str, Any] = (
        {"target_modules": ["q_proj"]}
        if adapted == "q_proj"
        else {"target_modules": [], "target_parameters": ["mlp.gate.weight"]}
    )
    plain = _routes_of(tiny_model("mixtral"), tokenizer)
    model = get_peft_model(
        tiny_model("mixtral"), LoraConfig(r=4, lora_alpha=64, init_lora_weights=False, **targets)
    ).eval()
    before = hooks(model)
    routes = _routes_of(model, tokenizer)
    assert any((a.counts != b.counts).any() for a, b in zip(routes, plain, strict=True))
    with model.disable_adapter():
        assert all(
            (a.counts == b.counts).all() for a, b in zip(_routes_of(model, tokenizer), plain, strict=True)
        )
    assert hooks(model) == before


def test_a_route_does_not_depend_on_its_neighbours(tokenizer: Any) -> None:
    """Where prompts share nearly all tokens, those of the span are still computed for each."""
    model = moe("mixtral")
    items = [(SYSTEM + f"A{n}" + REPLY, ["yes", "no"]) for n in range(4)]
    with routing_capture(model) as capture:
        together = score_options(model, tokenizer, items, routing=capture).routes
        alone = [score_options(model, tokenizer, [item], routing=capture).routes[0] for item in items]
    assert all((a.counts == b.counts).all() for a, b in zip(together, alone, strict=True))


def test_the_last_layers_are_watched() -> None:
    from transformers import AutoModelForCausalLM

    config = tiny_config("mixtral")
    config.num_hidden_layers = 7
    model = AutoModelForCausalLM.from_config(config)
    with routing_capture(model) as capture:
        assert capture is not None and LAST_LAYERS == 5
        assert capture.version == f"1 mixtral layers=2,3,4,5,6 experts=4 chosen=2 span={SPAN}"
        assert hooks(model) == 5
    with routing_capture(moe("deepseek_v3")) as capture:
        assert capture is not None
        assert capture.version == f"1 deepseek_v3 layers=1,2 experts=8 chosen=3 span={SPAN}"


def test_nothing_stays_on_the_model(tokenizer: Any) -> None:
    model = moe("mixtral")
    with routing_capture(model) as capture:
        assert hooks(model) == 2
        score_options(model, tokenizer, ITEMS, routing=capture)
    assert hooks(model) == 0
    with pytest.raises(IndexError), routing_capture(model):
        model(torch.tensor([[100_000]]))
    assert hooks(model) == 0


def test_a_pass_that_broke_off_is_not_counted(tokenizer: Any) -> None:
    model = moe("mixtral")

    def broken(*_: Any) -> None:
        raise ValueError("broken")

    handle = model.model.layers[1].register_forward_pre_hook(broken)
    with routing_capture(model) as capture:
        assert capture is not None
        with pytest.raises(ValueError, match="broken"):
            model(torch.tensor([[5, 6, 7]]))
        with pytest.raises(RuntimeError, match="no whole forward pass"):
            capture.take(1)
        handle.remove()
        assert score_options(model, tokenizer, ITEMS, routing=capture).routes[0].counts.sum() > 0
        with pytest.raises(RuntimeError, match="no whole forward pass"):
            capture.take(1)


def test_a_dense_model_has_nothing_to_watch(tokenizer: Any) -> None:
    model = tiny_model("llama")
    with routing_capture(model) as capture:
        assert capture is None and hooks(model) == 0
        assert score_options(model, tokenizer, ITEMS, routing=capture).routes == ()
        assert generate_replies(model, tokenizer, ["no"], [2], routing=capture).routes == ()


def test_unknown_experts_are_refused() -> None:
    from transformers import AutoModelForCausalLM, PhimoeConfig

    config = PhimoeConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=32,
        num_local_experts=4,
    )
    with pytest.raises(CoherenceError) as refused, routing_capture(AutoModelForCausalLM.from_config(config)):
        raise AssertionError("not reached")
    assert refused.value.codes == ("CFT509",)
    assert "phimoe" in str(refused.value)


def test_a_router_that_returns_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers before 5, and perhaps after it: (weights, indices), or logits alone."""
    model = moe("mixtral")
    router = type(model.model.layers[0].mlp.gate)
    forward = router.forward
    monkeypatch.setattr(router, "forward", lambda self, hidden: forward(self, hidden)[:2])
    with pytest.raises(CoherenceError) as refused, routing_capture(model):
        model(torch.tensor([[5, 6, 7]]))
    assert refused.value.codes == ("CFT509",)
    assert hooks(model) == 0


def test_probing_leaves_counts_on_every_answer_and_a_codebook_names_them(tokenizer: Any) -> None:
    messages = [({"role": "user", "content": f"Is A{n} in {'diseases' * (n % 3)}?"},) for n in range(12)]
    options = ("yes", "no")
    questions = tuple(
        Question(f"q{n}", "clinical", f"g{n}", given, options, n % 2) for n, given in enumerate(messages)
    )
    group = ProbeGroup("p", "clinical", "paraphrase", tuple(Member(given, options) for given in messages[:2]))
    probes = ProbeSet(questions, (group,), (), "digest", "probes.jsonl")
    model = moe("mixtral")
    seen = probe(model, tokenizer, probes, model_digest="m", split="calibration")
    assert seen.capture == f"1 mixtral layers=0,1 experts=4 chosen=2 span={SPAN}"
    assert hooks(model) == 0
    for answer in seen.answers:
        assert answer.routing_pattern == UNKNOWN
        question = questions[int(answer.probe[1:])]
        prompt = tokenizer(render(tokenizer, question.messages), add_special_tokens=False)["input_ids"]
        assert answer.experts is not None and answer.contributions is not None
        assert answer.experts.sum(1).tolist() == [2 * min(SPAN, len(prompt))] * 2
        assert answer.contributions.sum(1) == pytest.approx(min(SPAN, len(prompt)))
    codebook = routing.fit(seen)
    assert codebook is not None and (codebook.model, codebook.capture) == ("m", seen.capture)
    named = routing.assigned(seen, codebook)
    assert {answer.routing_pattern for answer in named.answers} <= {"route-1", UNKNOWN}
    assert named.codebook == codebook.digest

    dense = probe(tiny_model("llama"), tokenizer, probes, model_digest="d", split="calibration")
    assert {answer.routing_pattern for answer in dense.answers} == {DENSE}
    assert (dense.capture, routing.fit(dense)) == ("", None)


def test_a_budget_in_slices_changes_no_route(tokenizer: Any) -> None:
    questions = tuple(
        Question(f"q{n}", "legal", f"g{n}", ({"role": "user", "content": f"no {n * 7}?"},), ("yes", "no"), 0)
        for n in range(30)
    )
    probes = ProbeSet(questions, (), (), "digest", "probes.jsonl")
    whole = probe(moe("olmoe"), tokenizer, probes, model_digest="m", split="calibration")
    shown: list[int] = []
    sliced = probe(
        moe("olmoe"),
        tokenizer,
        probes,
        model_digest="m",
        split="calibration",
        progress=lambda done, _: shown.append(done),
    )
    assert len(shown) > 5
    for a, b in zip(whole.answers, sliced.answers, strict=True):
        assert a.probe == b.probe and np.array_equal(a.experts, b.experts)  # type: ignore[arg-type]
