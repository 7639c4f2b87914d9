"""Calibrators: from the confidence a model states to the probability that its answer is right.

One calibrator belongs to one model, one routing codebook and one source of confidence. The source is no
further level: a likelihood of 0.9 and a spoken "90 %" differ in slope as much as in offset, a spoken "100 %"
is nowhere near certainty, and a constraint set chooses one of them, so there is little to share. Multiple
choice and yes/no do share: both state the chosen option's likelihood among the options.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.evidence import platt, scaling, shrinkage
from coherence_ft.evidence.arrays import Array, refuse_unsound
from coherence_ft.evidence.intervals import group_codes
from coherence_ft.evidence.platt import Platt, coded
from coherence_ft.evidence.scaling import Isotonic, Temperature

# How far from 0 and 1 a stated confidence is kept. What is said in steps, or counted over a few samples,
# says "1" of everything above its last step; taken at its word, it bends the whole curve.
_EDGES = {
    OPTION_LIKELIHOOD: platt.EDGE,
    "answer_likelihood": platt.EDGE,
    "p_true": platt.EDGE,
    "verbalized": 0.025,
    "agreement": 0.025,
}

_VERSION = 1
_DIGITS = 6
_CURVES: dict[str, type[Platt] | type[Temperature] | type[Isotonic]] = {
    "platt": Platt,
    "temperature": Temperature,
    "isotonic": Isotonic,
}

Curve = Platt | Temperature | Isotonic


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from: content digest of the model, adapter included; digest of the probe set and
    its split; digest of the codebook that named the routing patterns, empty where there is none; and what
    was taken for confidence: `option_likelihood`, `answer_likelihood`, `p_true`, `verbalized` or
    `agreement`."""

    model: str
    probe_set: str
    split: str
    codebook: str = ""
    confidence: str = OPTION_LIKELIHOOD


