"""The manifest that a tenant's portfolio approves: an older one that is put back verifies, and is not it."""

from __future__ import annotations

from coherence_ft.documents.constraint_set import Origin
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.portfolio import Portfolio
from coherence_ft.manifest.verify import VerifiedManifest


def require_approved(portfolio: Portfolio, manifest: VerifiedManifest) -> None:
    """Raise CFT476 unless the portfolio lists this very manifest, wherever its folder is now."""
    if manifest.digest not in {listed.manifest for listed in portfolio.derivatives}:
        place = Origin(str(manifest.folder), 0, 0)
        raise CoherenceError([not_approved(place, manifest, f"one that {portfolio.path} lists")])


def not_approved(place: Origin, manifest: VerifiedManifest, expected: str) -> Diagnostic:
    return place.diagnostic(
        "CFT476",
        "the manifest is not the one that the portfolio approves",
        found=f"manifest sha256 {manifest.digest} of {manifest.predicate['createdAt']}",
        expected=expected,
        help="an older manifest may have been put back; if this one is right, list it in the portfolio",
    )
