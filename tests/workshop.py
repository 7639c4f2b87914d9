"""A complete small world to train in: tiny base model, tenant with keys, data, probes, recipes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from tiny import tiny_model_folder

from coherence_ft.authority.keys import generate

STEPS = 6
"""Steps of a run; a checkpoint every second one."""

QUESTIONS = {"calibration": 40, "certification": 60, "test": 40}
"""Questions by split; beside them each has nine groups and three conversations."""

_WORDS = ("amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty")
_OPTIONS = ["yes", "no"]

Changes = dict[str, Any]


@dataclass(frozen=True)
class Workshop:
    """`root` holds base, tenant, keys, data and probes; recipes and runs go beside them."""

    root: Path

    @property
    def tenant(self) -> Path:
        return self.root / "tenant.yaml"

    @property
    def base(self) -> Path:
        return self.root / "tiny-llama"

    def probes(self, split: str) -> Path:
        return self.root / f"{split}.jsonl"

    def recipe(self, name: str = "sft", **changes: Any) -> Path:
        """Write `NAME.yaml`, whose output is `runs/NAME`. `changes` are merged in; None takes a key out."""
        document = _merged(_recipe(name), changes)
        path = self.root / f"{name}.yaml"
        path.write_text(json.dumps(document, indent=1))  # JSON is YAML
        return path

    def run(self, name: str = "sft") -> Path:
        return self.root / "runs" / name

    def copy(self, root: Path) -> Workshop:
        """A world of its own with the same content, but without recipes and runs."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("runs"))
        for recipe in root.glob("*.yaml"):
            if recipe.name not in ("tenant.yaml", "constraints.yaml"):
                recipe.unlink()
        return Workshop(root)


def make_workshop(root: Path) -> Workshop:
    """Everything but recipes, always with the same bytes except for the keys."""
    root.mkdir(parents=True, exist_ok=True)
    tiny_model_folder(root)
    for name in ("risk", "lab"):
        generate(root / "keys", name)
    (root / "tenant.yaml").write_text(json.dumps(_TENANT, indent=1))
    write_constraints(root)
    _write(root / "pairs.jsonl", (_pair(n) for n in range(24)))
    _write(root / "messages.jsonl", (_messages(n) for n in range(24)))
    _write(root / "preferences.jsonl", (_preference(n) for n in range(24)))
    for split, questions in QUESTIONS.items():
        _write(root / f"{split}.jsonl", probe_rows(split, questions))
    return Workshop(root)


def write_constraints(root: Path, **bounds: float) -> None:
    """`constraints.yaml`: bounds that any random model keeps, unless `bounds` says otherwise by id."""
    rows = [{**row, **_bound(row, bounds)} for row in map(dict, _CONSTRAINTS)]
    document = {
        "apiVersion": "coherence-ft/v1",
        "kind": "constraint-set",
        "id": "pilot",
        "title": "Pilot",
        "domain": "clinical",
        "constraints": rows,
    }
    (root / "constraints.yaml").write_text(json.dumps(document, indent=1))


def make_waiver(root: Path, constraint: str, bound: float) -> None:
    """Let a constraint be waived to `bound`, far into the future."""
    path = root / "constraints.yaml"
    document = json.loads(path.read_text())
    (row,) = (row for row in document["constraints"] if row["id"] == constraint)
    row["waiver_floor"] = bound
    path.write_text(json.dumps(document, indent=1))
    tenant = json.loads((root / "tenant.yaml").read_text())
    tenant["waivers"] = [
        {
            "constraint": constraint,
            "domain": "clinical",
            "bound": bound,
            "requested_by": "risk",
            "approved_by": ["board"],
            "reason": "A test needs it.",
            "expires": "2099-12-31",
        }
    ]
    (root / "tenant.yaml").write_text(json.dumps(tenant, indent=1))


