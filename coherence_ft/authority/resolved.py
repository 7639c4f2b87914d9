"""The resolved document: what is in force for a domain, with the origin of every value; its signed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coherence_ft.authority import waivers
from coherence_ft.authority.wording import ResolvedBand, ResolvedWording
from coherence_ft.documents.canonical import canonical_digest, decimal
from coherence_ft.documents.constraint_set import (
    NOWHERE,
    Act,
    Constraint,
    Enforcement,
    NamedConstraint,
    Origin,
    RoleBoundary,
    Scope,
)
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.measurement import DEFAULTS, Chosen, ResolvedMeasurement
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import SOURCES, Waiver


@dataclass(frozen=True, slots=True)
class Source:
    """Where the effective value of one field was written."""

    field: str
    layer: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class LosingBound:
    """A bound that a stricter one replaced."""

    bound: float
    layer: str  # "regulated-unit: clinical", "recipe", …
    origin: Origin = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedConstraint:
    """`constraint` holds the strictest bound, confidence and minimum evidence over all layers.

    `layer` is where its bound comes from; `sources` says so for every merged field. `stated` holds what each
    layer states, the highest first.
    """

    constraint: Constraint
    layer: str
    replaced: tuple[LosingBound, ...] = ()
    waiver: Waiver | None = None
    sources: tuple[Source, ...] = field(default=(), compare=False)
    stated: tuple[tuple[str, Constraint], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedBoundary:
    boundary: RoleBoundary
    layer: str


@dataclass(frozen=True, slots=True)
class ResolvedRestriction:
    restriction: NamedConstraint
    layer: str


@dataclass(frozen=True, slots=True)
class ResolvedConstraints:
    """`warnings` (an expired waiver, …) are for the person at the screen and not part of what is signed."""

    tenant: str
    domain: str
    constraints: tuple[ResolvedConstraint, ...]  # sorted by constraint id
    role_boundaries: tuple[ResolvedBoundary, ...] = ()  # sorted by id and layer: all of them hold
    named_constraints: tuple[ResolvedRestriction, ...] = ()  # likewise
    wording: tuple[ResolvedWording, ...] = ()
    sources: tuple[str, ...] = SOURCES  # of claims, the most trusted first
    measurement: ResolvedMeasurement = DEFAULTS
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)

    def wording_for(self, audience: str | None) -> ResolvedWording | None:
        """What speaks to an audience; what speaks to everybody where nothing speaks to it alone."""
        found = {w.audience: w for w in self.wording}
        return found.get(audience) or found.get(None)

    def outranks(self, source: str, other: str) -> bool:
        """Whether a claim from `source` prevails over one from `other`. An unknown one prevails over none."""
        rank = {name: n for n, name in enumerate(self.sources)}
        return source in rank and rank[source] < rank.get(other, len(rank))

    def to_json(self) -> dict[str, Any]:
        """What is signed: no file paths, so that the same constraints have the same digest anywhere."""
        return {
            "tenant": self.tenant,
            "domain": self.domain,
            "constraints": [_constraint_to_json(r) for r in self.constraints],
            "role_boundaries": [_boundary_to_json(r) for r in self.role_boundaries],
            "named_constraints": [_restriction_to_json(r) for r in self.named_constraints],
            "wording": [_wording_to_json(w) for w in self.wording],
            "sources": list(self.sources),
            "measurement": {
                "confidence": _chosen_to_json(self.measurement.confidence),
                "calibrator": _chosen_to_json(self.measurement.calibrator),
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResolvedConstraints:
        """Inverse of `to_json`, up to origins. Raises KeyError, TypeError or ValueError on malformed data."""
        return cls(
            data["tenant"],
            data["domain"],
            tuple(map(_constraint_from_json, data["constraints"])),
            tuple(map(_boundary_from_json, data["role_boundaries"])),
            tuple(map(_restriction_from_json, data["named_constraints"])),
            tuple(map(_wording_from_json, data["wording"])),
            tuple(data["sources"]),
            ResolvedMeasurement(
                *(
                    Chosen(data["measurement"][name]["value"], data["measurement"][name]["layer"])
                    for name in ("confidence", "calibrator")
                )
            ),
        )

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return canonical_digest(self.to_json())


def _optional(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def _constraint_to_json(resolved: ResolvedConstraint) -> dict[str, Any]:
    c = resolved.constraint
    return {
        "id": c.id,
        "metric": c.metric,
        "direction": c.direction.value,
        "bound": decimal(c.bound),
        "confidence": decimal(c.confidence),
        "minimum_evidence": c.minimum_evidence,
        "enforcement": c.enforcement.value,
        "owner": c.owner,
        "reason": c.reason,
        "locked": c.locked,
        "waiver_floor": _optional(c.waiver_floor),
        "waiver_approvals": c.waiver_approvals,
        "coverage": _optional(c.coverage),
        "relation": c.relation,
        "category": c.category,
        "scope": {
            name: list(values)
            for name in ("languages", "audiences", "routing_patterns")
            if (values := getattr(c.scope, name))
        },
        "layer": resolved.layer,
        "replaced": [{"bound": decimal(r.bound), "layer": r.layer} for r in resolved.replaced],
        "waiver": waivers.to_json(resolved.waiver) if resolved.waiver else None,
    }


def _constraint_from_json(data: dict[str, Any]) -> ResolvedConstraint:
    def number(name: str) -> float | None:
        return None if data[name] is None else float(data[name])

    return ResolvedConstraint(
        Constraint(
            id=data["id"],
            metric=data["metric"],
            direction=Direction(data["direction"]),
            bound=float(data["bound"]),
            confidence=float(data["confidence"]),
            minimum_evidence=int(data["minimum_evidence"]),
            enforcement=Enforcement(data["enforcement"]),
            owner=data["owner"],
            reason=data["reason"],
            locked=bool(data["locked"]),
            waiver_floor=number("waiver_floor"),
            waiver_approvals=int(data["waiver_approvals"]),
            coverage=number("coverage"),
            relation=data["relation"],
            category=data["category"],
            scope=Scope(**{name: tuple(values) for name, values in data["scope"].items()}),
        ),
        data["layer"],
        tuple(LosingBound(float(r["bound"]), r["layer"]) for r in data["replaced"]),
        waivers.from_json(data["waiver"]) if data["waiver"] else None,
    )


def _boundary_to_json(resolved: ResolvedBoundary) -> dict[str, Any]:
    b = resolved.boundary
    return {
        "id": b.id,
        "topics": list(b.topics),
        "referral": list(b.referral),
        "forbidden": list(b.forbidden),
        "owner": b.owner,
        "reason": b.reason,
        "layer": resolved.layer,
    }


def _boundary_from_json(data: dict[str, Any]) -> ResolvedBoundary:
    boundary = RoleBoundary(
        data["id"],
        tuple(data["topics"]),
        tuple(data["referral"]),
        tuple(data["forbidden"]),
        data["owner"],
        data["reason"],
    )
    return ResolvedBoundary(boundary, data["layer"])


def _restriction_to_json(resolved: ResolvedRestriction) -> dict[str, Any]:
    c = resolved.restriction
    return {
        "id": c.id,
        "forbidden": list(c.forbidden),
        "required": list(c.required),
        "owner": c.owner,
        "reason": c.reason,
        "layer": resolved.layer,
    }


def _restriction_from_json(data: dict[str, Any]) -> ResolvedRestriction:
    restriction = NamedConstraint(
        data["id"], tuple(data["forbidden"]), tuple(data["required"]), data["owner"], data["reason"]
    )
    return ResolvedRestriction(restriction, data["layer"])


def _wording_to_json(wording: ResolvedWording) -> dict[str, Any]:
    return {
        "audience": wording.audience,
        "bands": [
            {"from": decimal(b.confidence), "act": b.act.value, "phrase": b.phrase, "layer": b.layer}
            for b in wording.bands
        ],
    }


def _chosen_to_json(chosen: Chosen) -> dict[str, str | None]:
    return {"value": chosen.value, "layer": chosen.layer}


def _wording_from_json(data: dict[str, Any]) -> ResolvedWording:
    bands = (ResolvedBand(float(b["from"]), Act(b["act"]), b["phrase"], b["layer"]) for b in data["bands"])
    return ResolvedWording(data["audience"], tuple(bands))
