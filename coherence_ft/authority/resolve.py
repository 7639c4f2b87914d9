"""Resolved constraints: the effective document, with the origin of every value.

The rules, as a compliance officer would state them:

- Every layer whose constraint set is for this domain, or for all domains, applies, with the sets that it
  extends; the recipe is the lowest.
- The same id in several layers is the same constraint. The strictest of each value holds, so the order in
  which layers are listed does not matter.
- A lower layer may tighten what a higher one states. Loosening it, or touching a locked one, is an error.
  Layers at the same level are peers: the stricter one holds and neither is in error.
- A constraint belongs to the highest-ranking authority among those that state it. A set written for others
  to adopt, such as the published ones, names `adopter` as owner: it belongs to the authority of the layer
  that adopts it.
- Role boundaries and named constraints add up: all of them hold. Of wording, at each confidence, the most
  cautious holds. How confidence is measured is said once: the highest layer that states it holds.
- A waiver relaxes a layer's bound as far as that layer's `waiver_floor`; without a floor, not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date

from coherence_ft.authority import delegation, waivers
from coherence_ft.authority.delegation import Grants
from coherence_ft.authority.layers import (
    Adopted,
    Owned,
    Statement,
    adopted,
    contradictions,
    lacks,
    may_act,
    powers,
    statements,
)
from coherence_ft.authority.resolved import (
    LosingBound,
    ResolvedBoundary,
    ResolvedConstraint,
    ResolvedConstraints,
    ResolvedRestriction,
    Source,
)
from coherence_ft.authority.wording import StatedWording, bolder, resolve_wording
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet, Enforcement
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity
from coherence_ft.documents.measurement import StatedMeasurement, measured_otherwise, resolve_measurement
from coherence_ft.documents.rules import useless_confidence
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.strictness import MERGED, strictness
from coherence_ft.documents.tenant import Power, Tenant, Waiver


def resolve(
    tenant: Tenant,
    domain: str,
    recipe_constraints: Sequence[Constraint] = (),
    *,
    recipe: str | None = None,
    today: date | None = None,
) -> ResolvedConstraints:
    """The constraints in force for one recipe of a tenant in a domain, with the waivers valid on `today`.

    `recipe` is the recipe's name: waivers for a recipe hold for it alone. A conversation's or a query's own
    constraints are layers of the tenant at their level. Raises `CoherenceError` with every error found in the
    layers, the recipe's own constraints, the delegations and the waivers for this domain, and when no hard
    constraint is left to gate promotion.
    """
    resolved, found = _resolve(tenant, domain, recipe_constraints, recipe, today or date.today())
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
    rewarded = useless_confidence.rewarded(r.constraint for r in resolved.constraints)
    if rewarded is not None and not _errors(found):
        at = rewarded.origin.of("metric")
        found.append(
            at.diagnostic(
                useless_confidence.CODE.id,
                f"`{rewarded.id}` gates the calibration error in `{domain}`, and nothing hard asks for skill",
                help="add a hard constraint on brier_skill, auroc or selective_risk, or only report this",
            )
        )
    if errors := _errors(found):
        raise CoherenceError(errors)
    return replace(resolved, warnings=tuple(found))


def resolve_set(constraint_set: ConstraintSet, domain: str) -> ResolvedConstraints:
    """What a constraint set demands by itself, with the sets that it extends, adopted by nobody."""
    sets = (constraint_set, *constraint_set.ancestors())
    stated = [Statement(c, 0, each.id, None) for each in sets for c in each.constraints]
    by_id: dict[str, list[Statement]] = {}
    for statement in sorted(stated, key=lambda s: s.order):
        if domain in (statement.constraint.scope.domains or (domain,)):
            by_id.setdefault(statement.constraint.id, []).append(statement)
    return ResolvedConstraints(
        constraint_set.id,
        domain,
        tuple(_merge(by_id[id]) for id in sorted(by_id)),
        tuple(ResolvedBoundary(b, each.id) for each in sets for b in each.role_boundaries),
        tuple(ResolvedRestriction(c, each.id) for each in sets for c in each.named_constraints),
        resolve_wording([StatedWording(w, 0, each.id) for each in sets for w in each.wording]),
        measurement=resolve_measurement([StatedMeasurement(each.measurement, 0, each.id) for each in sets]),
    )


def _errors(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    return [d for d in found if d.severity is Severity.ERROR]


def _resolve(
    tenant: Tenant,
    domain: str,
    recipe_constraints: Sequence[Constraint],
    recipe: str | None,
    today: date,
) -> tuple[ResolvedConstraints, list[Diagnostic]]:
    grants = delegation.in_force(tenant, today)
    found = delegation.problems(tenant, today)
    stated, wrong = statements(tenant, domain, recipe_constraints, grants)
    found += wrong
    resolved: list[ResolvedConstraint] = []
    for id in sorted({s.constraint.id for s in stated}):
        same = sorted((s for s in stated if s.constraint.id == id), key=lambda s: s.order)
        contradicting = contradictions(same)
        found += contradicting or powers(same, domain, grants)
        if not any(d.code == "CFT304" for d in contradicting):  # different measurements have no common bound
            resolved.append(_merge(same))
    by_id = {r.constraint.id: r.constraint for r in resolved}
    valid: dict[str, list[Waiver]] = {}
    for waiver in tenant.waivers:
        # Without a recipe the tenant itself is asked about: then all of its waivers are looked at.
        if waiver.domain == domain and (recipe is None or waiver.recipe in (None, recipe)):
            problems = waivers.problems(waiver, tenant, by_id.get(waiver.constraint), today, grants)
            found += problems or waivers.expiring(waiver, today)
            if not problems and waiver.recipe in (None, recipe):
                valid.setdefault(waiver.constraint, []).append(waiver)
    constraints = tuple(
        replace(r, waiver=waivers.choose(valid.get(r.constraint.id, ()), r.constraint)) for r in resolved
    )
    sets = [each for _, layer in adopted(tenant, domain) for each in layer]
    found += _unanswered(tenant, domain, sets, grants)
    wording = [
        StatedWording(w, each.level.rank, each.label)
        for each in sets
        for w in each.owned(each.constraint_set.wording)
    ]
    found += bolder(wording)
    measured = [StatedMeasurement(s.constraint_set.measurement, s.level.rank, s.label) for s in sets]
    found += measured_otherwise(measured)
    boundaries = {
        ResolvedBoundary(b, each.label)
        for each in sets
        for b in each.owned(each.constraint_set.role_boundaries)
    }
    restrictions = {
        ResolvedRestriction(c, each.label)
        for each in sets
        for c in each.owned(each.constraint_set.named_constraints)
    }
    return ResolvedConstraints(
        tenant.id,
        domain,
        constraints,
        tuple(sorted(boundaries, key=lambda r: (r.boundary.id, r.layer, str(r.boundary.origin)))),
        tuple(sorted(restrictions, key=lambda r: (r.restriction.id, r.layer, str(r.restriction.origin)))),
        resolve_wording(wording),
        tenant.sources,
        resolve_measurement(measured),
    ), found


def _unanswered(tenant: Tenant, domain: str, sets: Iterable[Adopted], grants: Grants) -> Iterator[Diagnostic]:
    """Boundaries, restrictions and wording whose owner may not state them there."""
    for each in sets:
        own = each.constraint_set
        rules: list[tuple[str, Owned]] = [
            *((f"the role boundary `{b.id}`", b) for b in each.owned(own.role_boundaries)),
            *((f"the named constraint `{c.id}`", c) for c in each.owned(own.named_constraints)),
            *((f"the wording for {w.audience or 'everybody'}", w) for w in each.owned(own.wording)),
        ]
        for what, rule in rules:
            wrong = may_act(tenant, rule.owner, each.level, what, rule.origin, domain, grants)
            yield from wrong
            held = grants.powers(rule.owner, domain)
            if not wrong and not held & {Power.SET, Power.TIGHTEN}:
                yield lacks(rule.owner, held, Power.SET, f"state {what}", rule.origin.of("owner"))


def _merge(same: Sequence[Statement]) -> ResolvedConstraint:
    """`same` is sorted and `max` keeps the first of equals: the highest layer with the strictest value."""
    strictest = {name: max(same, key=lambda d: strictness(d.constraint, name)) for name in MERGED}
    winner = strictest["bound"]
    bound = winner.constraint.bound
    floors = strictest["waiver_floor"].constraint
    floor = floors.bound if floors.waiver_floor is None else floors.waiver_floor
    # Highest rank first; an unknown owner is an error elsewhere and must not outrank anybody here.
    owner = min(same, key=lambda d: (d.owner_rank, d.constraint.owner)).constraint.owner
    merged = replace(
        winner.constraint,
        confidence=strictest["confidence"].constraint.confidence,
        minimum_evidence=strictest["minimum_evidence"].constraint.minimum_evidence,
        enforcement=strictest["enforcement"].constraint.enforcement,
        waiver_approvals=strictest["waiver_approvals"].constraint.waiver_approvals,
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
            if (name != "waiver_floor" or merged.waiver_floor is not None)
            and (name != "waiver_approvals" or merged.waiver_approvals > 1)
        ),
        stated=tuple((d.layer, d.constraint) for d in same),
    )
