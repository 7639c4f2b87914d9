"""Keeping what a derivative was measured by: in its folder, or in a store of its own, named by digest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from coherence_ft.documents.diagnostics import refusal
from coherence_ft.loops.observation import Observed
from coherence_ft.loops.stored import dump
from coherence_ft.manifest.evidence import FOLDER, SUFFIX, file_of
from coherence_ft.manifest.statement import StoredPass


def prepare_store(folder: Path) -> None:
    """Make the store. Raises CFT731 when it cannot be written: better known before a look is taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise refusal(
            "CFT731",
            "the evidence store cannot be written",
            path=folder,
            found=error.strerror or str(error),
            help="make room, mend the permissions, or choose another folder with --evidence-store",
        ) from error


def store_passes(folder: Path, observed: Observed, elsewhere: Path | None = None) -> Iterator[StoredPass]:
    """Store each pass in `folder`, where it becomes a subject, or in `elsewhere`; and say where."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)  # of another measuring
    for model, passes in observed.items():
        for seen in passes:
            content = dump(seen)
            digest = hashlib.sha256(content).hexdigest()
            name = None if elsewhere else file_of(model, seen.split)
            path = folder / name if name else (elsewhere or folder) / f"{digest}{SUFFIX}"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(content)
            os.replace(partial, path)
            yield StoredPass(model, seen.split, name, digest, len(content), seen.count)
