"""`verify --reprobe N`: the model answers again as stored, within rounding; made-up figures are found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_auditing_recompute import CERTIFIED, Held, held  # noqa: F401 a fixture
from workshop import QUESTIONS, Workshop, coherence_ft

from coherence_ft.auditing.reprobe import TOLERANCE, Reprobed, compare, departures
from coherence_ft.loops.observation import (
    AnswerObservation,
    CheckResult,
    GroupObservation,
    Observations,
    ReplyObservation,
)

ALL = QUESTIONS["certification"] + 12


def asked(held: Held, *options: object) -> tuple[object, ...]:  # noqa: F811
    tenant, probes = held.workshop.tenant, held.workshop.root
    return ("verify", held.folder, "--tenant", tenant, "--probes", probes, *options)


def test_the_model_answers_again_as_stored(
    derivative: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    # Beside its run the derivative finds the recipe, and by it the probes.
    command = ("verify", derivative, "--tenant", workshop.tenant, "--recompute", "--reprobe", ALL + 5)
    assert coherence_ft(*command, "--format", "json") == 0
    again = json.loads(capsys.readouterr().out)["reprobed"]
    assert (again["sampled"], again["agreeing"]) == (ALL, ALL)
    assert again["toleranceLogits"] == TOLERANCE["float32"]
    assert abs(again["largestLogits"]) < 0.001
    assert again["differences"] == []


def test_a_seed_draws_the_same_probes_again(held: Held, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert coherence_ft(*asked(held, "--reprobe", 3)) == 0
    said = capsys.readouterr().out
    assert "reprobed: 3 of 3 agree (seed " in said
    seed = said.split("(seed ")[1].split(";")[0]
    assert coherence_ft(*asked(held, "--reprobe", 3, "--seed", seed)) == 0
    assert capsys.readouterr().out == said


def test_without_recipe_and_probes_there_is_nothing_to_measure(
    held: Held,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert coherence_ft("verify", held.folder, "--tenant", held.workshop.tenant, "--reprobe", 3) == 1
    assert "error[CFT724]" in capsys.readouterr().err


def moved(seen: Observations, logits: Callable[[AnswerObservation], float]) -> Observations:
    """With every answer's first option moved by `logits`."""

    def by(answer: AnswerObservation) -> AnswerObservation:
        p = answer.probabilities[0]
        p = 1 / (1 + math.exp(-math.log(p / (1 - p)) - logits(answer)))
        return replace(answer, probabilities=(p, 1 - p))

    return replace(seen, answers=tuple(map(by, seen.answers)))