def probe_rows(split: str, questions: int) -> Iterator[dict[str, Any]]:
    """Questions, groups of three relations and conversations. No prompt is in two splits."""
    draw = random.Random(split)
    for n in range(questions):
        yield {
            "kind": "question",
            "id": f"{split}-q{n}",
            "domain": "clinical",
            "group": f"{split}-{n}",
            "messages": _ask(f"{split}: is {_name(draw)} {n} under {_name(draw)}?"),
            "options": _OPTIONS,
            "answer": draw.choice(_OPTIONS),
        }
    for relation in ("paraphrase", "negation", "implication"):
        for n in range(3):
            texts = [f"{split}: {relation} {n}, form {form}, {_name(draw)}?" for form in (1, 2)]
            yield {
                "kind": "group",
                "id": f"{split}-{relation}{n}",
                "domain": "clinical",
                "relation": relation,
                "members": [{"messages": _ask(text), "options": _OPTIONS} for text in texts],
            }
    for n in range(3):
        yield {
            "kind": "conversation",
            "id": f"{split}-c{n}",
            "domain": "general",
            "category": "format",
            "messages": _ask(f"{split}: in three words, what is {_name(draw)} {n}?"),
            "checks": [{"verifier": "max_words", "words": 3}],
            "max_new_tokens": 5,
        }


def coherence_ft(*arguments: object) -> int:
    """The command line in this process; its exit code."""
    from coherence_ft.cli.main import _run

    return _run([str(argument) for argument in arguments])


class Elsewhere:
    """The command line in a process of its own, forked from one that has imported everything already.

    `file_limit`: no file may grow over so many bytes.
    """

    def __init__(self, *arguments: object, file_limit: int | None = None) -> None:
        import workshop_child

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["workshop_child"])
        reader, writer = context.Pipe(duplex=False)  # not a file: the limit must not silence it
        texts = [str(argument) for argument in arguments]
        self.process = context.Process(target=workshop_child.main, args=(writer, texts, file_limit))
        # The forking process does not take over sys.path before it imports (CPython issue 117378).
        with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
            self.process.start()
        writer.close()
        self._said = bytearray()
        self._listening = threading.Thread(target=self._listen, args=(reader,), daemon=True)
        self._listening.start()

    def wait(self) -> int:
        """Its exit code; minus the number of the signal that ended it."""
        self.process.join(120)
        if (code := self.process.exitcode) is None:
            self.process.kill()
            raise AssertionError(f"still running: {self.said}")
        self._listening.join()
        return code

    def signal_when(self, condition: Callable[[], bool], number: signal.Signals) -> int:
        """Send a signal once `condition` holds; its exit code."""
        while self.process.is_alive() and not condition():
            time.sleep(0.002)
        if self.process.is_alive():
            os.kill(self.process.pid or 0, number)
        return self.wait()

    @property
    def said(self) -> str:
        """Everything it has printed, on either stream."""
        return self._said.decode(errors="replace")

    def _listen(self, reader: Connection) -> None:
        while part := os.read(reader.fileno(), 1 << 16):
            self._said += part


def weights(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of weights in `folder`, by name."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.safetensors"))}


def trainer_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "trainer_state.json").read_text())
    return state


def history(folder: Path) -> list[dict[str, Any]]:
    """The callback's history in a checkpoint, without what depends on the clock."""
    saved = trainer_state(folder)["stateful_callbacks"]["CoherenceCallback"]["attributes"]["history"]
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in saved]


def changed_recipe(path: Path, **changes: Any) -> Path:
    """Merge `changes` into the recipe at `path`; None takes a key out."""
    path.write_text(json.dumps(_merged(json.loads(path.read_text()), changes), indent=1))
    return path


def statement(folder: Path) -> dict[str, Any]:
    """What the manifest in `folder` says."""
    predicate: dict[str, Any] = json.loads((folder / "coherence_manifest.json").read_text())["predicate"]
    return predicate


def checkpoint_names(run: Path) -> list[str]:
    return sorted(p.name for p in run.glob("*checkpoint-*"))


