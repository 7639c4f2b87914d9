"""The calibration gap of real fine-tunes, beside fine-tuning with one temperature.

    python benchmarks/calibrators.py

Reads `benchmarks/predictions/finetunes.csv` (finetunes.py). Calibrators are fitted on the calibration split
and judged on certification and test split together, seed by seed:

- `all`: trained on three domains, fitted and judged on all of them.
- `shift`: trained on two domains and judged on the third. Fitted on the labels of the two alone, where ours
  can only fall back to what domains share; or with LABELS labels of the third beside them, drawn DRAWS times.
- `unlabelled`: the same with the models that were trained on all three: the domain is new to the calibrator
  only.

The gap is the root mean square over cells (domain x topic, of at least JUDGED judged answers) of share right
- mean forecast, from whose square its sampling variance is taken. Beside it: smooth ECE of all judged
answers (not corrected for chance), Brier score, and accuracy, which is the same for every calibrator, since
none changes the choice. What is compared is the mean gap over seeds, as a ratio of means with Student's
interval over seeds; the questions are the same for all of them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from finetunes import DOMAINS, PREDICTIONS, held_out
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rivals import METHODS, OURS, Answers, Apply, taken
from scipy import stats

from coherence_ft.evidence.smooth import SmoothError, smooth_ece

JUDGED = 14  # answers that a judged cell must have
LABELS = 20  # of a domain that was not trained on
DRAWS = 20
TEMPERATURE = "temperature"
FEW = f" + {LABELS}"
SAME = (
    "as stated",
    TEMPERATURE,
    "Platt by domain",
    "Platt by cell",
    "ours, domain only",
    "ours, permuted",
    OURS,
)
SHIFTED = ("as stated", TEMPERATURE, OURS, TEMPERATURE + FEW, f"Platt, {LABELS} alone", OURS + FEW)
FIGURES = {
    ("all", OURS, TEMPERATURE): "improvement_real",
    ("shift", OURS, TEMPERATURE): "improvement_shift",
    ("shift", OURS + FEW, TEMPERATURE): "improvement_shift_labelled",
    ("shift", OURS + FEW, TEMPERATURE + FEW): "improvement_shift_labelled_both",
    ("unlabelled", OURS, TEMPERATURE): "improvement_unlabelled",
    ("unlabelled", OURS + FEW, TEMPERATURE + FEW): "improvement_unlabelled_labelled_both",
}
"""Kind, whose gap is below whose, name in the line of JSON."""
GOAL = 0.5  # how far below the gap of fine-tuning with one temperature


@dataclass(frozen=True, slots=True)
class Judged:
    """Of one calibrator on one seed. `square`: of the gap, debiased, so it may be below 0."""

    square: float
    smooth: float
    brier: float

    @property
    def gap(self) -> float:
        return max(0.0, self.square) ** 0.5


@dataclass(frozen=True, slots=True)
class Seed:
    """One run. `held_out`: the domain that it was not trained on, the one that is judged; else None."""

    seed: int
    held_out: str | None
    accuracy: float
    by: dict[str, Judged] = field(default_factory=dict)


def runs(path: Path = PREDICTIONS) -> dict[str, tuple[Answers, NDArray[np.bool_]]]:
    """By run: the answers, and which of them may be fitted on."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups = np.unique([row["group"] for row in rows], return_inverse=True)[1]
    domains, topics = [row["domain"] for row in rows], [row["topic"] for row in rows]
    fitting = np.array([row["split"] == "calibration" for row in rows])
    names = [column.removesuffix("_right") for column in rows[0] if column.endswith("_right")]
    return {
        name: (
            (
                np.array([float(row[f"{name}_confidence"]) for row in rows]),
                np.array([row[f"{name}_right"] == "1" for row in rows]),
                domains,
                topics,
                groups,
            ),
            fitting,
        )
        for name in names
    }


def judge(answers: Answers, apply: Apply) -> Judged:
    confidence, right, domains, topics, groups = answers
    forecast = apply(confidence, domains, topics)
    gap = right - forecast
    cell = np.unique([f"{d} / {t}" for d, t in zip(domains, topics, strict=True)], return_inverse=True)[1]
    number = np.bincount(cell)
    kept = number >= JUDGED
    mean, square = (np.bincount(cell, v)[kept] / number[kept] for v in (gap, gap**2))
    smooth = smooth_ece(forecast, right.astype(float), groups, 0.95, simulations=1)
    assert isinstance(smooth, SmoothError)
    return Judged(
        float(np.mean(mean**2 - (square - mean**2) / (number[kept] - 1))),
        smooth.value,
        float(np.mean(gap**2)),
    )


