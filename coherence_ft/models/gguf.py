"""GGUF files: checked, and dequantized once into the user's cache.

transformers reads a GGUF in 15 to 30 s for 135M parameters, so a safetensors copy is kept, named by the
GGUF's sha256. Every use holds the copy against the digests written when it was made; a copy that differs,
or that another version of transformers made, is made again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coherence_ft.documents.canonical import canonical_json, file_digest
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.models.errors import first_line
from coherence_ft.models.packages import cache_folder
from coherence_ft.models.progress import working

_MARKER = "copy.json"


def check(path: Path, digest: str) -> None:
    """Refuse what is no GGUF (CFT502) or is truncated (CFT507)."""
    if _is_whole(_folder(digest) / "metadata"):
        return  # it was read before, with this very content
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise refusal(
                "CFT502",
                "the file is not a GGUF file",
                path=path,
                help="a file must be .gguf; for safetensors name the folder that holds config.json as well",
            )
    from gguf import GGUFReader

    try:
        GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise refusal(
            "CFT507",
            f"the GGUF file is truncated or damaged: {error}",
            path=path,
            help="fetch it again and compare its sha256 with its publisher's",
        ) from error


def metadata(path: Path, digest: str) -> Path:
    """A folder with config.json and the tokenizer's files, read from the GGUF."""

    def build(folder: Path) -> None:
        from transformers import AutoConfig, AutoTokenizer

        source = {"gguf_file": path.name, "trust_remote_code": False}
        AutoConfig.from_pretrained(path.parent, **source).save_pretrained(folder)
        AutoTokenizer.from_pretrained(path.parent, **source).save_pretrained(folder)

    return _copy(_folder(digest) / "metadata", build, path)


def weights(path: Path, digest: str, precision: str) -> Path:
    """A folder with the dequantized weights in `precision` (`bfloat16` or `float32`) and config.json."""

    def build(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=getattr(torch, precision),
            trust_remote_code=False,
            output_loading_info=True,
        )
        model, report = loaded
        if report["missing_keys"] or report["mismatched_keys"]:
            raise ValueError(f"weights are missing: {', '.join(sorted(report['missing_keys'])[:3])}")
        model.save_pretrained(folder)

    return _copy(_folder(digest) / precision, build, path)


def _folder(digest: str) -> Path:
    return cache_folder() / "gguf" / digest


def _maker() -> str:
    return f"transformers {version('transformers')}, gguf {version('gguf')}"


def _is_whole(folder: Path) -> bool:
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        names = {p.name for p in folder.iterdir()} - {_MARKER}
        return bool(
            marker["made_by"] == _maker()
            and marker["files"] == {name: file_digest(folder / name) for name in names}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _copy(target: Path, build: Callable[[Path], None], source: Path) -> Path:
    """`target`, whole; made by `build` in a folder beside it and moved into place at once."""
    from safetensors import SafetensorError

    if _is_whole(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
            fresh = Path(work) / "fresh"
            fresh.mkdir()
            with working(f"Reading {source.name} ({target.name}; once, then from the cache) …"):
                build(fresh)
            files = {p.name: file_digest(p) for p in fresh.iterdir()}
            (fresh / _MARKER).write_bytes(canonical_json({"made_by": _maker(), "files": files}))
            if target.exists() and not _is_whole(target):
                target.rename(Path(work) / "damaged")
            try:
                fresh.rename(target)
            except OSError:
                if not _is_whole(target):  # else another process was first: its copy serves as well
                    raise
    except (OSError, SafetensorError) as error:
        raise refusal(
            "CFT517",
            f"the dequantized copy cannot be stored: {getattr(error, 'strerror', None) or error}",
            path=target,
            help=f"{_free(target)} are free; choose another folder with COHERENCE_FT_CACHE",
        ) from error
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, CoherenceError):
            raise
        raise refusal(
            "CFT502",
            f"transformers cannot read this GGUF: {first_line(error)}",
            path=source,
            help="use the model's safetensors folder instead",
        ) from error
    return target


def _free(target: Path) -> str:
    for folder in target.parents:
        if folder.exists():
            return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB"
    return "0 GiB"
