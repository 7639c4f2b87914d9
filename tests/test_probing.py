"""Probing: what a pass sees, within which budget, and that the way it is cut changes nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from workshop import QUESTIONS, Workshop

import coherence_ft.probing.probe as probing
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.probe_set import ProbeSet, read_probe_set
from coherence_ft.loops.observation import Observations
from coherence_ft.models.chat import render
from coherence_ft.probing.probe import Budget, probe

SIZE = QUESTIONS["calibration"] + 12


@pytest.fixture(scope="module")
def probes(workshop: Workshop) -> ProbeSet:
    return read_probe_set(workshop.probes("calibration"))


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def everything(model: Any, tokenizer: Any, probes: ProbeSet) -> Observations:
    return probe(model, tokenizer, probes, model_digest="m", split="calibration")


def counted(seen: Observations) -> int:
    return len(seen.answers) + len(seen.groups) + len(seen.replies)


def content(seen: Observations) -> tuple[Any, ...]:
    """What was seen, by probe, probabilities to the precision of the machine."""
    answers = {a.probe: (a.choice, a.answer, a.group, a.domain) for a in seen.answers}
    groups = {g.probe: (g.choices, g.relation) for g in seen.groups}
    replies = {r.probe: (r.reply, r.checks, r.category) for r in seen.replies}
    return answers, groups, replies


def test_a_pass_without_a_budget_sees_everything(everything: Observations, probes: ProbeSet) -> None:
    assert everything.skipped == 0
    assert counted(everything) == len(probes) == SIZE
    assert (everything.model, everything.probe_set, everything.split) == ("m", probes.digest, "calibration")
    assert [a.answer for a in everything.answers] == [q.answer for q in probes.questions]
    assert {g.probe: g.relation for g in everything.groups} == {g.id: g.relation for g in probes.groups}
    assert all(abs(sum(a.probabilities) - 1) < 1e-6 for a in everything.answers)
    assert everything.tokens > 0


def test_it_is_the_model_that_answers(everything: Observations, tokenizer: Any, probes: ProbeSet) -> None:
    other = probe(tiny_model(seed=7), tokenizer, probes, model_digest="n", split="calibration")
    assert [a.choice for a in other.answers] != [a.choice for a in everything.answers]
    assert len({a.choice for a in everything.answers}) == 2


def test_choices_are_those_of_the_plain_forward_pass(
    everything: Observations, model: Any, tokenizer: Any, probes: ProbeSet
) -> None:
    """Held to log-probabilities computed one by one, without batches, prefixes or trees."""
    for question in probes.questions[:6]:
        prompt = tokenizer(render(tokenizer, question.messages), add_special_tokens=False)["input_ids"]
        scores = []
        for option in question.options:
            tokens = tokenizer(option, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
            scores.append(sum(float(logits[len(prompt) - 1 + i, t]) for i, t in enumerate(tokens)))
        expected = torch.tensor(scores, dtype=torch.float64).softmax(0).tolist()
        (seen,) = (a for a in everything.answers if a.probe == question.id)
        assert seen.probabilities == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("tokens", [0, 1, 200, 700, 1500, 10**6])
def test_a_token_budget_accounts_for_every_probe(
    model: Any, tokenizer: Any, probes: ProbeSet, everything: Observations, tokens: int
) -> None:
    seen = probe(
        model, tokenizer, probes, model_digest="m", split="calibration", budget=Budget(tokens=tokens)
    )
    assert counted(seen) + seen.skipped == SIZE
    assert seen.tokens <= tokens
    if tokens < 2:
        assert counted(seen) == 0
    if tokens == 10**6:
        assert content(seen) == content(everything)


def test_a_larger_budget_only_adds(model: Any, tokenizer: Any, probes: ProbeSet) -> None:
    passes = [
        probe(model, tokenizer, probes, model_digest="m", split="s", budget=Budget(tokens=tokens))
        for tokens in (300, 600, 1200)
    ]
    for smaller, larger in itertools.pairwise(passes):
        assert counted(smaller) < counted(larger)
        for few, more in zip(content(smaller), content(larger), strict=True):
            assert few.items() <= more.items()


def test_a_budget_cuts_all_loops_alike(model: Any, tokenizer: Any, probes: ProbeSet) -> None:
    seen = probe(model, tokenizer, probes, model_digest="m", split="s", budget=Budget(tokens=900))
    share = counted(seen) / SIZE
    assert 0.2 < share < 0.8
    relations = Counter(g.relation for g in seen.groups)
    assert set(relations) == {"paraphrase", "negation", "implication"}
    for got, whole in (
        (len(seen.answers), QUESTIONS["calibration"]),
        (len(seen.replies), 3),
        *((count, 3) for count in relations.values()),
    ):
        assert abs(got - share * whole) <= 1


def test_a_time_budget_stops_between_slices_and_accounts_for_the_rest(
    model: Any, tokenizer: Any, probes: ProbeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(probing.time, "monotonic", lambda: float(next(clock)))
    done: list[tuple[int, int]] = []
    seen = probe(
        model,
        tokenizer,
        probes,
        model_digest="m",
        split="s",
        budget=Budget(seconds=3.5),
        progress=lambda part, whole: done.append((part, whole)),
    )
    # The clock is read at the start and before each slice: three slices fit.
    assert len(done) == 3
    assert counted(seen) == done[-1][0]
    assert counted(seen) + seen.skipped == SIZE
    assert seen.skipped > 0
    assert seen.answers and seen.groups


def test_no_time_at_all_skips_everything(model: Any, tokenizer: Any, probes: ProbeSet) -> None:
    seen = probe(model, tokenizer, probes, model_digest="m", split="s", budget=Budget(seconds=-1.0))
    assert (counted(seen), seen.skipped) == (0, SIZE)


def test_slices_change_nothing_that_is_seen(
    model: Any, tokenizer: Any, probes: ProbeSet, everything: Observations
) -> None:
    done: list[tuple[int, int]] = []
    seen = probe(
        model,
        tokenizer,
        probes,
        model_digest="m",
        split="calibration",
        budget=Budget(tokens=10**6, seconds=3600.0),
        progress=lambda part, whole: done.append((part, whole)),
    )
    assert content(seen) == content(everything)
    by_probe = {a.probe: a.probabilities for a in everything.answers}
    for answer in seen.answers:
        assert answer.probabilities == pytest.approx(by_probe[answer.probe], abs=1e-5)
    parts = [part for part, _ in done]
    assert parts == sorted(set(parts))
    assert done[-1] == (SIZE, SIZE)


def test_the_same_pass_twice_is_the_same_to_the_bit(
    model: Any, tokenizer: Any, probes: ProbeSet, everything: Observations
) -> None:
    again = probe(model, tokenizer, probes, model_digest="m", split="calibration")
    assert again.answers == everything.answers
    assert again.groups == everything.groups
    assert again.replies == everything.replies


def test_a_tokenizer_without_a_template_is_refused(model: Any, probes: ProbeSet) -> None:
    bare = tiny_tokenizer(chat_template=None)
    with pytest.raises(CoherenceError) as caught:
        probe(model, bare, probes, model_digest="m", split="s")
    assert caught.value.codes == ("CFT512",)


def test_a_model_that_has_diverged_is_seen_as_it_is(tokenizer: Any, probes: ProbeSet) -> None:
    """Non-finite probabilities reach the loops, which refuse them: they are never quietly an answer."""
    from coherence_ft.loops.soundness import defects

    broken = tiny_model()
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    seen = probe(broken, tokenizer, probes, model_digest="m", split="s")
    assert [d.code for d in defects(seen)] == ["CFT452"]
