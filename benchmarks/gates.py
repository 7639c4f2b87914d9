"""Do the gates keep their word, how early can they stop, and do the numbers agree with other people's?

    python benchmarks/gates.py [--quick]

Guarantees are measured where they are hardest to keep, with the truth exactly at the bound. The real
predictions (`benchmarks/predictions/clinical_quickstart.csv`: probe, split, answer, and the probability of
the first of two options) are those of the quickstart's 135M derivative and of its base on 1,049 ICD-10-CM
questions that neither was trained on; drawn from with replacement, so that the true risk is known. Bootstrap
limits take 500 resamples here, not 4,000, so that 10,000 runs end.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from coherence_ft.documents.looks import look_confidence
from coherence_ft.documents.metrics import Direction
from coherence_ft.evidence import estimate, intervals, metrics, multiplicity, reliability, smooth
from coherence_ft.evidence.abstention import coverages, learn_then_test, risk_coverage, threshold_at
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.intervals import Array
from coherence_ft.evidence.sequential import SequentialGate, grouped_outcomes

PREDICTIONS = Path(__file__).parent / "predictions" / "clinical_quickstart.csv"
ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
PEERS = ("scikit-learn", "statsmodels", "netcal", "MAPIE", "uncertainty-calibration")

Rng = np.random.Generator


def real() -> tuple[Array, Array, Array, Array]:
    """Confidence and correctness of the derivative, then of the base, question by question."""
    with PREDICTIONS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answer = np.array([int(row["answer"]) for row in rows])
    found = []
    for column in ("derivative_first", "base_first"):
        first = np.array([float(row[column]) for row in rows])
        found += [np.maximum(first, 1 - first), (first < 0.5) == answer]
    return found[0], found[1], found[2], found[3]


def simulated(rng: Rng, n: int, size: int = 1, dependence: float = 0.0) -> tuple[Array, Array, Array]:
    """Forecasts, outcomes and groups of `size`; calibrated where there is no dependence."""
    score = np.abs(rng.normal(0, 3, n))
    shared = np.repeat(rng.normal(0, dependence, n // size), size)
    chance, stated = (1 / (1 + np.exp(-(0.5 * score + 0.3 + more))) for more in (shared, 0.0))
    return stated, rng.random(n) < chance, np.arange(n) // size


# Certified selective risk ---------------------------------------------------------------------------------


def certificates(
    draw: Callable[[int], tuple[Array, Array, Array]],
    risk: Callable[[float], float],
    *,
    coverage: float,
    bound: float,
    runs: int,
) -> dict[str, float]:
    """Learn-then-Test, the naive choice, and Hoeffding–Bentkus through the same sequence, same draws."""
    certified = broken = naive = naive_broken = peer = peer_broken = 0
    delivered = peer_delivered = 0.0
    for _ in range(runs):
        calibration, _, _ = draw(300)
        forecast, right, groups = draw(400)
        found = learn_then_test(
            calibration, forecast, right, groups, coverage=coverage, bound=bound, confidence=CONFIDENCE
        )
        if found is not None:
            certified += 1
            delivered += found.coverage
            broken += risk(found.threshold) > bound
        # naive: the lowest threshold whose observed risk on the same answers keeps the bound
        order = np.argsort(-forecast, kind="stable")
        within = np.flatnonzero(np.cumsum(~right[order]) / np.arange(1, len(order) + 1) <= bound)
        if len(within):
            naive += 1
            naive_broken += risk(float(forecast[order][within[-1]])) > bound
        if (threshold := hoeffding_bentkus(calibration, forecast, right, coverage, bound)) is not None:
            peer += 1
            peer_delivered += float(np.mean(calibration >= threshold))
            peer_broken += risk(threshold) > bound
    return {
        "certified": certified / runs,
        "coverage": delivered / max(1, certified),
        "violated": broken / runs,
        "violated_of_certificates": broken / max(1, certified),
        "naive_violated": naive_broken / max(1, naive),
        "peer_certified": peer / runs,
        "peer_coverage": peer_delivered / max(1, peer),
        "peer_violated": peer_broken / runs,
    }


def hoeffding_bentkus(
    calibration: Array, forecast: Array, right: Array, coverage: float, bound: float
) -> float | None:
    """The threshold that the same walk certifies with Learn-then-Test's p-values for bounded losses.

    For losses of 0 or 1, MAPIE takes the exact binomial ones, as we do.
    """
    best = None
    for asked in coverages(coverage):
        threshold = threshold_at(calibration, asked)
        wrong = ~right[forecast >= threshold]
        n, k = len(wrong), int(wrong.sum())
        if n == 0:
            break
        if hoeffding_bentkus_p(k, n, bound) > ALPHA:
            break
        best = threshold
    return best


def hoeffding_bentkus_p(k: int, n: int, bound: float) -> float:
    """Angelopoulos et al. 2021, proposition 1, as in MAPIE (compared below)."""
    low = min(k / n, bound)
    h = (low * math.log(low / bound) if low else 0.0) + (1 - low) * math.log((1 - low) / (1 - bound))
    return float(min(math.exp(-n * h), math.e * binom.cdf(k, n, bound)))


def guarantee(rng: Rng, quick: bool) -> tuple[list[tuple[str, dict[str, float]]], int, int]:
    confidence, right, _, _ = real()
    resamples, runs = (300, 400) if quick else (2_000, 10_000)

    def population(threshold: float) -> float:
        delivered = confidence >= threshold
        return float(np.mean(~right[delivered])) if delivered.any() else 0.0

    def resampled(n: int) -> tuple[Array, Array, Array]:
        drawn = rng.integers(0, len(right), n)
        return confidence[drawn], right[drawn], np.arange(n)

    found = []
    for bound in (0.03, 0.05, 0.08):
        found.append(
            (
                f"real predictions, risk at most {bound:.2f}",
                certificates(resampled, population, coverage=0.3, bound=bound, runs=resamples),
            )
        )
    for size in (1, 5):

        def uniform(n: int, size: int = size) -> tuple[Array, Array, Array]:
            """Right as often as forecast, less 0.02; in groups, half of them share one draw of luck."""
            forecast = rng.uniform(0.5, 1, n)
            luck = rng.random(n)
            if size > 1:
                together = np.repeat(rng.random(n // size) < 0.5, size)
                luck = np.where(together, np.repeat(rng.random(n // size), size), luck)
            return forecast, luck < forecast - 0.02, np.arange(n) // size

        found.append(
            (
                f"simulated, risk at most 0.20, groups of {size}",
                certificates(
                    uniform,
                    lambda threshold: 1 - ((1 + threshold) / 2 - 0.02),
                    coverage=0.4,
                    bound=0.2,
                    runs=runs,
                ),
            )
        )
    return found, resamples, runs


# False passes at the boundary -----------------------------------------------------------------------------


def false_passes(rng: Rng, quick: bool) -> Iterator[tuple[str, float, int]]:
    """(gate, share of runs in which it passes with the truth at its bound, runs)."""
    exact, runs = (1_000, 200) if quick else (10_000, 10_000)
    resamples, intervals.RESAMPLES = intervals.RESAMPLES, 500

    def rate(passes: Callable[[], bool], runs: int) -> tuple[float, int]:
        return sum(passes() for _ in range(runs)) / runs, runs

    for size, dependence in ((1, 0.0), (4, 1.0)):
        shape = "" if size == 1 else f", groups of {size}"
        stated, outcome, _ = simulated(rng, 2_000_000, size, dependence)
        brier, base = float(np.mean((stated - outcome) ** 2)), float(outcome.mean())
        incumbent = np.clip(stated - 0.1, 0, 1)
        truths: dict[str, tuple[float, bool, Callable[..., Any], int]] = {
            "accuracy": (base, False, lambda f, y, g: metrics.accuracy(y, g, CONFIDENCE), exact),
            "brier_score": (brier, True, lambda f, y, g: metrics.brier_score(f, y, g, CONFIDENCE), runs),
            "brier_skill": (
                1 - brier / (base * (1 - base)),
                False,
                lambda f, y, g: metrics.brier_skill(f, y, g, CONFIDENCE),
                runs,
            ),
            "brier_gain": (
                float(np.mean((incumbent - outcome) ** 2)) - brier,
                False,
                lambda f, y, g: metrics.brier_gain(f, y, np.clip(f - 0.1, 0, 1), y, g, CONFIDENCE),
                runs,
            ),
            "auroc": (
                area(stated, outcome),
                False,
                lambda f, y, g: metrics.auroc(f, y, g, CONFIDENCE),
                exact,
            ),
            "selective_risk": (
                float(np.mean(~outcome[stated >= 0.8])),
                True,
                lambda f, y, g: metrics.selective_risk(f, y, g, 0.8, CONFIDENCE),
                exact,
            ),
        }
        for name, (truth, at_most, measure, count) in truths.items():

            def passes(
                truth: float = truth,
                at_most: bool = at_most,
                measure: Callable[..., Any] = measure,
                size: int = size,
                dependence: float = dependence,
            ) -> bool:
                found = measure(*simulated(rng, 400, size, dependence))
                return isinstance(found, Estimate) and (
                    found.upper <= truth if at_most else found.lower >= truth
                )

            yield (f"{name}{shape}", *rate(passes, count))
    intervals.RESAMPLES = resamples
    for bound in (0.02, 0.05, 0.1):
        # the hardest clusters: large, of unequal size, nearly all alike, and rarely hit
        def clustered(bound: float = bound) -> bool:
            sizes = rng.integers(1, 40, 80)
            hits = rng.random(sizes.sum()) < np.repeat(rng.beta(bound / 4, (1 - bound) / 4, 80), sizes)
            found = intervals.share(hits, np.repeat(np.arange(80), sizes), CONFIDENCE)
            return isinstance(found, Estimate) and found.upper <= bound

        yield (f"share at {bound:g}, 80 groups of 1 to 39 nearly alike", *rate(clustered, exact))
    for bound in (0.05, 0.2, 0.4):
        for side, verdict in (("pass", Verdict.PASS), ("fail", Verdict.FAIL)):
            gate = SequentialGate.of_rate(Direction.AT_MOST, bound, CONFIDENCE)

            def stops(gate: SequentialGate = gate, verdict: Verdict = verdict, bound: float = bound) -> bool:
                return gate.feed(rng.random(3_000) < bound)[0].verdict is verdict

            yield (f"sequential false {side} at {bound:g}, 3,000 looks", *rate(stops, exact))
    gate = SequentialGate.of_mean(Direction.AT_LEAST, 0.0, CONFIDENCE, low=-1.0, high=1.0)
    yield (
        "sequential false pass of a Brier gain, 3,000 looks",
        *rate(lambda: gate.feed(rng.normal(0, 0.2, 3_000).clip(-1, 1))[0].verdict is Verdict.PASS, exact),
    )

    def sequential_groups() -> bool:
        hits = rng.random(2_000) < np.repeat(rng.beta(0.05, 0.95, 500), 4)
        gate = SequentialGate.of_rate(Direction.AT_MOST, 0.05, CONFIDENCE)
        fed = grouped_outcomes(hits, np.arange(2_000) // 4, 0.05, 4)
        return gate.feed(fed)[0].verdict is Verdict.PASS

    yield ("sequential false pass at 0.05, 500 groups of 4", *rate(sequential_groups, exact))

    def any_cell(corrected: bool) -> bool:
        wrong = rng.binomial(120, 0.1, 16)

        def passes(k: int) -> Callable[[float], bool]:
            return lambda confidence: intervals.clopper_pearson(k, 120, confidence)[1] <= 0.1

        gates = {cell: passes(int(k)) for cell, k in enumerate(wrong)}
        if corrected:
            return any(multiplicity.holm(gates, CONFIDENCE).values())
        return any(gate(CONFIDENCE) for gate in gates.values())

    yield ("any of 16 cells at the bound, Holm", *rate(lambda: any_cell(True), exact))
    yield (
        "any of 16 cells at the bound, uncorrected (for comparison)",
        *rate(lambda: any_cell(False), exact),
    )

    def any_look(corrected: bool) -> bool:
        for look in range(1, 21):
            level = look_confidence(CONFIDENCE, look) if corrected else CONFIDENCE
            if intervals.clopper_pearson(rng.binomial(400, 0.1), 400, level)[1] <= 0.1:
                return True
        return False

    yield ("any of 20 looks at the bound, spent alpha", *rate(lambda: any_look(True), exact))
    yield (
        "any of 20 looks at the bound, uncorrected (for comparison)",
        *rate(lambda: any_look(False), exact),
    )


def area(stated: Array, outcome: Array) -> float:
    found = metrics.auroc(stated, outcome, np.arange(len(stated)), CONFIDENCE)
    return found.value if isinstance(found, Estimate) else math.nan


# Sequential against fixed size ----------------------------------------------------------------------------


def fixed_size(bound: float, truth: float, power: float) -> int:
    """Outcomes with which an exact binomial test passes a derivative of this truth with this power."""
    n = 10
    while True:
        most = int(binom.ppf(ALPHA, n, bound)) - 1
        while binom.cdf(most + 1, n, bound) <= ALPHA:
            most += 1
        if most >= 0 and binom.cdf(most, n, truth) >= power:
            return n
        n += max(1, n // 100)


def shares(rng: Rng, quick: bool) -> list[dict[str, float]]:
    """Mean share of a fixed-size test's outcomes that the sequential gate takes to the same verdict."""
    runs = 200 if quick else 2_000
    rows = []
    for bound in (0.02, 0.05, 0.1, 0.2, 0.3):
        for truth in (bound / 2, bound * 2):
            side = Verdict.PASS if truth < bound else Verdict.FAIL
            gate = SequentialGate.of_rate(Direction.AT_MOST, bound, CONFIDENCE)
            sizes = {factor: fixed_size(bound, bound / factor, 0.9) for factor in (1.25, 1.5, 2.0)}
            longest = max(sizes.values())
            taken, verdicts = [], []
            for _ in range(runs):
                after, used = gate.feed(rng.random(longest) < truth)
                taken.append(used)
                verdicts.append(after.verdict is side)
            divergence = truth * math.log(truth / bound) + (1 - truth) * math.log((1 - truth) / (1 - bound))
            row = {
                "bound": bound,
                "truth": truth,
                "mean": float(np.mean(taken)),
                "same": float(np.mean(verdicts)),
            }
            row["least"] = -math.log(ALPHA) / divergence
            for factor, size in sizes.items():
                row[f"fixed {factor:g}"] = size
                row[f"share {factor:g}"] = float(np.mean(np.minimum(taken, size))) / size
            rows.append(row)
    return rows


