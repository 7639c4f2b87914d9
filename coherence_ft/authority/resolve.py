"""Resolved constraints: the effective document, with the origin of every value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.constraint_set import Constraint, Origin
from coherence_ft.documents.tenant import Waiver


@dataclass(frozen=True, slots=True)
class LosingBound:
    """A bound that a stricter one replaced."""

    bound: float
    layer: str  # "regulated-unit: clinical", "recipe", …
    origin: Origin


@dataclass(frozen=True, slots=True)
class ResolvedConstraint:
    """`constraint` holds the strictest bound, confidence and minimum evidence over all layers."""

    constraint: Constraint
    layer: str
    replaced: tuple[LosingBound, ...] = ()
    waiver: Waiver | None = None


@dataclass(frozen=True, slots=True)
class ResolvedConstraints:
    tenant: str
    domain: str
    constraints: tuple[ResolvedConstraint, ...]  # sorted by constraint id

    def to_json(self) -> dict[str, Any]:
        """What is signed: no file paths, so that the same constraints have the same digest anywhere."""
        raise NotImplementedError  # helper B

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResolvedConstraints:
        raise NotImplementedError  # helper B

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return canonical_digest(self.to_json())
