"""Writing a signed manifest into a checkpoint's folder, so that no crash leaves one that verifies by half."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.manifest.files import BUNDLE, MANIFEST, open_folder, place, unreadable, unsafe_names
from coherence_ft.manifest.reading import schema_violations
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import (
    CALIBRATOR_FILE,
    CONSTRAINTS_FILE,
    RECIPE_FILE,
    ManifestFacts,
    statement,
)

_PARTIAL = ".partial"


def write_manifest(
    folder: Path,
    facts: ManifestFacts,
    private_key: ec.EllipticCurvePrivateKey,
    *,
    created_at: datetime | None = None,
) -> str:
    """Hash every file of `folder`, and write, sign and store its manifest. Returns the manifest's digest.

    Writes `coherence/{recipe,constraints,calibrator}.json` first, then the bundle and last the manifest:
    until that is in place nothing verifies. Everything else must already be complete. Call it from one
    process only. Raises CoherenceError: CFT611, CFT612 for files that cannot be signed for, CFT617 when
    the disk is full or not writable, CFT620 when the facts do not fit the schema.
    """
    created_at = created_at or datetime.now(UTC)
    try:
        # An old manifest must not stand beside new files, nor a crash's remains be signed for.
        for name in (MANIFEST, BUNDLE):
            (folder / name).unlink(missing_ok=True)
        for name in (MANIFEST, BUNDLE, RECIPE_FILE, CONSTRAINTS_FILE, CALIBRATOR_FILE):
            (folder / (name + _PARTIAL)).unlink(missing_ok=True)
        (folder / "coherence").mkdir(exist_ok=True)
        (folder / CALIBRATOR_FILE).unlink(missing_ok=True)
        for name, document in facts.documents().items():
            _write(folder / name, canonical_json(document))
        content = canonical_json(statement(facts, _digests(folder), created_at))
        if violations := schema_violations(json.loads(content), place(folder, MANIFEST)):
            raise CoherenceError(violations)
        _write(folder / BUNDLE, canonical_json(sign(content, private_key).to_json()))
        _write(folder / MANIFEST, content)
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


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk before the next step."""
    partial = path.with_name(path.name + _PARTIAL)
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