def real_gain(rng: Rng, runs: int) -> tuple[float, float]:
    """On the real predictions in random order: share of questions to a passed Brier gain, and how often."""
    ours, right, base, base_right = real()
    gains = (base - base_right) ** 2 - (ours - right) ** 2
    gate = SequentialGate.of_mean(Direction.AT_LEAST, 0.0, CONFIDENCE, low=-1.0, high=1.0)
    taken, passed = [], 0
    for _ in range(runs):
        after, used = gate.feed(rng.permutation(gains)[:400])
        taken.append(used)
        passed += after.verdict is Verdict.PASS
    return float(np.mean(taken)) / 400, passed / runs


# Agreement ------------------------------------------------------------------------------------------------


def agreement(peers: tuple[str, ...] = PEERS) -> Iterator[tuple[str, str, float]]:
    """(peer, what, largest difference) for what both compute; a peer that is not installed is left out.

    Our estimates are rounded to six decimals when they are made; here to twelve.
    """
    digits, estimate._DIGITS = estimate._DIGITS, 12
    try:
        for peer in peers:
            try:
                yield from ((peer, what, gap) for what, gap in _AGREEMENTS[peer]())
            except ImportError:
                continue
    finally:
        estimate._DIGITS = digits


def _answers() -> tuple[Array, Array, Array]:
    forecast, right, groups = simulated(np.random.default_rng(7), 1_000)
    return forecast, right, groups


