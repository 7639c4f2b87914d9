"""Does a warning of drift keep its word, and how soon does it come?

    python benchmarks/drift.py [--quick]

Answers with a stated confidence (logits normal with mean 1.2, standard deviation 1: accuracy 0.74) whose true
logit lies a shift away. False alarms are measured where they are likeliest, with the truth at the edge of
what is tolerated, and with calibrated confidence. The peer is what is done by hand: a z-test of outcomes
against stated confidence, repeated every 50 outcomes at the same alpha.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.drift import (
    SHIFTS,
    DriftDetector,
    certify_step,
    certify_value,
    detect_step,
    log_ratios,
)
from coherence_ft.loops.drift import ALARM, ALPHA, TOLERANCE

EVERY = 50
TESTS = ("certificate", "detector", "z-test")
USUAL = "z-test at 5 %"


def stream(seed: int, runs: int, change: int, shift: float, before: float) -> Iterator[tuple[Array, Array]]:
    """Logits as stated and outcomes, one of each run at a time; `shift` holds after `change`."""
    rng = np.random.default_rng(seed)
    n = 0
    while True:
        stated = rng.normal(1.2, 1.0, runs)
        moved = shift if n >= change else before
        yield stated, rng.random(runs) < 1 / (1 + np.exp(-(stated + moved)))
        n += 1


def first_alarms(source: Iterator[tuple[Array, Array]], runs: int, n: int) -> dict[str, Array]:
    """The outcome (from 1) at which each run is first alarmed; 0 where it is not within `n`."""
    certificate = np.full((runs, len(SHIFTS)), -math.log(2))
    detector = np.zeros((runs, len(SHIFTS)))
    surplus, variance = np.zeros(runs), np.zeros(runs)
    first = {name: np.zeros(runs, dtype=int) for name in (*TESTS, USUAL)}
    demanded = norm.isf(ALPHA / 2)
    for t in range(1, n + 1):
        stated, right = next(source)
        step = log_ratios(stated, right, TOLERANCE)
        certificate = certify_step(certificate, step, t)
        detector = detect_step(detector, step)
        p = 1 / (1 + np.exp(-stated))
        surplus += right - p
        variance += p * (1 - p)
        value = np.logaddexp.reduce(detector, axis=1) - math.log(len(SHIFTS))
        alarmed = {
            "certificate": certify_value(certificate, t) >= -math.log(ALPHA),
            "detector": value >= -math.log(ALARM),
            "z-test": (np.abs(surplus) / np.sqrt(variance) > demanded) & (t % EVERY == 0),
            USUAL: (np.abs(surplus) / np.sqrt(variance) > norm.isf(0.025)) & (t % EVERY == 0),
        }
        for name, hit in alarmed.items():
            first[name] = np.where((first[name] == 0) & hit, t, first[name])
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    runs = 300 if parser.parse_args().quick else 2000
    console = Console()
    figures: dict[str, object] = {"benchmark": "drift", "runs": runs, "alpha": ALPHA, "alarm": ALARM}

    table = Table(title=f"false alarms within 5,000 outcomes, {runs:,} runs (tolerance {TOLERANCE} logit)")
    for column in ("truth", *TESTS, USUAL, "detector: mean run length"):
        table.add_column(column, justify="right")
    for seed, (name, shift) in enumerate((("calibrated", 0.0), ("at the edge", -TOLERANCE))):
        first = first_alarms(stream(seed, runs, 0, shift, shift), runs, 5000)
        shares = {test: float(np.mean(first[test] > 0)) for test in (*TESTS, USUAL)}
        length = float(np.where(first["detector"] > 0, first["detector"], 5000).mean())
        cells = [f"{100 * shares[test]:.1f} %" for test in (*TESTS, USUAL)]
        table.add_row(name, *cells, f"at least {length:,.0f}")
        key = name.replace(" ", "_")
        figures[f"false_{key}"] = {**shares, "detector_run_length_at_least": length}
    console.print(table)

    table = Table(title="outcomes until the alarm, median (90 %); in brackets, alarms before the change")
    for column in ("shift, logits", "after", *TESTS):
        table.add_column(column, justify="right")
    found = []
    for shift in (-2.0, -1.0, -0.5, 1.0):
        for change in (0, 1000):
            first = first_alarms(stream(10, runs // 4, change, shift, 0.0), runs // 4, change + 3000)
            cells, row = [], {"shift": shift, "after": change}
            for test in TESTS:
                early = float(np.mean((first[test] > 0) & (first[test] <= change)))
                delays = first[test][first[test] > change] - change
                typical, most = np.median(delays), np.quantile(delays, 0.9)
                cells.append(f"{typical:.0f} ({most:.0f}) [{100 * early:.1f} %]")
                row[test] = float(typical)
            table.add_row(f"{shift:+g}", str(change), *cells)
            found.append(row)
    console.print(table)
    figures["delays"] = found
    figures["delay_minus_one"] = next(r["detector"] for r in found if r["shift"] == -1.0)

    rng = np.random.default_rng(0)
    stated = rng.normal(1.2, 1.0, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-stated))
    start = time.process_time()
    DriftDetector(1e-9, TOLERANCE).feed(stated, right)
    figures["microseconds_an_outcome"] = round(50 * (time.process_time() - start), 2)
    console.print(f"one outcome into a detector: {figures['microseconds_an_outcome']} µs")
    figures["machine"] = f"{platform.machine()}, numpy {np.__version__}"
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