@pytest.mark.parametrize("logits", [0.5, 0.02])
def test_figures_that_were_made_up_are_found(
    held: Held,  # noqa: F811
    logits: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each by much, or all by a little towards what is right: within the tolerance, but to one side."""

    def towards_right(answer: AnswerObservation) -> float:
        return logits if answer.answer == 0 else -logits

    held.rewrite(CERTIFIED, lambda seen: moved(seen, towards_right))
    held.sign()
    assert coherence_ft(*asked(held, "--reprobe", 40, "--seed", 1)) == 1
    said = capsys.readouterr().err
    assert "error[CFT660]" in said
    assert "Traceback" not in said
    assert "lean to one side" in said
    assert ("was measured otherwise than stored" in said) == (logits == 0.5)


def test_replies_and_groups_that_were_made_up_are_found(
    held: Held,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    def made_up(seen: Observations) -> Observations:
        return replace(
            seen,
            groups=tuple(replace(g, choices=tuple(1 - c for c in g.choices)) for g in seen.groups),
            replies=tuple(
                replace(r, checks=tuple(replace(c, passed=not c.passed) for c in r.checks))
                for r in seen.replies
            ),
        )

    held.rewrite(CERTIFIED, made_up)
    held.sign()
    assert coherence_ft(*asked(held, "--reprobe", ALL, "--seed", 1)) == 1
    said = capsys.readouterr().err
    assert said.count("error[CFT660]") >= 3 + 6  # every reply; of the groups those that are no near tie


# What counts as rounding


def seen(**kinds: Any) -> Observations:
    return Observations("m", "p", "certification", **kinds)


def answer(p: float, probe: str = "q", stated: float | None = None) -> AnswerObservation:
    return AnswerObservation(probe, probe, "d", (p, 1 - p), 0, stated=stated)


def held_against(was: Observations, now: Observations, *members: AnswerObservation) -> tuple[Reprobed, int]:
    found = compare(was, now, members, 1.0)
    return found, len(departures(found, ""))


@pytest.mark.parametrize(
    ("was", "now", "agreeing", "shown", "findings"),
    [
        (0.6, 0.6, 1, 0, 0),
        (0.6, 0.7, 1, 0, 0),  # 0.44 logits
        (0.55, 0.45, 1, 1, 0),  # another choice, but a near tie
        (0.5, 0.75, 0, 1, 2),  # 1.1 logits, and of one answer that is its mean too
        (0.999999, 0.9995, 1, 0, 0),  # beyond 0.999 nothing is told apart
        (0.6, math.nan, 0, 1, 1),
    ],
)
def test_answers_agree_within_the_tolerance(
    was: float, now: float, agreeing: int, shown: int, findings: int
) -> None:
    found, count = held_against(seen(answers=(answer(was),)), seen(answers=(answer(now),)))
    assert (found.agreeing, len(found.differences), count) == (agreeing, shown, findings)


def test_a_group_agrees_where_its_options_were_a_near_tie() -> None:
    was = seen(groups=(GroupObservation("g", "d", "negation", (0, 1)),))
    now = seen(groups=(GroupObservation("g", "d", "negation", (0, 0)),))
    certain = answer(0.9, "g, member 1")
    for second, agreeing, count in ((0.6, 1, 0), (0.8, 0, 1)):
        found, findings = held_against(was, now, certain, answer(second, "g, member 2"))
        assert (found.agreeing, findings) == (agreeing, count)


def test_a_few_texts_may_go_on_otherwise_but_not_many() -> None:
    def replies(wrong: int) -> Observations:
        return seen(
            replies=tuple(
                ReplyObservation(f"r{n}", "d", "format", "x", (CheckResult("v", n >= wrong, ""),))
                for n in range(40)
            )
        )

    for wrong, findings in ((0, 0), (1, 0), (6, 0), (7, 7), (40, 40)):
        found, count = held_against(replies(wrong), replies(0))  # none to the signer's advantage
        assert (found.agreeing, count) == (40 - wrong, findings)


def test_a_stated_confidence_is_a_text_too() -> None:
    was = seen(answers=tuple(answer(0.6, f"q{n}", 0.9) for n in range(40)))
    for now, wrong in ((0.9, 0), (0.5, 40), (math.nan, 40)):
        again = seen(answers=tuple(answer(0.6, f"q{n}", now) for n in range(40)))
        found, findings = held_against(was, again)
        assert (found.agreeing, findings) == (40 - wrong, wrong)
    silent = seen(answers=tuple(answer(0.6, f"q{n}", math.nan) for n in range(40)))
    assert held_against(silent, silent)[0].agreeing == 40


def test_near_ties_that_all_fell_on_the_good_side_are_found() -> None:
    """Each is within the tolerance, and so is their mean; but honest near ties fall on either side."""

    def answers(bent: int) -> Observations:
        return seen(answers=tuple(answer(0.55 if n < bent else 0.45, f"q{n}") for n in range(100)))

    now = answers(0)
    for bent, findings in ((6, 0), (7, 1)):
        found, count = held_against(answers(bent), now)
        assert (found.agreeing, found.better, found.worse, count) == (100, bent, 0, findings)
    found, count = held_against(now, answers(7))
    assert (found.better, found.worse, count) == (0, 7, 0)


def test_honest_rounding_is_no_leaning() -> None:
    steps = [0.25 * (-1) ** n for n in range(41)]
    was = seen(answers=tuple(answer(0.6, f"q{n}") for n in range(41)))
    index = {a.probe: n for n, a in enumerate(was.answers)}
    now = moved(was, lambda a: steps[index[a.probe]])
    found, findings = held_against(was, now)
    assert findings == 0
    assert found.largest == pytest.approx(0.25)
    assert abs(found.shift) < 0.01
