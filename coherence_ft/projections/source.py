"""What every projection is made from: a verified manifest, under the tenant document that it verified under.

A projection is never the source of truth. Each one says which manifest it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.tenant import Tenant
from coherence_ft.evidence.assessment import ConstraintResult
from coherence_ft.manifest.files import MANIFEST, open_folder, printable
from coherence_ft.manifest.lineage import Family, family
from coherence_ft.manifest.statement import PREDICATE_TYPE
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.reporting.words import in_order


@dataclass(frozen=True, slots=True)
class Source:
    """`manifest` as `verify` returned it, with the ancestors that its folder carries, under `tenant`."""

    manifest: VerifiedManifest
    tenant: Tenant
    family: Family

    @classmethod
    def verified(cls, folder: Path, tenant: Tenant, **asked: Any) -> Source:
        """`asked`: as `verify` takes it. Raises CoherenceError when anything does not verify."""
        manifest = verify(folder, tenant, **asked)
        today = asked.get("today") or datetime.now(UTC).date()
        with open_folder(folder) as opened:
            found = family(opened, manifest.digest, manifest.predicate, tenant, today)
        if found.findings:
            raise CoherenceError(found.findings)
        return cls(manifest, tenant, found)

    @property
    def predicate(self) -> Mapping[str, Any]:
        return self.manifest.predicate

    @property
    def results(self) -> Iterator[tuple[Constraint, ConstraintResult]]:
        """Each constraint with its result: the hard ones first, by id."""
        constraints = {r.constraint.id: r.constraint for r in self.manifest.constraints.constraints}
        for result in in_order(self.manifest.assessment):
            yield constraints[result.constraint], result

    @property
    def stamp(self) -> dict[str, str]:
        """The manifest that a projection names: digest, signer, key and date."""
        manifest = self.manifest
        return {
            "manifest": MANIFEST,
            "manifestDigest": f"sha256:{manifest.digest}",
            "predicateType": PREDICATE_TYPE,
            "schemaVersion": self.predicate["schemaVersion"],
            "stage": manifest.stage.value,
            "signer": manifest.signer,
            "key": f"sha256:{manifest.key_id}",
            "countersigners": ", ".join(manifest.countersigners) or "none",
            "createdAt": self.predicate["createdAt"],
        }

    @property
    def made_from(self) -> str:
        """The same in one sentence for people."""
        return (
            f"Generated from the {self.manifest.stage} coherence manifest sha256:{self.manifest.digest}, "
            f"signed by {self.titled(self.manifest.signer)}{self._countersigned} and made "
            f"{self.predicate['createdAt']}. "
            "It is no evidence by itself: coherence-ft verify checks the manifest."
        )

    @property
    def _countersigned(self) -> str:
        beside = ", ".join(map(self.titled, self.manifest.countersigners))
        return f", countersigned by {beside}," if beside else ""

    def titled(self, authority: str) -> str:
        """`Model risk office (model-risk)`: an authority as the tenant document titles it."""
        known = self.tenant.authority(authority)
        return f"{known.title} ({authority})" if known else authority


def measures(constraint: Constraint) -> str:
    """What a constraint measures, in words: the metric's, and what narrows it."""
    return "; ".join([METRICS[constraint.metric].summary, *narrowed(constraint)])


def narrowed(constraint: Constraint) -> list[str]:
    """The parameters and the scope that a constraint's figure is of; empty where all observations count."""
    scope = constraint.scope
    parts = [f"coverage {constraint.coverage:.0%}"] if constraint.coverage is not None else []
    parts += [
        f"{name} {value}"
        for name, value in (("relation", constraint.relation), ("category", constraint.category))
        if value
    ]
    parts += [
        f"{name} {', '.join(values)}"
        for name, values in (
            ("languages", scope.languages),
            ("audiences", scope.audiences),
            ("routing patterns", scope.routing_patterns),
        )
        if values
    ]
    return parts


def shown(data: Any) -> Any:
    """JSON data whose text holds no control character and changes no direction of writing."""
    if isinstance(data, dict):
        return {name: shown(value) for name, value in data.items()}
    if isinstance(data, list):
        return [shown(value) for value in data]
    return printable(data) if isinstance(data, str) else data
