"""What the report shows of a model's answers, as a whole and in cells: every figure is one of `evidence`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coherence_ft.evidence import metrics
from coherence_ft.evidence.abstention import RiskCoverage, risk_coverage
from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.reliability import (
    BrierDecomposition,
    ReliabilityBin,
    brier_decomposition,
    calibration_error,
    reliability_diagram,
)
from coherence_ft.evidence.smooth import SmoothError, smooth_ece
from coherence_ft.loops.calibration import Forecasts
from coherence_ft.loops.engine import Findings
from coherence_ft.loops.observation import AnswerObservation

CONFIDENCE = 0.95
"""Of every limit in the report that no constraint asks for; one-sided, as in the gates."""

LEAST_ANSWERS = 60
"""A cell with fewer has less than three bins of 20, and is only listed."""

MOST_PANELS = 12
"""A figure with more is not read; the cells with most answers are drawn."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One model's answers, all or those of a cell; all but accuracy of those with a confidence."""

    answers: int
    forecast: Array
    right: Array
    bins: tuple[ReliabilityBin, ...]
    accuracy: Estimate | Missing
    brier: Estimate | Missing
    auroc: Estimate | Missing
    error: Estimate | Missing


@dataclass(frozen=True, slots=True)
class Whole:
    """What is only worth saying of all answers of a model."""

    name: str  # "derivative", "base" or, alone, "model"
    summary: Summary
    decomposition: BrierDecomposition | Missing
    smooth: SmoothError | Missing
    curve: RiskCoverage | Missing


@dataclass(frozen=True, slots=True)
class Cell:
    """Answers to the same questions by both models. `base` is None where the base was not measured."""

    name: str
    ours: Summary
    base: Summary | None

    @property
    def enough(self) -> bool:
        return self.ours.answers >= LEAST_ANSWERS


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells by name: their answers add up to all of ours.

    `unpaired`: answers of the base to questions that ours did not answer, which are in no cell.
    """

    all: tuple[Cell, ...]
    unpaired: int = 0

    @property
    def drawn(self) -> tuple[Cell, ...]:
        """Those with enough answers to be drawn, by name; none where there is nothing to tell apart."""
        if len(self.all) < 2:
            return ()
        largest = sorted((c for c in self.all if c.enough), key=lambda c: (-c.ours.answers, c.name))
        return tuple(sorted(largest[:MOST_PANELS], key=lambda c: c.name))

    @property
    def listed(self) -> tuple[Cell, ...]:
        """The others."""
        drawn = {cell.name for cell in self.drawn}
        return tuple(cell for cell in self.all if cell.name not in drawn)


def wholes(findings: Findings) -> tuple[Whole, ...]:
    """The model that was judged, and after it its base where that was measured."""
    if findings.base is None:
        return (_whole("model", findings.evidence.evaluated),)
    return (
        _whole("derivative", findings.evidence.evaluated),
        _whole("base", findings.base.evaluated),
    )


def cells(findings: Findings, key: Callable[[AnswerObservation], str]) -> Cells:
    """The answers by `key` of ours. A base's own routing patterns are others, and nothing to compare with."""
    ours = findings.evidence.evaluated
    names = np.array([key(a) for a in ours.answers], dtype=object)
    theirs = findings.base.evaluated if findings.base else None
    cell_of = dict(zip(ours.probes, names, strict=True))
    base_names = np.array([cell_of.get(p) for p in theirs.probes] if theirs else [], dtype=object)
    found = [
        Cell(name, _summary(ours, names == name), _summary(theirs, base_names == name) if theirs else None)
        for name in sorted(set(names))
    ]
    return Cells(tuple(found), sum(name is None for name in base_names))


def _whole(name: str, seen: Forecasts) -> Whole:
    stated = seen.stated
    arrays = stated.forecast, stated.right, stated.groups
    return Whole(
        name,
        _summary(seen, np.ones(len(seen), dtype=bool)),
        brier_decomposition(*arrays),
        smooth_ece(*arrays, CONFIDENCE),
        risk_coverage(*arrays, CONFIDENCE),
    )


def _summary(seen: Forecasts, rows: Array) -> Summary:
    stated = rows & ~np.isnan(seen.forecast)
    arrays = seen.forecast[stated], seen.right[stated], seen.groups[stated]
    return Summary(
        int(rows.sum()),
        arrays[0],
        arrays[1],
        reliability_diagram(*arrays, CONFIDENCE),
        metrics.accuracy(seen.right[rows], seen.groups[rows], CONFIDENCE),
        metrics.brier_score(*arrays, CONFIDENCE),
        metrics.auroc(*arrays, CONFIDENCE),
        calibration_error(*arrays, CONFIDENCE),
    )
