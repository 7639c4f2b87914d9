"""A random sample of probes, measured again on the loaded model and held against what is stored.

Half-precision arithmetic gives other last digits in another batch, on another number of threads, and on
another machine. So likelihoods agree within a tolerance, in logits, and what differs by more is a finding.
docs/audit.md says where the tolerance comes from.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from coherence_ft.auditing.probes import Observation
from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.probe_set import ProbeSet, Question
from coherence_ft.loops.integrity import contradicts
from coherence_ft.loops.observation import AnswerObservation, GroupObservation, Observations
from coherence_ft.probing.probe import Progress, probe
from coherence_ft.serving.derivative import VerifiedDerivative, load_weights

TOLERANCE = {"bfloat16": 1.0, "float32": 0.05}
"""By the precision of the model: how far, in logits, two measurements of one probability may be apart."""

_SHIFT = 0.1  # of the tolerance: how far answers may be apart on average, towards the recorded outcome
_BETTER = 0.02  # share of the outcomes that may have been better when they were stored
_EDGE = 1e-3  # probabilities are kept this far from 0 and 1 before logits are taken
_TEXTS = 0.05  # share of the generated texts that may come out otherwise
_SURE = 0.99  # how surely, at these shares, no more do in an honest sample


@dataclass(frozen=True, slots=True)
class Difference:
    """A probe that was measured otherwise. `explained`: rounding can do that. `generated`: it is about a text
    that the model wrote, which goes on otherwise from the first near tie on."""

    probe: str
    stored: str
    again: str
    explained: bool
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Reprobed:
    """`answers`, `groups` and `replies` of the certification split were measured again; for `texts` of these
    outcomes the model wrote something.

    In logits: `tolerance`; `largest`, difference of a probability; and `shift`, by how much on average the
    stored answers are more in favour of the recorded outcome than those measured now. `better` and `worse`:
    outcomes (right, consistent, nothing violated) that were so when they were stored.
    """

    answers: int
    groups: int
    replies: int
    texts: int
    tolerance: float
    largest: float
    shift: float
    better: int
    worse: int
    differences: tuple[Difference, ...]

    @property
    def sampled(self) -> int:
        return self.answers + self.groups + self.replies

    @property
    def agreeing(self) -> int:
        return self.sampled - len({d.probe for d in self.differences if not d.explained})


class _Named(Protocol):
    @property
    def probe(self) -> str: ...


T = TypeVar("T", bound=_Named)


def reprobe(
    verified: VerifiedDerivative,
    stored: Observations,
    probes: ProbeSet,
    count: int,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Reprobed:
    """Measure `count` of the `stored` probes again, drawn by `seed`. `probes`: the set that they are of.

    An answer agrees when each option's probability does; a group when its choices do, or the options were
    so close that either could come first; a reply when its checks come out the same.
    Raises CoherenceError (CFT660) where more differs than rounding explains.
    """
    model, tokenizer = load_weights(verified)

    def measured(sample: ProbeSet, confidence: str, progress: Progress | None = None) -> Observations:
        return probe(
            model,
            tokenizer,
            sample,
            model_digest=stored.model,
            split=stored.split,
            confidence=confidence,
            progress=progress,
        )

    every: list[Observation] = [*stored.answers, *stored.groups, *stored.replies]
    drawn = np.random.default_rng(seed).permutation(sorted(each.probe for each in every))[:count]
    again = measured(_only(probes, frozenset(drawn.tolist())), stored.confidence_source, progress)
    members = _members(probes, {group.probe for group in _changed(stored, again)})
    one_by_one = measured(members, OPTION_LIKELIHOOD).answers if members.questions else ()
    found = compare(stored, again, one_by_one, TOLERANCE[verified.serving["precision"]])
    if findings := departures(found, str(verified.folder)):
        raise CoherenceError(findings)
    return found


def compare(
    stored: Observations, again: Observations, members: Sequence[AnswerObservation], tolerance: float
) -> Reprobed:
    """What was measured `again` against what is stored of the same probes.

    `members`: of each group whose choices changed, its questions one by one, for their probabilities.
    """
    found: list[Difference] = []
    before, largest, shifts = _by_id(stored.answers), 0.0, []
    for now in again.answers:
        was = before[now.probe]
        apart = _apart(was.probabilities, now.probabilities)
        largest = max(largest, apart)
        shifts.append(_logit(was.probabilities[was.answer]) - _logit(now.probabilities[was.answer]))
        if apart > tolerance or was.choice != now.choice:
            found.append(Difference(now.probe, _shown(was), _shown(now), apart <= tolerance))
        if _stated_apart(was, now) > tolerance:
            found.append(Difference(now.probe, _shown(was), _shown(now), False, generated=True))
    asked = _by_id(members)
    chosen = _by_id(stored.groups)
    for group in _changed(stored, again):
        choices = chosen[group.probe].choices
        each = [asked[_member(group.probe, n)].probabilities for n in range(len(choices))]
        close = all(
            math.log(max(p) / max(p[choice], _EDGE)) <= tolerance
            for p, choice in zip(each, choices, strict=True)
        )
        found.append(Difference(group.probe, f"choices {choices}", f"choices {group.choices}", close))
    said = _by_id(stored.replies)
    for reply in again.replies:
        was_said = said[reply.probe]
        if [c.passed for c in was_said.checks] != [c.passed for c in reply.checks]:
            texts = repr(was_said.reply), repr(reply.reply)
            found.append(Difference(reply.probe, *texts, False, generated=True))
    was_good, is_good = _outcomes(stored), _outcomes(again)
    return Reprobed(
        len(again.answers),
        len(again.groups),
        len(again.replies),
        len(again.replies) + sum(answer.stated is not None for answer in again.answers),
        tolerance,
        largest,
        float(np.mean(shifts)) if shifts else 0.0,
        sum(was_good[probe] and not good for probe, good in is_good.items()),
        sum(good and not was_good[probe] for probe, good in is_good.items()),
        tuple(found),
    )


def departures(found: Reprobed, where: str) -> list[Diagnostic]:
    """CFT660: what rounding does not explain. Of generated texts a few may differ, of likelihoods none."""
    from scipy.stats import binom

    wrong = [d for d in found.differences if not d.explained and not d.generated]
    texts = [d for d in found.differences if not d.explained and d.generated]
    if len(texts) > binom.ppf(_SURE, found.texts, _TEXTS):
        wrong += texts
    findings = [
        Diagnostic(
            "CFT660",
            f"{d.probe} was measured otherwise than stored",
            where,
            found=f"measured again: {d.again}"[:300],
            expected=f"stored: {d.stored}"[:300],
        )
        for d in wrong
    ]
    allowed = found.tolerance * max(_SHIFT, 1 / math.sqrt(max(found.answers, 1)))
    if abs(found.shift) > allowed:
        findings.append(
            Diagnostic(
                "CFT660",
                "the stored answers lean to one side of those measured again",
                where,
                found=f"{found.shift:+.3f} logits towards the recorded outcome, mean of {found.answers}",
                expected=f"at most {allowed:.3f} either way",
            )
        )
    if found.better > (most := int(binom.ppf(_SURE, found.sampled, _BETTER))):
        findings.append(
            Diagnostic(
                "CFT660",
                "more outcomes were better when they were stored than near ties explain",
                where,
                found=f"{found.better} better and {found.worse} worse, of {found.sampled}",
                expected=f"at most {most} better",
            )
        )
    return findings


def _outcomes(seen: Observations) -> dict[str, bool]:
    good = {answer.probe: answer.correct for answer in seen.answers}
    good |= {group.probe: not contradicts(group) for group in seen.groups}
    return good | {reply.probe: not reply.violated for reply in seen.replies}


def _only(probes: ProbeSet, chosen: frozenset[str]) -> ProbeSet:
    return replace(
        probes,
        questions=tuple(q for q in probes.questions if q.id in chosen),
        groups=tuple(g for g in probes.groups if g.id in chosen),
        conversations=tuple(c for c in probes.conversations if c.id in chosen),
    )


def _changed(stored: Observations, again: Observations) -> list[GroupObservation]:
    before = _by_id(stored.groups)
    return [group for group in again.groups if group.choices != before[group.probe].choices]


def _members(probes: ProbeSet, groups: Container[str]) -> ProbeSet:
    """The members of these groups as questions. Which answer is right does not matter here."""
    questions = tuple(
        Question(_member(group.id, n), group.domain, group.id, member.messages, member.options, 0)
        for group in probes.groups
        if group.id in groups
        for n, member in enumerate(group.members)
    )
    return replace(probes, questions=questions, groups=(), conversations=())


def _member(group: str, number: int) -> str:
    return f"{group}, member {number + 1}"


def _by_id(rows: Iterable[T]) -> dict[str, T]:
    return {row.probe: row for row in rows}


def _logit(p: float) -> float:
    p = min(max(p, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))


def _apart(was: Sequence[float], now: Sequence[float]) -> float:
    """The largest difference, in logits; infinite where a number is none."""
    if len(was) != len(now) or not all(map(math.isfinite, (*was, *now))):
        return math.inf
    return max(abs(_logit(a) - _logit(b)) for a, b in zip(was, now, strict=True))


def _stated_apart(was: AnswerObservation, now: AnswerObservation) -> float:
    """Of a confidence that is no option's likelihood; none where the model stated none either time."""
    if was.stated is None or (not was.is_stated and not now.is_stated):
        return 0.0
    return _apart([was.stated], [math.nan if now.stated is None else now.stated])


def _shown(answer: AnswerObservation) -> str:
    stated = "" if answer.stated is None else f", states {answer.stated:.3f}"
    return f"option {answer.choice} at {max(answer.probabilities):.3f}{stated}"