def _value(found: Any) -> float:
    return float(found.value)


def _scikit_learn() -> Iterator[tuple[str, float]]:
    scores, calibration = import_module("sklearn.metrics"), import_module("sklearn.calibration")
    forecast, right, groups = _answers()
    brier = scores.brier_score_loss(right, forecast)
    yield "Brier score", abs(_value(metrics.brier_score(forecast, right, groups, 0.95)) - brier)
    reference = scores.brier_score_loss(right, np.full(len(right), right.mean()))
    yield (
        "Brier skill",
        abs(_value(metrics.brier_skill(forecast, right, groups, 0.95)) - (1 - brier / reference)),
    )
    tied = np.round(forecast, 2)
    gap = _value(metrics.auroc(tied, right, groups, 0.95)) - scores.roc_auc_score(right, tied)
    yield "AUROC, with ties", abs(gap)
    came, stated = calibration.calibration_curve(right, forecast, n_bins=10, strategy="quantile")
    bins = reliability.reliability_diagram(forecast, right, groups, 0.95, bins=10)
    yield "reliability diagram, stated", float(np.max(np.abs(stated - [b.stated for b in bins])))
    yield "reliability diagram, observed", float(np.max(np.abs(came - [b.share.value for b in bins])))


def _statsmodels() -> Iterator[tuple[str, float]]:
    proportion = import_module("statsmodels.stats.proportion")
    multitest = import_module("statsmodels.stats.multitest")
    gaps, tests = [], []
    for k, n in ((0, 59), (3, 100), (40, 400), (399, 400), (400, 400), (1_000, 1_000_000)):
        reference = proportion.proportion_confint(k, n, alpha=0.1, method="beta")
        gaps += [abs(a - b) for a, b in zip(intervals.clopper_pearson(k, n, 0.95), reference, strict=True)]
    yield "Clopper–Pearson limits", max(gaps)
    rng = np.random.default_rng(8)
    for _ in range(20):
        p = rng.random(8) ** 4
        rejected = multitest.multipletests(p, alpha=0.05, method="holm")[0]
        gates = {i: (lambda confidence, p=p[i]: bool(p <= 1 - confidence)) for i in range(8)}
        tests.append(list(multiplicity.holm(gates, 0.95).values()) == list(rejected))
    yield "Holm, 20 families of 8", float(not all(tests))


