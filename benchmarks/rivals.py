"""Ways to calibrate that the benchmarks hold against each other, and the answers that they are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from coherence_ft.evidence.calibrators import Source, fit_isotonic, fit_platt, fit_temperature

SOURCE = Source("benchmark", "benchmark", "calibration")
OURS = "hierarchical"

Array = NDArray[np.float64]
Rng = np.random.Generator
Answers = tuple[Array, NDArray[np.bool_], list[str], list[str], NDArray[np.int64]]
"""Confidence, right, domain, pattern, group."""
Apply = Callable[[Array, Sequence[str], Sequence[str]], Array]


def taken(answers: Answers, rows: Array) -> Answers:
    confidence, right, domains, patterns, groups = answers
    return (
        confidence[rows],
        right[rows],
        [domains[i] for i in rows],
        [patterns[i] for i in rows],
        groups[rows],
    )


def separately(part: Callable[[str, str], str]) -> Callable[[Answers], Apply]:
    """A Platt calibrator for each part of the answers; one that had none leaves confidence as it is."""

    def fit(answers: Answers) -> Apply:
        confidence, right, domains, patterns, groups = answers
        of = np.array([part(d, p) for d, p in zip(domains, patterns, strict=True)])
        fitted = {}
        for name in set(of):
            rows = np.flatnonzero(of == name)
            same = ["all"] * len(rows)
            fitted[name] = fit_platt(confidence[rows], right[rows], same, same, groups[rows], SOURCE)

        def apply(confidence: Array, domains: Sequence[str], patterns: Sequence[str]) -> Array:
            of = np.array([part(d, p) for d, p in zip(domains, patterns, strict=True)])
            found = confidence.copy()
            for name in set(of) & set(fitted):
                rows = np.flatnonzero(of == name)
                same = ["all"] * len(rows)
                found[rows] = fitted[name].apply(confidence[rows], same, same)
            return found

        return apply

    return fit


def domain_only(answers: Answers) -> Apply:
    confidence, right, domains, patterns, groups = answers
    same = ["one"] * len(patterns)
    fitted = fit_platt(confidence, right, domains, same, groups, SOURCE)
    return lambda confidence, domains, patterns: fitted.apply(confidence, domains, ["one"] * len(patterns))


def permuted(answers: Answers) -> Apply:
    """Ours with the patterns dealt out anew within each domain: what a label that means nothing costs."""
    confidence, right, domains, patterns, groups = answers
    dealt, rng = np.array(patterns), np.random.default_rng(len(patterns))
    for domain in sorted(set(domains)):
        rows = np.flatnonzero(np.array(domains) == domain)
        dealt[rows] = rng.permutation(dealt[rows])
    return fit_platt(confidence, right, domains, dealt.tolist(), groups, SOURCE).apply


METHODS: dict[str, Callable[[Answers], Apply]] = {
    "as stated": lambda answers: lambda confidence, domains, patterns: confidence,
    "temperature": lambda answers: fit_temperature(*answers, SOURCE).apply,
    "isotonic": lambda answers: fit_isotonic(*answers, SOURCE).apply,
    "Platt for all": separately(lambda domain, pattern: "all"),
    "Platt by domain": separately(lambda domain, pattern: domain),
    "Platt by cell": separately(lambda domain, pattern: f"{domain} / {pattern}"),
    OURS: lambda answers: fit_platt(*answers, SOURCE).apply,
    "ours, domain only": domain_only,
    "ours, permuted": permuted,
}
