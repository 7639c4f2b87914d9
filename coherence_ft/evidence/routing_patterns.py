"""Routing patterns: classes of the expert combinations that a mixture uses for its answers.

An answer's expert counts, layer by layer, become a vector on which Euclidean distance is Hellinger distance;
k-means centroids, fitted once on the calibration split and frozen, name the patterns. A pattern is a
covariate of confidence, never a mark of quality, and where routing shows no stable classes there is only one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coherence_ft.documents.canonical import canonical_digest, decimal
from coherence_ft.documents.diagnostics import CoherenceError, refusal

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
"""(answers, layers, experts): how often each expert was chosen for an answer."""

UNKNOWN = "unknown"
"""The pattern of an answer that is routed like none that the codebook was fitted on."""

SMALLEST = 30  # answers in a pattern: below, even a shrunken estimate says little about it
_MOST = 8
_STRENGTH = 0.8  # Tibshirani & Walther 2005, section 3: "well separated" from 0.8 to 0.9 on
_QUANTILE = 0.99
_STARTS = 5
_DIGITS = 4


def signatures(counts: Counts) -> Array:
    """(answers, layers · experts). Euclidean distance between two rows is the root mean square, over the
    layers, of the Hellinger distance between their expert frequencies: 0 to 1. Raises CFT465.

    One more token, spread evenly over the experts (Perks 1947), is counted in: without it the square root
    makes the one chance use of a rare expert in a short answer look like a class of its own.
    """
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise malformed(f"{counts.dtype} of shape {counts.shape}")
    totals = counts.sum(-1, keepdims=True)
    if not totals.all():
        raise malformed("an answer without a token in some layer")
    _, layers, experts = counts.shape
    frequencies = (counts + 1 / experts) / (totals + 1)
    return np.asarray(np.sqrt(frequencies / (2 * layers)).reshape(len(counts), layers * experts))


def malformed(found: str) -> CoherenceError:
    """CFT465."""
    return refusal(
        "CFT465",
        "these are no expert counts of answers",
        found=found,
        expected="whole numbers of shape (answers, layers, experts), some in every layer of every answer",
        help="capture routing anew; counts are never mended",
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """`centroid`: (layers, experts) as tuples, on the scale of `signatures`. `n`: its answers in the fit."""

    name: str
    n: int
    centroid: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Codebook:
    """Frozen patterns of one model. An answer farther than `threshold` from every centroid is `unknown`.

    `model` (digest of base and adapter), `probe_set` and `split` say which `n` answers it was fitted on,
    `capture` how their experts were counted: from which layers of what router. `strengths`: the prediction
    strength of every number of patterns that was tried.
    """

    patterns: tuple[Pattern, ...]
    threshold: float
    strengths: tuple[tuple[int, float], ...]
    model: str
    capture: str
    probe_set: str
    split: str
    n: int

    @cached_property
    def _centroids(self) -> Array:
        return np.array([pattern.centroid for pattern in self.patterns])

    def assign(self, counts: Counts) -> list[str]:
        """The pattern of every answer; of equally near ones the larger. Raises CFT465."""
        if not len(counts):
            return []
        centroids = self._centroids
        counts = np.asarray(counts)
        if counts.shape[1:] != centroids.shape[1:]:
            raise malformed(f"shape {counts.shape}, a codebook of {centroids.shape[1:]}")
        distances = _distances(signatures(counts), centroids.reshape(len(centroids), -1))
        nearest = distances.argmin(1)
        near = distances[np.arange(len(distances)), nearest] <= self.threshold
        names = [pattern.name for pattern in self.patterns]
        return [names[which] if known else UNKNOWN for which, known in zip(nearest, near, strict=True)]

    def for_model(self, model: str, capture: str) -> Codebook:
        """Itself, when it was fitted on this model, adapter included, by this capture; else CFT466."""
        for what, found, expected in (("model", self.model, model), ("capture", self.capture, capture)):
            if found != expected:
                raise refusal(
                    "CFT466",
                    f"the routing codebook was fitted on another {what}",
                    found=found,
                    expected=expected,
                    help="fit a codebook on this model: expert 3 of one model is not expert 3 of another",
                )
        return self

    @property
    def digest(self) -> str:
        return canonical_digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """A centroid names, for every layer, the experts that are used: expert to coordinate."""
        return {
            "kind": "routing-codebook",
            "model": self.model,
            "capture": self.capture,
            "probe_set": self.probe_set,
            "split": self.split,
            "n": self.n,
            "threshold": decimal(self.threshold),
            "strengths": {str(k): decimal(strength) for k, strength in self.strengths},
            "experts": len(self.patterns[0].centroid[0]),
            "patterns": [
                {
                    "name": pattern.name,
                    "n": pattern.n,
                    "centroid": [
                        {str(expert): decimal(value) for expert, value in enumerate(layer) if value}
                        for layer in pattern.centroid
                    ],
                }
                for pattern in self.patterns
            ],
        }

    @classmethod
    def from_json(cls, data: object, *, path: object = "") -> Codebook:
        """Raises CFT467 for anything that `to_json` would not write."""
        try:
            book = cls._read(data)
            if book.to_json() != data:
                raise ValueError("not in the form in which codebooks are written")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise refusal(
                "CFT467",
                "the routing codebook cannot be read",
                path=path,
                found=f"{type(error).__name__}: {error}",
                help="Take the file from the derivative again, or measure anew. Never mend it by hand.",
            ) from None
        return book

    @classmethod
    def _read(cls, data: Any) -> Codebook:
        if data["kind"] != "routing-codebook":
            raise ValueError(f"kind {data['kind']!r}")
        experts = data["experts"]

        def layer(used: dict[str, str]) -> tuple[float, ...]:
            values = [0.0] * experts
            for expert, value in used.items():
                values[int(expert)] = _unit(value)
            return tuple(values)

        patterns = tuple(
            Pattern(p["name"], p["n"], tuple(map(layer, p["centroid"]))) for p in data["patterns"]
        )
        if len({len(p.centroid) for p in patterns}) != 1 or not patterns[0].centroid or experts < 1:
            raise ValueError("centroids have one shape")
        if [p.name for p in patterns] != [_name(number) for number in range(len(patterns))]:
            raise ValueError("patterns are numbered")
        strengths = tuple(sorted((int(k), _unit(value)) for k, value in data["strengths"].items()))
        texts = data["model"], data["capture"], data["probe_set"], data["split"]
        counts = data["n"], *(p.n for p in patterns)
        if not all(isinstance(text, str) for text in texts) or not all(type(n) is int for n in counts):
            raise TypeError("digests are strings and n is a count")
        if min(counts) < 1 or sum(counts[1:]) != counts[0]:
            raise ValueError("the patterns' answers are those of the fit")
        return cls(patterns, _unit(data["threshold"]), strengths, *texts, data["n"])


def _unit(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is not between 0 and 1")
    return value


def fit_codebook(
    counts: Counts,
    groups: Sequence[str],
    *,
    model: str,
    capture: str,
    probe_set: str,
    split: str,
) -> Codebook:
    """Cluster the routes of answers. Deterministic; the order of the answers does not matter.

    The number of patterns is the largest up to 8 whose clusters all hold at least 30 answers and whose
    prediction strength (Tibshirani & Walther 2005, J. Comput. Graph. Stat. 14: two halves, each clustered,
    agree on who belongs together) is at least 0.8; else 1. `groups` keeps answers that are not
    independent in one half. Beyond the 0.99 quantile of the fit's distances lies `unknown`.
    Raises CFT465, also for no answers.
    """
    points = signatures(counts)
    if not len(points):
        raise malformed("no answers")
    order = np.lexsort([*points.T[::-1]])
    points, named = points[order], np.array(groups)[order]
    members = np.unique(named)
    dice = np.random.default_rng(0)
    first = np.isin(named, dice.permutation(members)[: len(members) // 2])
    centroids, strengths = points.mean(0, keepdims=True), []
    distinct = len(np.unique(points, axis=0))
    for k in range(2, min(_MOST, len(points) // SMALLEST, distinct) + 1):
        candidate = _kmeans(points, k)
        sizes = np.bincount(_distances(points, candidate).argmin(1), minlength=k)
        strength = _strength(points[first], points[~first], k)
        strengths.append((k, round(strength, _DIGITS)))
        if sizes.min() >= SMALLEST and strength >= _STRENGTH:
            centroids = candidate
    centroids = np.round(centroids, _DIGITS)
    distances = _distances(points, centroids)
    sizes = np.bincount(distances.argmin(1), minlength=len(centroids))
    ranked = sorted(range(len(centroids)), key=lambda which: (-sizes[which], tuple(centroids[which])))
    shape = np.shape(counts)[1:]
    return Codebook(
        tuple(
            Pattern(
                _name(number), int(sizes[which]), tuple(map(tuple, centroids[which].reshape(shape).tolist()))
            )
            for number, which in enumerate(ranked)
        ),
        # rounded up: what the quantile itself is made of stays inside
        math.ceil(float(np.quantile(distances.min(1), _QUANTILE)) * 10**_DIGITS) / 10**_DIGITS,
        tuple(strengths),
        model,
        capture,
        probe_set,
        split,
        len(points),
    )


def _name(number: int) -> str:
    return f"route-{number + 1}"


def _distances(points: Array, centroids: Array) -> Array:
    """(points, centroids). By the expanded square: one matrix product, no array of three dimensions."""
    squares = (points**2).sum(1)[:, None] + (centroids**2).sum(1) - 2 * points @ centroids.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def _kmeans(points: Array, k: int) -> Array:
    """The best of several k-means++ starts. (k, dimensions)"""
    from scipy.cluster.vq import ClusterError, kmeans2

    best, least = points[:k], math.inf
    for start in range(_STARTS):
        try:
            found, _ = kmeans2(points, k, minit="++", seed=start, missing="raise")
        except ClusterError:  # a cluster lost its last point
            continue
        loss = float((_distances(points, found).min(1) ** 2).sum())
        if loss < least - 1e-12:
            best, least = found, loss
    return np.asarray(best)


def _strength(one: Array, other: Array, k: int) -> float:
    """The smaller of both directions: how well either half's clusters are seen by the other's centroids."""
    if min(len(one), len(other)) < k:
        return 0.0
    mine, theirs = _kmeans(one, k), _kmeans(other, k)
    return min(_agreement(other, theirs, mine), _agreement(one, mine, theirs))


def _agreement(points: Array, own: Array, foreign: Array) -> float:
    """Over the clusters by `own` centroids, the smallest share of pairs that `foreign` ones keep together."""
    clusters, seen = _distances(points, own).argmin(1), _distances(points, foreign).argmin(1)
    shares = []
    for cluster in range(len(own)):
        together = np.bincount(seen[clusters == cluster]).astype(float)
        size = together.sum()
        shares.append(float((together * (together - 1)).sum() / (size * (size - 1))) if size > 1 else 0.0)
    return min(shares)