def _netcal() -> Iterator[tuple[str, float]]:
    ece = import_module("netcal.metrics").ECE
    forecast, right, groups = _answers()
    bins = reliability.reliability_diagram(forecast, right, groups, 0.95, bins=10)
    theirs = ece(bins=10, equal_intervals=False).measure(forecast, right.astype(int))
    ours = sum(b.answers / len(right) * abs(b.stated - b.share.value) for b in bins)
    yield "ECE from the diagram's bins", abs(ours - float(theirs))


def _mapie() -> Iterator[tuple[str, float]]:
    control = import_module("mapie.risk_control.fwer_control")
    rng, same = np.random.default_rng(9), []
    for _ in range(200):
        forecast = rng.uniform(0.5, 1, 400)
        right = rng.random(400) < forecast - 0.02
        calibration = rng.uniform(0.5, 1, 300)
        found = learn_then_test(
            calibration, forecast, right, np.arange(400), coverage=0.4, bound=0.2, confidence=0.95
        )
        thresholds = [threshold_at(calibration, asked) for asked in coverages(0.4)]
        wrong = [~right[forecast >= t] for t in thresholds]
        p = np.array([binom.cdf(w.sum(), len(w), 0.2) for w in wrong])
        kept = control.FWERFixedSequenceTesting(n_starts=1).run(p, 0.05)
        same.append((thresholds[kept[-1]] if len(kept) else None) == (found.threshold if found else None))
    yield "fixed-sequence threshold, 200 draws", float(not all(same))
    method = import_module("mapie.risk_control.methods").compute_hoeffding_bentkus_p_value
    gaps = [
        # 256, so that k / n is exact: at 28 of 200 they count 29 errors, as they round 28.000000000000004 up
        abs(hoeffding_bentkus_p(k, 256, 0.2) - float(method(np.array([k / 256]), 256, 0.2)[0, 0]))
        for k in range(0, 80, 4)
    ]
    yield "Hoeffding–Bentkus p-values (the peer above)", max(gaps)


