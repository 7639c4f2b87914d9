"""Sequential gates: outcomes are bet on as they arrive, and the gate stops once pass or fail is clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.metrics import Direction
from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.gates import ANYTIME
from coherence_ft.evidence.intervals import group_totals

_RATES = frozenset({"accuracy", "selective_risk", "contradiction_rate", "violation_rate"})
_CHUNK = 65_536
_MOST = 100_000  # past this, "more evidence" is no useful advice


@dataclass(frozen=True, slots=True)
class SequentialGate:
    """Two one-sided e-processes for the mean of outcomes in [`low`, `high`], against one bound.

    One gains if the mean lies below the bound, the other if above. Each is the average capital of a few
    constant bets: Π (1 + λ (m - x)) and Π (1 + λ (x - m)), x and m scaled to [0, 1] (Waudby-Smith and Ramdas
    2023, "Estimating means of bounded random variables by betting", JRSS B 86, diversified Kelly). While the
    mean is on the wrong side, a capital is a nonnegative supermartingale from 1: it ever reaches 1 / alpha
    with at most alpha (Ville 1939), wherever one looks or stops. So a false pass happens with at most
    1 - `confidence`, a false fail with at most 1 - `fail_confidence`. Outcomes must be independent, or each
    at the bound's mean or worse given those before: feed questions that come in groups through
    `grouped_outcomes`.

    A value: `feed` returns a new gate. No verdict before `minimum` outcomes; what was shown stays shown.
    """

    direction: Direction
    bound: float
    confidence: float
    fail_confidence: float
    low: float
    high: float
    minimum: int
    bets_below: tuple[float, ...]  # λ of each bet that the mean is below the bound, scaled
    bets_above: tuple[float, ...]
    below: tuple[float, ...]  # log capital of each of them
    above: tuple[float, ...]
    n: int = 0
    total: float = 0.0
    shown_below: bool = False
    shown_above: bool = False

    @classmethod
    def of_rate(
        cls,
        direction: Direction,
        bound: float,
        confidence: float,
        *,
        fail_confidence: float | None = None,
        minimum: int = 0,
    ) -> SequentialGate:
        """For outcomes that are 0 or 1, or shares in between, and a bound strictly between.

        The bets are those with the fastest growth for a quarter, half and three quarters of the bound's
        rate, and for 1.5, 2 and 4 times it (of the rarer outcome).
        """
        rare = min(bound, 1 - bound)
        if not rare > 0:
            raise ValueError("no number of outcomes shows a rate of 0 or 1")
        fewer = tuple((1 - factor) / (1 - rare) for factor in (0.25, 0.5, 0.75))
        more = tuple(
            (min(factor * rare, (1 + rare) / 2) - rare) / (rare * (1 - rare)) for factor in (1.5, 2, 4)
        )
        below, above = (fewer, more) if bound <= 0.5 else (more, fewer)
        return cls._new(direction, bound, confidence, fail_confidence, 0.0, 1.0, minimum, below, above)

    @classmethod
    def of_mean(
        cls,
        direction: Direction,
        bound: float,
        confidence: float,
        *,
        low: float,
        high: float,
        fail_confidence: float | None = None,
        minimum: int = 0,
    ) -> SequentialGate:
        """For outcomes anywhere in [low, high], such as differences of squared errors in [-1, 1].

        The bets are 0.05 to 0.8 of the largest that cannot lose everything.
        """
        m = (bound - low) / (high - low)
        if not 0 < m < 1:
            raise ValueError("the bound lies strictly between the least and the largest outcome")
        fractions = (0.05, 0.1, 0.2, 0.4, 0.8)
        below, above = (tuple(f / (1 - m) for f in fractions), tuple(f / m for f in fractions))
        return cls._new(direction, bound, confidence, fail_confidence, low, high, minimum, below, above)

    @classmethod
    def of_constraint(cls, constraint: Constraint) -> SequentialGate:
        """The gate of a constraint on a share (feed 1 for what the share counts), `brier_score` or
        `brier_gain` (feed the squared error, or the base's less ours). ValueError for another metric.

        `selective_risk` takes the delivered answers alone, at a threshold that was fixed before.
        """
        given = constraint.direction, constraint.bound, constraint.confidence
        minimum = constraint.minimum_evidence
        if constraint.metric in _RATES:
            return cls.of_rate(*given, minimum=minimum)
        if constraint.metric in ("brier_score", "brier_gain"):
            low = -1.0 if constraint.metric == "brier_gain" else 0.0
            return cls.of_mean(*given, low=low, high=1.0, minimum=minimum)
        raise ValueError(f"{constraint.metric} is not the mean of single outcomes")

    @classmethod
    def _new(
        cls,
        direction: Direction,
        bound: float,
        confidence: float,
        fail_confidence: float | None,
        low: float,
        high: float,
        minimum: int,
        below: tuple[float, ...],
        above: tuple[float, ...],
    ) -> SequentialGate:
        fail = confidence if fail_confidence is None else fail_confidence
        if not (0 < confidence < 1 and 0 < fail < 1):
            raise ValueError("confidence lies between 0 and 1")
        nothing = (0.0,) * len(below), (0.0,) * len(above)
        return cls(direction, bound, confidence, fail, low, high, minimum, below, above, *nothing)

    @property
    def verdict(self) -> Verdict:
        """`insufficient` until one side is shown. Both shown before `minimum`: `fail`."""
        at_most = self.direction is Direction.AT_MOST
        good, bad = (self.shown_below, self.shown_above) if at_most else (self.shown_above, self.shown_below)
        if self.n < self.minimum or not (good or bad):
            return Verdict.INSUFFICIENT
        return Verdict.FAIL if bad else Verdict.PASS

    def feed(self, outcomes: Sequence[float] | Array) -> tuple[SequentialGate, int]:
        """The gate after as many of `outcomes` as it took to decide, and how many those are.

        A gate that has decided takes none. Outcomes that are not finite or out of range raise CFT452, and
        none of them is taken. In one call or in many: the same gate.
        """
        x = np.asarray(outcomes, dtype=float)
        if wrong := int(len(x) - np.sum((x >= self.low) & (x <= self.high))):
            raise refusal(
                "CFT452",
                f"{wrong} of {len(x)} outcomes are no evidence",
                expected=f"numbers from {self.low:g} to {self.high:g}",
                help="Mend what wrote them: leaving outcomes out would measure something else.",
            )
        gate, used = self, 0
        while used < len(x) and gate.verdict is Verdict.INSUFFICIENT:
            gate, took = gate._take(x[used : used + _CHUNK])
            used += took
        return gate, used

    def _take(self, x: Array) -> tuple[SequentialGate, int]:
        gain = (self.bound - x) / (self.high - self.low)
        below = _capitals(self.below, self.bets_below, gain)
        above = _capitals(self.above, self.bets_above, -gain)
        at_most = self.direction is Direction.AT_MOST
        good, bad = _demanded(self.confidence), _demanded(self.fail_confidence)
        shown_below = _ever(_average(below) >= (good if at_most else bad), self.shown_below)
        shown_above = _ever(_average(above) >= (bad if at_most else good), self.shown_above)
        decided = (shown_below | shown_above) & (self.n + 1 + np.arange(len(x)) >= self.minimum)
        last = int(np.argmax(decided)) if decided.any() else len(x) - 1
        return replace(
            self,
            below=tuple(map(float, below[:, last])),
            above=tuple(map(float, above[:, last])),
            n=self.n + last + 1,
            total=float(np.cumsum(np.concatenate([[self.total], x[: last + 1]]))[-1]),
            shown_below=bool(shown_below[last]),
            shown_above=bool(shown_above[last]),
        ), last + 1

    @property
    def more(self) -> int | None:
        """About how many more outcomes would decide if the capital keeps growing as it has; 0 once decided.

        None where neither side gains, or more than 100,000 would be needed.
        """
        if self.verdict is not Verdict.INSUFFICIENT:
            return 0
        wanted = max(1, self.minimum - self.n)
        if self.shown_below or self.shown_above:
            return wanted
        at_most = self.direction is Direction.AT_MOST
        good, bad = _demanded(self.confidence), _demanded(self.fail_confidence)
        sides = ((self.below, good if at_most else bad), (self.above, bad if at_most else good))
        needs = [
            (demanded + math.log(len(capitals)) - capital) / (capital / self.n)
            for capitals, demanded in sides
            for capital in capitals
            if capital > 0
        ]
        if not needs or min(needs) > _MOST:
            return None
        return max(wanted, math.ceil(min(needs)))

    def estimate(self) -> Estimate | Missing:
        """The mean so far, limited by the bound on the side that was shown, and by nothing else.

        So `gates.decide` comes to the same `pass`. What is undecided has the whole range as its interval.
        """
        if self.n == 0:
            return Missing("there is no outcome to measure it on", "CFT470")
        value = self.total / self.n
        lower = self.bound if self.shown_above else self.low
        upper = self.bound if self.shown_below else self.high
        at_most = self.direction is Direction.AT_MOST
        shown = self.shown_below if at_most else self.shown_above
        confidence = self.confidence if shown else min(self.confidence, self.fail_confidence)
        return Estimate.of(value, min(lower, value), max(upper, value), self.n, confidence, ANYTIME)

    def to_json(self) -> dict[str, Any]:
        """Every number as the shortest decimal string that reads back as itself."""
        return {
            name: [repr(v) for v in value]
            if isinstance(value, tuple)
            else repr(value)
            if isinstance(value, float)
            else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: object, *, path: object = "") -> SequentialGate:
        """Raises CFT472 for anything that `to_json` would not write."""
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise refusal(
                "CFT472",
                "the state of a sequential gate cannot be read",
                path=path,
                found=f"{type(error).__name__}: {error}",
                help="Start the gate again and feed it every outcome in order. Never mend its state by hand.",
            ) from None

    @classmethod
    def _read(cls, data: Any) -> SequentialGate:
        bound, confidence, fail_confidence, low, high, total = (
            float(_text(data[name]))
            for name in ("bound", "confidence", "fail_confidence", "low", "high", "total")
        )
        bets_below, bets_above, below, above = (
            tuple(float(_text(number)) for number in data[name])
            for name in ("bets_below", "bets_above", "below", "above")
        )
        numbers = (
            bound,
            confidence,
            fail_confidence,
            low,
            high,
            total,
            *bets_below,
            *bets_above,
            *below,
            *above,
        )
        if not all(map(math.isfinite, numbers)):
            raise ValueError("numbers are finite")
        n, minimum, shown_below, shown_above = (
            data[name] for name in ("n", "minimum", "shown_below", "shown_above")
        )
        if any(type(count) is not int or count < 0 for count in (n, minimum)):
            raise ValueError("n and minimum are counts")
        if any(type(shown) is not bool for shown in (shown_below, shown_above)):
            raise ValueError("what was shown is true or false")
        m = (bound - low) / (high - low)
        # a larger bet could turn the capital negative, and the promise with it
        if not (all(0 < b * (1 - m) < 1 for b in bets_below) and all(0 < b * m < 1 for b in bets_above)):
            raise ValueError("bets lie between 0 and what cannot lose everything")
        if not bets_below or len(bets_below) != len(below) or not bets_above or len(bets_above) != len(above):
            raise ValueError("one capital a bet")
        if not (0 < confidence < 1 and 0 < fail_confidence < 1 and 0 < m < 1 and high > low):
            raise ValueError("confidence lies between 0 and 1, the bound between the outcomes")
        return cls(
            Direction(data["direction"]),
            bound,
            confidence,
            fail_confidence,
            low,
            high,
            minimum,
            bets_below,
            bets_above,
            below,
            above,
            n,
            total,
            shown_below,
            shown_above,
        )


def grouped_outcomes(hits: Array, groups: Array, bound: float, largest: int) -> Array:
    """One outcome in [0, 1] a group, whose mean is at most (least) `bound` exactly if the share of hits is.

    `hits`: 0, 1 or in between. The share is that of all rows, so that a large group weighs more: the outcome
    is `bound` plus the group's surplus of hits over `bound` a row, divided by `largest`, the size that no
    group may exceed (fixed beforehand; a larger group raises CFT452). In sorted order of the labels.
    """
    refuse_unsound(np.zeros(len(hits)), groups, hits)
    totals = group_totals(np.stack([hits, np.ones(len(hits))], axis=1), groups)
    if len(totals) and totals[:, 1].max() > largest:
        raise refusal(
            "CFT452",
            "a group is larger than was said beforehand",
            found=str(int(totals[:, 1].max())),
            expected=f"at most {largest} rows a group",
            help="Start the gate again with the size of the largest group that can occur.",
        )
    return np.clip(bound + (totals[:, 0] - bound * totals[:, 1]) / largest, 0.0, 1.0)


def _capitals(start: tuple[float, ...], bets: tuple[float, ...], gain: Array) -> Array:
    """Log capital of each bet after each outcome: bets × n."""
    steps = np.log1p(np.array(bets)[:, None] * gain)
    return np.cumsum(np.concatenate([np.array(start)[:, None], steps], axis=1), axis=1)[:, 1:]


def _average(capitals: Array) -> Array:
    return np.logaddexp.reduce(capitals, axis=0) - math.log(len(capitals))


def _ever(now: Array, before: bool) -> Array:
    return np.logical_or.accumulate(now) | before


def _demanded(confidence: float) -> float:
    """Log of 1 / alpha."""
    return -math.log(1 - confidence)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("numbers are strings")
    return value
