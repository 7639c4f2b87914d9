"""What a manifest says about the stored observations behind its estimates: all there, and all signed for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.manifest.statement import Stage, StoredPass

FOLDER = "coherence/evidence"
SUFFIX = ".jsonl.gz"
PASSES = tuple(
    (model, split) for model in ("derivative", "base") for split in ("calibration", "certification")
)
"""What a certified derivative was measured by, in the order in which it is written."""


def file_of(model: str, split: str) -> str:
    """Where a pass lies in the folder, if it lies there."""
    return f"{FOLDER}/{model}-{split}{SUFFIX}"


def stored_passes(predicate: Mapping[str, Any]) -> tuple[StoredPass, ...]:
    """The passes that a manifest names; none before schema version 1.1."""
    return tuple(
        StoredPass(e["model"], e["split"], e["file"], e["digest"], e["bytes"], e["observations"])
        for e in predicate.get("evidence", ())
    )


def problems(predicate: Mapping[str, Any], subjects: Mapping[str, str], where: str) -> list[Diagnostic]:
    """CFT651 and CFT654: a pass that is missing, doubled, or not the file that the manifest lists.

    `subjects`: sha256 by name. The observations themselves are read only by `verify --recompute`.
    """
    found: list[Diagnostic] = []
    if predicate["schemaVersion"] == "1.0":
        return found
    passes = stored_passes(predicate)
    named = [(stored.model, stored.split) for stored in passes]
    expected = PASSES if predicate["stage"] == Stage.CERTIFIED else ()
    if sorted(named) != sorted(expected):
        found.append(
            Diagnostic(
                "CFT651",
                "the stored observations are not those of every pass, each once",
                where,
                found=", ".join(map(" on ".join, named)) or "none",
                expected=", ".join(map(" on ".join, expected)) or f"none for a {predicate['stage']} manifest",
            )
        )
    for stored in passes:
        if stored.file is None:
            continue
        if stored.file != file_of(stored.model, stored.split) or subjects.get(stored.file) != stored.digest:
            found.append(
                Diagnostic(
                    "CFT654",
                    f"the observations of {stored.model} on {stored.split} are not a file that is signed for",
                    where,
                    found=f"{stored.file}, sha256 {stored.digest}",
                    expected=f"{file_of(stored.model, stored.split)}, with the digest of that subject",
                )
            )
    return found
