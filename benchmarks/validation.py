"""Constraint sets checked by check-jsonschema and by `coherence-ft validate`, as whole commands.

    python benchmarks/validation.py [--quick] [--sets N] [--repeats N]

Both get the same 1,000 made files of 100 lines, check-jsonschema with the published JSON Schema, ours with
all that it checks beyond. Then 100 files of which 40 hold one mistake each that the schema knows: both must
refuse the same ones. Runs alternate; each side counts with its fastest run, since other load on the machine
only ever slows a run down. Then one file from a cold start, documents in one process, and hostile files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from coherence_ft.authority.validate import validate
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.reader import parse_yaml, read_yaml
from coherence_ft.documents.schemas import load_schema, problems

PEER = "check-jsonschema"
SCRIPTS = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
# A mistake that the JSON Schema knows, as a replacement of the text that stands in every set.
MISTAKES = (
    ("confidence: 0.95", "confidence: 95"),
    ("confidence: 0.95", "confidance: 0.95"),
    ("enforcement: hard", "enforcement: strict"),
    ("minimum_evidence: ", "minimum_evidence: about "),
    ("    owner: adopter\n", ""),
    ("kind: constraint-set", "kind: constraints"),
    ("id: set", "id: Set "),
    ("    locked: true", "    locked: yes"),
)


def constraint_set(number: int, dice: random.Random) -> str:
    """A valid set of exactly 100 lines: eight metrics with comments, as people write them."""
    lines = ["apiVersion: coherence-ft/v1", "kind: constraint-set", f"id: set-{number}"]
    lines += ["title: Constraints for one use", "domain: clinical", "constraints:"]
    metrics = [METRICS[name] for name in list(METRICS)[:9]]
    for metric in dice.sample(metrics, 8):
        lines += [f"  # What {metric.name} means here: {metric.summary}, in units of", f"  # {metric.unit}."]
        bound = 0.5 if metric.direction.value == "at_least" else 0.4
        lines += [f"  - id: {metric.name.replace('_', '-')}", f"    metric: {metric.name}"]
        lines += ["    coverage: 0.6"] if metric.name == "selective_risk" else []
        lines += [f"    {metric.direction}: {bound + dice.randrange(50) / 1000:.3f}", "    confidence: 0.95"]
        lines += [f"    minimum_evidence: {dice.randrange(100, 400)}", "    enforcement: hard"]
        lines += [
            "    owner: adopter",
            "    locked: true",
            f'    reason: "As agreed on {dice.randrange(1, 28)} May: see note."',
        ]
    lines += ["# reviewed"] * (100 - len(lines))
    assert len(lines) == 100
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Run:
    seconds: float
    processor: float  # seconds of it that the command itself computed
    done: subprocess.CompletedProcess[str]


def timed(command: Sequence[str]) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(took, processor, done)


def sides(schema: Path) -> dict[str, Callable[[Sequence[Path]], list[str]]]:
    return {
        PEER: lambda files: [
            str(SCRIPTS / PEER),
            "--output-format",
            "json",
            "--schemafile",
            str(schema),
            *map(str, files),
        ],
        "coherence-ft": lambda files: [
            str(SCRIPTS / "coherence-ft"),
            "validate",
            "--format",
            "json",
            *map(str, files),
        ],
    }


def refused(name: str, done: subprocess.CompletedProcess[str]) -> set[str]:
    """The names of the files that a command refused."""
    report = json.loads(done.stdout)
    if name == PEER:
        return {Path(each["filename"]).name for each in (*report["errors"], *report.get("parse_errors", ()))}
    return {Path(each["path"]).name for each in report["diagnostics"] if each["severity"] == "error"}


def in_process(files: Sequence[Path], repeats: int) -> dict[str, float]:
    """Milliseconds a document."""

    def best(run: Callable[[], object]) -> float:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return min(times) / len(files) * 1000

    texts = [path.read_bytes() for path in files]
    documents = [parse_yaml(text, "f") for text in texts[:200]]
    some = len(files) / len(documents)
    return {
        "reading": best(lambda: [read_yaml(path) and None for path in files]),
        "JSON Schema": best(lambda: [problems("constraint-set", each) for each in documents]) * some,
        "all (validate)": best(lambda: validate(files)),
    }


def hostile(folder: Path) -> dict[str, float]:
    """Seconds until a file is refused, process start included."""
    made = {
        "billion laughs": "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9999)),
        "100,000 levels, flow": "[" * 100_000,
        "100,000 levels, block": "- " * 100_000,
        "50 MB, one scalar": "a: " + "x" * 50_000_000,
        "50 MB, many keys": "".join(f"{n:07}: 1\n" for n in range(5_000_000)),
        "50 MB, comments": "#\n" * 25_000_000,
    }
    times = {}
    for name, text in made.items():
        path = folder / "hostile.yaml"
        path.write_text(text)
        run = timed([str(SCRIPTS / "coherence-ft"), "validate", str(path)])
        assert run.done.returncode == 1 and not run.done.stderr, (name, run)
        times[name] = run.seconds
        path.unlink()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one run of the peer: ends within 50 s on 2 cores"
    )
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    console = Console()
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        schema = folder / "schema.json"
        schema.write_text(json.dumps(load_schema("constraint-set")))
        good = [folder / f"{n}.yaml" for n in range(options.sets)]
        for number, path in enumerate(good):
            path.write_text(constraint_set(number, dice))
        mixed, wrong = [], set()
        for number in range(100):
            path = folder / f"mixed-{number}.yaml"
            text = constraint_set(number, dice)
            if number % 5 in (1, 3):
                old, new = MISTAKES[number // 5 * 2 % len(MISTAKES) + (number % 5 == 3)]
                assert old in text
                text = text.replace(old, new, 1)
                wrong.add(path.name)
            path.write_text(text)
            mixed.append(path)

        runs: dict[str, list[Run]] = {PEER: [], "coherence-ft": []}
        for number in range(repeats):
            both = list(sides(schema).items())
            # Who goes first changes. Ours is short, so it runs three times for once of the peer's.
            for side, command in both if number % 2 == 0 else reversed(both):
                for _ in range(1 if side == PEER else 3):
                    run = timed(command(good))
                    assert run.done.returncode == 0, (side, run.done.stdout[-2000:], run.done.stderr)
                    runs[side].append(run)
        for side, command in sides(schema).items():
            found = refused(side, timed(command(mixed)).done)
            assert found == wrong, (side, found ^ wrong)

        starts = {
            side: [timed(command(good[:1])).seconds for _ in range(9)]
            for side, command in sides(schema).items()
        }
        documents = in_process(good, repeats)
        refusals = hostile(folder)

    best = {side: min(run.seconds for run in each) for side, each in runs.items()}
    computed = {side: min(run.processor for run in each) for side, each in runs.items()}
    cold = {side: min(each) for side, each in starts.items()}
    table = Table(title=f"{options.sets} constraint sets of 100 lines, whole commands")
    for heading in ("", "fastest", "median", "processor", "one file", "median "):
        table.add_column(heading, justify="right" if heading else "left")
    for side, each in runs.items():
        middle = statistics.median(run.seconds for run in each)
        table.add_row(
            side,
            *(f"{value:.2f} s" for value in (best[side], middle, computed[side])),
            *(f"{value:.3f} s" for value in (cold[side], statistics.median(starts[side]))),
        )
    ratios = [figures[PEER] / figures["coherence-ft"] for figures in (best, computed, cold)]
    table.add_row("ratio", f"{ratios[0]:.1f}", "", f"{ratios[1]:.1f}", f"{ratios[2]:.1f}", "", style="bold")
    console.print(table)
    console.print(
        f"milliseconds a document, in process: {', '.join(f'{k} {v:.3f}' for k, v in documents.items())}\n"
        f"seconds to refusal: {', '.join(f'{k} {v:.2f}' for k, v in refusals.items())}\n"
        f"both refuse the same {len(wrong)} of {len(mixed)} files\n"
        f"{platform.machine()}, Python {platform.python_version()}, {PEER} {version(PEER)}, "
        f"PyYAML {version('PyYAML')}, jsonschema-rs {version('jsonschema-rs')}",
        soft_wrap=True,
    )
    figures = {
        "benchmark": "validation",
        "speed_ratio": round(ratios[0], 2),
        "cold_start_s": round(cold["coherence-ft"], 4),
        "cold_start_median_s": round(statistics.median(starts["coherence-ft"]), 4),
        "processor_ratio": round(ratios[1], 2),
        "seconds": round(best["coherence-ft"], 4),
        "peer_seconds": round(best[PEER], 4),
        "ms_a_document": round(documents["all (validate)"], 4),
        "slowest_refusal_s": round(max(refusals.values()), 3),
        "same_verdicts": True,
        "sets": options.sets,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