def _recipe(name: str) -> Changes:
    return {
        "apiVersion": "coherence-ft/v1",
        "kind": "recipe",
        "name": name,
        "domain": "clinical",
        "tenant": "tenant.yaml",
        "signer": "risk",
        "base": {"model": "./tiny-llama", "license": "Apache-2.0"},
        "data": {"train": "pairs.jsonl", "license": "CC0-1.0"},
        "probes": {split: f"{split}.jsonl" for split in ("calibration", "certification", "test")},
        # Dropout draws random numbers: whoever disturbs them changes the weights.
        "adapter": {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
        "training": {
            "regime": "sft",
            "seed": 3,
            "max_steps": STEPS,
            "learning_rate": 0.01,
            "warmup_ratio": 0.2,
            "batch_size": 4,
            "max_length": 128,
            "precision": "float32",
            "save_every": 2,
        },
        "output": f"runs/{name}",
    }


DPO: Changes = {
    "data": {"train": "preferences.jsonl"},
    "training": {"regime": "dpo", "beta": 0.2},
}
"""Changes that make a recipe one of preference optimisation."""

_TENANT: Changes = {
    "apiVersion": "coherence-ft/v1",
    "kind": "tenant",
    "id": "workshop",
    "title": "Workshop",
    "authorities": [
        {"id": "board", "title": "Board", "level": "regulated-unit", "powers": ["set", "tighten", "waive"]},
        {
            "id": "risk",
            "title": "Risk",
            "level": "tenant",
            "powers": ["tighten", "waive", "attest"],
            "public_keys": ["keys/risk.pub.pem"],
        },
        {
            "id": "lab",
            "title": "Laboratory",
            "level": "query",
            "powers": ["attest"],
            "public_keys": ["keys/lab.pub.pem"],
        },
    ],
    "layers": [{"set": "constraints.yaml", "level": "regulated-unit", "authority": "board"}],
}


def _constraint(id: str, metric: str, direction: str, bound: float, **more: Any) -> Changes:
    return {
        "id": id,
        "metric": metric,
        direction: bound,
        "confidence": 0.9,
        "minimum_evidence": 3,
        "enforcement": "hard",
        "owner": "board",
        "reason": "A test needs it.",
        **more,
    }


_CONSTRAINTS: tuple[Changes, ...] = (
    _constraint("brier", "brier_score", "at_most", 0.9),
    _constraint("risk-half", "selective_risk", "at_most", 0.97, coverage=0.5),
    _constraint("contradictions", "contradiction_rate", "at_most", 1.0),
    _constraint("violations", "violation_rate", "at_most", 1.0),
    _constraint("gain", "brier_gain", "at_least", 0.0, enforcement="report"),
)


def _bound(row: Changes, bounds: dict[str, float]) -> Changes:
    direction = "at_most" if "at_most" in row else "at_least"
    return {direction: bounds.get(row["id"].replace("-", "_"), row[direction])}


def _merged(document: Changes, changes: Changes) -> Changes:
    merged = dict(document)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = value
    return merged


def _name(draw: random.Random) -> str:
    return f"{draw.choice(_WORDS)} {draw.choice(_WORDS)}"


def _ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _say(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _pair(n: int) -> Changes:
    draw = random.Random(n)
    return {
        "prompt": _ask(f"Is {_name(draw)} {n} under {_name(draw)}?"),
        "completion": _say(draw.choice(_OPTIONS)),
    }


def _messages(n: int) -> Changes:
    pair = _pair(n)
    return {"messages": [*pair["prompt"], *pair["completion"], *_ask("Are you sure?"), *_say("It is so.")]}


def _preference(n: int) -> Changes:
    pair = _pair(n)
    right = pair["completion"][0]["content"]
    return {
        "prompt": pair["prompt"],
        "chosen": _say(f"Probably {right}."),
        "rejected": _say(f"Never {_OPTIONS[right == 'yes']}!"),
    }


def _write(path: Path, rows: Iterator[Changes] | Sequence[Changes]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
