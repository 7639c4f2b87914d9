"""Drift: does the confidence that is stated at run time still say how often answers are right?

Both tests bet on each outcome by likelihood ratios against the stated confidence, its logit shifted. The
null: given all before, an answer is right with a probability whose logit lies within `tolerance` of the
stated one. A ratio of "shifted further" against "shifted by the tolerance" has expectation at most 1 anywhere
in the null, so no model of how confidence itself is distributed is needed. Outcomes must have been gathered
without regard to whether the answer was right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.evidence.arrays import Array, refuse_unsound

SHIFTS = (-1.0, -0.5, 0.5, 1.0)
"""What is bet on: logits beyond the tolerance. Negative: less often right than stated."""

EDGE = 1e-6
_LARGEST = 3.0  # an offset in logits: past it, confidence is worth nothing
_PRIOR = 0.5  # standard deviation of a change of offset, in logits
_STEPS = 50


def logit(confidence: float) -> float:
    """Confidence of 0 or 1 is taken as `EDGE` or 1 - `EDGE`."""
    p = min(max(confidence, EDGE), 1 - EDGE)
    return math.log(p) - math.log1p(-p)


def probability(value: float) -> float:
    """The probability with this logit."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


def log_ratios(logits: Array, right: Array, tolerance: float) -> Array:
    """Log likelihood ratio of every bet on every outcome: (…, bets) for logits and outcomes of shape (…)."""
    far = np.array([shift + math.copysign(tolerance, shift) for shift in SHIFTS])
    near = np.array([math.copysign(tolerance, shift) for shift in SHIFTS])
    sign = np.where(np.asarray(right, dtype=bool), 1.0, -1.0)[..., None]
    value = np.asarray(logits, dtype=float)[..., None]
    return np.asarray(np.logaddexp(0, -sign * (value + near)) - np.logaddexp(0, -sign * (value + far)))


def certify_step(capital: Array, step: Array, n: int) -> Array:
    """Log capitals after outcome number `n` (from 1): what was bet, and what is newly bet from n + 1 on."""
    return np.asarray(np.logaddexp(capital + step, -math.log((n + 1) * (n + 2))))


def certify_value(capital: Array, n: int) -> Array:
    """Log of the e-process after `n` outcomes; along the last axis lie the bets."""
    return np.asarray(np.logaddexp(_average(capital), -math.log(n + 2)))


def detect_step(capital: Array, step: Array) -> Array:
    """Log capitals of the CUSUM e-detector: each bet starts again at 1 where it has lost."""
    return np.asarray(np.maximum(capital, 0.0) + step)


@dataclass(frozen=True, slots=True)
class DriftCertificate:
    """Evidence that stated confidence has drifted, valid at any time.

    An e-process: the average over bets, and over all outcomes j from which one could start to bet, with
    weight 1 / (j (j + 1)), so that a change that comes late is found too. While the null holds it ever
    reaches 1 / `alpha` with probability at most `alpha` (Ville 1939). A value: `feed` returns a new one.
    """

    alpha: float
    tolerance: float
    capitals: tuple[float, ...] = (-math.log(2),) * len(SHIFTS)  # log; what is bet on the next outcome
    n: int = 0
    peak: float = 0.0  # the largest log e-value so far

    @property
    def certified(self) -> bool:
        return self.peak >= -math.log(self.alpha)

    def feed(self, logits: Sequence[float] | Array, right: Sequence[bool] | Array) -> DriftCertificate:
        """After these outcomes, in one call or in many: the same. Raises CFT452."""
        steps = _steps(logits, right, self.tolerance)
        capital, n, peak = np.array(self.capitals), self.n, self.peak
        for step in steps:
            n += 1
            capital = certify_step(capital, step, n)
            peak = max(peak, float(certify_value(capital, n)))
        return replace(self, capitals=tuple(map(float, capital)), n=n, peak=peak)

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha": repr(self.alpha),
            "tolerance": repr(self.tolerance),
            "capitals": [repr(c) for c in self.capitals],
            "n": self.n,
            "peak": repr(self.peak),
        }

    @classmethod
    def from_json(cls, data: Any, *, path: object = "") -> DriftCertificate:
        """Raises CFT485 for anything that `to_json` would not write."""
        try:
            made = cls(
                *_common(data), tuple(map(_number, data["capitals"])), data["n"], _number(data["peak"])
            )
            if made.to_json() != data or len(made.capitals) != len(SHIFTS) or made.peak < 0:
                raise ValueError("not in the form in which it is written")
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(error, path) from None
        return made


