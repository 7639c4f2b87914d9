"""The stored observations that a verified manifest names: found, held to their digests, and read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.loops.observation import Observations, Observed
from coherence_ft.loops.stored import MAX_STORED, load
from coherence_ft.manifest.evidence import SUFFIX, stored_passes
from coherence_ft.manifest.files import MANIFEST, place
from coherence_ft.manifest.statement import StoredPass
from coherence_ft.manifest.verify import VerifiedManifest
from coherence_ft.serving.evidence import weights_of


def read_observations(manifest: VerifiedManifest, store: Path | None = None) -> Observed:
    """Every pass, routing patterns of a mixture not assigned yet. `store`: where those are that are not in
    the folder.

    Raises CoherenceError with all that is wrong: CFT652 where the manifest names none, CFT653 to CFT657.
    """
    passes = stored_passes(manifest.predicate)
    if not passes:
        raise refusal(
            "CFT652",
            "no observations are stored, so nothing can be computed again",
            path=place(manifest.folder, MANIFEST),
            found=f"schema version {manifest.predicate['schemaVersion']}, stage {manifest.stage.value}",
            expected="a certified derivative of schema version 1.1 or later",
        )
    found: list[Diagnostic] = []
    observed: dict[str, tuple[Observations, ...]] = {}
    for stored in sorted(passes, key=lambda stored: stored.split):  # calibration before certification
        try:
            seen = _read(manifest, stored, store)
            observed[stored.model] = (*observed.get(stored.model, ()), seen)
        except CoherenceError as error:
            found += error.diagnostics
    if found:
        raise CoherenceError(found)
    return observed


def _read(manifest: VerifiedManifest, stored: StoredPass, store: Path | None) -> Observations:
    path = _path(manifest, stored, store)
    content = _content(path, stored)
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (stored.bytes, stored.digest):
        raise refusal(
            "CFT654",
            "the stored observations are not the ones signed",
            path=path,
            found=f"{len(content)} bytes, sha256 {digest}",
            expected=f"{stored.bytes} bytes, sha256 {stored.digest}",
        )
    seen = load(content, str(path))
    weights = (
        weights_of(manifest.files) if stored.model == "derivative" else manifest.predicate["base"]["digest"]
    )
    said = (seen.model, seen.split, seen.count)
    if said != (expected := (weights, stored.split, stored.observations)):
        raise refusal(
            "CFT657",
            f"these are not the observations of {stored.model} on {stored.split}",
            path=path,
            found=_described(*said),
            expected=_described(*expected),
        )
    return seen


def _path(manifest: VerifiedManifest, stored: StoredPass, store: Path | None) -> Path:
    if stored.file is not None:
        return manifest.folder / stored.file
    name = f"{stored.digest}{SUFFIX}"
    if store is None:
        raise refusal(
            "CFT653",
            f"the observations of {stored.model} on {stored.split} are kept elsewhere",
            path=place(manifest.folder, MANIFEST),
            expected=name,
            help="say where with --evidence-store",
        )
    return store / name


def _content(path: Path, stored: StoredPass) -> bytes:
    """At most one byte more than was signed for; from a regular file, so that no pipe is waited for."""
    try:
        if stored.bytes > MAX_STORED:
            raise refusal(
                "CFT655",
                "the stored observations are larger than any real ones",
                path=path,
                found=f"{stored.bytes} bytes",
                expected=f"at most {MAX_STORED} bytes",
            )
        if path.exists() and not path.is_file():
            raise OSError("not a regular file")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return file.read(stored.bytes + 1)
    except OSError as error:
        raise refusal(
            "CFT653",
            f"the observations of {stored.model} on {stored.split} are not there",
            path=path,
            found=error.strerror or str(error),
        ) from error


def _described(model: str, split: str, count: int) -> str:
    return f"{count} of model {model} on {split}"
