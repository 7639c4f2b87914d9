"""Resolved constraints: the effective document, with the origin of every value.

The rules, as a compliance officer would state them:

- Every layer whose constraint set is for this domain, or for all domains, applies; the recipe is the lowest.
- The same id in several layers is the same constraint. The strictest of each value holds, so the order in
  which layers are listed does not matter.
- A lower layer may tighten what a higher one states. Loosening it, or touching a locked one, is an error.
  Layers at the same level are peers: the stricter one holds and neither is in error.
- A constraint belongs to the highest-ranking authority among those that state it. A set written for others
  to adopt, such as the published ones, names `adopter` as owner: it belongs to the authority of the layer
  that adopts it.
- A waiver relaxes a layer's bound as far as that layer's `waiver_floor`; without a floor, not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from coherence_ft.authority import waivers
from coherence_ft.authority.layers import MERGED, Statement, conflicts, powers, statements, strictness
from coherence_ft.documents.canonical import canonical_digest, decimal
from coherence_ft.documents.constraint_set import (
    Constraint,
    Direction,
    Enforcement,
    Level,
    Origin,
)
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.tenant import Tenant, Waiver

_NOWHERE = Origin("", 0, 0)


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
    origin: Origin = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedConstraint:
    """`constraint` holds the strictest bound, confidence and minimum evidence over all layers.

    `layer` is where its bound comes from; `sources` says so for every merged field.
    """

    constraint: Constraint
    layer: str
    replaced: tuple[LosingBound, ...] = ()
    waiver: Waiver | None = None
    sources: tuple[Source, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedConstraints:
    """`warnings` (an expired waiver, …) are for the person at the screen and not part of what is signed."""

    tenant: str
    domain: str
    constraints: tuple[ResolvedConstraint, ...]  # sorted by constraint id
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """What is signed: no file paths, so that the same constraints have the same digest anywhere."""
        return {
            "tenant": self.tenant,
            "domain": self.domain,
            "constraints": [_to_json(resolved) for resolved in self.constraints],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResolvedConstraints:
        """Inverse of `to_json`, up to origins. Raises KeyError, TypeError or ValueError on malformed data."""
        return cls(data["tenant"], data["domain"], tuple(map(_from_json, data["constraints"])))

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return canonical_digest(self.to_json())


def resolve(
    tenant: Tenant, domain: str, recipe_constraints: Sequence[Constraint] = (), *, today: date | None = None
) -> ResolvedConstraints:
    """The constraints in force for one recipe of a tenant in a domain, with the waivers valid on `today`.

    Raises `CoherenceError` with every error found in the layers, the recipe's own constraints and the
    waivers for this domain, and when no hard constraint is left to gate promotion.
    """
    resolved, found = _resolve(tenant, domain, recipe_constraints, today or date.today())
    if domain not in tenant.domains:
        found.insert(
            0,
            Diagnostic(
                "CFT307",
                f"the tenant `{tenant.id}` has no domain of that name",
                tenant.path,
                found=domain,
                expected=either(tenant.domains),
                help=suggestion(domain, tenant.domains) or "a tenant adds its own under `domains`",
            ),
        )
    elif not _errors(found) and not any(
        r.constraint.enforcement is Enforcement.HARD for r in resolved.constraints
    ):
        found.append(
            Diagnostic(
                "CFT308",
                f"no hard constraint applies in the domain `{domain}`: nothing would gate promotion",
                tenant.path,
                help="adopt a constraint set for this domain under `layers`, for example "
                f"`set: published:{domain}`",
            )
        )
    if errors := _errors(found):
        raise CoherenceError(errors)
    return replace(resolved, warnings=tuple(found))


def _errors(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    return [d for d in found if d.severity is Severity.ERROR]


def _resolve(
    tenant: Tenant, domain: str, recipe_constraints: Sequence[Constraint], today: date
) -> tuple[ResolvedConstraints, list[Diagnostic]]:
    stated, found = statements(tenant, domain, recipe_constraints)
    resolved: list[ResolvedConstraint] = []
    for id in sorted({s.constraint.id for s in stated}):
        same = sorted((s for s in stated if s.constraint.id == id), key=lambda s: s.order)
        contradictions = conflicts(same)
        found += contradictions or powers(same)
        if not any(d.code == "CFT304" for d in contradictions):  # different measurements have no common bound
            resolved.append(_merge(same))
    valid: dict[str, list[Waiver]] = {}
    by_id = {r.constraint.id: r.constraint for r in resolved}
    for waiver in tenant.waivers:
        if waiver.domain == domain:
            problems = waivers.problems(waiver, tenant, by_id.get(waiver.constraint), today)
            found += problems
            if not problems:
                valid.setdefault(waiver.constraint, []).append(waiver)
    constraints = tuple(
        replace(r, waiver=waivers.choose(valid.get(r.constraint.id, ()), r.constraint)) for r in resolved
    )
    return ResolvedConstraints(tenant.id, domain, constraints), found


def _merge(same: Sequence[Statement]) -> ResolvedConstraint:
    """`same` is sorted and `max` keeps the first of equals: the highest layer with the strictest value."""
    strictest = {name: max(same, key=lambda d: strictness(d.constraint, name)) for name in MERGED}
    winner = strictest["bound"]
    bound = winner.constraint.bound
    floors = strictest["waiver_floor"].constraint
    floor = floors.bound if floors.waiver_floor is None else floors.waiver_floor
    # Highest rank first; an unknown owner is an error elsewhere and must not outrank anybody here.
    owner = min(
        same, key=lambda d: (d.owner.level.rank if d.owner else len(Level), d.constraint.owner)
    ).constraint.owner
    merged = replace(
        winner.constraint,
        confidence=strictest["confidence"].constraint.confidence,
        minimum_evidence=strictest["minimum_evidence"].constraint.minimum_evidence,
        enforcement=strictest["enforcement"].constraint.enforcement,
        waiver_floor=floor if winner.constraint.direction.is_looser(floor, bound) else None,
        owner=owner,
        locked=any(d.constraint.locked for d in same),
    )
    return ResolvedConstraint(
        merged,
        winner.layer,
        tuple(
            LosingBound(d.constraint.bound, d.layer, d.constraint.origin)
            for d in same
            if d.constraint.bound != bound
        ),
        sources=tuple(
            Source(name, d.layer, d.constraint.origin)
            for name, d in strictest.items()
            if name != "waiver_floor" or merged.waiver_floor is not None
        ),
    )


def _optional(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def _to_json(resolved: ResolvedConstraint) -> dict[str, Any]:
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
        "coverage": _optional(c.coverage),
        "relation": c.relation,
        "category": c.category,
        "layer": resolved.layer,
        "replaced": [{"bound": decimal(r.bound), "layer": r.layer} for r in resolved.replaced],
        "waiver": waivers.to_json(resolved.waiver) if resolved.waiver else None,
    }


def _from_json(data: dict[str, Any]) -> ResolvedConstraint:
    def number(name: str) -> float | None:
        return None if data[name] is None else float(data[name])

    return ResolvedConstraint(
        Constraint(
            data["id"],
            data["metric"],
            Direction(data["direction"]),
            float(data["bound"]),
            float(data["confidence"]),
            int(data["minimum_evidence"]),
            Enforcement(data["enforcement"]),
            data["owner"],
            data["reason"],
            bool(data["locked"]),
            number("waiver_floor"),
            number("coverage"),
            data["relation"],
            data["category"],
        ),
        data["layer"],
        tuple(LosingBound(float(r["bound"]), r["layer"]) for r in data["replaced"]),
        waivers.from_json(data["waiver"]) if data["waiver"] else None,
    )