@dataclass(frozen=True, slots=True)
class DriftDetector:
    """A restarting e-detector (Shin, Ramdas and Rinaldo 2024, "E-detectors": CUSUM).

    While the null holds, the mean number of outcomes until it fires is at least 1 / `alpha`. That holds for
    several detectors together, whatever cell an outcome falls in: each outcome raises the sum of their
    Shiryaev-Roberts values, which lie above, by at most 1 in expectation. So cells need no further
    correction. Every bet knows the outcome at which it last started: the estimated change.
    """

    alpha: float
    tolerance: float
    capitals: tuple[float, ...] = (0.0,) * len(SHIFTS)  # log
    starts: tuple[int, ...] = (0,) * len(SHIFTS)  # outcomes before the one at which each bet last started
    n: int = 0

    @property
    def log_value(self) -> float:
        return float(_average(np.array(self.capitals))) if self.n else 0.0

    @property
    def fired(self) -> bool:
        return self.log_value >= -math.log(self.alpha)

    @property
    def change(self) -> int:
        """How many outcomes came before the estimated change: where the strongest bet last started."""
        return self.starts[int(np.argmax(self.capitals))]

    @property
    def side(self) -> int:
        """-1: less often right than stated; 1: more often."""
        return -1 if SHIFTS[int(np.argmax(self.capitals))] < 0 else 1

    def feed(
        self, logits: Sequence[float] | Array, right: Sequence[bool] | Array
    ) -> tuple[DriftDetector, int]:
        """After as many outcomes as it took to fire, and how many those are. Raises CFT452.

        One that has fired takes none: begin again with `restarted`.
        """
        steps = _steps(logits, right, self.tolerance)
        detector = self
        for used, step in enumerate(steps):
            if detector.fired:
                return detector, used
            capital = np.array(detector.capitals)
            starts = np.where(capital <= 0, detector.n, detector.starts)
            detector = replace(
                detector,
                capitals=tuple(map(float, detect_step(capital, step))),
                starts=tuple(map(int, starts)),
                n=detector.n + 1,
            )
        return detector, len(steps)

    def restarted(self) -> DriftDetector:
        return DriftDetector(self.alpha, self.tolerance)

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha": repr(self.alpha),
            "tolerance": repr(self.tolerance),
            "capitals": [repr(c) for c in self.capitals],
            "starts": list(self.starts),
            "n": self.n,
        }

    @classmethod
    def from_json(cls, data: Any, *, path: object = "") -> DriftDetector:
        """Raises CFT485 for anything that `to_json` would not write."""
        try:
            starts = tuple(data["starts"])
            made = cls(*_common(data), tuple(map(_number, data["capitals"])), starts, data["n"])
            if made.to_json() != data or not len(made.capitals) == len(starts) == len(SHIFTS):
                raise ValueError("not in the form in which it is written")
            if not all(type(start) is int and 0 <= start <= made.n for start in starts):
                raise ValueError("a bet starts at one of the outcomes")
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(error, path) from None
        return made


def shrunken_offset(logits: Array, right: Array, offset: float, side: int) -> float:
    """The offset that these outcomes support, from `offset` towards `side`, at most 3 logits from zero.

    Maximum a posteriori with a normal prior of standard deviation 0.5 around `offset`, since the start of the
    change was chosen by the same outcomes. Where they speak for the other side, `offset` stays.
    """
    found = offset
    for _ in range(_STEPS):  # Newton's method; concave, and the prior keeps each step short
        p = 1 / (1 + np.exp(-(logits + found)))
        slope = float(np.sum(right - p)) - (found - offset) / _PRIOR**2
        step = slope / (float(np.sum(p * (1 - p))) + 1 / _PRIOR**2)
        found += max(-1.0, min(1.0, step))
        if abs(step) < 1e-9:
            break
    found = max(-_LARGEST, min(_LARGEST, found))
    return round(found, 6) if side * (found - offset) > 0 else offset


def unreadable(error: Exception, path: object) -> CoherenceError:
    """CFT485."""
    return refusal(
        "CFT485",
        "the state of the run-time evidence cannot be read",
        path=path,
        found=f"{type(error).__name__}: {error}"[:200],
        help="Restore the file from a backup. Never mend it by hand.",
    )


def _steps(logits: Sequence[float] | Array, right: Sequence[bool] | Array, tolerance: float) -> Array:
    values, outcomes = np.asarray(logits, dtype=float), np.asarray(right)
    refuse_unsound(outcomes, np.zeros(len(outcomes)), 1 / (1 + np.exp(-values)))
    return log_ratios(values, outcomes, tolerance)


def _average(capital: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(capital, axis=-1) - math.log(len(SHIFTS)))


def _common(data: Any) -> tuple[float, float]:
    alpha, tolerance = _number(data["alpha"]), _number(data["tolerance"])
    if not (0 < alpha < 1 and tolerance >= 0) or type(data["n"]) is not int or data["n"] < 0:
        raise ValueError("alpha lies between 0 and 1, tolerance and n are not negative")
    return alpha, tolerance


def _number(value: object) -> float:
    if not isinstance(value, str) or not math.isfinite(float(value)):
        raise ValueError("numbers are finite, and strings")
    return float(value)
