"""Platt scaling with levels: global, domain, routing pattern and cell.

    logit P(right) = (slope + slope[domain]) · x + intercept + domain + pattern + cell[domain, pattern]

with x the logit of the stated confidence (Platt 1999; that it is fitted to the logit, not to the confidence,
makes it a slice of Kull, Silva Filho and Flach's beta calibration of 2017). shrinkage.py fits it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from coherence_ft.documents.canonical import decimal
from coherence_ft.evidence.arrays import Array

EDGE = 1e-6
DIGITS = 10  # of a parameter: what is stored says the same as what was fitted to 1e-9

LEVELS = ("domain_slope", "domain", "pattern", "cell")

Cell = tuple[str, str]
"""A domain and a routing pattern."""


@dataclass(frozen=True, slots=True)
class Platt:
    """The fitted curve. What a level does not name has no offset there: an unseen cell takes its domain's
    and its pattern's, an unseen domain the pattern's alone, and `unknown` is no pattern.

    The slope of a domain is never negative, so that within a cell more stated confidence never means less;
    a domain in which confidence misleads has slope 0. `spread`: the standard deviation of every level that
    had at least two members to compare; 0 says that the level has no effect. `correlation`: ρ. `edge`: as for
    `feature`.
    """

    slope: float
    intercept: float
    slopes: tuple[tuple[str, float], ...] = ()
    domains: tuple[tuple[str, float], ...] = ()
    patterns: tuple[tuple[str, float], ...] = ()
    cells: tuple[tuple[Cell, float], ...] = ()
    spread: tuple[tuple[str, float], ...] = ()
    correlation: float = 0.0
    edge: float = EDGE

    def probability(self, confidence: Array, domains: Sequence[str], patterns: Sequence[str]) -> Array:
        """(n,), not rounded."""
        known, cell = coded(domains, patterns)
        slopes, offsets = map(dict, (self.slopes, self.domains))
        of_pattern, of_cell = dict(self.patterns), dict(self.cells)
        a = np.array([self.slope + slopes.get(d, 0.0) for d, _ in known])
        b = np.array(
            [
                self.intercept + offsets.get(d, 0.0) + of_pattern.get(p, 0.0) + of_cell.get((d, p), 0.0)
                for d, p in known
            ]
        )
        # a sum of rounded numbers may miss 0 by a hair
        return np.asarray(expit(np.maximum(a, 0.0)[cell] * feature(confidence, self.edge) + b[cell]))

    def to_json(self) -> dict[str, Any]:
        cells: dict[str, dict[str, str]] = {}
        for (domain, pattern), offset in self.cells:
            cells.setdefault(domain, {})[pattern] = decimal(offset)
        return {
            "kind": "platt",
            "slope": decimal(self.slope),
            "intercept": decimal(self.intercept),
            "domain_slopes": {name: decimal(offset) for name, offset in self.slopes},
            "domains": {name: decimal(offset) for name, offset in self.domains},
            "patterns": {name: decimal(offset) for name, offset in self.patterns},
            "cells": cells,
            "shrinkage": {level: decimal(sd) for level, sd in self.spread},
            "correlation_in_groups": decimal(self.correlation),
            "edge": decimal(self.edge),
        }

    @classmethod
    def from_json(cls, data: Any) -> Platt:
        """Raises KeyError, TypeError, ValueError or AttributeError for what `to_json` would not write."""
        made = cls(
            number(data["slope"]),
            number(data["intercept"]),
            _offsets(data["domain_slopes"]),
            _offsets(data["domains"]),
            _offsets(data["patterns"]),
            tuple(((d, p), o) for d in sorted(data["cells"]) for p, o in _offsets(data["cells"][d])),
            tuple(
                (level, number(data["shrinkage"][level])) for level in LEVELS if level in data["shrinkage"]
            ),
            number(data["correlation_in_groups"]),
            edge_of(data),
        )
        if made.slope < 0 or any(made.slope + offset < -1e-9 for _, offset in made.slopes):
            raise ValueError("slopes are not negative")
        if any(sd < 0 for _, sd in made.spread) or not 0 <= made.correlation <= 1:
            raise ValueError("a standard deviation is not negative and a correlation at most 1")
        return made


def number(text: object) -> float:
    """A finite number from its decimal string. Raises TypeError or ValueError."""
    if not isinstance(text, str):
        raise TypeError("numbers are strings")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("numbers are finite")
    return value


def _offsets(data: dict[str, str]) -> tuple[tuple[str, float], ...]:
    return tuple((name, number(data[name])) for name in sorted(data))


def edge_of(data: Any) -> float:
    edge = number(data["edge"])
    if not 0 < edge < 0.5:
        raise ValueError("the edge is between 0 and 0.5")
    return edge


def feature(confidence: Array, edge: float = EDGE) -> Array:
    """The logit of confidence, which is kept `edge` away from 0 and 1."""
    return np.asarray(logit(np.clip(np.asarray(confidence, dtype=float), edge, 1 - edge)))


def coded(domains: Sequence[str], patterns: Sequence[str]) -> tuple[list[Cell], Array]:
    """The cells that occur, in order, and the number of each answer's."""
    number_of: dict[Cell, int] = {}
    pairs = list(zip(domains, patterns, strict=True))
    for pair in sorted(set(pairs)):
        number_of[pair] = len(number_of)
    return list(number_of), np.fromiter(map(number_of.__getitem__, pairs), np.intp, len(pairs))
