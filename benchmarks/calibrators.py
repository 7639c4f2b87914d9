"""How well do calibrators do with few labels, when answers fall into cells of domain and routing pattern?

    python benchmarks/calibrators.py [--quick]

20 answers a cell fit every calibrator. The rivals of the figure are one temperature for all (scikit-learn),
Platt scaling for each domain, and Platt scaling for each cell, the latter two with the same weak prior as
ours.

Simulated cells: the mean over cells of |p - forecast| on fresh answers, at several sizes of what domains,
patterns and cells differ by; `medium` with 8 x 8 cells was chosen as the figure before the others were run.

Real answers (`benchmarks/predictions/three_domains.csv`: the chosen option's likelihood and whether it was
right, of 3,500 questions that nothing was trained on): `clinical`, the quickstart's derivative of
SmolLM2-135M; `base`, that model itself; `moe`, the mixture that examples/upcycle_moe.py makes of it;
`tuned`, that mixture, fine-tuned and certified (2,800 questions without a passage). A dense
model has one routing pattern, so the topic of a question (ICD-10-CM letter, statement, licence
category, source) takes its place. The true p is unknown: held-out answers judge by Brier score, log loss,
and the root mean square over cells of (share of right answers - mean forecast), from whose square its
sampling variance is taken. The splits share answers, so the intervals say how much the choice of the fitted
answers matters, not how much the choice of questions does.

Fine-tunes (`benchmarks/predictions/finetunes.csv`): several seeds, with all labels of the calibration split,
against one temperature, also in a domain that was not trained on (calibration_gap.py). `improvement_real`.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from calibration_gap import report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rivals import METHODS, OURS, SOURCE, Answers, Array, Rng, taken
from scipy.special import expit

from coherence_ft.evidence.calibrators import fit_platt

PREDICTIONS = Path(__file__).parent / "predictions" / "three_domains.csv"
LABELS = 20  # answers a cell
HELD = 14  # answers that a real cell must have beside them
RIVALS = ("temperature", "Platt by domain", "Platt by cell")
SEED = 20_261_122
HEADLINE = "medium, 8 x 8"
MODELS = {"clinical": "topic", "base": "topic", "moe": "routing pattern", "tuned": "routing pattern"}
DERIVATIVE = "clinical"

Gain = tuple[float, float, float, str]


def improvement(errors: dict[str, Array], rng: Rng, root: bool = False) -> Gain:
    """1 - ours / the best rival's, with a 95 % bootstrap interval over data sets, and which rival that is.

    `root`: the errors are debiased squares. Where those of the rival are not above 0 on average, it has no
    error that could be measured, and the gain is minus infinity, or 0 if ours has none either.
    """
    best = min(RIVALS, key=lambda name: float(np.mean(errors[name])))

    def gain(rows: NDArray[np.int64] | slice) -> float:
        ours, theirs = (max(0.0, float(np.mean(errors[name][rows]))) for name in (OURS, best))
        if theirs == 0:
            return -np.inf if ours else 0.0
        return 1 - (ours / theirs) ** (0.5 if root else 1)

    n = len(errors[OURS])
    drawn = np.sort([gain(rng.integers(0, n, n)) for _ in range(2_000)])
    return gain(slice(None)), float(drawn[49]), float(drawn[1_950]), best


# Simulated cells ------------------------------------------------------------------------------------------

# standard deviations on the logit scale: domain, pattern, cell, slope of a domain
SCALES = {
    "nothing differs": (0.0, 0.0, 0.0, 0.0),
    "small": (0.25, 0.25, 0.12, 0.05),
    "medium": (0.5, 0.5, 0.25, 0.1),
    "large": (1.0, 0.7, 0.5, 0.2),
    "domains only": (0.7, 0.0, 0.0, 0.2),
    "cells only": (0.0, 0.0, 0.7, 0.0),
}


class World:
    """True probabilities: logit p = slope · x + intercept + offsets, x half-normal."""

    def __init__(
        self, rng: Rng, domains: int, patterns: int, scale: tuple[float, float, float, float]
    ) -> None:
        domain, pattern, cell, slope = scale
        self.shape = domains, patterns
        self.slope = np.clip(rng.normal(0.6, slope, domains), 0.05, None)
        self.offset = (
            rng.normal(0, domain, domains)[:, None]
            + rng.normal(0, pattern, patterns)
            + rng.normal(0, cell, (domains, patterns))
            - 0.2
        )

    def draw(self, rng: Rng, n: int) -> tuple[Answers, Array]:
        """`n` answers of every cell, and their true probabilities."""
        domains, patterns = self.shape
        d = np.repeat(np.arange(domains), patterns * n)
        p = np.tile(np.repeat(np.arange(patterns), n), domains)
        x = np.abs(rng.normal(0, 2.5, len(d)))
        truth = expit(self.slope[d] * x + self.offset[d, p])
        names = [f"domain-{i}" for i in d], [f"pattern-{i}" for i in p]
        return (expit(x), rng.random(len(d)) < truth, *names, np.arange(len(d))), truth


def simulate(
    rng: Rng, seeds: int, shape: tuple[int, int], scale: str, labels: int = LABELS
) -> dict[str, Array]:
    """Of each method, its mean cell error on every data set."""
    errors: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(seeds):
        world = World(rng, *shape, SCALES[scale])
        answers, _ = world.draw(rng, labels)
        (confidence, _, domains, patterns, _), truth = world.draw(rng, 100)
        for name, method in METHODS.items():
            forecast = method(answers)(confidence, domains, patterns)
            errors[name].append(float(np.mean(np.abs(truth - forecast))))
    return {name: np.array(found) for name, found in errors.items()}


# Real answers ---------------------------------------------------------------------------------------------


def real(model: str) -> Answers:
    """The answers of cells that are large enough."""
    with PREDICTIONS.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[f"{model}_confidence"]]
    pattern = f"{model}_pattern" if f"{model}_pattern" in rows[0] else "topic"
    cells = [(row["domain"], row[pattern]) for row in rows]
    large = {cell for cell in set(cells) if cells.count(cell) >= LABELS + HELD}
    rows = [row for row, cell in zip(rows, cells, strict=True) if cell in large]
    groups = np.unique([row["group"] for row in rows], return_inverse=True)[1]
    return (
        np.array([float(row[f"{model}_confidence"]) for row in rows]),
        np.array([row[f"{model}_right"] == "1" for row in rows]),
        [row["domain"] for row in rows],
        [row[pattern] for row in rows],
        groups,
    )


def splits(rng: Rng, answers: Answers, seeds: int) -> tuple[dict[str, dict[str, Array]], int]:
    """Of each method, cell by cell and averaged: debiased square of the cell error, Brier score, log loss."""
    _, _, domains, patterns, groups = answers
    cell = np.unique([f"{d} / {p}" for d, p in zip(domains, patterns, strict=True)], return_inverse=True)[1]
    found: dict[str, dict[str, list[float]]] = {
        figure: {name: [] for name in METHODS} for figure in ("cell", "brier", "log")
    }
    for _ in range(seeds):
        order, inside = rng.permutation(groups.max() + 1)[groups], np.zeros(len(cell), dtype=bool)
        for which in range(cell.max() + 1):
            rows = np.flatnonzero(cell == which)
            inside[rows[np.argsort(order[rows], kind="stable")][:LABELS]] = True
        outside = ~inside & ~np.isin(groups, groups[inside])  # a group is on one side
        seen, rest = taken(answers, np.flatnonzero(inside)), taken(answers, np.flatnonzero(outside))
        held = cell[outside]
        number = np.bincount(held)
        kept = number >= 2
        for name, method in METHODS.items():
            forecast = method(seen)(rest[0], rest[2], rest[3])
            gap, right = rest[1] - forecast, rest[1]
            mean = np.bincount(held, gap)[kept] / number[kept]
            square = np.bincount(held, gap**2)[kept] / number[kept]
            spread = (square - mean**2) / (number[kept] - 1)
            loss = -np.log(np.clip(np.where(right, forecast, 1 - forecast), 1e-6, None))
            found["cell"][name].append(float(np.mean(mean**2 - spread)))
            found["brier"][name].append(float(np.mean(square)))
            found["log"][name].append(float(np.mean(np.bincount(held, loss)[kept] / number[kept])))
    arrays = {figure: {n: np.array(v) for n, v in by.items()} for figure, by in found.items()}
    return arrays, int(cell.max() + 1)


# Report ---------------------------------------------------------------------------------------------------


def table(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    made = Table(title=title)
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def against(found: Gain) -> str:
    gain, low, high, best = found
    if not np.isfinite(gain):
        return f"{best} has no error that could be measured"
    return f"{gain:+.1%} ({low:+.1%} to {high:+.1%}) of {best}"


def number(gain: float, digits: int = 3) -> float | None:
    return round(gain, digits) if np.isfinite(gain) else None


def million(rng: Rng) -> float:
    world = World(rng, 8, 8, SCALES["medium"])
    (confidence, right, domains, patterns, groups), _ = world.draw(rng, 15_625)
    started = time.perf_counter()
    fit_platt(confidence, right, domains, patterns, groups // 2, SOURCE)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs: ends within 50 s on 2 cores")
    quick = parser.parse_args().quick
    rng, console = np.random.default_rng(SEED), Console(width=150)

    seeds, others = (20, 4) if quick else (200, 200)
    cases = {HEADLINE: simulate(rng, seeds, (8, 8), "medium")}
    for scale in SCALES:
        if scale != "medium":
            cases[f"{scale}, 8 x 8"] = simulate(rng, others, (8, 8), scale)
    for shape in ((3, 5), (12, 4)):
        cases[f"medium, {shape[0]} x {shape[1]}"] = simulate(rng, others, shape, "medium")
    for labels in (5, 10, 50):
        cases[f"medium, 8 x 8, {labels} a cell"] = simulate(rng, others, (8, 8), "medium", labels)
    gains = {case: improvement(errors, rng) for case, errors in cases.items()}
    table(
        console,
        f"Simulated: mean cell error at {LABELS} answers a cell, {seeds} data sets (others {others})",
        ("", *METHODS),
        [(case, *(f"{errors[name].mean():.4f}" for name in METHODS)) for case, errors in cases.items()],
    )
    for case, found in gains.items():
        console.print(f"{case}: {against(found)}")

    repeats = 5 if quick else 200
    measured = {}
    for model, cells in MODELS.items():
        answers = real(model)
        rng = np.random.default_rng([SEED, *model.encode()])  # the same splits, whichever others are measured
        figures, count = splits(rng, answers, repeats)
        measured[model] = {
            figure: improvement(by, rng, root=figure == "cell") for figure, by in figures.items()
        }
        table(
            console,
            f"Real, {model}: {len(answers[0])} answers, {count} cells of domain x {cells}, {repeats} splits",
            ("held-out", *METHODS),
            [
                (
                    label,
                    *(f"{max(0.0, by[name].mean()) ** power:.4f}" for name in METHODS),
                )
                for label, by, power in (
                    ("cell error", figures["cell"], 0.5),
                    ("Brier score", figures["brier"], 1),
                    ("log loss", figures["log"], 1),
                )
            ],
        )
        for figure, found in measured[model].items():
            console.print(f"{model}, {figure}: {against(found)}")
        with_patterns, without = figures["log"][OURS], figures["log"]["ours, domain only"]
        by_chance = figures["log"]["ours, permuted"]
        console.print(
            f"{model}: log loss with {cells} {with_patterns.mean() - without.mean():+.5f} against domain "
            f"only, permuted {by_chance.mean() - without.mean():+.5f}; better than domain only in "
            f"{np.mean(with_patterns < without):.0%} of splits, than permuted in "
            f"{np.mean(with_patterns < by_chance):.0%}"
        )
    tuned = report(console)
    seconds = million(rng)
    console.print(f"1,000,000 answers in 64 cells and 500,000 groups: {seconds:.1f} s")
    console.print(
        f"{platform.machine()}, numpy {np.__version__}, scipy {version('scipy')}, "
        f"scikit-learn {version('scikit-learn')}"
    )
    print(
        json.dumps(
            {
                "benchmark": "calibrators",
                "improvement_simulated": round(gains[HEADLINE][0], 3),
                **tuned,
                "data_sets_simulated": seeds,
                "improvement_simulated_interval": [round(v, 3) for v in gains[HEADLINE][1:3]],
                "improvement_simulated_by_case": {case: round(found[0], 3) for case, found in gains.items()},
                "few_labels_real": number(measured[DERIVATIVE]["cell"][0]),
                "few_labels_real_intervals": {
                    model: [number(v) for v in by["cell"][1:3]] for model, by in measured.items()
                },
                "few_labels_real_by_model": {
                    model: {figure: number(found[0], 4) for figure, found in by.items()}
                    for model, by in measured.items()
                },
                "splits": repeats,
                "seconds_million": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
