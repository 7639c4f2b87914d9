"""Temperature and isotonic regression: scikit-learn fits them, what it found applies without it.

One curve for every answer, whatever its domain: they are there to be compared with, and for models with one
domain and many answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import expit

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.platt import DIGITS, EDGE, edge_of, feature, number


@dataclass(frozen=True, slots=True)
class Temperature:
    """P(right) = sigmoid(logit(confidence) / temperature) (Guo et al. 2017).

    Of two options this is the usual temperature of their logits; of more it is that of the chosen one
    against the others together.
    """

    temperature: float
    edge: float = EDGE

    def probability(self, confidence: Array, domains: Sequence[str], patterns: Sequence[str]) -> Array:
        """(n,), not rounded."""
        return np.asarray(expit(feature(confidence, self.edge) / self.temperature))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "temperature",
            "temperature": decimal(self.temperature),
            "edge": decimal(self.edge),
        }

    @classmethod
    def from_json(cls, data: Any) -> Temperature:
        """Raises KeyError, TypeError or ValueError for what `to_json` would not write."""
        made = cls(number(data["temperature"]), edge_of(data))
        if made.temperature <= 0:
            raise ValueError("a temperature is above 0")
        return made


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Never falling and linear between knots (Zadrozny and Elkan 2002); level beyond the outer ones."""

    knots: tuple[tuple[float, float], ...]  # (confidence, probability), both ascending

    def probability(self, confidence: Array, domains: Sequence[str], patterns: Sequence[str]) -> Array:
        """(n,), not rounded."""
        stated, found = zip(*self.knots, strict=True)
        return np.asarray(np.interp(np.asarray(confidence, dtype=float), stated, found))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "isotonic", "knots": [[decimal(x), decimal(y)] for x, y in self.knots]}

    @classmethod
    def from_json(cls, data: Any) -> Isotonic:
        """Raises KeyError, TypeError or ValueError for what `to_json` would not write."""
        knots = tuple((number(x), number(y)) for x, y in data["knots"])
        if not knots or not all(0 <= value <= 1 for knot in knots for value in knot):
            raise ValueError("knots are pairs of probabilities")
        if any(left[0] >= right[0] or left[1] > right[1] for left, right in pairwise(knots)):
            raise ValueError("knots ascend")
        return cls(knots)


def fit_temperature(confidence: Array, right: Array, edge: float = EDGE) -> Temperature:
    """scikit-learn's temperature scaling of the logit. Raises CFT469 and CFT474."""
    _refuse_certainty(right)
    every = np.arange(len(right))
    scaled = _scikit_learn("calibration").CalibratedClassifierCV(
        _identity(), method="temperature", ensemble=False, cv=[(every, every)]
    )
    scaled.fit(feature(confidence, edge)[:, None], np.asarray(right, dtype=int))
    # it halves: a score x stands for the two logits -x and x
    inverse = 2 * float(scaled.calibrated_classifiers_[0].calibrators[0].beta_)
    return Temperature(round(1 / inverse, DIGITS), edge)


def fit_isotonic(confidence: Array, right: Array) -> Isotonic:
    """scikit-learn's isotonic regression. Raises CFT469 and CFT474."""
    _refuse_certainty(right)
    fitted = _scikit_learn("isotonic").IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1)
    fitted.fit(np.asarray(confidence, dtype=float), np.asarray(right, dtype=float))
    # two digits more: between near knots the line is steep
    stated = np.round(fitted.X_thresholds_, DIGITS + 2).tolist()
    found = np.round(fitted.y_thresholds_, DIGITS + 2).tolist()
    return Isotonic(tuple(zip(stated, found, strict=True)))


def _refuse_certainty(right: Array) -> None:
    if len(np.unique(right)) < 2:
        raise refusal(
            "CFT469",
            "these answers fit no temperature and no isotonic curve",
            found=f"{len(right)} answers, {int(np.sum(right))} of them right",
            expected="right ones and wrong ones",
            help="Use the Platt calibrator, which leans on its prior, or measure more answers.",
        )


def _scikit_learn(module: str) -> ModuleType:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise refusal(
            "CFT474",
            "this calibrator is fitted by scikit-learn, which is not installed",
            found=str(error),
            help="pip install 'scikit-learn>=1.8', or use the Platt calibrator",
        ) from None


def _identity() -> Any:
    """A classifier that learns nothing: its score is its only feature."""
    base = _scikit_learn("base")

    class Identity(base.ClassifierMixin, base.BaseEstimator):  # type: ignore[name-defined]
        def fit(self, scores: Array, right: Array) -> Identity:
            self.classes_ = np.array([0, 1])
            return self

        def decision_function(self, scores: Array) -> Array:
            return scores[:, 0]

        def predict(self, scores: Array) -> Array:
            return (scores[:, 0] > 0).astype(int)

    return Identity()
