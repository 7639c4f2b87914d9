"""Which loops are attached to a loaded derivative: by what stands for them, not by a list of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.loops.drift import Adjustment
from coherence_ft.manifest.statement import ENGINE_VERSION
from coherence_ft.manifest.verify import VerifiedManifest


@dataclass(frozen=True, slots=True)
class Attachment:
    """What acts on every answer. `loops`: by name, what each one acts with, by digest where it has one."""

    manifest: str  # digest
    loops: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """For a health check of the service."""
        return {
            "manifest": self.manifest,
            "engineVersion": ENGINE_VERSION,
            "software": f"coherence-ft {version('coherence-ft')}",
            "loops": {name: dict(facts) for name, facts in self.loops.items()},
        }


def attachment(
    manifest: VerifiedManifest,
    calibrator: Calibrator | None,
    threshold: float | None,
    codebook: Codebook | None,
    adjustment: Adjustment,
    resolved: ResolvedConstraints,
) -> Attachment:
    """What is attached now. The calibration loop counts only with the calibrator and the threshold that were
    signed; without a certified threshold everything is withheld, which needs no calibrator.

    The integrity loop acts in training and certification alone: nothing of it is attached at run time.
    """
    signed, stated = manifest.predicate["calibrator"], manifest.predicate["abstentionThreshold"]
    fitted = canonical_digest(calibrator.to_json()) if calibrator else None
    loops: dict[str, Mapping[str, Any]] = {}
    if fitted == (signed["digest"] if signed else None) and threshold == (stated and float(stated)):
        loops["calibration"] = {
            "calibrator": fitted,
            "abstentionThreshold": stated,
            "codebook": codebook.digest if codebook else None,
            "adjustedCells": len(adjustment.cells),
        }
    if (resolved.tenant, resolved.domain) == (manifest.tenant, manifest.domain):
        loops["alignment"] = {
            "constraints": resolved.digest,  # of today, which may be stricter than what was signed
            "roleBoundaries": len(resolved.role_boundaries),
            "namedConstraints": len(resolved.named_constraints),
            "wordings": len(resolved.wording),
        }
    return Attachment(manifest.digest, loops)


def require(manifest: VerifiedManifest, attached: Attachment) -> None:
    """Raise CFT756 unless every loop that the manifest names is attached.

    That the engine is of the version named, `verify` has checked (CFT621).
    """
    missing = [name for name in manifest.predicate["runtime"]["loops"] if name not in attached.loops]
    if missing:
        raise refusal(
            "CFT756",
            "the manifest names a loop that is not attached at run time",
            path=manifest.folder,
            found=f"attached: {', '.join(attached.loops) or 'none'}",
            expected=f"also {', '.join(missing)}",
            help="certify again with `coherence-ft promote`, or upgrade coherence-ft",
        )