@dataclass(frozen=True, slots=True)
class CellCount:
    """How many answers of the fit lay in a cell, and how many of them were right."""

    domain: str
    pattern: str
    n: int
    right: int


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A curve and what it was fitted on: every answer is in one of `cells`. `groups`: how many there were.

    `certified_on`: probe set and split of the answers that judged it, if any did.
    """

    curve: Curve
    source: Source
    cells: tuple[CellCount, ...]
    groups: int
    certified_on: tuple[str, str] | None = None

    @property
    def n(self) -> int:
        return sum(cell.n for cell in self.cells)

    def apply(self, confidence: Array, domains: Sequence[str], patterns: Sequence[str]) -> Array:
        """Calibrated probabilities, to six decimals so that a threshold in a file means the same anywhere.

        Raises CFT452 for what is no probability.
        """
        confidence = np.asarray(confidence, dtype=float)
        _refuse_unsound(np.ones(len(confidence)), confidence, domains, patterns)
        return np.round(self.curve.probability(confidence, domains, patterns), _DIGITS)

    def confidence(
        self, probabilities: Sequence[float], domain: str, pattern: str, stated: float | None = None
    ) -> float:
        """Calibrated probability that the likeliest of the options is right. Raises CFT452 for NaN.

        `stated`: raw confidence in it from another source than the option's likelihood.
        """
        # NaN is below no threshold, so it would be delivered
        if not all(map(math.isfinite, probabilities)):
            raise refusal(
                "CFT452",
                "the model gave an option no finite probability",
                found=str(tuple(probabilities)),
                help="The weights are broken, or the precision overflows on this machine.",
            )
        return float(
            self.apply(np.array([max(probabilities) if stated is None else stated]), (domain,), (pattern,))[0]
        )

    def for_model(self, model: str, codebook: str = "", confidence: str = OPTION_LIKELIHOOD) -> Calibrator:
        """Itself, when it was fitted on the model with this content digest (else CFT456), with routing
        patterns of this codebook and on confidence from this source (else CFT468)."""
        if model != self.source.model:
            raise refusal(
                "CFT456",
                "the calibrator was fitted on another model",
                found=self.source.model,
                expected=model,
                help="Fit a calibrator on this model: confidence does not carry over.",
            )
        for what, found, expected in (
            ("routing patterns of another codebook", self.source.codebook, codebook),
            ("another source of confidence", self.source.confidence, confidence),
        ):
            if found != expected:
                raise refusal(
                    "CFT468",
                    f"the calibrator was fitted with {what}",
                    found=found or "none",
                    expected=expected or "none",
                    help="Measure and fit again with what is used to answer.",
                )
        return self

    def certified(self, probe_set: str, split: str) -> Calibrator:
        """The same, with what judged it. Raises CFT454 where that is what it was fitted on."""
        if probe_set == self.source.probe_set or split == self.source.split:
            raise refusal(
                "CFT454",
                "the answers that fitted the calibrator cannot also certify it",
                found=f"{split} ({probe_set})",
                expected=f"another split and file than {self.source.split}",
            )
        return replace(self, certified_on=(probe_set, split))

    def to_json(self) -> dict[str, Any]:
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for cell in self.cells:
            counts.setdefault(cell.domain, {})[cell.pattern] = {"n": cell.n, "right": cell.right}
        source = self.source
        curve = self.curve.to_json()
        return {
            "version": _VERSION,
            "kind": curve.pop("kind"),
            "confidence": source.confidence,
            "model": source.model,
            "codebook": source.codebook or None,
            "fitted_on": {
                "probe_set": source.probe_set,
                "split": source.split,
                "n": self.n,
                "groups": self.groups,
                "cells": counts,
            },
            "certified_on": self.certified_on
            and dict(zip(("probe_set", "split"), self.certified_on, strict=True)),
            "parameters": curve,
        }

    @classmethod
    def from_json(cls, data: object, *, path: object = "") -> Calibrator:
        """Raises CFT457 for anything that `to_json` would not write."""
        try:
            made = cls._read(data)
            if made.to_json() != data:
                raise ValueError("not in the form in which calibrators are written")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}", path) from None
        return made

    @classmethod
    def _read(cls, data: Any) -> Calibrator:
        if data["version"] != _VERSION:
            raise ValueError(f"version {data['version']!r}")
        fitted, certified, codebook = data["fitted_on"], data["certified_on"], data["codebook"]
        cells = tuple(
            CellCount(domain, pattern, count["n"], count["right"])
            for domain, patterns in sorted(fitted["cells"].items())
            for pattern, count in sorted(patterns.items())
        )
        counts = [count for cell in cells for count in (cell.n, cell.right)] + [fitted["n"], fitted["groups"]]
        if not all(type(count) is int for count in counts):
            raise TypeError("counts are whole numbers")
        if not all(0 <= cell.right <= cell.n > 0 for cell in cells):
            raise ValueError("a cell has answers, and no more right ones than answers")
        if not (fitted["groups"] <= fitted["n"] and bool(fitted["groups"]) == bool(fitted["n"])):
            raise ValueError("every group has an answer")
        judged = None if certified is None else (certified["probe_set"], certified["split"])
        texts = data["model"], fitted["probe_set"], fitted["split"], data["confidence"]
        if not all(isinstance(text, str) for text in (*texts, *(judged or ()), codebook or "")):
            raise TypeError("digests are strings")
        if data["confidence"] not in _EDGES:
            raise ValueError(f"source of confidence {data['confidence']!r}")
        model, probe_set, split, confidence = texts
        return cls(
            _CURVES[data["kind"]].from_json(data["parameters"]),
            Source(model, probe_set, split, codebook or "", confidence),
            cells,
            fitted["groups"],
            judged,
        )


def fit_platt(
    confidence: Array,
    right: Array,
    domains: Sequence[str],
    patterns: Sequence[str],
    groups: Array,
    source: Source,
) -> Calibrator:
    """Platt scaling with shrunken levels (platt.py, shrinkage.py): for any number of answers, from none on.

    Arrays have one entry an answer. `groups`: answers of one group are not independent. Raises CFT452 for
    outcomes that are neither 0 nor 1, and for what is no probability.
    """
    _refuse_unsound(right, confidence, domains, patterns, groups)
    cells, cell = coded(domains, patterns)
    curve = shrinkage.fit(np.asarray(confidence, dtype=float), right, cells, cell, groups, _edge(source))
    return _made(curve, right, cells, cell, groups, source)


def fit_temperature(
    confidence: Array,
    right: Array,
    domains: Sequence[str],
    patterns: Sequence[str],
    groups: Array,
    source: Source,
) -> Calibrator:
    """One temperature for all, by scikit-learn. Raises CFT452, CFT469 without right and wrong answers, and
    CFT474 without scikit-learn."""
    _refuse_unsound(right, confidence, domains, patterns, groups)
    curve = scaling.fit_temperature(confidence, right, _edge(source))
    return _made(curve, right, *coded(domains, patterns), groups, source)


def fit_isotonic(
    confidence: Array,
    right: Array,
    domains: Sequence[str],
    patterns: Sequence[str],
    groups: Array,
    source: Source,
) -> Calibrator:
    """One isotonic curve for all, by scikit-learn. Raises as `fit_temperature`."""
    _refuse_unsound(right, confidence, domains, patterns, groups)
    curve = scaling.fit_isotonic(confidence, right)
    return _made(curve, right, *coded(domains, patterns), groups, source)


def _edge(source: Source) -> float:
    if source.confidence not in _EDGES:
        raise ValueError(f"no such source of confidence: {source.confidence}")
    return _EDGES[source.confidence]


def _made(
    curve: Curve, right: Array, cells: list[platt.Cell], cell: Array, groups: Array, source: Source
) -> Calibrator:
    answers = np.bincount(cell, minlength=len(cells))
    hits = np.bincount(cell, weights=np.asarray(right, dtype=float), minlength=len(cells))
    return Calibrator(
        curve,
        source,
        tuple(CellCount(*name, int(n), int(k)) for name, n, k in zip(cells, answers, hits, strict=True)),
        group_codes(groups)[1] if len(cell) else 0,
    )


def _refuse_unsound(
    right: Array,
    confidence: Array,
    domains: Sequence[str],
    patterns: Sequence[str],
    groups: Array | None = None,
) -> None:
    refuse_unsound(
        np.asarray(right),
        np.zeros(len(right)) if groups is None else np.asarray(groups),
        np.asarray(confidence),
    )
    if not len(domains) == len(patterns) == len(right):
        raise refusal(
            "CFT452",
            "answers, domains and routing patterns differ in number",
            found=f"{len(right)}, {len(domains)}, {len(patterns)}",
            expected="one of each an answer",
        )


def _unreadable(found: str, path: object) -> CoherenceError:
    return refusal(
        "CFT457",
        "the calibrator file cannot be read",
        path=path,
        found=found,
        help="Take the file from the derivative again, or measure and promote anew. Never mend it by hand.",
    )
