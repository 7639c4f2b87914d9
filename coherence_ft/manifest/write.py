"""Writing a signed manifest into a checkpoint's folder, so that no crash leaves one that verifies by half."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from coherence_ft.authority.keys import AnySigner
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.manifest.files import (
    BUNDLE,
    MANIFEST,
    PARTIAL,
    open_folder,
    own_files,
    place,
    unreadable,
    unsafe_names,
)
from coherence_ft.manifest.reading import parse_statement
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import (
    CALIBRATOR_FILE,
    CONSTRAINTS_FILE,
    RECIPE_FILE,
    ManifestFacts,
    statement,
)


def write_manifest(
    folder: Path,
    facts: ManifestFacts,
    signer: AnySigner,
    *,
    created_at: datetime | None = None,
) -> str:
    """Hash every file of `folder`, and write, sign and store its manifest. Returns the manifest's digest.

    Writes `coherence/{recipe,constraints,calibrator}.json` first, then the bundle and last the manifest:
    until that is in place nothing verifies. Everything else must already be complete. Call it from one
    process only. Raises CoherenceError: CFT611, CFT612, CFT619 for what cannot be signed for, CFT617 when
    the disk is full or not writable, CFT620 when the facts do not fit the schema.
    """
    created_at = created_at or datetime.now(UTC)
    try:
        # An old manifest must not stand beside new files, nor a crash's remains be signed for.
        for name in own_files(folder):
            (folder / name).unlink(missing_ok=True)
        for name in (RECIPE_FILE, CONSTRAINTS_FILE, CALIBRATOR_FILE):
            (folder / (name + PARTIAL)).unlink(missing_ok=True)
        (folder / "coherence").mkdir(exist_ok=True)
        (folder / CALIBRATOR_FILE).unlink(missing_ok=True)
        for name, document in facts.documents().items():
            write_whole(folder / name, canonical_json(document))
        content = canonical_json(statement(facts, _digests(folder), created_at))
        parse_statement(content, place(folder, MANIFEST))  # what could not be read is not signed
        write_whole(folder / BUNDLE, canonical_json(sign(content, signer).to_json()))
        write_whole(folder / MANIFEST, content)
    except OSError as error:
        raise refusal(
            "CFT617",
            "the manifest cannot be written, so the folder stays unsigned",
            path=folder,
            found=error.strerror or str(error),
            help="other checkpoints are untouched; make room or mend the permissions and save again",
        ) from error
    return hashlib.sha256(content).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    with open_folder(folder) as opened:
        names = sorted(opened.files)
        findings = list(opened.refused.values()) + [
            Diagnostic("CFT612", f"a file of this name cannot be signed for: {reason}", place(folder, name))
            for name, reason in unsafe_names(names).items()
        ]
        digests: dict[str, str] = {}
        for name, digest in opened.digests(names).items():
            if isinstance(digest, OSError):
                findings.append(unreadable(folder, name, digest))
            else:
                digests[name] = digest
    if findings:
        raise CoherenceError(findings)
    return digests


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk before the next step."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