def _uncertainty_calibration() -> Iterator[tuple[str, float]]:
    utils = import_module("calibration.utils")
    forecast, right, groups = simulated(np.random.default_rng(7), 1_000)
    right = right & (np.arange(1_000) % 5 > 0)  # so that the debiased square stays above zero
    data = list(zip(forecast.tolist(), right.astype(int).tolist(), strict=True))
    square = utils.unbiased_square_ce(utils.bin(data, utils.get_equal_bins(forecast.tolist(), 10)))
    found = _value(reliability.calibration_error(forecast, right, groups, 0.95))
    yield "debiased L2 calibration error", abs(found - math.sqrt(square))


_AGREEMENTS: dict[str, Callable[[], Iterator[tuple[str, float]]]] = {
    "scikit-learn": _scikit_learn,
    "statsmodels": _statsmodels,
    "netcal": _netcal,
    "MAPIE": _mapie,
    "uncertainty-calibration": _uncertainty_calibration,
}


# Speed ----------------------------------------------------------------------------------------------------


def million(rng: Rng, n: int = 1_000_000, size: int = 4) -> list[tuple[str, float]]:
    """Processor seconds (one thread) of every estimate and gate on `n` answers in groups."""
    forecast, right, groups = simulated(rng, n, size, 0.5)
    base = np.clip(forecast - 0.05, 0, 1)
    wrong = ~right
    work: dict[str, Callable[[], object]] = {
        "accuracy": lambda: metrics.accuracy(right, groups, CONFIDENCE),
        "brier_score": lambda: metrics.brier_score(forecast, right, groups, CONFIDENCE),
        "brier_skill": lambda: metrics.brier_skill(forecast, right, groups, CONFIDENCE),
        "brier_gain": lambda: metrics.brier_gain(forecast, right, base, right, groups, CONFIDENCE),
        "auroc": lambda: metrics.auroc(forecast, right, groups, CONFIDENCE),
        "selective_risk": lambda: metrics.selective_risk(forecast, right, groups, 0.7, CONFIDENCE),
        "calibration_error": lambda: reliability.calibration_error(forecast, right, groups, CONFIDENCE),
        "smooth ECE and its null": lambda: smooth.smooth_ece(forecast, right, groups, CONFIDENCE),
        "reliability diagram": lambda: reliability.reliability_diagram(forecast, right, groups, CONFIDENCE),
        "Brier decomposition": lambda: reliability.brier_decomposition(forecast, right, groups),
        "risk-coverage curve": lambda: risk_coverage(forecast, right, groups, CONFIDENCE),
        "Learn-then-Test": lambda: learn_then_test(
            forecast[: n // 2], forecast, right, groups, coverage=0.5, bound=0.2, confidence=CONFIDENCE
        ),
        "sequential gate, groups": lambda: SequentialGate.of_rate(
            Direction.AT_MOST, float(wrong.mean()), CONFIDENCE
        ).feed(grouped_outcomes(wrong, groups, float(wrong.mean()), size)),
    }
    seconds = []
    for name, call in work.items():
        started = time.process_time()
        call()
        seconds.append((name, time.process_time() - started))
    return seconds


def table(console: Console, title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    made = Table(title=title)
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs: ends within 50 s on 2 cores")
    quick = parser.parse_args().quick
    rng, console = np.random.default_rng(20_261_122), Console(width=130)

    found, resamples, runs = guarantee(rng, quick)
    table(
        console,
        f"Selective risk certified at 95 %, per attempt ({resamples} resamples, {runs} simulated runs)",
        ("", "certified", "coverage", "violated", "of certificates", "naive", "HB certified", "HB coverage"),
        [
            (
                name,
                *(
                    f"{row[key]:.3f}"
                    for key in (
                        "certified",
                        "coverage",
                        "violated",
                        "violated_of_certificates",
                        "naive_violated",
                        "peer_certified",
                        "peer_coverage",
                    )
                ),
            )
            for name, row in found
        ],
    )
    passes = list(false_passes(rng, quick))
    table(
        console,
        "False verdicts with the truth at the bound, alpha 0.05",
        ("gate", "share", "runs"),
        [(name, f"{share:.4f}", str(count)) for name, share, count in passes],
    )
    sequential = shares(rng, quick)
    table(
        console,
        "Sequential gate against a fixed-size exact test (90 % power at bound / factor)",
        (
            "bound, truth",
            "mean taken",
            "least possible",
            "same verdict",
            "share 1.25",
            "share 1.5",
            "share 2",
        ),
        [
            (
                f"{row['bound']:g}, {row['truth']:g}",
                f"{row['mean']:.0f}",
                f"{row['least']:.0f}",
                f"{row['same']:.3f}",
                *(
                    f"{row[f'share {factor}']:.2f} of {row[f'fixed {factor}']:.0f}"
                    for factor in ("1.25", "1.5", "2")
                ),
            )
            for row in sequential
        ],
    )
    gain_share, gain_passed = real_gain(rng, 100 if quick else 1_000)
    console.print(
        f"Brier gain of the real derivative over its base: passed in {gain_passed:.1%} of random orders, "
        f"after {gain_share:.1%} of 400 questions on average"
    )
    agreed = list(agreement(("scikit-learn", "statsmodels") if quick else PEERS))
    table(
        console,
        "Agreement",
        ("with", "on", "largest difference"),
        [(peer, what, f"{gap:.1e}") for peer, what, gap in agreed],
    )
    timed = million(rng)
    table(console, "1,000,000 answers in 250,000 groups", ("", "CPU s"), [(n, f"{s:.3f}") for n, s in timed])
    installed = {peer for peer, _, _ in agreed}
    console.print(
        f"{platform.machine()}, numpy {np.__version__}, "
        + ", ".join(f"{peer} {version(peer)}" for peer in sorted(installed))
    )
    gates = [share for name, share, _ in passes if "comparison" not in name]
    by_name = dict(found)
    names = list(by_name)
    print(
        json.dumps(
            {
                "benchmark": "gates",
                "violation_rate": round(max(row["violated"] for row in by_name.values()), 4),
                "naive_violation_rate": round(by_name[names[3]]["naive_violated"], 4),
                "probe_share_sequential": round(float(np.mean([r["share 1.5"] for r in sequential])), 3),
                "violation_rate_of_certificates": round(
                    max(row["violated_of_certificates"] for row in by_name.values()), 4
                ),
                "naive_violation_rate_real": round(by_name[names[1]]["naive_violated"], 4),
                "worst_false_verdict_rate": round(max(gates), 4),
                "probe_share_sequential_worst": round(max(r["share 1.5"] for r in sequential), 3),
                "probe_share_sequential_pass": round(
                    float(np.mean([r["share 1.5"] for r in sequential if r["truth"] < r["bound"]])), 3
                ),
                "probe_share_sequential_fail": round(
                    float(np.mean([r["share 1.5"] for r in sequential if r["truth"] > r["bound"]])), 3
                ),
                "probe_share_sized_1.25": round(float(np.mean([r["share 1.25"] for r in sequential])), 3),
                "probe_share_sized_2": round(float(np.mean([r["share 2"] for r in sequential])), 3),
                "same_verdict": round(min(r["same"] for r in sequential), 4),
                "real_gain_share": round(gain_share, 3),
                "largest_disagreement": max(gap for _, _, gap in agreed),
                "peers": sorted(installed),
                "seconds_million": round(sum(seconds for _, seconds in timed), 2),
                "resamples": resamples,
                "runs": runs,
            }
        )
    )


if __name__ == "__main__":
    main()