def same_domains(seed: int, answers: Answers, fitting: NDArray[np.bool_]) -> Seed:
    fitted, judged = (taken(answers, np.flatnonzero(rows)) for rows in (fitting, ~fitting))
    by = {name: judge(judged, METHODS[name](fitted)) for name in SAME}
    return Seed(seed, None, float(np.mean(judged[1])), by)


def shifted(seed: int, domain: str, answers: Answers, fitting: NDArray[np.bool_]) -> Seed:
    """With labels of the other domains; `… + 20`: a few of this one beside them; `20 alone`: only those."""
    here = np.array([one == domain for one in answers[2]])
    elsewhere, few = np.flatnonzero(fitting & ~here), np.flatnonzero(fitting & here)
    judged = taken(answers, np.flatnonzero(~fitting & here))
    by = {name: judge(judged, METHODS[name](taken(answers, elsewhere))) for name in SHIFTED[:3]}
    dice = np.random.default_rng(seed)
    drawn: dict[str, list[Judged]] = {}
    for _ in range(DRAWS):
        labels = dice.permutation(few)[:LABELS]
        both = taken(answers, np.concatenate([elsewhere, labels]))
        alone = taken(answers, labels)
        for name, fitted, method in zip(
            SHIFTED[3:], (both, alone, both), (TEMPERATURE, "Platt for all", OURS), strict=True
        ):
            drawn.setdefault(name, []).append(judge(judged, METHODS[method](fitted)))
    for name, each in drawn.items():
        by[name] = Judged(
            *(float(np.mean([getattr(j, f) for j in each])) for f in ("square", "smooth", "brier"))
        )
    return Seed(seed, domain, float(np.mean(judged[1])), by)


def below(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """1 - ratio of means with Student's 95 % limits (delta method); NaN where it has none."""
    if len(ours) < 2 or not any(theirs):
        return float("nan"), float("nan"), float("nan")
    ratio = float(np.mean(ours) / np.mean(theirs))
    spread = stats.sem(np.array(ours) - ratio * np.array(theirs)) / np.mean(theirs)
    half = float(stats.t.ppf(0.975, len(ours) - 1) * spread)
    return 1 - ratio, 1 - ratio - half, 1 - ratio + half


def number(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None


# Report ---------------------------------------------------------------------------------------------------


def measure(path: Path = PREDICTIONS) -> dict[str, list[Seed]]:
    """Of each kind, seed by seed; empty without predictions."""
    found: dict[str, list[Seed]] = {"all": [], "shift": [], "unlabelled": []}
    for name, (answers, fitting) in runs(path).items():
        seed, domain = int(name.split("-")[1]), held_out(name)
        if domain is None:
            found["all"].append(same_domains(seed, answers, fitting))
            found["unlabelled"].append(shifted(seed, DOMAINS[seed % len(DOMAINS)], answers, fitting))
        else:
            found["shift"].append(shifted(seed, domain, answers, fitting))
    return found


def report(console: Console, path: Path = PREDICTIONS) -> dict[str, Any]:
    """Prints the tables; figures for the line of JSON."""
    figures: dict[str, Any] = {}
    for kind, seeds in measure(path).items():
        if not seeds:
            continue
        names = SAME if kind == "all" else SHIFTED
        for what, of in (("gap", "gap"), ("smooth ECE", "smooth"), ("Brier score", "brier")):
            made = Table(title=f"Fine-tunes, {kind}: {what}")
            for heading in ("seed", "held out", "accuracy", *names):
                made.add_column(heading, justify="right")
            for one in seeds:
                values = (f"{getattr(one.by[name], of):.4f}" for name in names)
                made.add_row(str(one.seed), one.held_out or "–", f"{one.accuracy:.3f}", *values)
            means = (f"{np.mean([getattr(one.by[name], of) for one in seeds]):.4f}" for name in names)
            made.add_row("mean", "", f"{np.mean([one.accuracy for one in seeds]):.3f}", *means)
            console.print(made)
        for ours, rival in (pair for of, *pair in FIGURES if of == kind):
            gaps = [(one.by[ours].gap, one.by[rival].gap) for one in seeds]
            mean, low, high = below(*map(list, zip(*gaps, strict=True)))
            verdict = "met" if mean >= GOAL else "missed"
            console.print(
                f"{kind}: mean gap of {ours} {mean:.1%} ({low:.1%} to {high:.1%}) below that of {rival}; "
                f"goal {GOAL:.0%} {verdict}; below it in {sum(a < b for a, b in gaps)} of {len(gaps)} seeds"
            )
            name = FIGURES[kind, ours, rival]
            figures |= {name: number(mean), f"{name}_interval": [number(low), number(high)]}
        figures["seeds" if kind == "all" else f"seeds_{kind}"] = len(seeds)
    return figures
