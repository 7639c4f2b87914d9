"""What the loops cost while training: the same recipe with plain TRL and with the loops attached.

    python benchmarks/training_overhead.py [--quick] [--repeats N] [--steps N]

Each run is a process of its own on the quickstart's base and questions (`python examples/build_clinical.py`),
plain and governed alternating, same seed. Step time is the median between evaluations; memory is the peak of
the process. A governed run probes twice; that time stands apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 2  # first steps: allocations and kernels are still being chosen


def child(kind: str, steps: int, batch: int, tokens: int) -> None:
    """One run; prints its figures as JSON."""
    from transformers import TrainerCallback

    from coherence_ft.documents.recipe import read_recipe
    from coherence_ft.training.run import build, prepare

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.steps: list[float] = []
            self.began = 0.0

        def on_step_begin(self, *args: object, **kwargs: object) -> None:
            self.began = time.perf_counter()

        # The optimizer has stepped, no evaluation has begun: step time between evaluations.
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            self.steps.append(time.perf_counter() - self.began)

    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output": folder,
            "training.epochs": "null",
            "training.max_steps": steps,
            "training.save_every": steps // 2,
            "training.batch_size": batch,
            "probes.token_budget": tokens,
        }
        options = [f"{name}={value}" for name, value in settings.items()]
        run = prepare(read_recipe(ROOT / "recipes/quickstart.yaml", overrides=options))
        trainer, callback = build(run)
        clock = Clock()
        trainer.add_callback(clock)  # before the loops: their probing is not part of the step
        if kind == "loops":
            callback.attach(trainer)
        started = time.perf_counter()
        trainer.train()
        total = time.perf_counter() - started
    figures = {
        "step": statistics.median(clock.steps[WARM_UP:]),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # KiB to GiB
        "probing": callback.probe_seconds,
        "total": total,
    }
    print(json.dumps(figures))


def measure(kind: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, "--steps", str(options.steps)]
    command += ["--batch", str(options.batch), "--tokens", str(options.tokens)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "TRANSFORMERS_VERBOSITY": "error"},
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{kind:>6}: {figures['step']:.3f} s a step, peak {figures['peak']:.2f} GiB, "
        f"probing {figures['probing']:.1f} s of {figures['total']:.1f} s",
        flush=True,
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short pair, within 50 s on 2 cores")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--child", choices=["plain", "loops"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.steps, options.batch, options.tokens = 1, 8, 4, 1_500
    if options.child:
        child(options.child, options.steps, options.batch, options.tokens)
        return
    runs: dict[str, list[dict[str, float]]] = {"plain": [], "loops": []}
    for number in range(options.repeats):
        # Who goes first changes: a machine that warms up or throttles favours neither.
        for kind in ("plain", "loops") if number % 2 == 0 else ("loops", "plain"):
            runs[kind].append(measure(kind, options))

    def median(kind: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs[kind])

    figures = {
        "benchmark": "training_overhead",
        "step_time_ratio": round(median("loops", "step") / median("plain", "step"), 4),
        "peak_memory_ratio": round(median("loops", "peak") / median("plain", "peak"), 4),
        "probe_share": round(median("loops", "probing") / median("loops", "total"), 4),
        "steps": options.steps,
        "repeats": options.repeats,
    }
    print(f"{'':>14}  plain   loops   ratio")
    for title, figure, ratio in (
        ("step (s)", "step", "step_time_ratio"),
        ("peak (GiB)", "peak", "peak_memory_ratio"),
    ):
        plain, loops = median("plain", figure), median("loops", figure)
        print(f"{title:>14}  {plain:.3f}   {loops:.3f}   {figures[ratio]:.3f}")
    print(f"probing took {figures['probe_share']:.0%} of the governed run, two passes")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
