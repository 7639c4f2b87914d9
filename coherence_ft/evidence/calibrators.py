"""Calibrators: from the confidence a model states to the probability that its answer is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.evidence.intervals import Array

# Gaussian priors, as standard deviations on the logit scale. With no data the calibrator is the identity;
# a hundred answers outweigh the first two. Domains share what they have in common.
_SLOPE = 1.0  # around 1
_INTERCEPT = 1.5  # around 0
_DOMAIN = 0.5  # around 0
_EDGE = 1e-6  # stated confidence is kept this far from 0 and 1
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class PlattCalibrator:
    """P(right) = sigmoid(slope · logit(confidence) + intercept + domains[domain]) (Platt 1999).

    `slope` is never negative, so that within a domain more stated confidence never means less. A domain
    that was not in the fit takes the global intercept alone. `model`, `probe_set` (digests) and `split` say
    where the `n` answers of the fit came from.
    """

    slope: float
    intercept: float
    domains: tuple[tuple[str, float], ...]
    model: str
    probe_set: str
    split: str
    n: int

    def apply(self, confidence: Array, domains: Sequence[str]) -> Array:
        """Calibrated probabilities, to six decimals so that a threshold in a file means the same anywhere."""
        offsets = dict(self.domains)
        offset = np.array([offsets.get(domain, 0.0) for domain in domains])
        return np.round(expit(self.slope * _feature(confidence) + self.intercept + offset), _DIGITS)

    def confidence(self, probabilities: Sequence[float], domain: str) -> float:
        """Calibrated probability that the likeliest of the options is right. Raises CFT452 for NaN."""
        # NaN is below no threshold, so it would be delivered
        if not all(map(math.isfinite, probabilities)):
            raise refusal(
                "CFT452",
                "the model gave an option no finite probability",
                found=str(tuple(probabilities)),
                help="The weights are broken, or the precision overflows on this machine.",
            )
        return float(self.apply(np.array([max(probabilities)]), (domain,))[0])

    def for_model(self, model: str) -> PlattCalibrator:
        """Itself, when it was fitted on the model with this content digest; else CFT456."""
        if model != self.model:
            raise refusal(
                "CFT456",
                "the calibrator was fitted on another model",
                found=self.model,
                expected=model,
                help="Fit a calibrator on this model: confidence does not carry over.",
            )
        return self

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "platt",
            "slope": decimal(self.slope),
            "intercept": decimal(self.intercept),
            "domains": {domain: decimal(offset) for domain, offset in self.domains},
            "model": self.model,
            "probe_set": self.probe_set,
            "split": self.split,
            "n": self.n,
        }

    @classmethod
    def from_json(cls, data: object, *, path: object = "") -> PlattCalibrator:
        """Raises CFT457 for anything that `to_json` would not write."""
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}", path) from None

    @classmethod
    def _read(cls, data: Any) -> PlattCalibrator:
        if data["kind"] != "platt":
            raise ValueError(f"kind {data['kind']!r}")
        texts = data["slope"], data["intercept"], *data["domains"].values()
        if not all(
            isinstance(text, str) for text in (*texts, data["model"], data["probe_set"], data["split"])
        ):
            raise TypeError("numbers and digests are strings")
        slope, intercept, *offsets = map(float, texts)
        if not all(map(math.isfinite, (slope, intercept, *offsets))) or slope < 0:
            raise ValueError("numbers are finite and the slope is not negative")
        if type(data["n"]) is not int or data["n"] < 0:
            raise ValueError("n is a count")
        domains = tuple(sorted(zip(data["domains"], offsets, strict=True)))
        return cls(slope, intercept, domains, data["model"], data["probe_set"], data["split"], data["n"])


def _unreadable(found: str, path: object) -> CoherenceError:
    return refusal(
        "CFT457",
        "the calibrator file cannot be read",
        path=path,
        found=found,
        help="Take the file from the derivative again, or measure and promote anew. Never mend it by hand.",
    )


def fit_platt(
    confidence: Array, right: Array, domains: Sequence[str], *, model: str, probe_set: str, split: str
) -> PlattCalibrator:
    """The penalised maximum-likelihood calibrator of answers: stated confidence, whether right, domain.

    The ridge pulls the slope to 1 and the intercept to 0, each domain's own intercept to 0. So with few
    answers, or with all right or all wrong, it stays finite and between the identity and the base rate.
    Domains get intercepts of their own only where there are several. Newton's method; the problem is
    strictly convex, so a slope that comes out negative is zero at the constrained optimum.
    """
    names = sorted(set(domains))
    own = names if len(names) > 1 else []
    x = np.concatenate(
        [
            _feature(confidence)[:, None],
            np.ones((len(confidence), 1)),
            np.array([[domain == name for name in own] for domain in domains], float).reshape(
                len(confidence), len(own)
            ),
        ],
        axis=1,
    )
    centre = np.array([1.0, 0.0] + [0.0] * len(own))
    scale = np.array([_SLOPE, _INTERCEPT] + [_DOMAIN] * len(own))
    y = np.asarray(right, dtype=float)
    fitted = _newton(x, y, centre, scale)
    if fitted[0] < 0:
        fitted = np.concatenate([[0.0], _newton(x[:, 1:], y, centre[1:], scale[1:])])
    slope, intercept, *offsets = (round(float(number), _DIGITS) + 0.0 for number in fitted)
    return PlattCalibrator(
        slope, intercept, tuple(zip(own, offsets, strict=True)), model, probe_set, split, len(y)
    )


def _newton(x: Array, y: Array, centre: Array, scale: Array) -> Array:
    precision = 1 / scale**2

    def loss(at: Array) -> float:
        z = x @ at
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * precision @ (at - centre) ** 2)

    at = centre.copy()
    current = loss(at)
    for _ in range(100):
        p = expit(x @ at)
        gradient = x.T @ (p - y) + precision * (at - centre)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        while (new := loss(at - step)) > current + 1e-12 and np.max(np.abs(step)) > 1e-9:
            step = step / 2
        at, current = at - step, new
        if np.max(np.abs(step)) < 1e-9:
            break
    return at


def _feature(confidence: Array) -> Array:
    return logit(np.clip(np.asarray(confidence, dtype=float), _EDGE, 1 - _EDGE))
