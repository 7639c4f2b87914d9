"""Fine-tune the 135M model with several seeds, and keep what it answers to questions that it never saw.

    python benchmarks/finetunes.py [--quick] [--jobs 2] [--rows N] [--runs all-0 two-0 …]

Two kinds of run for every seed: `all` is trained on questions of three domains (ICD-10-CM, US-GAAP concepts,
licences), `two` on two of them, the third being held out; which one takes turns. A seed draws the training
questions, their order and the adapter's first weights. The adapter is the quickstart's, trained by the
project's own SFT trainer.

Writes `benchmarks/predictions/finetunes.csv`: a row for every held-out question, and for every run the
likelihood of the chosen option and whether it was right. Questions are split by family (code category, first
words of a concept, first word of a licence), so nothing that was trained on comes back. The topic is the
chapter, statement or section, or category that the question asks about. Runs that the file
holds already are skipped. `benchmarks/calibrators.py` reads it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PREDICTIONS = Path(__file__).parent / "predictions" / "finetunes.csv"
DOMAINS = ("clinical", "financial", "legal")
SEEDS = 5
ROWS = 600  # training questions of each domain
HELD = 250  # held-out questions of each domain and split
SPLITS = ("calibration", "certification", "test")
RUNS = tuple(f"{kind}-{seed}" for seed in range(SEEDS) for kind in ("all", "two"))
QUESTION = ("probe", "split", "domain", "topic", "group")

Row = dict[str, Any]


def held_out(run: str) -> str | None:
    """The domain that a run is not trained on."""
    kind, seed = run.split("-")
    return DOMAINS[int(seed) % len(DOMAINS)] if kind == "two" else None


def build() -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """By domain: training rows, and held-out questions with their `split` and `topic`."""
    sys.path.insert(0, str(ROOT / "examples"))
    import gaap
    import icd
    import licenses

    codes, concepts, classed = (module.read(module.SOURCE.fetch()) for module in (icd, gaap, licenses))
    files = {
        "clinical": icd.build(codes),
        "financial": gaap.build(concepts),
        "legal": licenses.build(classed),
    }
    # What the question says, not what the right answer would be: a topic must be known when answering.
    topic: dict[str, Callable[[str], str]] = {
        "clinical": lambda text: codes.blocks[text.split('"')[-2]],
        "financial": lambda text: text.split(" shown ")[-1].partition(" ")[2].rstrip("?"),
        "legal": lambda text: text.split('"')[-2],
    }
    held = {
        domain: [
            {**row, "split": split, "topic": topic[domain](row["messages"][0]["content"])}
            for split in SPLITS
            for row in [row for row in files[domain][split] if row["kind"] == "question"][:HELD]
        ]
        for domain in DOMAINS
    }
    return {domain: files[domain]["train"] for domain in DOMAINS}, held


def child(run: str, rows: int, epochs: float, held: int) -> None:
    """One run; prints its figures and its answers as JSON."""
    import numpy as np
    from datasets import Dataset
    from transformers import ProgressCallback

    from coherence_ft.documents.recipe import read_recipe
    from coherence_ft.models.base import load_model, load_tokenizer, locate
    from coherence_ft.models.chat import render
    from coherence_ft.models.scoring import score_options
    from coherence_ft.training.sft import sft_trainer

    seed, left_out = int(run.split("-")[1]), held_out(run)
    train, asked = build()
    dice = np.random.default_rng(seed)
    chosen = [
        train[domain][i]
        for domain in DOMAINS
        for i in dice.permutation(len(train[domain]))[:rows]
        if domain != left_out
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output": folder,
            "training.seed": seed,
            "training.epochs": epochs,
            "training.save_every": 300,
        }
        recipe = read_recipe(
            ROOT / "recipes/quickstart.yaml",
            overrides=[f"{name}={value}" for name, value in settings.items()],
        )
        located = locate(recipe.base)
        tokenizer = load_tokenizer(located)
        model = load_model(located, for_training=True)
        trainer = sft_trainer(recipe, model, tokenizer, Dataset.from_list(chosen))
        trainer.remove_callback(ProgressCallback)
        started = time.perf_counter()
        trainer.train()
        trained = time.perf_counter() - started
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    model = trainer.model.eval()
    questions = [row for domain in DOMAINS for row in asked[domain]][: held or None]
    started = time.perf_counter()
    scores = score_options(
        model, tokenizer, [(render(tokenizer, row["messages"]), row["options"]) for row in questions]
    )
    answers = []
    for row, probabilities in zip(questions, scores.probabilities, strict=True):
        option = int(np.argmax(probabilities))
        right = row["options"][option] == row["answer"]
        answers.append([row["id"], f"{probabilities[option]:.6f}", int(right)])
    print(
        json.dumps(
            {
                "answers": answers,
                "trained": round(trained, 1),
                "scored": round(time.perf_counter() - started, 1),
                "steps": trainer.state.global_step,
                "losses": [round(loss, 3) for loss in losses],
            }
        )
    )


def measure(run: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", run, "--rows", str(options.rows)]
    command += ["--epochs", str(options.epochs), "--held", str(options.held)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.jobs)),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TRANSFORMERS_VERBOSITY": "error",
        },
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    share = {domain: [0, 0] for domain in DOMAINS}
    domains = {"icd": "clinical", "gaap": "financial", "license": "legal"}
    for name, _, right in found["answers"]:
        of = share[domains[name.split("-")[0]]]
        of[0] += right
        of[1] += 1
    accuracy = ", ".join(f"{domain} {r / max(1, n):.3f}" for domain, (r, n) in share.items())
    print(
        f"{run} (held out: {held_out(run) or 'none'}): {accuracy}; {found['steps']} steps in "
        f"{found['trained']:.0f} s, {len(found['answers'])} answers in {found['scored']:.0f} s; "
        f"loss {found['losses']}",
        flush=True,
    )
    return found


def read(path: Path = PREDICTIONS) -> dict[str, Row]:
    """Rows by probe, empty without a file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["probe"]: row for row in csv.DictReader(file)}


