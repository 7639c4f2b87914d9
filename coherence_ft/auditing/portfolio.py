"""A tenant's derivatives in use, each judged as of today: governed, drifted or refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.portfolio import Listed, Portfolio
from coherence_ft.documents.tenant import Tenant
from coherence_ft.loops.drift import DriftState
from coherence_ft.manifest.approval import not_approved
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.serving.evidence import read_evidence, state_path, subject_of


class Status(StrEnum):
    GOVERNED = "governed"  # everything verifies today, and no drift is certified
    DRIFTED = "drifted"  # everything verifies; run-time outcomes say that a promise no longer holds
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a derivative stands. `manifest`: None where it does not verify. `outcomes`: used at run time."""

    listed: Listed
    manifest: VerifiedManifest | None
    problems: tuple[Diagnostic, ...]
    outcomes: int = 0
    drift: tuple[str, ...] = ()  # cells (domain × routing pattern) where it is certified, and the broken risk

    @property
    def status(self) -> Status:
        if self.problems or self.manifest is None:
            return Status.REFUSED
        return Status.DRIFTED if self.drift else Status.GOVERNED

    @property
    def expires(self) -> date | None:
        """The last day on which it still verifies by the waivers that it rests on; None without one."""
        waivers = self.manifest.predicate["waivers"] if self.manifest else []
        return min((date.fromisoformat(waiver["expires"]) for waiver in waivers), default=None)

    def to_json(self) -> dict[str, Any]:
        """For other programs; a refused derivative says nothing of itself."""
        facts: dict[str, Any] = {"folder": str(self.listed.folder), "status": self.status.value}
        if self.manifest is not None and self.status is not Status.REFUSED:
            facts |= {
                "name": self.manifest.name,
                "domain": self.manifest.domain,
                "certified": self.manifest.predicate["evaluation"]["evaluatedAt"],
                "signer": self.manifest.signer,
                "waivers": len(self.manifest.predicate["waivers"]),
                "expires": self.expires.isoformat() if self.expires else None,
                "outcomes": self.outcomes,
                "drift": list(self.drift),
            }
        return facts | {"manifest": self.listed.manifest, "codes": [d.code for d in self.problems]}


def standings(portfolio: Portfolio, tenant: Tenant) -> Iterator[Standing]:
    """Verify each derivative in turn. Nothing raises for a derivative: what is wrong is in its standing."""
    for listed in portfolio.derivatives:
        try:
            manifest = verify(listed.folder, tenant, require_stage=Stage.CERTIFIED)
            yield _standing(listed, manifest, tenant)
        except CoherenceError as error:
            yield Standing(listed, None, error.diagnostics)


def _standing(listed: Listed, manifest: VerifiedManifest, tenant: Tenant) -> Standing:
    if manifest.digest != listed.manifest:
        return Standing(listed, manifest, (not_approved(listed.origin, manifest, listed.manifest),))
    if manifest.predicate["abstentionThreshold"] is None:
        return Standing(listed, manifest, ())
    subject = subject_of(listed.folder, manifest)
    evidence = read_evidence(state_path(manifest, Path(tenant.path), listed.folder), subject)
    state = evidence.state or DriftState.new(subject)
    drift = [" × ".join(cell.key) for cell in state.drifted]
    if state.risk_broken:
        drift.append("selective risk")
    return Standing(listed, manifest, (), len(evidence.used), tuple(drift))