def add(run: str, answers: list[list[Any]], path: Path = PREDICTIONS) -> None:
    """Two more columns; the file is replaced in one step."""
    rows = read(path)
    if not rows:
        _, held = build()
        for domain in DOMAINS:
            for row in held[domain]:
                rows[row["id"]] = {"probe": row["id"], **{name: row[name] for name in QUESTION[1:]}}
    for name, confidence, right in answers:
        rows[name] |= {f"{run}_confidence": confidence, f"{run}_right": right}
    columns = [*QUESTION]
    for known in RUNS:
        if any(f"{known}_right" in row for row in rows.values()):
            columns += [f"{known}_confidence", f"{known}_right"]
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    fresh.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short run, not kept: within 50 s")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--rows", type=int, default=ROWS, help="training questions of each domain")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--held", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS)
    parser.add_argument("--child", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.rows, options.epochs, options.held)
        return
    figures: dict[str, Any] = {"benchmark": "finetunes"}
    if options.quick:
        options.rows, options.epochs, options.held = 20, 1, 40
        found = measure("all-0", options)
        print(json.dumps({**figures, "runs": 1, "seconds": found["trained"], "steps": found["steps"]}))
        return
    present = read()
    missing = [run for run in options.runs if not any(f"{run}_right" in row for row in present.values())]
    started, writing = time.perf_counter(), Lock()

    def keep(run: str) -> None:
        answers = measure(run, options)["answers"]
        with writing:
            add(run, answers)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(keep, missing))
    figures |= {"runs": len(missing), "skipped": len(options.runs) - len(missing)}
    print(json.dumps({**figures, "minutes": round((time.perf_counter() - started) / 60, 1)}))


if __name__ == "__main__":
    main()
